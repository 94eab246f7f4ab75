//! The proof.

use super::marks::{Again, BYTES_PER_RECORD, Mark, Marks};
use super::read::{durable, each};
use super::report::{Fault, FaultKind, ProofError, ProofReport, ProofRoute, RouteProof};
use crate::settle::{DEAD_LETTERS, SETTLEMENTS};
use contract::Log;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{DeadLetter, Offset, Outcome, Position, Record, RouteId, Settlement, StreamPartition, header};
use std::collections::{HashSet, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// Faults that are named, of one kind and route; all are counted.
const NAMED_MAX: usize = 20;
/// What a key costs in the table of last settlements, at its least load.
const BYTES_PER_KEY: u64 = 32;
/// How many settlements back the same bytes count as an echo: the settlement writer holds at most 8 MiB that are
/// not durable, settlements of at least some hundred bytes.
const ECHO_REACH: usize = 1 << 17;

/// Proves routes: reads each stream, `_settlements` and `_dead_letters` as they are durable now.
///
/// Takes about `memory_bytes_max` at most, by reading the streams as often as that needs; at least one route and a
/// sixteenth of the keys are handled in one pass.
///
/// # Errors
/// `ProofError` when the log cannot be read; `Trimmed`: run it again.
pub async fn prove(log: &dyn Log, routes: &[ProofRoute], memory_bytes_max: u64) -> Result<ProofReport, ProofError> {
    let mut report = ProofReport { routes: routes.iter().map(RouteProof::new).collect(), ..ProofReport::default() };
    let mut streams: Vec<&StreamPartition> = routes.iter().map(|route| &route.stream).collect();
    streams.sort();
    streams.dedup();
    for stream in streams {
        // The stream's end first: what is settled later may be settled for records beyond it, which are left out.
        let (start, end) = durable(log, stream)?;
        let records = end.0.saturating_sub(start.0);
        let routes_of: Vec<usize> = (0..routes.len()).filter(|at| routes[*at].stream == *stream).collect();
        let at_once = (memory_bytes_max / 2 / (records * BYTES_PER_RECORD).max(1)).clamp(1, 64) as usize;
        for group in routes_of.chunks(at_once) {
            let mut pass = Pass::new(routes, group, stream, (start, end));
            pass.read_settlements(log, &mut report).await?;
            let key_parts = (records * BYTES_PER_KEY).div_ceil((memory_bytes_max / 2).max(1)).clamp(1, 16);
            for part in 0..key_parts {
                pass.read_records(log, (part, key_parts), &mut report).await?;
                report.passes += 1;
            }
            pass.read_dead_letters(log, &mut report).await?;
        }
    }
    report.faults.sort_by_key(|fault| (fault.kind, fault.position));
    Ok(report)
}

/// Some routes of one stream.
struct Pass<'a> {
    routes: &'a [ProofRoute],
    stream: &'a StreamPartition,
    range: (Offset, Offset),
    parts: Vec<Part>,
    by_id: HashMap<&'a RouteId, usize>,
    first_settlement: Offset,
}

/// One route in a pass.
struct Part {
    /// Its index among all routes.
    route: usize,
    marks: Marks,
    /// Dead-lettered offsets that no dead letter was found for yet.
    dead: HashSet<u64>,
}

impl<'a> Pass<'a> {
    fn new(routes: &'a [ProofRoute], group: &[usize], stream: &'a StreamPartition, range: (Offset, Offset)) -> Self {
        let part = |route: &usize| Part {
            route: *route,
            marks: Marks::new(range.0.max(routes[*route].from).0, range.1.0),
            dead: HashSet::new(),
        };
        let by_id = group.iter().enumerate().map(|(at, route)| (&routes[*route].id, at)).collect();
        Self { routes, stream, range, parts: group.iter().map(part).collect(), by_id, first_settlement: Offset(0) }
    }

    async fn read_settlements(&mut self, log: &dyn Log, report: &mut ProofReport) -> Result<(), ProofError> {
        let of = StreamPartition::first(SETTLEMENTS.into());
        let range = durable(log, &of)?;
        self.first_settlement = range.0;
        // The counts over all settlements are taken once, by the first pass.
        let first_pass = report.settlements == 0;
        let mut recent = Recent::default();
        each(log, &of, range, |offset, record| {
            let value = record.value.unwrap_or_default();
            report.settlements += u64::from(first_pass);
            if recent.knows(xxh3_64(value)) {
                report.echoes += u64::from(first_pass);
                return;
            }
            match serde_json::from_slice::<Settlement>(value) {
                Ok(settlement) => self.note(&settlement, offset, report),
                Err(_) => report.malformed_settlements += u64::from(first_pass),
            }
        })
        .await
    }

    fn note(&mut self, settlement: &Settlement, at: Offset, report: &mut ProofReport) {
        if settlement.stream != self.stream.stream || settlement.partition != self.stream.partition {
            return;
        }
        let Some(part) = self.by_id.get(&settlement.route).map(|at| &mut self.parts[*at]) else { return };
        let number = (at.0 - self.first_settlement.0) as u32;
        for rows in &settlement.rows {
            for offset in rows.offsets.iter().flat_map(|range| range.offsets()) {
                match part.marks.settle(offset.0, rows.outcome, number, settlement.read_back) {
                    Again::First | Again::Confirmed => {}
                    Again::Redriven => report.routes[part.route].redriven += 1,
                    Again::Repeated => {
                        report.routes[part.route].repeated += 1;
                        let route = &self.routes[part.route];
                        name(report, fault(FaultKind::Repeated, route, offset, None, Some(at)));
                    }
                }
                if rows.outcome == Outcome::DeadLettered && part.marks.get(offset.0).is_some() {
                    part.dead.insert(offset.0);
                }
            }
        }
    }

    /// Reads the records; with several key parts only the keys of one of them, and everything else with the first.
    async fn read_records(
        &mut self,
        log: &dyn Log,
        (part, parts): (u64, u64),
        report: &mut ProofReport,
    ) -> Result<(), ProofError> {
        let mut orders: Vec<KeyOrder> = self.parts.iter().map(|_| KeyOrder::default()).collect();
        let (stream, range, first) = (self.stream, self.range, self.first_settlement);
        let (routes, counted) = (self.routes, &self.parts);
        each(log, stream, range, |offset, record| {
            let table = record.header(header::TABLE).unwrap_or_default();
            let key_hash = record.key.map(xxh3_64);
            for (at, counted) in counted.iter().enumerate() {
                let route = &routes[counted.route];
                if offset < route.from {
                    continue;
                }
                let mark = counted.marks.get(offset.0);
                let is_own = table == route.table.as_bytes();
                if part == 0 {
                    count(report, (route, counted.route), (offset, &record), is_own, mark, first);
                }
                if let (true, true, Some(mark), Some(hash)) = (is_own, route.ordered, mark, key_hash)
                    && hash % parts == part
                    && orders[at].is_out_of_order(hash, mark)
                {
                    report.routes[counted.route].out_of_order += 1;
                    let settlement = first.plus(u64::from(mark.settlement));
                    name(report, fault(FaultKind::OutOfOrder, route, offset, record.key, Some(settlement)));
                }
            }
        })
        .await?;
        if part == 0 {
            for part in &self.parts {
                report.routes[part.route].confirmed += part.marks.confirmed;
            }
        }
        Ok(())
    }

    async fn read_dead_letters(&mut self, log: &dyn Log, report: &mut ProofReport) -> Result<(), ProofError> {
        let of = StreamPartition::first(DEAD_LETTERS.into());
        each(log, &of, durable(log, &of)?, |_, record| {
            let Some(letter) = record.header(DeadLetter::HEADER) else { return };
            let Ok(letter) = serde_json::from_slice::<DeadLetter>(letter) else { return };
            if letter.stream == self.stream.stream
                && letter.position.partition == self.stream.partition
                && let Some(at) = self.by_id.get(&letter.route)
            {
                self.parts[*at].dead.remove(&letter.position.offset.0);
            }
        })
        .await?;
        for part in &self.parts {
            report.routes[part.route].dead_letters_missing += part.dead.len() as u64;
            let mut missing: Vec<u64> = part.dead.iter().copied().collect();
            missing.sort_unstable();
            for offset in missing.into_iter().take(NAMED_MAX) {
                let route = &self.routes[part.route];
                name(report, fault(FaultKind::DeadLetterMissing, route, Offset(offset), None, None));
            }
        }
        Ok(())
    }
}

/// Counts a record, or a settlement where there is no record of the route.
fn count(
    report: &mut ProofReport,
    (route, index): (&ProofRoute, usize),
    (offset, record): (Offset, &Record<'_>),
    is_own: bool,
    mark: Option<Mark>,
    first_settlement: Offset,
) {
    let counts = &mut report.routes[index];
    if !is_own {
        if let Some(mark) = mark {
            counts.stray += 1;
            let settlement = first_settlement.plus(u64::from(mark.settlement));
            name(report, fault(FaultKind::Stray, route, offset, record.key, Some(settlement)));
        }
        return;
    }
    counts.records += 1;
    counts.keyless += u64::from(record.key.is_none());
    match mark.map(|mark| mark.outcome) {
        Some(Outcome::Applied) => counts.applied += 1,
        Some(Outcome::Superseded) => counts.superseded += 1,
        Some(Outcome::Filtered) => counts.filtered += 1,
        Some(Outcome::DeadLettered) => counts.dead_lettered += 1,
        None if offset >= route.settled_to => counts.pending += 1,
        None => {
            counts.lost += 1;
            name(report, fault(FaultKind::Lost, route, offset, record.key, None));
        }
    }
    let counts = &mut report.routes[index];
    counts.read_back += u64::from(mark.is_some_and(|mark| mark.outcome == Outcome::Applied && mark.read_back));
}

/// The newest settlement of each key so far, by the key's hash.
#[derive(Default)]
struct KeyOrder(HashMap<u64, u32>);

impl KeyOrder {
    /// Takes the next record in offset order: true when an earlier record of its key was settled, with effect, after this
    /// one was applied.
    ///
    /// Filtered and superseded rows have no effect. What a read-back told was applied at some time before.
    fn is_out_of_order(&mut self, key: u64, mark: Mark) -> bool {
        let has_place = matches!(mark.outcome, Outcome::Applied | Outcome::DeadLettered) && !mark.read_back;
        if !has_place {
            return false;
        }
        match self.0.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(mark.settlement);
                false
            }
            Entry::Occupied(mut entry) => {
                let newest = *entry.get();
                *entry.get_mut() = newest.max(mark.settlement);
                mark.outcome == Outcome::Applied && newest > mark.settlement
            }
        }
    }
}

/// The hashes of the newest settlements.
#[derive(Default)]
struct Recent {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Recent {
    /// Takes the next one; true when it is among the newest already.
    fn knows(&mut self, hash: u64) -> bool {
        if !self.known.insert(hash) {
            return true;
        }
        self.order.push_back(hash);
        if self.order.len() > ECHO_REACH
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

fn fault(kind: FaultKind, route: &ProofRoute, offset: Offset, key: Option<&[u8]>, settlement: Option<Offset>) -> Fault {
    let key = key.map(|key| String::from_utf8_lossy(&key[..key.len().min(200)]).into_owned());
    let position = Position { partition: route.stream.partition, offset };
    Fault { kind, route: route.id.clone(), stream: route.stream.stream.clone(), position, key, settlement }
}

/// Names a fault, unless enough of its kind and route are named.
fn name(report: &mut ProofReport, fault: Fault) {
    let alike = report.faults.iter().filter(|known| known.kind == fault.kind && known.route == fault.route).count();
    if alike < NAMED_MAX {
        report.faults.push(fault);
    }
}
