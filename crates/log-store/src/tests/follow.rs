//! A read-only log beside the process that writes.

use super::*;

fn follow(files: &SimulatedFiles) -> LogStore {
    let files: Arc<dyn Files> = Arc::new(files.process());
    LogStore::open_read_only_on(files, Path::new(ROOT), small(), Arc::new(StepClock)).expect("a log to follow")
}

#[tokio::test]
async fn follower_sees_new_records_streams_and_segments() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let follower = follow(&files);
    assert!(follower.streams().is_empty());
    let to = stream(&log).await;
    assert_eq!(follower.streams(), [(to.stream.clone(), 1)]);
    for batch in 0..30 {
        let appended = log.append(&to, numbered(batch * 5, 5, batch as i64), Some(state("p", batch))).await.unwrap();
        log.until_durable(&to, appended.accepted()).await.unwrap();
        if batch % 3 == 0 {
            assert_eq!(numbers(&read_all(&follower, &to).await), (0..appended.end.0).collect::<Vec<_>>());
            assert_eq!(follower.producer(&to, &ProducerId::new("p")).await.unwrap(), Some(state("p", batch)));
            assert_eq!(follower.offset_at(&to, batch as i64).await.unwrap(), Offset(batch * 5));
        }
    }
    assert_eq!(numbers(&read_all(&follow(&files), &to).await), (0..150).collect::<Vec<_>>(), "one that comes late");
}

#[tokio::test]
async fn follower_waits_for_what_another_process_appends() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    let follower = Arc::new(follow(&files));
    let waiting = {
        let (follower, to) = (Arc::clone(&follower), to.clone());
        tokio::spawn(async move { follower.until_past(&to, Offset(4)).await })
    };
    durably(&log, &to, numbered(0, 5, 0)).await;
    assert_eq!(waiting.await.unwrap().unwrap().durable, Offset(5));
    follower.until_durable(&to, AcceptedEnd { offset: Offset(5), withdrawals: 0 }).await.unwrap();
}

#[tokio::test]
async fn follower_changes_nothing_not_even_a_torn_tail() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    drop(log);
    let path = files.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "log")).unwrap();
    let length = files.content(&path).len() as u64;
    let tail = files.process().open(&path, crate::fs::Access::Write).unwrap();
    tail.write_at(length, &[b"PSF1 half a frame"]).unwrap();
    let before: Vec<_> = files.paths().iter().map(|path| (path.clone(), files.content(path))).collect();

    let follower = follow(&files);
    assert_eq!(numbers(&read_all(&follower, &to).await), [0, 1, 2, 3, 4]);
    assert!(matches!(follower.append(&to, numbered(5, 1, 0), None).await, Err(LogError::ReadOnly)));
    assert!(matches!(follower.create_stream(&to.stream, StreamSpec::default()).await, Err(LogError::ReadOnly)));
    assert!(matches!(follower.retain(&to, 0).await, Err(LogError::ReadOnly)));
    drop(follower);
    let after: Vec<_> = files.paths().iter().map(|path| (path.clone(), files.content(path))).collect();
    assert!(before == after);
}

#[tokio::test]
async fn follower_notices_withdrawn_records_and_reads_their_successors() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    let follower = follow(&files);
    files.set_faults(|faults| faults.failing_syncs = 1);
    let lost = log.append(&to, numbered(500, 5, 0), None).await.unwrap();
    // It may or may not see the records before they are withdrawn.
    let _ = follower.bounds(&to).unwrap();
    assert!(log.until_durable(&to, lost.accepted()).await.is_err());
    assert!(log.append(&to, numbered(5, 5, 0), None).await.is_err(), "told once");
    durably(&log, &to, numbered(5, 7, 0)).await;
    follower.until_past(&to, Offset(11)).await.unwrap();
    assert_eq!(numbers(&read_all(&follower, &to).await), (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn follower_survives_retention_beside_it() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let id = StreamId::new("s");
    let retention = Retention { age: None, bytes: Some(1) };
    log.create_stream(&id, StreamSpec { partitions: 1, retention }).await.unwrap();
    let to = StreamPartition::first(id);
    let follower = follow(&files);
    for batch in 0..30 {
        durably(&log, &to, numbered(batch * 5, 5, 0)).await;
        let _ = follower.bounds(&to).unwrap();
    }
    let start = log.retain(&to, 0).await.unwrap();
    assert!(start > Offset(0));
    assert_eq!(follower.bounds(&to).unwrap().start, start);
    assert!(matches!(follower.read(&to, Offset(0), 1).await, Err(LogError::OutOfRange { .. })));
    assert_eq!(numbers(&read_all(&follower, &to).await), (start.0..150).collect::<Vec<_>>());
}
