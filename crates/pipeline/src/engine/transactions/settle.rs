//! How a unit ends: all of its members applied, or all of them dead letters, in one append.

use super::{Member, REFUSED_TOGETHER, Unit, UnitPart};
use crate::dlq::{Burial, Buried, bury};
use crate::engine::error::EngineError;
use crate::engine::group::{Event, Group};
use crate::engine::release::Release;
use contract::RowError;
use hashbrown::HashMap;
use model::{BatchId, Offset, OffsetRange, Outcome, Retry, SettledRows, Settlement};
use std::sync::Arc;

/// A unit whose members are dead letters, not settled yet.
pub struct BuriedUnit {
    members: Arc<[Member]>,
    attempts: u32,
    /// For each route, in ascending order: its index, and what was buried of it.
    routes: Result<Vec<(usize, Vec<Buried>)>, EngineError>,
}

impl Group {
    /// Forgets a unit whose end is ordered.
    fn end_unit(&mut self, number: u64) -> Option<Unit> {
        let unit = self.units.units.remove(&number)?;
        for member in unit.members.iter() {
            self.units.unit_of.remove(&member.id);
        }
        Some(unit)
    }

    /// Clears what was not known of a unit; gives the batches that are answered now, with their routes.
    pub(super) fn forget_unit_suspects(&mut self, unit: &Unit) -> Vec<(usize, BatchId)> {
        let mut closed = Vec::new();
        for member in unit.members.iter() {
            let route = usize::from(member.route);
            closed.extend(self.forget_suspect(route, member.offset).map(|batch| (route, batch)));
        }
        closed
    }

    /// What is released of each route when the unit's settlement is accepted.
    fn unit_release(&self, members: &[Member], outcome: Outcome, highest: Option<Offset>) -> Release {
        let mut releases: Vec<Release> = Vec::new();
        for member in members {
            let route = usize::from(member.route);
            let release = match releases.iter_mut().find(|release| release.route == route) {
                Some(release) => release,
                None => {
                    releases.push(Release { route, counts: vec![(outcome, 0)], ..Release::default() });
                    releases.last_mut().expect("it was pushed just now")
                }
            };
            release.ids.push(member.id);
            release.highest = release.highest.max(highest.unwrap_or(member.offset));
            release.counts[0].1 += 1;
        }
        let mut first = releases.remove(0);
        first.others = releases;
        first
    }

    /// The target answered that it applied the unit.
    pub(super) fn unit_applied(
        &mut self,
        number: u64,
        parts: &[UnitPart],
        ids: &[Option<Arc<str>>],
        (attempts, calls): (u32, u32),
    ) {
        let Some(unit) = self.end_unit(number) else { return };
        let (mut settlements, mut ids) = (Vec::new(), ids.iter());
        for part in parts {
            let own: Option<Vec<String>> =
                ids.by_ref().take(part.members.len()).map(|id| id.as_deref().map(str::to_owned)).collect();
            let offsets = part.members.iter().map(|at| unit.members[*at].offset);
            let rows = applied(offsets, own.unwrap_or_default());
            let mut settlement = self.settlement(part.route, Some(part.batch), vec![rows]);
            settlement.attempts = attempts;
            settlements.push(settlement);
        }
        if let Some(first) = settlements.first_mut() {
            first.calls = calls;
        }
        let release = self.unit_release(&unit.members, Outcome::Applied, None);
        self.shared.carrier.crash.reach(contract::CrashPoint::BeforeSettle);
        self.order(release, settlements, false);
    }

    /// A read-back found all of it, or something later proves it.
    pub(super) fn unit_was_applied(&mut self, number: u64, calls: u32) {
        let Some(unit) = self.end_unit(number) else { return };
        let mut closed = self.forget_unit_suspects(&unit);
        let mut settlements: Vec<Settlement> = Vec::new();
        for route in unit.routes() {
            let own = unit.members.iter().filter(|member| usize::from(member.route) == route);
            let rows = applied(own.map(|member| member.offset), Vec::new());
            let batch = closed.iter().position(|(of, _)| *of == route).map(|at| closed.swap_remove(at).1);
            let mut settlement = self.settlement(route, batch, vec![rows]);
            settlement.read_back = true;
            settlements.push(settlement);
        }
        if let Some(first) = settlements.first_mut() {
            first.calls = calls;
        }
        settlements.extend(closed.into_iter().map(|(route, batch)| self.settlement(route, Some(batch), Vec::new())));
        let release = self.unit_release(&unit.members, Outcome::Applied, Some(self.window.cursor()));
        self.shared.carrier.crash.reach(contract::CrashPoint::BeforeSettle);
        self.order(release, settlements, false);
    }

    /// Says that batches are answered of which nothing was applied.
    pub(super) fn batches_answered(&mut self, batches: impl IntoIterator<Item = (usize, BatchId)>, calls: u32) {
        let mut settlements: Vec<Settlement> =
            batches.into_iter().map(|(route, batch)| self.settlement(route, Some(batch), Vec::new())).collect();
        let Some(first) = settlements.first_mut() else { return };
        first.calls = calls;
        let routes: Vec<usize> = settlements
            .iter()
            .filter_map(|settlement| self.routes.iter().position(|run| run.route.spec.id == settlement.route))
            .collect();
        let highest = self.window.cursor();
        let mut releases = routes.into_iter().map(|route| Release { route, highest, ..Release::default() });
        let Some(mut release) = releases.next() else { return };
        release.others = releases.collect();
        self.order(release, settlements, false);
    }

    /// Sends a unit to the dead letters: those at fault (by place) with their own error, the others with the first of these.
    pub(super) fn bury_unit(&mut self, number: u64, faults: HashMap<usize, RowError>) {
        let Some(first) = faults.keys().min().copied() else { return };
        let Some(unit) = self.end_unit(number) else { return };
        let sent = self.histories.get(unit.members[0].id).sent;
        let together = self.refused_together(&unit, unit.members[first], &faults[&first]);
        tracing::warn!(tx = %unit.tx, records = unit.members.len(), code = %faults[&first].code, "a transaction becomes dead letters");
        let mut burials: Vec<(usize, Vec<Burial>)> = unit.routes().into_iter().map(|route| (route, vec![])).collect();
        for (at, member) in unit.members.iter().enumerate() {
            let error = faults.get(&at).unwrap_or(&together).clone();
            let burial = Burial { offset: member.offset, error, attempts: sent };
            let own = burials.iter_mut().find(|(route, _)| *route == usize::from(member.route));
            own.expect("every member's route is the unit's").1.push(burial);
        }
        let routes: Vec<_> = self.routes.iter().map(|run| run.route.clone()).collect();
        let (shared, stream) = (self.shared.clone(), self.stream.clone());
        self.jobs.spawn(async move {
            let mut buried = Vec::new();
            for (route, burials) in burials {
                loop {
                    let spec = &routes[route].spec;
                    let (log, of) = (&*shared.carrier.log, (&spec.id, &stream, &*spec.secret));
                    match bury(log, &*shared.state, of, &burials, shared.now_ms()).await {
                        Ok(done) => {
                            buried.push((route, done));
                            break;
                        }
                        Err(error) => match error.retry() {
                            Retry::After(delay) => {
                                tracing::warn!(code = %error.code(), %error, "dead letters wait");
                                tokio::time::sleep(delay).await;
                            }
                            _ => {
                                let (members, attempts) = (unit.members, sent);
                                return Event::UnitBuried(BuriedUnit { members, attempts, routes: Err(error) });
                            }
                        },
                    }
                }
            }
            Event::UnitBuried(BuriedUnit { members: unit.members, attempts: sent, routes: Ok(buried) })
        });
    }

    /// What is said of the members that are not at fault.
    fn refused_together(&self, unit: &Unit, at_fault: Member, error: &RowError) -> RowError {
        let spec = &self.routes[usize::from(at_fault.route)].route.spec;
        // What the target says may quote a value, and the other routes' dead letters hide nothing.
        let said = if spec.secret.is_empty() { format!(": {}", error.message) } else { String::new() };
        RowError {
            class: error.class,
            code: REFUSED_TOGETHER.to_owned(),
            message: format!(
                "transaction {} is applied as a whole or not at all, and its record at {}:{} (route {}) was refused: {}{said}",
                unit.tx, self.stream, at_fault.offset, spec.id, error.code
            ),
            fields: Vec::new(),
        }
    }

    /// Settles what is buried, durably and in one append.
    pub(in crate::engine) fn unit_buried(&mut self, unit: BuriedUnit) -> Result<(), EngineError> {
        let mut settlements = Vec::new();
        for (route, buried) in unit.routes? {
            let rows = buried.into_iter().map(|Buried { offset, code }| SettledRows {
                outcome: Outcome::DeadLettered,
                offsets: OffsetRange::pack([offset]),
                target_ids: Vec::new(),
                by: None,
                code: Some(code),
            });
            let mut settlement = self.settlement(route, None, rows.collect());
            settlement.attempts = unit.attempts;
            settlements.push(settlement);
        }
        let release = self.unit_release(&unit.members, Outcome::DeadLettered, None);
        self.shared.carrier.crash.reach(contract::CrashPoint::BeforeSettle);
        self.order(release, settlements, true);
        Ok(())
    }
}

fn applied(offsets: impl IntoIterator<Item = Offset>, target_ids: Vec<String>) -> SettledRows {
    let offsets = OffsetRange::pack(offsets);
    SettledRows { outcome: Outcome::Applied, offsets, target_ids, by: None, code: None }
}
