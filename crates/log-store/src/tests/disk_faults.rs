//! Full disks, failing syncs, torn writes: what was durable stays, what was not is withdrawn and told.

use super::*;

async fn producer_position(log: &dyn Log, of: &StreamPartition) -> Option<ProducerState> {
    log.producer(of, &ProducerId::new("p")).await.expect("an answer")
}

#[tokio::test]
async fn full_disk_refuses_the_batch_and_takes_it_when_there_is_room() {
    for room in [0, 1, 63, 64, 100, 200] {
        let files = SimulatedFiles::new(1);
        let log = open(&files);
        let to = stream(&log).await;
        durably(&log, &to, numbered(0, 5, 0)).await;
        files.set_faults(|faults| faults.room = Some(room));
        for _ in 0..3 {
            let refused = log.append(&to, numbered(5, 5, 0), None).await;
            assert!(matches!(refused, Err(LogError::Full { .. })), "room {room}: {refused:?}");
        }
        assert_eq!(numbers(&read_all(&log, &to).await), [0, 1, 2, 3, 4]);
        files.set_faults(|faults| faults.room = None);
        durably(&log, &to, numbered(5, 5, 0)).await;
        assert_eq!(numbers(&read_all(&log, &to).await), (0..10).collect::<Vec<_>>());
        files.crash();
        drop(log);
        assert_eq!(numbers(&read_all(&open(&files), &to).await), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn full_disk_while_a_segment_is_made_refuses_until_there_is_room() {
    let files = SimulatedFiles::new(1);
    let frame = 64 + numbered(1, 1, 0).bytes().len() as u64;
    let options = LogOptions { segment_bytes: 96 + frame + 1, codec: crate::Codec::None, ..small() };
    let log = try_open(&files, options).unwrap();
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 1, 0)).await;
    // Room for the frame that fills the segment, not for the next segment.
    files.set_faults(|faults| faults.room = Some(frame as usize + 50));
    durably(&log, &to, numbered(1, 1, 0)).await;
    for _ in 0..3 {
        let refused = log.append(&to, numbered(2, 1, 0), None).await;
        assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    }
    assert_eq!(numbers(&read_all(&log, &to).await), [0, 1]);
    files.set_faults(|faults| faults.room = None);
    durably(&log, &to, numbered(2, 1, 0)).await;
    assert_eq!(numbers(&read_all(&log, &to).await), [0, 1, 2]);
}

#[tokio::test]
async fn torn_write_leaves_nothing_of_its_batch() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    files.set_faults(|faults| faults.torn_write = true);
    assert!(matches!(log.append(&to, numbered(90, 9, 0), None).await, Err(LogError::Io { .. })));
    durably(&log, &to, numbered(5, 1, 0)).await;
    assert_eq!(numbers(&read_all(&log, &to).await), [0, 1, 2, 3, 4, 5]);
    files.crash();
    drop(log);
    assert_eq!(numbers(&read_all(&open(&files), &to).await), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn torn_write_that_cannot_be_cut_back_is_left_in_the_old_segment() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    files.set_faults(|faults| (faults.torn_write, faults.failing_cuts) = (true, 1));
    assert!(matches!(log.append(&to, numbered(90, 9, 0), None).await, Err(LogError::Io { .. })));
    durably(&log, &to, numbered(5, 1, 0)).await;
    assert_eq!(numbers(&read_all(&log, &to).await), [0, 1, 2, 3, 4, 5]);
    drop(log);
    assert_eq!(numbers(&read_all(&open(&files), &to).await), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn failed_sync_withdraws_what_was_not_durable_and_tells_everyone() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    let first = log.append(&to, numbered(0, 5, 0), Some(state("p", 1))).await.unwrap();
    log.until_durable(&to, first.accepted()).await.unwrap();

    files.set_faults(|faults| faults.failing_syncs = 1);
    let lost = log.append(&to, numbered(5, 5, 0), Some(state("p", 2))).await.unwrap();
    let told = log.until_durable(&to, lost.accepted()).await;
    assert!(matches!(told, Err(LogError::Io { .. })), "{told:?}");
    // Whoever asks later is told as well, and the producer's next batch would leave a gap.
    assert!(log.until_durable(&to, lost.accepted()).await.is_err());
    assert!(log.until_durable(&to, first.accepted()).await.is_ok());
    assert!(log.append(&to, numbered(10, 5, 0), Some(state("p", 3))).await.is_err());
    assert!(log.append(&to, numbered(10, 5, 0), Some(state("p", 3))).await.is_err());

    assert_eq!(producer_position(&log, &to).await, Some(state("p", 1)));
    let again = log.append(&to, numbered(5, 5, 0), Some(state("p", 2))).await.unwrap();
    assert_eq!((again.first, again.end), (lost.first, lost.end), "the offsets are given out again");
    log.until_durable(&to, again.accepted()).await.unwrap();
    assert!(log.until_durable(&to, lost.accepted()).await.is_err(), "others stand there now");
    assert_eq!(numbers(&read_all(&log, &to).await), (0..10).collect::<Vec<_>>());
    files.crash();
    drop(log);
    let log = open(&files);
    assert_eq!(numbers(&read_all(&log, &to).await), (0..10).collect::<Vec<_>>());
    assert_eq!(producer_position(&log, &to).await, Some(state("p", 2)));
}

#[tokio::test]
async fn withdrawal_is_told_once_to_appenders_without_a_producer() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    files.set_faults(|faults| faults.failing_syncs = 1);
    let lost = log.append(&to, numbered(0, 5, 0), None).await.unwrap();
    assert!(log.until_durable(&to, lost.accepted()).await.is_err());
    assert!(log.append(&to, numbered(0, 5, 0), None).await.is_err(), "it may not know of the loss");
    durably(&log, &to, numbered(0, 5, 0)).await;
    // A producer that lost nothing is not disturbed.
    log.append(&to, numbered(5, 1, 0), Some(state("q", 1))).await.unwrap();
}

#[tokio::test]
async fn log_goes_on_after_many_failed_syncs_in_a_row() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    files.set_faults(|faults| faults.failing_syncs = 6);
    let (mut failures, mut end) = (0, None);
    while end.is_none() {
        if let Ok(appended) = log.append(&to, numbered(5, 5, 0), None).await
            && log.until_durable(&to, appended.accepted()).await.is_ok()
        {
            end = Some(appended.end);
        } else {
            failures += 1;
            assert!(failures < 50, "it never recovers");
        }
    }
    assert!(failures > 1);
    assert_eq!(numbers(&read_all(&log, &to).await), (0..10).collect::<Vec<_>>());
    files.crash();
    drop(log);
    assert_eq!(numbers(&read_all(&open(&files), &to).await), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn too_large_batch_is_refused_whole() {
    let files = SimulatedFiles::new(1);
    let log = try_open(&files, LogOptions { batch_bytes_max: 500, ..small() }).unwrap();
    let to = stream(&log).await;
    let batch = numbered(0, 50, 0);
    let bytes = batch.bytes().len();
    let refused = log.append(&to, batch, None).await;
    assert!(matches!(refused, Err(LogError::TooLarge { bytes: b, limit: 500 }) if b == bytes));
    assert_eq!(log.bounds(&to).unwrap().accepted, Offset(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_of_many_megabytes_is_one_frame() {
    let files = SimulatedFiles::new(1);
    let log = try_open(&files, LogOptions::default()).unwrap();
    let to = stream(&log).await;
    let mut builder = ::model::RecordBatchBuilder::default();
    builder.push(0, None, Some(&vec![1; 9 << 20]), &[]).unwrap();
    let batch = builder.finish();
    durably(&log, &to, batch.clone()).await;
    assert_eq!(log.read(&to, Offset(0), 1).await.unwrap()[0].records, batch);
}

#[tokio::test]
async fn closed_log_answers_closed_and_still_reads() {
    let files = SimulatedFiles::new(1);
    let log = Arc::new(open(&files));
    let to = stream(&*log).await;
    durably(&*log, &to, numbered(0, 5, 0)).await;
    log.append(&to, numbered(5, 5, 0), None).await.unwrap();
    let waiting = {
        let (log, to) = (Arc::clone(&log), to.clone());
        tokio::spawn(async move { log.until_past(&to, Offset(100)).await })
    };
    log.close();
    assert!(matches!(waiting.await.unwrap(), Err(LogError::Closed)));
    assert!(matches!(log.append(&to, numbered(10, 1, 0), None).await, Err(LogError::Closed)));
    assert!(matches!(log.create_stream(&StreamId::new("t"), StreamSpec::default()).await, Err(LogError::Closed)));
    assert!(
        log.until_durable(&to, AcceptedEnd { offset: Offset(10), withdrawals: 0 }).await.is_ok(),
        "closing made them durable"
    );
    assert_eq!(numbers(&read_all(&*log, &to).await), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&read_all(&open(&files), &to).await), (0..10).collect::<Vec<_>>(), "the lock was let go");
}

#[tokio::test]
async fn second_writer_is_refused_with_the_lock_s_path() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let refused = try_open(&files, small());
    assert!(matches!(&refused, Err(LogError::Locked { path }) if path == "/log/LOCK"), "{refused:?}");
    drop(log);
    assert!(try_open(&files, small()).is_ok());
}

#[tokio::test]
async fn appenders_wait_when_too_much_is_not_durable_and_go_on() {
    let files = SimulatedFiles::new(1);
    let options = LogOptions { unsynced_bytes_max: 1, segment_bytes: 600, ..small() };
    let log = Arc::new(try_open(&files, options).unwrap());
    let to = stream(&*log).await;
    let appends = (0..40).map(|n| {
        let (log, to) = (Arc::clone(&log), to.clone());
        tokio::spawn(async move { log.append(&to, numbered(n, 1, 0), None).await.map(|a| a.end) })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap().unwrap();
    }
    log.until_durable(&to, AcceptedEnd { offset: Offset(40), withdrawals: 0 }).await.unwrap();
    let mut found = numbers(&read_all(&*log, &to).await);
    found.sort_unstable();
    assert_eq!(found, (0..40).collect::<Vec<_>>());
}
