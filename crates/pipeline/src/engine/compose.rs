//! From rows of the window to batches for the sink: reads the records, maps them, merges chains, splits by operation.

use super::fetch::fetch;
use super::job::{JobDone, JobRow};
use super::route::Route;
use crate::event::ChangeView;
use crate::mapping::{MappedRow, Mapper, RefusalKind, RowRefusal, merge};
use crate::spec::Ordering;
use contract::{Log, LogError, OutBatch, OutOp, OutRow};
use hashbrown::HashSet;
use model::{Api, BatchId, FieldValue, Fingerprint, Lane, Offset, Position, Record};
use std::sync::Arc;

/// Rows that share an operation, ready to be sent.
pub struct Composed {
    pub out: OutBatch,
    /// In the order of `out.rows`.
    pub rows: Vec<JobRow>,
    pub times_ms: Vec<i64>,
}

/// One mapped record.
struct Mapped {
    row: Result<MappedRow, RowRefusal>,
    time_ms: i64,
    bytes: usize,
}

/// Maps a record, the filter and the lane included: one of them that fails refuses the row.
pub fn map_record(mapper: &Mapper, record: &Record<'_>) -> Result<MappedRow, RowRefusal> {
    let view = ChangeView::parse(record).map_err(|malformed| RowRefusal {
        code: RefusalKind::Malformed.code(),
        message: malformed.to_string(),
        field: None,
    })?;
    mapper.passes(&view)?;
    mapper.lane(&view)?;
    mapper.map(&view)
}

/// Reads and maps `rows` (ascending). What cannot be sent goes to `done`; batches have ids of their own from `next_id`.
///
/// # Errors
/// As `Log::read`; every row is then in `done.returned`.
pub async fn compose(
    log: &dyn Log,
    route: &Arc<Route>,
    (lane, api): (Lane, Api),
    rows: Vec<JobRow>,
    next_id: &(dyn Fn() -> BatchId + Sync),
    done: &mut JobDone,
) -> Vec<Composed> {
    let mapped = match read(log, route, &rows).await {
        Ok(mapped) => mapped,
        Err(error) => {
            done.returned = rows;
            done.log_failed = Some(error);
            return Vec::new();
        }
    };
    done.read_records += mapped.len();
    done.read_bytes += mapped.iter().map(|mapped| mapped.bytes).sum::<usize>();
    let (bytes_max, mapper) = (route.limits(api).map_or(1, |limits| limits.bytes_max), route.mapper());
    let mut parts =
        Parts { route, lane, api, columns: mapper.columns(), next_id, composed: Vec::new(), keys: HashSet::new() };
    let mut bytes = 0;
    let mut mapped = mapped.into_iter();
    for mut row in rows {
        let chain: Vec<Mapped> = mapped.by_ref().take(1 + row.merged.len()).collect();
        let row_bytes = chain.iter().map(|mapped| mapped.bytes).sum::<usize>();
        if bytes > 0 && bytes + row_bytes > bytes_max {
            done.returned.push(row);
            continue;
        }
        bytes += row_bytes;
        match fold(&mut row, chain, done) {
            Ok((merged, _)) if !parts.is_new(&merged) => {
                bytes -= row_bytes;
                done.returned.push(row);
            }
            Ok((merged, time_ms)) => parts.add(row, merged, time_ms),
            Err(refusal) => done.refused.push((row, refusal)),
        }
    }
    parts.composed
}

/// Maps every record of the rows. Shape: in the order of rows, each with its chain.
async fn read(log: &dyn Log, route: &Route, rows: &[JobRow]) -> Result<Vec<Mapped>, LogError> {
    let mapper = route.mapper();
    let mut order: Vec<(Offset, usize)> = rows.iter().flat_map(JobRow::offsets).zip(0..).collect();
    // Chains interleave; without chains this is sorted already and costs a look.
    order.sort_unstable();
    let offsets: Vec<Offset> = order.iter().map(|(offset, _)| *offset).collect();
    let mut mapped: Vec<Option<Mapped>> = Vec::with_capacity(order.len());
    mapped.resize_with(order.len(), || None);
    fetch(log, &route.spec.stream, &offsets, |at, record| {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let row = map_record(&mapper, record);
        mapped[order[at].1] = Some(Mapped { row, time_ms: record.time_ms, bytes });
    })
    .await?;
    let whole = mapped.into_iter().collect::<Option<Vec<_>>>();
    Ok(whole.expect("fetch gives every offset or an error"))
}

/// Merges a row's chain. A member that is refused, or of another key whose fingerprint collides, ends the chain.
fn fold(row: &mut JobRow, chain: Vec<Mapped>, done: &mut JobDone) -> Result<(MappedRow, i64), RowRefusal> {
    let mut chain = chain.into_iter();
    let leader = chain.next().expect("a row stands for at least one record");
    let mut time_ms = leader.time_ms;
    let mut whole = match leader.row {
        Ok(whole) => whole,
        Err(refusal) => {
            done.returned_members.append(&mut row.merged);
            return Err(refusal);
        }
    };
    let mut kept = 0;
    for mapped in chain {
        match mapped.row {
            Ok(next) if next.key == whole.key => whole = merge(whole, next),
            _ => break,
        }
        time_ms = mapped.time_ms;
        kept += 1;
    }
    done.returned_members.extend(row.merged.drain(kept..));
    Ok((whole, time_ms))
}

/// Batches being filled: one for each operation.
struct Parts<'a> {
    route: &'a Route,
    lane: Lane,
    api: Api,
    columns: Arc<[contract::OutColumn]>,
    next_id: &'a (dyn Fn() -> BatchId + Sync),
    composed: Vec<Composed>,
    keys: HashSet<Fingerprint>,
}

impl Parts<'_> {
    /// False when a row of the same external id is in hand already. The window never hands out two rows of one key, so this
    /// may only happen where no order is asked for.
    fn is_new(&mut self, mapped: &MappedRow) -> bool {
        let Some(text) = text_of_key(mapped) else { return true };
        let new = self.keys.insert(self.route.keys.fingerprint_of_target(&text));
        assert!(new || self.route.spec.ordering == Ordering::None, "the window gave out two rows of one key");
        new
    }

    fn add(&mut self, row: JobRow, mapped: MappedRow, time_ms: i64) {
        let part = match self.composed.iter_mut().position(|part| part.out.op == mapped.op) {
            Some(at) => &mut self.composed[at],
            None => {
                self.composed.push(Composed { out: self.batch(mapped.op), rows: Vec::new(), times_ms: Vec::new() });
                self.composed.last_mut().expect("it was pushed just now")
            }
        };
        let position = Position { partition: self.route.spec.stream.partition, offset: row.newest() };
        part.out.rows.push(OutRow { position, key: mapped.key, cells: mapped.cells });
        part.rows.push(row);
        part.times_ms.push(time_ms);
    }

    fn batch(&self, op: OutOp) -> OutBatch {
        empty_batch((self.route, self.lane, self.api), op, (self.next_id)(), &self.columns)
    }
}

/// The external id's value as text, where it has one that rows are told apart by.
pub fn text_of_key(mapped: &MappedRow) -> Option<Arc<str>> {
    match &mapped.key {
        Some(FieldValue::Text(text)) => Some(text.clone()),
        Some(FieldValue::Number(number)) => Some(Arc::from(number.as_str())),
        Some(FieldValue::Bool(_)) | None => None,
    }
}

/// A batch of a route without rows.
pub fn empty_batch(
    (route, lane, api): (&Route, Lane, Api),
    op: OutOp,
    id: BatchId,
    columns: &Arc<[contract::OutColumn]>,
) -> OutBatch {
    let spec = &route.spec;
    OutBatch {
        id,
        api,
        route: spec.id.clone(),
        lane,
        object: spec.object.clone(),
        op,
        external_id: spec.external_id.as_deref().map(Arc::from),
        position_field: spec.position_field.as_deref().map(Arc::from),
        columns: if op == OutOp::Delete { Arc::from([]) } else { columns.clone() },
        rows: Vec::new(),
    }
}
