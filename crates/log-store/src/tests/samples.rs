//! Frozen files of each format: what an older program wrote stays readable.

use super::*;
use std::path::PathBuf;

fn sample(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/v{version}"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn check(log: &LogStore) {
    assert_eq!(log.streams(), [(StreamId::new("s"), 1), (StreamId::new("Ünï/code"), 2)]);
    let to = StreamPartition::first(StreamId::new("s"));
    assert_eq!(numbers(&read_all(log, &to).await), (0..90).collect::<Vec<_>>());
    assert_eq!(log.producer(&to, &ProducerId::new("p")).await.unwrap(), Some(state("p", 8)));
    for batch in 0..9 {
        assert_eq!(log.offset_at(&to, batch * 100).await.unwrap(), Offset(batch as u64 * 10));
    }
}

#[tokio::test]
async fn log_of_format_1_stays_readable_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    copy(&sample(1), dir.path());
    check(&LogStore::open_read_only(dir.path(), small(), Arc::new(StepClock)).unwrap()).await;
    let log = LogStore::open(dir.path(), small(), Arc::new(StepClock)).unwrap();
    check(&log).await;
    let to = StreamPartition::first(StreamId::new("s"));
    durably(&log, &to, numbered(90, 10, 0)).await;
    assert_eq!(numbers(&read_all(&log, &to).await), (0..100).collect::<Vec<_>>());
}

/// Writes the sample for the format of this program. Run once for each new format; old samples never change.
#[tokio::test]
#[ignore = "writes into testdata"]
async fn freeze_a_sample() {
    let dir = sample(crate::format::segment::FORMAT_VERSION);
    assert!(!dir.exists(), "a frozen sample never changes");
    for (part, codec) in [crate::Codec::None, crate::Codec::Lz4, crate::Codec::Zstd].into_iter().enumerate() {
        let log = LogStore::open(&dir, LogOptions { codec, ..small() }, Arc::new(StepClock)).unwrap();
        let spec = StreamSpec { partitions: 2, ..StreamSpec::default() };
        log.create_stream(&StreamId::new("Ünï/code"), spec).await.unwrap();
        let to = stream(&log).await;
        for batch in part as u64 * 3..part as u64 * 3 + 3 {
            let records = numbered(batch * 10, 10, batch as i64 * 100);
            let appended = log.append(&to, records, Some(state("p", batch))).await.unwrap();
            log.until_durable(&to, appended.accepted()).await.unwrap();
        }
    }
    std::fs::remove_file(dir.join("LOCK")).unwrap();
}
