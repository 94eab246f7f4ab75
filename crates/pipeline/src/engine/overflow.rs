//! Watches streams with a size limit, and settles as filtered what an expendable stream cannot hold.

use super::group::Group;
use super::release::Release;
use super::status::EngineStatus;
use crate::overflow::{Level, NEARLY_FULL, Overflow, SHED, StreamFill, StreamLimit, Waiting, shed_below};
use crate::window::{EntryId, Taken};
use contract::{Clock, Log, LogError};
use model::{Lane, Offset, OffsetRange, Outcome, SettledRows, StreamPartition};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often sizes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Records that are looked at in one go, for each route and lane.
const SHED_ROWS: usize = 512;

/// What a group gives up: waiting records below an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    pub below: Offset,
    /// Of these one of so many is kept; 0: none.
    pub keep_one_of: u64,
}

/// Where each limited stream's groups hear what to give up.
pub(super) type Sheds = HashMap<StreamPartition, watch::Sender<Shed>>;

/// Makes the channels for streams that may give records up.
pub(super) fn sheds(limits: &[StreamLimit]) -> Sheds {
    let expendable = limits.iter().filter(|limit| limit.overflow != Overflow::Block);
    expendable.map(|limit| (limit.of.clone(), watch::Sender::default())).collect()
}

/// What is watched, and who is told. Holds nothing that orders settlements: the settler must be able to end.
pub(super) struct Watched {
    pub limits: Vec<StreamLimit>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub status: Arc<watch::Sender<EngineStatus>>,
    pub waiting: Waiting,
}

/// Looks at the streams' sizes for as long as the engine runs.
pub(super) async fn watch_sizes(watched: Watched, sheds: Sheds) {
    let mut levels: HashMap<StreamPartition, Level> = HashMap::new();
    while !watched.limits.is_empty() {
        let mut fills = Vec::new();
        for limit in &watched.limits {
            let level = levels.entry(limit.of.clone()).or_default();
            match look(&watched, limit, level, sheds.get(&limit.of)).await {
                Ok(bytes) => fills.push(StreamFill {
                    stream: limit.of.clone(),
                    bytes,
                    bytes_max: limit.bytes_max,
                    overflow: limit.overflow,
                    level: *level,
                    source_waits: watched.waiting.lock().contains(&limit.of),
                }),
                Err(error) => tracing::warn!(of = %limit.of, code = %error.code(), %error, "its size is not known"),
            }
        }
        watched.status.send_if_modified(|status| {
            let changed = status.streams != fills;
            status.streams = fills;
            changed
        });
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One look at a stream; its size after retention.
async fn look(
    watched: &Watched,
    limit: &StreamLimit,
    level: &mut Level,
    shed: Option<&watch::Sender<Shed>>,
) -> Result<u64, LogError> {
    let (log, of) = (&watched.log, &limit.of);
    let mut bytes = log.size_bytes(of)?;
    if Level::of(bytes, limit.bytes_max, *level) > Level::Fine {
        log.retain(of, watched.clock.now_ms()).await?;
        bytes = log.size_bytes(of)?;
    }
    let stream = of.to_string();
    metrics::gauge!("penstock_stream_bytes", "stream" => stream.clone()).set(bytes as f64);
    metrics::gauge!("penstock_stream_fill_ratio", "stream" => stream).set(bytes as f64 / limit.bytes_max.max(1) as f64);
    let before = std::mem::replace(level, Level::of(bytes, limit.bytes_max, *level));
    if *level != before {
        let (bytes_max, overflow) = (limit.bytes_max, limit.overflow);
        match *level {
            Level::Fine => tracing::warn!(%of, bytes, bytes_max, code = NEARLY_FULL, "the stream has room again"),
            Level::Near if before == Level::Full => {}
            Level::Near => tracing::warn!(%of, bytes, bytes_max, code = NEARLY_FULL, "the stream is nearly full"),
            Level::Full => tracing::warn!(%of, bytes, bytes_max, ?overflow, code = NEARLY_FULL, "the stream is full"),
        }
    }
    if let Some(shed) = shed
        && let Some(below) = shed_below(log.bounds(of)?, bytes, limit.bytes_max)
    {
        let keep_one_of = match limit.overflow {
            Overflow::Sample { keep_one_of } => keep_one_of,
            Overflow::Block | Overflow::DropOldest => 0,
        };
        shed.send_if_modified(|shed| {
            let further = below > shed.below;
            *shed = Shed { below: below.max(shed.below), keep_one_of };
            further
        });
    }
    Ok(bytes)
}

impl Group {
    /// Settles as filtered the waiting records that are to be given up. What is in flight, or may have been applied, stays; a record
    /// that waits for another of its key follows when that one is settled.
    pub(super) fn shed(&mut self) {
        let Some(shed) = self.shed.as_ref().map(|shed| *shed.borrow()) else { return };
        for route in 0..self.routes.len() {
            if self.window.checkpoint(route as u16) >= shed.below {
                continue;
            }
            for lane in Lane::ALL {
                while self.shed_some(route, lane, shed) {}
            }
        }
    }

    /// Looks at the first ready records of a route and lane; returns whether there may be more to give up.
    fn shed_some(&mut self, route: usize, lane: Lane, shed: Shed) -> bool {
        let mut taken = Vec::new();
        self.window.take(route as u16, lane, SHED_ROWS, &mut taken);
        let looked = taken.len();
        let sampled = |offset: Offset| shed.keep_one_of > 0 && offset.0.is_multiple_of(shed.keep_one_of);
        let mut dropped: Vec<(EntryId, Offset)> = Vec::new();
        for Taken { id, offset, .. } in taken {
            let stays = offset >= shed.below || sampled(offset) || self.suspects.get(route as u16, offset).is_some();
            if stays { self.window.retry(id) } else { dropped.push((id, offset)) }
        }
        let (Some((_, highest)), count) = (dropped.last().copied(), dropped.len() as u64) else { return false };
        let spec = &self.routes[route].route.spec;
        metrics::counter!("penstock_stream_shed_records_total", "stream" => self.stream.to_string(), "route" => spec.id.to_string())
            .increment(count);
        let rows = SettledRows {
            outcome: Outcome::Filtered,
            offsets: OffsetRange::pack(dropped.iter().map(|(_, offset)| *offset)),
            target_ids: Vec::new(),
            by: None,
            code: Some(SHED.to_owned()),
        };
        let settlement = self.settlement(route, None, vec![rows]);
        let ids = dropped.into_iter().map(|(id, _)| id).collect();
        self.order(
            Release { route, ids, highest, counts: vec![(Outcome::Filtered, count)], ..Release::default() },
            vec![settlement],
            true,
        );
        looked == SHED_ROWS
    }
}
