//! What becomes of a unit that was sent or asked for.

use super::{Unit, UnitDone};
use crate::engine::answers::{RouteVerdict, Verdict, judge, judge_read_back};
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::job::{Answer, JobKind};
use crate::engine::outcome::Sorted;
use contract::{RowError, Spend};
use hashbrown::HashMap;
use model::{Api, ErrorClass, Offset};
use std::sync::Arc;
use std::time::Duration;

/// What the answers to a unit's rows come to.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Every row is there; ids in the order of the rows.
    Applied(Vec<Option<Arc<str>>>),
    /// Those at fault, by their place among the rows.
    Dead(HashMap<usize, RowError>),
    /// The row of this place decides, by this verdict.
    Other(usize, Verdict),
}

/// How much a verdict weighs in a unit: what is not known comes before what failed, and what failed for good before what may go well
/// the next time.
fn weight(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Suspect => 0,
        Verdict::Dead(_) => 1,
        Verdict::Refresh(_) => 2,
        Verdict::Missing => 3,
        Verdict::Parent(_) => 4,
        Verdict::Again { .. } => 5,
        Verdict::Halve | Verdict::Return => 6,
        Verdict::Applied { .. } => 7,
    }
}

/// Judges a unit by its rows' verdicts (never empty).
fn fate(verdicts: Vec<Verdict>) -> Fate {
    let decides = (0..verdicts.len()).min_by_key(|at| weight(&verdicts[*at])).unwrap_or_default();
    let errors = |verdicts: Vec<Verdict>| {
        let dead = verdicts.into_iter().enumerate().filter_map(|(at, verdict)| match verdict {
            Verdict::Dead(error) => Some((at, error)),
            _ => None,
        });
        dead.collect()
    };
    match &verdicts[decides] {
        Verdict::Applied { .. } => Fate::Applied(
            verdicts
                .into_iter()
                .map(|verdict| match verdict {
                    Verdict::Applied { id } => id,
                    _ => None,
                })
                .collect(),
        ),
        Verdict::Dead(_) => Fate::Dead(errors(verdicts)),
        decided => Fate::Other(decides, decided.clone()),
    }
}

/// A target that says of some rows that it applied them and of others that it did not breaks its promise. The unit counts as not
/// applied; what is sent again is an upsert by external id.
fn warn_of_part(verdicts: &[Verdict]) {
    let applied = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Applied { .. })).count();
    if applied > 0 && applied < verdicts.len() {
        tracing::error!(applied, of = verdicts.len(), "the target applied a part of a transaction");
    }
}

impl Group {
    pub(in crate::engine) fn unit_carried(
        &mut self,
        number: u64,
        kind: JobKind,
        job: u64,
        done: UnitDone,
    ) -> Result<(), EngineError> {
        let now = self.shared.now();
        self.persist.touch();
        let unit = self.units.units.get(&number).cloned().expect("a unit under way is not forgotten");
        let routes = unit.routes();
        let mut floor = Offset(u64::MAX);
        for route in &routes {
            let run = &mut self.routes[*route];
            run.in_flight[unit.lane as usize] -= 1;
            floor = floor.min(run.floors.remove(&job).unwrap_or_default());
        }
        for id in self.parents.free(job) {
            self.window.retry(id);
        }
        if let Some(error) = done.log_failed {
            self.give_back_unit(number, None);
            return self.log_failed(routes[0], error, now);
        }
        if !done.refused.is_empty() {
            // Whatever the target holds of it, nothing can be compared: the dead letters tell an operator.
            self.forget_unit_suspects(&unit);
            let faults = done.refused.into_iter().map(|(at, refusal)| {
                let fields = refusal.field.iter().map(|field| field.to_string()).collect();
                let code = refusal.code.0.to_owned();
                (at, RowError { class: ErrorClass::Permanent, code, message: refusal.message, fields })
            });
            self.bury_unit(number, faults.collect());
            return Ok(());
        }
        self.unit_answered((number, unit), kind, done, (floor, now));
        Ok(())
    }

    fn unit_answered(
        &mut self,
        (number, unit): (u64, Unit),
        kind: JobKind,
        mut done: UnitDone,
        (floor, now): (Offset, Duration),
    ) {
        let rows = done.parts.iter().map(|part| part.members.len()).sum();
        let (verdicts, route_verdict) = match &done.answer {
            Some(Answer::Sent(Ok(applied))) => {
                let (verdicts, verdict) = judge(rows, &Ok(applied.clone()));
                warn_of_part(&verdicts);
                (verdicts, verdict)
            }
            // It failed as one, so it is judged as one row.
            Some(Answer::Sent(answer)) => judge(1, answer),
            Some(Answer::ReadBack(answer)) => judge_read_back(rows, answer),
            Some(Answer::Adopted(_)) | None => unreachable!("a unit is sent or read back"),
        };
        let calls = self.count_unit(&unit, kind, &done, &route_verdict);
        // The member that a row stands for, by the row's place.
        let members: Vec<usize> = done.parts.iter().flat_map(|part| part.members.iter().copied()).collect();
        match fate(verdicts) {
            Fate::Applied(ids) if kind == JobKind::Send => {
                let sent = self.histories.get(unit.members[0].id).sent + 1;
                self.unit_late(&unit, &done.times_ms);
                self.unit_applied(number, &done.parts, &ids, (sent, calls));
                self.judge_unit_route((&unit, done.api), route_verdict, now);
            }
            Fate::Applied(_) => {
                self.unit_late(&unit, &done.times_ms);
                self.unit_was_applied(number, calls);
            }
            Fate::Dead(errors) => {
                self.judge_unit_route((&unit, done.api), route_verdict, now);
                self.unit_failed((number, &unit), kind, &mut done, calls);
                let faults = errors.into_iter().map(|(at, error)| (members[at], error)).collect();
                self.bury_unit(number, faults);
            }
            Fate::Other(_, Verdict::Suspect) => {
                self.judge_unit_route((&unit, done.api), route_verdict, now);
                self.suspect_unit((number, &unit), kind, &done, (floor, now));
            }
            Fate::Other(at, verdict) => {
                self.judge_unit_route((&unit, done.api), route_verdict, now);
                self.unit_failed((number, &unit), kind, &mut done, calls);
                self.unit_again((number, &unit), members[at], verdict, now);
            }
        }
    }

    /// Counts what a unit cost and took; returns the calls.
    fn count_unit(&mut self, unit: &Unit, kind: JobKind, done: &UnitDone, verdict: &RouteVerdict) -> u32 {
        let (ok, spent) = match &done.answer {
            Some(Answer::Sent(Ok(applied))) => (true, applied.spent),
            Some(Answer::ReadBack(Ok((_, calls)))) => (true, Spend::calls(*calls)),
            Some(Answer::Sent(Err(error)) | Answer::ReadBack(Err(error))) => (false, error.spent),
            Some(Answer::Adopted(_)) | None => (false, Spend::default()),
        };
        for (at, route) in unit.routes().into_iter().enumerate() {
            let run = &mut self.routes[route];
            let rows = unit.members.iter().filter(|member| usize::from(member.route) == route).count();
            // The calls are counted once.
            run.status.count_batch(kind.asks(), done.api, rows, if at == 0 { spent } else { Spend::default() });
            if ok && kind == JobKind::Send {
                run.took(done.took, unit.members.len());
                if verdict.quota.is_none() && !verdict.auth {
                    run.succeeded();
                }
            }
        }
        if ok && kind == JobKind::Send {
            self.org.paces.lock().learn(done.api, unit.members.len(), done.took);
        }
        spent.calls
    }

    fn judge_unit_route(&mut self, (unit, api): (&Unit, Api), verdict: RouteVerdict, now: Duration) {
        self.judge_route(usize::from(unit.members[0].route), api, verdict, now);
    }

    /// Learns how long the members took from commit to applied.
    fn unit_late(&mut self, unit: &Unit, times_ms: &[i64]) {
        let now_ms = self.shared.now_ms();
        for (member, time_ms) in unit.members.iter().zip(times_ms) {
            let run = &mut self.routes[usize::from(member.route)];
            run.latencies.add(now_ms - time_ms);
            run.latency_metric.record((now_ms - time_ms).max(0) as f64 / 1000.0);
        }
    }

    /// Nothing of it was applied: its batches are answered.
    fn unit_failed(&mut self, (_, unit): (u64, &Unit), kind: JobKind, done: &mut UnitDone, calls: u32) {
        if kind == JobKind::Send {
            self.histories.of(unit.members[0].id).sent += 1;
        }
        let batches: Vec<_> = match kind {
            JobKind::Send => done.parts.drain(..).map(|part| (part.route, part.batch)).collect(),
            JobKind::ReadBack | JobKind::Adopt => self.forget_unit_suspects(unit),
        };
        self.batches_answered(batches, calls);
    }

    /// Sends it again, sooner or later, or gives up.
    fn unit_again(&mut self, (number, unit): (u64, &Unit), at_fault: usize, verdict: Verdict, now: Duration) {
        let index = usize::from(unit.members[at_fault].route);
        let row = unit.row(self.histories.get(unit.members[0].id).sent);
        self.unit_returns(number);
        let mut sorted = Sorted::default();
        match verdict {
            Verdict::Again { error, counts } => self.again(index, row, error, (counts, 1, now), &mut sorted),
            Verdict::Parent(error) => self.parent_missing(index, row, error, now, &mut sorted),
            Verdict::Missing => self.missing(index, row, (1, now), &mut sorted),
            Verdict::Refresh(error) => self.refresh(index, row, error, 1, &mut sorted),
            Verdict::Return | Verdict::Halve | Verdict::Suspect | Verdict::Applied { .. } | Verdict::Dead(_) => {
                self.give_back(row, None);
            }
        }
        if let Some(error) = sorted.into_dead() {
            self.bury_unit(number, [(at_fault, error)].into());
        }
    }

    /// Remembers that the target may hold the unit, and comes back to it after a grace.
    fn suspect_unit(
        &mut self,
        (number, unit): (u64, &Unit),
        kind: JobKind,
        done: &UnitDone,
        (floor, now): (Offset, Duration),
    ) {
        let (mut until, now_ms) = (now, self.shared.now_ms());
        if kind == JobKind::Send {
            self.histories.of(unit.members[0].id).sent += 1;
            for part in &done.parts {
                for at in &part.members {
                    let member = unit.members[*at];
                    self.suspects.add(member.route, member.offset, part.batch, now_ms);
                }
            }
            let least = self.shared.spec.recovery_grace;
            for route in unit.routes() {
                let run = &mut self.routes[route];
                run.suspect_floor = Some(run.suspect_floor.map_or(floor, |earlier| earlier.min(floor)));
                run.suspect_rows = run.suspect_rows.max(unit.members.len() as u64);
                until = until.max(now + run.suspect_grace(least));
            }
        }
        self.give_back_unit(number, Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> RowError {
        RowError { class: ErrorClass::Lock, code: code.into(), message: String::new(), fields: vec![] }
    }

    #[test]
    fn unit_is_applied_only_when_every_row_is_and_what_is_not_known_comes_first() {
        let applied = || Verdict::Applied { id: None };
        let again = || Verdict::Again { error: error("LOCK"), counts: true };
        assert_eq!(fate(vec![applied(), applied()]), Fate::Applied(vec![None, None]));
        assert_eq!(fate(vec![applied(), Verdict::Missing]), Fate::Other(1, Verdict::Missing));
        assert_eq!(fate(vec![Verdict::Return, again()]), Fate::Other(1, again()));
        let dead = fate(vec![again(), Verdict::Dead(error("NO")), Verdict::Return, Verdict::Dead(error("NEVER"))]);
        assert_eq!(dead, Fate::Dead([(1, error("NO")), (3, error("NEVER"))].into()));
        assert_eq!(fate(vec![Verdict::Dead(error("NO")), Verdict::Suspect]), Fate::Other(1, Verdict::Suspect));
    }
}
