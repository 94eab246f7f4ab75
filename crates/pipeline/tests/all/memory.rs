//! A log and a state store in memory, which outlive the engine that used them, and can lose power.

use async_trait::async_trait;
use contract::{
    AcceptedEnd, Appended, Bounds, Log, LogBatch, LogError, ProducerState, StateError, StateOp, StateStore, StreamSpec,
};
use model::{Offset, ProducerId, RecordBatch, StreamId, StreamPartition};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// One life of a process: when it ends, every call that is under way or comes later never returns.
#[derive(Clone)]
pub struct Life(Arc<watch::Sender<bool>>);

impl Life {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }

    pub fn end(&self) {
        self.0.send_replace(false);
    }

    pub fn is_over(&self) -> bool {
        !*self.0.borrow()
    }

    pub async fn until_over(&self) {
        let _ = self.0.subscribe().wait_for(|alive| !alive).await;
    }

    /// Goes on only while alive.
    pub async fn check(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Default)]
struct Stored {
    batches: Vec<LogBatch>,
    durable: Offset,
    withdrawals: u64,
    producers: BTreeMap<ProducerId, ProducerState>,
}

impl Stored {
    fn accepted(&self) -> Offset {
        self.batches.last().map_or(Offset(0), LogBatch::end)
    }
}

/// What survives.
#[derive(Default)]
pub struct Disk {
    streams: Mutex<BTreeMap<StreamPartition, Stored>>,
    changed: watch::Sender<u64>,
    spaces: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    floors: Mutex<BTreeMap<(StreamPartition, String), Offset>>,
    /// Appends that fail as if the disk were full, by stream.
    pub full: Mutex<Option<StreamId>>,
    /// Syncs of this stream that fail, each withdrawing what is not durable, before one succeeds.
    pub broken_syncs: Mutex<Option<(StreamId, u32)>>,
}

impl Disk {
    /// As a log that is opened again finds it: what the operating system had was written.
    pub fn reopen(&self) {
        for stored in self.streams.lock().values_mut() {
            stored.durable = stored.accepted();
        }
    }

    /// Loses what is not durable.
    pub fn lose_power(&self) {
        for stored in self.streams.lock().values_mut() {
            let durable = stored.durable;
            stored.batches.retain(|batch| batch.end() <= durable);
        }
    }

    fn touch(&self) {
        self.changed.send_modify(|turn| *turn += 1);
    }

    /// Every durable record of a stream, parsed.
    pub fn all<T: serde::de::DeserializeOwned>(&self, stream: &str) -> Vec<T> {
        let streams = self.streams.lock();
        let stored = &streams[&StreamPartition::first(stream.into())];
        let records = stored.batches.iter().flat_map(|batch| &batch.records);
        records.map(|record| serde_json::from_slice(record.value.unwrap()).unwrap()).collect()
    }

    /// The dead letters' headers of a stream, as text.
    pub fn texts(&self, stream: &str) -> Vec<String> {
        let streams = self.streams.lock();
        let stored = &streams[&StreamPartition::first(stream.into())];
        let records = stored.batches.iter().flat_map(|batch| &batch.records);
        let header = |record: model::Record<'_>| record.header(model::DeadLetter::HEADER).map(<[u8]>::to_vec);
        records.filter_map(header).map(|json| String::from_utf8(json).unwrap()).collect()
    }

    pub fn count(&self, stream: &str) -> u64 {
        self.streams.lock()[&StreamPartition::first(stream.into())].accepted().0
    }

    /// The keys of a space of the state store.
    pub fn space(&self, space: &str) -> Vec<String> {
        self.spaces.lock().keys().filter(|(of, _)| of == space).map(|(_, key)| key.clone()).collect()
    }

    pub fn count_or_none(&self, stream: &str) -> u64 {
        self.streams.lock().get(&StreamPartition::first(stream.into())).map_or(0, |stored| stored.accepted().0)
    }
}

/// The log as one life sees it.
pub struct MemoryLog {
    pub disk: Arc<Disk>,
    pub life: Life,
}

#[async_trait]
impl Log for MemoryLog {
    async fn create_stream(&self, stream: &StreamId, _spec: StreamSpec) -> Result<(), LogError> {
        self.disk.streams.lock().entry(StreamPartition::first(stream.clone())).or_default();
        Ok(())
    }

    fn streams(&self) -> Vec<(StreamId, u32)> {
        self.disk.streams.lock().keys().map(|of| (of.stream.clone(), 1)).collect()
    }

    async fn append(
        &self,
        to: &StreamPartition,
        records: RecordBatch,
        producer: Option<ProducerState>,
    ) -> Result<Appended, LogError> {
        self.life.check().await;
        if self.disk.full.lock().as_ref() == Some(&to.stream) {
            return Err(LogError::Full { path: "memory".into() });
        }
        let mut streams = self.disk.streams.lock();
        let stored = streams.get_mut(to).ok_or_else(|| LogError::NoStream { of: to.clone() })?;
        let first = stored.accepted();
        if let Some(producer) = producer {
            stored.producers.insert(producer.producer.clone(), producer);
        }
        if !records.is_empty() {
            stored.batches.push(LogBatch { base: first, records });
        }
        Ok(Appended { first, end: stored.accepted(), withdrawals: stored.withdrawals })
    }

    async fn until_durable(&self, of: &StreamPartition, end: AcceptedEnd) -> Result<(), LogError> {
        // A sync takes its time: others get their turn before it is done.
        tokio::task::yield_now().await;
        self.life.check().await;
        {
            let mut streams = self.disk.streams.lock();
            let stored = streams.get_mut(of).unwrap();
            if stored.withdrawals > end.withdrawals && end.offset > stored.durable {
                return Err(LogError::Full { path: "memory".into() });
            }
            if let Some((stream, left)) = self.disk.broken_syncs.lock().as_mut()
                && *stream == of.stream
                && *left > 0
            {
                *left -= 1;
                let durable = stored.durable;
                stored.batches.retain(|batch| batch.end() <= durable);
                stored.withdrawals += 1;
                return Err(LogError::Full { path: "memory".into() });
            }
            stored.durable = stored.accepted();
        }
        self.disk.touch();
        Ok(())
    }

    fn bounds(&self, of: &StreamPartition) -> Result<Bounds, LogError> {
        let streams = self.disk.streams.lock();
        let stored = streams.get(of).ok_or_else(|| LogError::NoStream { of: of.clone() })?;
        Ok(Bounds {
            start: Offset(0),
            durable: stored.durable,
            accepted: stored.accepted(),
            withdrawals: stored.withdrawals,
        })
    }

    /// As if retention removed at once what every reader is past.
    fn size_bytes(&self, of: &StreamPartition) -> Result<u64, LogError> {
        let streams = self.disk.streams.lock();
        let stored = streams.get(of).ok_or_else(|| LogError::NoStream { of: of.clone() })?;
        let floors = self.disk.floors.lock();
        let floor = floors.iter().filter(|((floor_of, _), _)| floor_of == of).map(|(_, floor)| *floor).min();
        let needed = stored.batches.iter().filter(|batch| floor.is_none_or(|floor| batch.end() > floor));
        Ok(needed.map(|batch| batch.records.bytes().len() as u64).sum())
    }

    async fn until_past(&self, of: &StreamPartition, offset: Offset) -> Result<Bounds, LogError> {
        let mut changed = self.disk.changed.subscribe();
        loop {
            self.life.check().await;
            let bounds = self.bounds(of)?;
            if bounds.durable > offset {
                return Ok(bounds);
            }
            let _ = changed.changed().await;
        }
    }

    async fn read(&self, of: &StreamPartition, from: Offset, bytes_max: usize) -> Result<Vec<LogBatch>, LogError> {
        self.life.check().await;
        let streams = self.disk.streams.lock();
        let stored = streams.get(of).ok_or_else(|| LogError::NoStream { of: of.clone() })?;
        let mut bytes = 0;
        let mut found = Vec::new();
        let first = stored.batches.partition_point(|batch| batch.end() <= from);
        for batch in &stored.batches[first..] {
            if batch.end() > stored.durable || bytes >= bytes_max {
                break;
            }
            bytes += batch.records.bytes().len();
            found.push(batch.clone());
        }
        Ok(found)
    }

    async fn producer(&self, of: &StreamPartition, producer: &ProducerId) -> Result<Option<ProducerState>, LogError> {
        Ok(self.disk.streams.lock()[of].producers.get(producer).cloned())
    }

    async fn offset_at(&self, of: &StreamPartition, time_ms: i64) -> Result<Offset, LogError> {
        let durable = self.bounds(of)?.durable;
        let streams = self.disk.streams.lock();
        let reaches = |batch: &&LogBatch| batch.records.iter().any(|record| record.time_ms >= time_ms);
        let found = streams[of].batches.iter().find(reaches).map(|batch| batch.base);
        Ok(found.unwrap_or(durable).min(durable))
    }

    fn set_floor(&self, of: &StreamPartition, reader: &str, floor: Offset) {
        self.disk.floors.lock().insert((of.clone(), reader.to_owned()), floor);
    }

    async fn retain(&self, _of: &StreamPartition, _now_ms: i64) -> Result<Offset, LogError> {
        Ok(Offset(0))
    }
}

/// The state store as one life sees it.
pub struct MemoryState {
    pub disk: Arc<Disk>,
    pub life: Life,
}

#[async_trait]
impl StateStore for MemoryState {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.life.check().await;
        Ok(self.disk.spaces.lock().get(&(space.to_owned(), key.to_owned())).cloned())
    }

    async fn scan(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.life.check().await;
        let spaces = self.disk.spaces.lock();
        let found = spaces.iter().filter(|((s, key), _)| s == space && key.starts_with(prefix));
        let found = found.filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after));
        Ok(found.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    async fn write(&self, ops: Vec<StateOp>) -> Result<(), StateError> {
        self.life.check().await;
        let mut spaces = self.disk.spaces.lock();
        for op in &ops {
            if let StateOp::Expect { space, key, value } = op
                && spaces.get(&((*space).to_owned(), key.clone())) != value.as_ref()
            {
                return Err(StateError::Conflict { space: (*space).to_owned(), key: key.clone() });
            }
        }
        for op in ops {
            match op {
                StateOp::Put { space, key, value } => {
                    spaces.insert((space.to_owned(), key), value);
                }
                StateOp::Delete { space, key } => {
                    spaces.remove(&(space.to_owned(), key));
                }
                StateOp::Expect { .. } => {}
            }
        }
        Ok(())
    }
}
