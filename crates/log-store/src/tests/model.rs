//! Random operations with faults and power cuts, against a list in memory.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, padding: usize, with_producer: bool },
    Sync,
    Read { from: u64, bytes: usize },
    FullDisk { room: usize },
    Room,
    FailSyncs { syncs: u32, cuts: u32 },
    TearWrite,
    Retain { floor: u64 },
    Crash,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0u64..6, 0usize..400, any::<bool>())
            .prop_map(|(count, padding, with_producer)| Step::Append { count, padding, with_producer }),
        4 => Just(Step::Sync),
        3 => (0u64..200, 0usize..2000).prop_map(|(from, bytes)| Step::Read { from, bytes }),
        1 => (0usize..600).prop_map(|room| Step::FullDisk { room }),
        2 => Just(Step::Room),
        1 => (1u32..4, 0u32..2).prop_map(|(syncs, cuts)| Step::FailSyncs { syncs, cuts }),
        1 => Just(Step::TearWrite),
        1 => (0u64..200).prop_map(|floor| Step::Retain { floor }),
        2 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

/// One accepted batch of the model.
#[derive(Clone, Debug)]
struct Batch {
    end: u64,
    producer: Option<u64>,
}

/// What the log must show.
#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    /// The value of each record, by offset.
    records: Vec<u64>,
    start: u64,
    /// Known to be durable.
    durable: u64,
    next_value: u64,
    faulty: bool,
    /// Withdrawn and perhaps still in the file: the disk that refuses a sync may refuse the cut as well. A process that
    /// ends before the repair may leave them to be found again, whole and in order.
    ghosts: (Vec<Batch>, Vec<u64>),
}

impl Model {
    /// Takes over what the log kept: a whole number of batches, with nothing durable missing.
    fn cut(&mut self, end: u64) {
        assert!(end >= self.durable, "{end} < {}: durable records are gone", self.durable);
        if end > self.records.len() as u64 {
            self.batches.append(&mut self.ghosts.0);
            self.records.append(&mut self.ghosts.1);
        }
        assert!(end <= self.records.len() as u64, "records that were never appended");
        assert!(end == 0 || self.batches.iter().any(|batch| batch.end == end), "a batch was torn at {end}");
        let gone = self.batches.partition_point(|batch| batch.end <= end);
        let ghosts = (self.batches.split_off(gone), self.records.split_off(end as usize));
        if !ghosts.0.is_empty() {
            self.ghosts = ghosts;
        }
        self.durable = end;
    }

    fn producer(&self) -> Option<u64> {
        self.batches.iter().rev().find_map(|batch| batch.producer)
    }
}

fn padded(first: u64, count: u64, padding: usize) -> RecordBatch {
    let mut builder = ::model::RecordBatchBuilder::default();
    for value in first..first + count {
        // Noise, so that sizes are what they are whatever the codec does.
        let noise: Vec<u8> = (0..padding as u64)
            .map(|n| (value.wrapping_mul(0x9e37_79b9).wrapping_add(n * n * 31) >> 3) as u8)
            .collect();
        builder.push(value as i64, Some(&value.to_be_bytes()), Some(&noise), &[("n", &value.to_be_bytes())]).unwrap();
    }
    builder.finish()
}

struct Run {
    files: SimulatedFiles,
    log: Option<LogStore>,
    to: StreamPartition,
    model: Model,
    /// The end as the log told it last.
    told: AcceptedEnd,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let files = SimulatedFiles::new(seed);
        let log = open(&files);
        let to = stream(&log).await;
        Self { files, log: Some(log), to, model: Model::default(), told: AcceptedEnd::default() }
    }

    fn log(&self) -> &LogStore {
        self.log.as_ref().expect("open")
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append { count, padding, with_producer } => self.append(count, padding, with_producer).await,
            Step::Sync => self.sync().await,
            Step::Read { from, bytes } => self.read(from, bytes).await,
            Step::FullDisk { room } => {
                self.model.faulty = true;
                self.files.set_faults(|faults| faults.room = Some(room));
            }
            Step::Room => self.files.set_faults(|faults| faults.room = None),
            Step::FailSyncs { syncs, cuts } => {
                self.model.faulty = true;
                self.files.set_faults(|faults| (faults.failing_syncs, faults.failing_cuts) = (syncs, cuts));
            }
            Step::TearWrite => {
                self.model.faulty = true;
                self.files.set_faults(|faults| faults.torn_write = true);
            }
            Step::Retain { floor } => self.retain(floor).await,
            Step::Crash => self.end(true).await,
            Step::Reopen => self.end(false).await,
        }
    }

    async fn append(&mut self, count: u64, padding: usize, with_producer: bool) {
        let first = self.model.next_value;
        let producer = with_producer.then(|| state("p", first));
        match self.log().append(&self.to, padded(first, count, padding), producer).await {
            Ok(appended) => {
                self.told = appended.accepted();
                // Between two steps a background sync may have withdrawn what was accepted: its offsets come again.
                self.withdrawn_down_to(appended.first.0);
                assert_eq!(appended.end.0 - appended.first.0, count);
                if count > 0 || with_producer {
                    // What is written was repaired before.
                    self.model.ghosts = Default::default();
                }
                self.model.records.extend(first..first + count);
                self.model.batches.push(Batch { end: appended.end.0, producer: with_producer.then_some(first) });
                self.model.next_value += count.max(1);
            }
            Err(error) => {
                assert!(self.model.faulty, "without a fault: {error}");
                // As a source does: it asks from where to go on.
                self.agree().await;
            }
        }
    }

    /// The model forgets accepted batches from `end` on.
    fn withdrawn_down_to(&mut self, end: u64) {
        if end < self.model.records.len() as u64 {
            assert!(self.model.faulty, "records were withdrawn without a fault");
            self.model.cut(end);
        } else {
            assert_eq!(end, self.model.records.len() as u64);
        }
    }

    async fn sync(&mut self) {
        let end = self.model.records.len() as u64;
        assert_eq!(end, self.told.offset.0);
        match self.log().until_durable(&self.to, self.told).await {
            Ok(()) => self.model.durable = end,
            Err(error) => {
                assert!(self.model.faulty, "without a fault: {error}");
                self.agree().await;
            }
        }
    }

    /// Waits until what is accepted is durable or withdrawn, and takes it over.
    async fn agree(&mut self) {
        loop {
            let accepted = self.log().bounds(&self.to).unwrap().accepted_end();
            let settled = self.log().until_durable(&self.to, accepted).await.is_ok();
            let bounds = self.log().bounds(&self.to).unwrap();
            if settled && bounds.accepted_end() == accepted {
                self.model.cut(bounds.durable.0);
                self.told = accepted;
                break;
            }
        }
        let state = self.log().producer(&self.to, &ProducerId::new("p")).await.unwrap();
        let found = state.map(|s| u64::from_be_bytes(s.position.as_ref().try_into().unwrap()));
        self.check_producer(found);
    }

    /// An empty batch leaves no offset by which to tell whether its state was kept: either answer is right then.
    fn check_producer(&mut self, found: Option<u64>) {
        let end = self.model.records.len() as u64;
        let empty_ghosts = self.model.ghosts.0.iter().take_while(|ghost| ghost.end == end).count();
        if found.is_some() && self.model.ghosts.0[..empty_ghosts].iter().any(|ghost| ghost.producer == found) {
            self.model.batches.extend(self.model.ghosts.0.drain(..empty_ghosts));
        }
        let batches = &mut self.model.batches;
        while let Some(at) = batches.iter().rposition(|batch| batch.producer.is_some())
            && batches[at].producer != found
        {
            let before = at.checked_sub(1).map_or(0, |before| batches[before].end);
            assert!(batches[at].end == before, "the state of a kept batch is missing: {found:?}");
            let removed = batches.remove(at);
            self.model.ghosts.0.insert(0, removed);
        }
        assert_eq!(self.model.producer(), found, "a state that was never appended");
    }

    async fn read(&mut self, from: u64, bytes: usize) {
        let bounds = self.log().bounds(&self.to).unwrap();
        assert!(bounds.start <= bounds.durable && bounds.durable <= bounds.accepted);
        let read = self.log().read(&self.to, Offset(from), bytes).await;
        // Between the two calls the durable end may have moved on.
        match read {
            Err(LogError::OutOfRange { .. }) => assert!(from < self.model.start || from > bounds.durable.0),
            Err(error) => panic!("{error}"),
            Ok(batches) => {
                assert!(from >= self.model.start);
                assert!(!batches.is_empty() || from >= bounds.durable.0);
                for batch in &batches {
                    let (base, end) = (batch.base.0 as usize, batch.end().0 as usize);
                    assert_eq!(numbers(std::slice::from_ref(batch)), self.model.records[base..end]);
                }
                assert!(batches.first().is_none_or(|b| b.base.0 <= from && from < b.end().0));
            }
        }
    }

    async fn retain(&mut self, floor: u64) {
        self.log().set_floor(&self.to, "reader", Offset(floor));
        let start = self.log().retain(&self.to, 0).await.expect("removing does not need room").0;
        assert!(start >= self.model.start && (start == self.model.start || start <= floor));
        self.model.start = start;
    }

    async fn end(&mut self, crash: bool) {
        if crash {
            self.files.crash();
        }
        // A graceful end over a failing disk may still lose what was only accepted.
        self.log = None;
        self.files.set_faults(|faults| *faults = Default::default());
        self.log = Some(open(&self.files));
        self.model.faulty = false;
        let bounds = self.log().bounds(&self.to).unwrap();
        assert_eq!(bounds.durable, bounds.accepted);
        self.model.cut(bounds.durable.0);
        // An unsynced removal of segments may be undone by the crash.
        assert!(bounds.start.0 <= self.model.start);
        self.model.start = bounds.start.0;
        self.agree().await;
        let all = numbers(&read_all(self.log(), &self.to).await);
        assert_eq!(all, self.model.records[self.model.start as usize..]);
        // Retention is not asked for at a start: the floor is said again first.
        self.log().create_stream(&self.to.stream, spec()).await.unwrap();
    }
}

fn spec() -> StreamSpec {
    StreamSpec { partitions: 1, retention: Retention { age: None, bytes: Some(1_500) } }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn log_shows_what_a_list_in_memory_would(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(seed).await;
            run.log().create_stream(&run.to.stream.clone(), spec()).await.unwrap();
            for step in steps {
                run.step(step).await;
            }
            run.end(true).await;
        });
    }
}
