//! Carries one unit: read, map, journal, send together, answer.

use super::Unit;
use crate::engine::compose::{empty_batch, map_record, text_of_key};
use crate::engine::dispatch::Carrier;
use crate::engine::fetch::fetch;
use crate::engine::gate::CallEnd;
use crate::engine::job::{Answer, JobKind};
use crate::engine::permits::Pass;
use crate::engine::route::{OrgPlace, Route};
use crate::mapping::{MappedRow, Mapper, RowRefusal, merge};
use contract::{
    AppliedBatch, CrashPoint, LogError, OutBatch, OutColumn, OutRow, ReadBack, RowResult, SinkError, Spend,
};
use hashbrown::{HashMap, HashSet};
use model::{Api, BatchId, BatchIntent, Fingerprint, Offset, OffsetRange, Position};
use std::sync::Arc;
use std::time::Duration;

/// A unit on its way.
pub struct UnitJob {
    pub kind: JobKind,
    pub api: Api,
    pub unit: Unit,
    /// In the group's order.
    pub routes: Vec<Arc<Route>>,
    /// How often it was sent before.
    pub sent: u32,
    pub pass: Pass,
    pub place: OrgPlace,
}

/// What became of it.
#[derive(Default)]
pub struct UnitDone {
    /// Set when the log failed before anything was sent.
    pub log_failed: Option<LogError>,
    /// Members that cannot be mapped, by their place in the unit: nothing was sent.
    pub refused: Vec<(usize, RowRefusal)>,
    /// What was sent or asked for.
    pub parts: Vec<UnitPart>,
    /// For all rows of all parts, in order.
    pub answer: Option<Answer>,
    pub api: Api,
    pub took: Duration,
    /// Event times of the members, Unix milliseconds.
    pub times_ms: Vec<i64>,
}

/// Rows of one route and operation.
pub struct UnitPart {
    pub batch: BatchId,
    pub route: usize,
    /// Their places in the unit; a row that is read back stands for the last of its key.
    pub members: Vec<usize>,
}

/// A unit's members, mapped, with the mappers that did it.
struct Mapped {
    /// By place in the unit.
    rows: Vec<(MappedRow, i64)>,
    columns: HashMap<usize, Arc<[OutColumn]>>,
}

impl Carrier {
    /// Carries a unit to its end. Never fails: what went wrong stands in the answer.
    pub(in crate::engine) async fn carry_unit(&self, job: UnitJob) -> UnitDone {
        let mut done = UnitDone { api: job.api, ..UnitDone::default() };
        let mapped = match self.map_unit(&job).await {
            Ok(Ok(mapped)) => mapped,
            Ok(Err(refused)) => {
                done.refused = refused;
                job.pass.finish(Spend::default());
                return done;
            }
            Err(error) => {
                done.log_failed = Some(error);
                job.pass.finish(Spend::default());
                return done;
            }
        };
        done.times_ms = mapped.rows.iter().map(|(_, time_ms)| *time_ms).collect();
        let (parts, outs) = if job.kind.asks() { self.questions(&job, mapped) } else { self.parts(&job, mapped) };
        if job.kind == JobKind::Send {
            let intents = self.intents(&job, &parts, &outs);
            if let Err(error) = self.journal.write(&intents).await {
                done.log_failed = Some(error);
                job.pass.finish(Spend::default());
                return done;
            }
            self.crash.reach(CrashPoint::AfterJournal);
        }
        done.parts = parts;
        let (org, began) = (job.routes[done.parts[0].route].org.clone(), self.clock.monotonic());
        let (answer, spent) = match job.kind {
            JobKind::Send => {
                let answer = flat(org.sink.apply_together(&outs).await);
                org.report(job.api, CallEnd::of(&answer), self.clock.monotonic());
                self.crash.reach(CrashPoint::AfterSend);
                let spent = answer.as_ref().map_or_else(|error| error.spent, |applied| applied.spent);
                org.permits.note_created(created(&answer));
                (Answer::Sent(answer), spent)
            }
            JobKind::ReadBack | JobKind::Adopt => {
                let answer = self.read_back_all(&job, &outs).await;
                org.report(job.api, CallEnd::of_query(&answer), self.clock.monotonic());
                let spent = answer.as_ref().map_or_else(|error| error.spent, |(_, calls)| Spend::calls(*calls));
                (Answer::ReadBack(answer), spent)
            }
        };
        job.pass.finish(spent);
        done.took = self.clock.monotonic().saturating_sub(began);
        done.answer = Some(answer);
        org.take_figures();
        drop(job.place);
        done
    }

    /// Reads and maps every member; with one that cannot be mapped, all of those.
    async fn map_unit(&self, job: &UnitJob) -> Result<Result<Mapped, Vec<(usize, RowRefusal)>>, LogError> {
        let members = &job.unit.members;
        let mappers: HashMap<usize, Arc<Mapper>> =
            job.unit.routes().into_iter().map(|route| (route, job.routes[route].mapper())).collect();
        let mut offsets: Vec<Offset> = members.iter().map(|member| member.offset).collect();
        // Ascending; two routes may take one record.
        offsets.dedup();
        let mut found: Vec<Result<(MappedRow, i64), RowRefusal>> = Vec::with_capacity(members.len());
        let stream = &job.routes[usize::from(members[0].route)].spec.stream;
        fetch(&*self.log, stream, &offsets, |at, record| {
            for member in members[found.len()..].iter().take_while(|member| member.offset == offsets[at]) {
                let row = map_record(&mappers[&usize::from(member.route)], record);
                found.push(row.map(|row| (row, record.time_ms)));
            }
        })
        .await?;
        assert_eq!(found.len(), members.len(), "fetch gives every offset or an error");
        let (mut rows, mut refused) = (Vec::with_capacity(found.len()), Vec::new());
        for (at, found) in found.into_iter().enumerate() {
            match found {
                Ok(row) => rows.push(row),
                Err(refusal) => refused.push((at, refusal)),
            }
        }
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        let columns = mappers.into_iter().map(|(route, mapper)| (route, mapper.columns())).collect();
        Ok(Ok(Mapped { rows, columns }))
    }

    /// Cuts the rows into parts, in the order of the stream: a new one where route or operation change, or a key comes again.
    fn parts(&self, job: &UnitJob, mapped: Mapped) -> (Vec<UnitPart>, Vec<OutBatch>) {
        let (mut parts, mut outs): (Vec<UnitPart>, Vec<OutBatch>) = (Vec::new(), Vec::new());
        let mut keys: HashSet<Fingerprint> = HashSet::new();
        for (at, (row, _)) in mapped.rows.into_iter().enumerate() {
            let index = usize::from(job.unit.members[at].route);
            let route = &job.routes[index];
            let key = text_of_key(&row).map(|text| route.keys.fingerprint_of_target(&text));
            let same = parts.last().is_some_and(|part| part.route == index)
                && outs.last().is_some_and(|out| out.op == row.op)
                && key.is_none_or(|key| !keys.contains(&key));
            if !same {
                keys.clear();
                let out =
                    empty_batch((&**route, job.unit.lane, job.api), row.op, self.next_id(), &mapped.columns[&index]);
                parts.push(UnitPart { batch: out.id, route: index, members: Vec::new() });
                outs.push(out);
            }
            keys.extend(key);
            self.add(job, at, row, (&mut parts, &mut outs));
        }
        (parts, outs)
    }

    /// What the target holds once the whole unit is applied: one row for each key of a route, by operation.
    fn questions(&self, job: &UnitJob, mapped: Mapped) -> (Vec<UnitPart>, Vec<OutBatch>) {
        let mut merged: Vec<(usize, MappedRow)> = Vec::new();
        let mut place_of: HashMap<(usize, Fingerprint), usize> = HashMap::new();
        for (at, (row, _)) in mapped.rows.into_iter().enumerate() {
            let index = usize::from(job.unit.members[at].route);
            let key = text_of_key(&row).map(|text| job.routes[index].keys.fingerprint_of_target(&text));
            match key.and_then(|key| place_of.get(&(index, key)).copied()) {
                Some(place) => {
                    let older = merged[place].1.clone();
                    merged[place] = (at, merge(older, row));
                }
                None => {
                    place_of.extend(key.map(|key| ((index, key), merged.len())));
                    merged.push((at, row));
                }
            }
        }
        merged.sort_by_key(|(at, row)| (job.unit.members[*at].route, row.op as u8, *at));
        let (mut parts, mut outs): (Vec<UnitPart>, Vec<OutBatch>) = (Vec::new(), Vec::new());
        for (at, row) in merged {
            let index = usize::from(job.unit.members[at].route);
            let same =
                parts.last().is_some_and(|part| part.route == index) && outs.last().is_some_and(|out| out.op == row.op);
            if !same {
                let leave = (&*job.routes[index], job.unit.lane, Api::Collections);
                let out = empty_batch(leave, row.op, self.next_id(), &mapped.columns[&index]);
                parts.push(UnitPart { batch: out.id, route: index, members: Vec::new() });
                outs.push(out);
            }
            self.add(job, at, row, (&mut parts, &mut outs));
        }
        (parts, outs)
    }

    fn add(&self, job: &UnitJob, at: usize, row: MappedRow, (parts, outs): (&mut [UnitPart], &mut [OutBatch])) {
        let (Some(part), Some(out)) = (parts.last_mut(), outs.last_mut()) else { return };
        let partition = job.routes[part.route].spec.stream.partition;
        let position = Position { partition, offset: job.unit.members[at].offset };
        out.rows.push(OutRow { position, key: row.key, cells: row.cells });
        part.members.push(at);
    }

    fn intents(&self, job: &UnitJob, parts: &[UnitPart], outs: &[OutBatch]) -> Vec<BatchIntent> {
        let at_ms = self.clock.now_ms();
        let members = &job.unit.members;
        let reason = format!("transaction {}: {} rows go together", job.unit.tx, members.len());
        let intent = |(part, out): (&UnitPart, &OutBatch)| {
            let spec = &job.routes[part.route].spec;
            BatchIntent {
                batch: out.id,
                route: spec.id.clone(),
                stream: spec.stream.stream.clone(),
                partition: spec.stream.partition,
                object: spec.object.clone(),
                api: job.api.as_str().to_owned(),
                offsets: OffsetRange::pack(part.members.iter().map(|at| members[*at].offset)),
                attempt: job.sent + 1,
                at_ms,
                job: None,
                reason: Some(reason.clone()),
            }
        };
        parts.iter().zip(outs).map(intent).collect()
    }

    async fn read_back_all(&self, job: &UnitJob, outs: &[OutBatch]) -> Result<(Vec<ReadBack>, u32), SinkError> {
        let sink = &job.routes[usize::from(job.unit.members[0].route)].org.sink;
        let (mut found, mut calls) = (Vec::new(), 0);
        for out in outs {
            let (rows, spent) = sink.read_back(out).await.map_err(|mut error| {
                error.spent += Spend::calls(calls);
                error
            })?;
            assert_eq!(rows.len(), out.rows.len(), "a sink answers every row once");
            found.extend(rows);
            calls += spent;
        }
        Ok((found, calls))
    }
}

/// Records that the target made for a unit: they fill its storage.
fn created(answer: &Result<AppliedBatch, SinkError>) -> u64 {
    let is_new = |row: &&RowResult| matches!(row, RowResult::Applied { created: true, .. });
    answer.as_ref().map_or(0, |applied| applied.rows.iter().filter(is_new).count() as u64)
}

/// The answers of all parts as one.
fn flat(answer: Result<Vec<AppliedBatch>, SinkError>) -> Result<AppliedBatch, SinkError> {
    answer.map(|parts| {
        let mut whole = AppliedBatch { rows: Vec::new(), spent: Spend::default() };
        for part in parts {
            whole.rows.extend(part.rows);
            whole.spent += part.spent;
        }
        whole
    })
}
