//! Damage is told apart from a torn tail: never cut in silence, never shown as data.

use super::*;
use std::path::PathBuf;

fn segments(files: &SimulatedFiles) -> Vec<PathBuf> {
    files.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect()
}

/// A log of 60 records in several segments, ended by a crash after everything was durable.
async fn filled(seed: u64) -> (SimulatedFiles, StreamPartition) {
    let files = SimulatedFiles::new(seed);
    let log = open(&files);
    let to = stream(&log).await;
    for batch in 0..12 {
        durably(&log, &to, numbered(batch * 5, 5, batch as i64)).await;
    }
    files.crash();
    drop(log);
    assert!(segments(&files).len() > 2);
    (files, to)
}

#[tokio::test]
async fn flipped_bit_in_a_sealed_segment_is_told_and_never_read() {
    let (files, to) = filled(1).await;
    let first = segments(&files)[0].clone();
    let length = files.content(&first).len();
    // From 32 to 96 stands the frame of producer states, which only recovery of the last segment needs.
    for at in (0..32).chain(96..length).step_by(19) {
        files.damage(&first, at);
        match try_open(&files, small()) {
            Err(error) => {
                assert!(matches!(error, LogError::Corrupt { .. } | LogError::TooNew { .. }), "byte {at}: {error}")
            }
            Ok(log) => {
                let mut from = Offset(0);
                let error = loop {
                    match log.read(&to, from, 1).await {
                        Ok(batches) => from = batches.last().expect("a batch").end(),
                        Err(error) => break error,
                    }
                    assert!(from < Offset(60), "byte {at} was not noticed");
                };
                assert!(matches!(&error, LogError::Corrupt { path, .. } if Path::new(path) == first), "{error}");
            }
        }
        files.damage(&first, at);
    }
    assert_eq!(read_all(&open(&files), &to).await.len(), 12);
}

#[tokio::test]
async fn flipped_bit_in_the_last_segment_before_a_later_frame_refuses_the_start() {
    // The last segment must hold several frames, each durable before the next was written.
    let files = SimulatedFiles::new(1);
    let log = try_open(&files, LogOptions::default()).unwrap();
    let to = stream(&log).await;
    let mut ends = Vec::new();
    for batch in 0..4 {
        durably(&log, &to, numbered(batch * 5, 5, 0)).await;
        ends.push(files.content(&segments(&files)[0]).len());
    }
    files.crash();
    drop(log);
    let path = segments(&files)[0].clone();
    let before = files.content(&path);
    for at in (96..ends[2]).step_by(7) {
        files.damage(&path, at);
        let opened = try_open(&files, LogOptions::default());
        assert!(matches!(&opened, Err(LogError::Corrupt { .. })), "byte {at}: {opened:?}");
        files.damage(&path, at);
        assert_eq!(files.content(&path), before, "nothing was cut");
    }
    // Without any later frame the last one cannot be told from a torn tail.
    files.damage(&path, ends[3] - 1);
    let log = try_open(&files, LogOptions::default()).unwrap();
    assert_eq!(numbers(&read_all(&log, &to).await), (0..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn damage_below_the_clean_mark_refuses_the_start_even_in_the_last_frame() {
    let files = SimulatedFiles::new(1);
    let log = try_open(&files, LogOptions::default()).unwrap();
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    log.close();
    drop(log);
    let path = segments(&files)[0].clone();
    files.damage(&path, files.content(&path).len() - 1);
    assert!(matches!(try_open(&files, LogOptions::default()), Err(LogError::Corrupt { .. })));
}

#[tokio::test]
async fn missing_segment_is_told() {
    let (files, to) = filled(1).await;
    let middle = segments(&files)[1].clone();
    Files::remove(&files.process(), &middle).unwrap();
    let log = open(&files);
    let mut from = Offset(0);
    let error = loop {
        match log.read(&to, from, 1).await {
            Ok(batches) => from = batches.last().expect("a batch").end(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn missing_or_damaged_index_files_are_made_again() {
    let (files, to) = filled(1).await;
    drop(open(&files));
    let indexes: Vec<_> = files.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "index")).collect();
    assert!(indexes.len() > 1);
    for (at, index) in indexes.iter().enumerate() {
        if at % 2 == 0 && files.content(index).len() > 20 {
            files.damage(index, 20);
        } else {
            Files::remove(&files.process(), index).unwrap();
        }
    }
    let log = open(&files);
    assert_eq!(numbers(&read_all(&log, &to).await), (0..60).collect::<Vec<_>>());
    for batch in 0..12 {
        assert_eq!(log.offset_at(&to, batch).await.unwrap(), Offset(batch as u64 * 5));
    }
}

#[tokio::test]
async fn log_inside_a_log_is_not_taken_for_its_own_frames() {
    let (files, _) = filled(1).await;
    let inner: Vec<u8> = segments(&files).iter().flat_map(|path| files.content(path)).collect();
    let files = SimulatedFiles::new(2);
    let options = LogOptions { codec: crate::Codec::None, ..LogOptions::default() };
    let log = try_open(&files, options).unwrap();
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 5, 0)).await;
    let durable = files.content(&segments(&files)[0]).len();
    let mut builder = ::model::RecordBatchBuilder::default();
    builder.push(0, None, Some(&inner), &[]).unwrap();
    durably(&log, &to, builder.finish()).await;
    files.crash();
    drop(log);
    // Damage the frame's head: what stays behind it are the inner log's frames.
    files.damage(&segments(&files)[0], durable + 10);
    let log = try_open(&files, options).unwrap();
    assert_eq!(numbers(&read_all(&log, &to).await), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn retention_by_age_removes_whole_old_segments_and_keeps_the_rest() {
    let files = SimulatedFiles::new(1);
    let log = open(&files);
    let id = StreamId::new("s");
    let retention = Retention { age: Some(Duration::from_millis(100)), bytes: None };
    log.create_stream(&id, StreamSpec { partitions: 1, retention }).await.unwrap();
    let to = StreamPartition::first(id);
    for batch in 0..12 {
        durably(&log, &to, numbered(batch * 5, 5, batch as i64 * 10)).await;
    }
    assert_eq!(log.retain(&to, 100).await.unwrap(), Offset(0), "nothing is older than 100 ms");
    let start = log.retain(&to, 160).await.unwrap();
    assert!(start > Offset(0) && start <= Offset(30), "{start}");
    let left = log.retain(&to, 1_000_000).await.unwrap();
    assert_eq!(numbers(&read_all(&log, &to).await), (left.0..60).collect::<Vec<_>>());
    assert!(left < Offset(60), "the segment that is written to stays");
    files.crash();
    drop(log);
    let log = open(&files);
    assert_eq!(log.bounds(&to).unwrap().start, left, "and stays away after a crash");
}
