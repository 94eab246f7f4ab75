//! On the group's side: units come together, and go out.

use super::{Member, Pushing, TOO_LARGE, Unit, UnitJob};
use crate::engine::error::EngineError;
use crate::engine::group::{Event, Group};
use crate::engine::job::{JobKind, JobRow};
use crate::engine::permits::Pass;
use crate::engine::reader::{Scanned, ScannedKind};
use crate::engine::route::OrgPlace;
use crate::window::{EntryId, ParentKey};
use contract::{OutOp, RowError, Spend};
use model::{Api, ErrorClass, Fingerprint, Lane, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What became of an attempt to send a unit.
enum Sent {
    /// It went, or is settled, or comes back later by itself.
    Gone,
    /// Something that it needs is not open; another one's may be.
    Waits,
    /// Its lane has no leave.
    LaneWaits,
}

/// What is not known of a unit.
struct Suspicion {
    /// A later transaction proves that it was applied.
    implied: bool,
    /// When it was journalled last, Unix milliseconds.
    at_ms: i64,
    /// How long its call may still be under way.
    grace: Duration,
}

impl Group {
    /// The window's index for the members of a route.
    pub(in crate::engine) fn unit_place(&self, route: usize) -> u16 {
        (2 * self.routes.len() + route) as u16
    }

    /// The lowest unsettled offset of a route, its transactions included.
    pub(in crate::engine) fn lowest(&mut self, route: usize) -> Offset {
        let place = self.unit_place(route);
        self.window.checkpoint(route as u16).min(self.window.checkpoint(place))
    }

    /// Notes a member that was pushed, with what it writes.
    pub(in crate::engine) fn member_pushed(&mut self, id: EntryId, scanned: &Scanned, writes: &[Fingerprint]) {
        let ScannedKind::Member(lane) = scanned.kind else { return };
        let pushing = &mut self.units.pushing;
        pushing.lane = lane;
        pushing.members.push(Member { id, route: scanned.route, offset: scanned.offset });
        pushing.writes.extend_from_slice(writes);
    }

    /// All members of a transaction stand in the window.
    pub(in crate::engine) fn unit_pushed(&mut self, tx: Arc<str>) {
        let Pushing { members, writes, lane } = std::mem::take(&mut self.units.pushing);
        if !self.suspects.is_empty() {
            let rows: Vec<(u16, Offset)> = members.iter().map(|member| (member.route, member.offset)).collect();
            self.suspects.enter_together(&rows, &writes);
        }
        let number = self.units.next;
        self.units.next += 1;
        for member in &members {
            self.units.unit_of.insert(member.id, number);
        }
        self.units.units.insert(number, Unit { tx, lane, members: members.into(), taken: 0 });
    }

    /// Takes members whose turn has come, buries what is refused, and sends the units that are whole.
    pub(in crate::engine) fn schedule_units(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.shared.settler.state().borrow().trouble.is_some() {
            return Ok(());
        }
        let mut refused: BTreeMap<usize, Vec<(JobRow, RowError)>> = BTreeMap::new();
        let routes = self.routes.len();
        for (lane, route) in Lane::ALL.into_iter().flat_map(|lane| (0..routes).map(move |route| (lane, route))) {
            let (place, mut taken) = (self.unit_place(route), Vec::new());
            self.window.take(place, lane, usize::MAX, &mut taken);
            for taken in taken {
                match self.units.unit_of.get(&taken.id).copied() {
                    Some(number) => self.member_taken(number),
                    None => {
                        let row = JobRow { id: taken.id, offset: taken.offset, merged: Vec::new(), sent: 0 };
                        refused.entry(route).or_default().push((row, self.too_large(taken.offset)));
                    }
                }
            }
        }
        for (route, rows) in refused {
            self.bury_rows(route, rows);
        }
        for lane in Lane::ALL {
            for _ in 0..self.units.ready[lane as usize].len() {
                if self.lane_wait[lane as usize] > now {
                    break;
                }
                let Some(number) = self.units.ready[lane as usize].pop_front() else { break };
                match self.start_unit(number, now)? {
                    Sent::Gone => {}
                    Sent::Waits => self.units.ready[lane as usize].push_back(number),
                    Sent::LaneWaits => {
                        self.units.ready[lane as usize].push_front(number);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn member_taken(&mut self, number: u64) {
        let Some(unit) = self.units.units.get_mut(&number) else { return };
        unit.taken += 1;
        if unit.taken == unit.members.len() {
            self.units.ready[unit.lane as usize].push_back(number);
        }
    }

    /// When a unit that waits may go.
    pub(in crate::engine) fn next_unit(&self) -> impl Iterator<Item = Duration> + '_ {
        let waiting = self.units.ready.iter().flatten().filter_map(|number| self.units.units.get(number));
        waiting.flat_map(|unit| {
            let pauses = unit.routes().into_iter().map(|route| self.routes[route].pause.until);
            pauses.chain([self.lane_wait[unit.lane as usize]])
        })
    }

    fn too_large(&self, offset: Offset) -> RowError {
        let why = self.units.large_at(offset).map_or("its transaction is too large", |note| &*note.why);
        RowError {
            class: ErrorClass::Permanent,
            code: TOO_LARGE.to_owned(),
            message: format!("{why}; the route's `too_large` is `refuse`, so none of it is applied"),
            fields: Vec::new(),
        }
    }

    /// Gives a unit back to the window as a whole.
    pub(super) fn give_back_unit(&mut self, number: u64, until: Option<Duration>) {
        self.unit_returns(number);
        let Some(row) = self.units.units.get(&number).map(|unit| unit.row(0)) else { return };
        self.give_back(row, until);
    }

    /// Its members come back to be taken again.
    pub(super) fn unit_returns(&mut self, number: u64) {
        if let Some(unit) = self.units.units.get_mut(&number) {
            unit.taken = 0;
        }
    }

    fn start_unit(&mut self, number: u64, now: Duration) -> Result<Sent, EngineError> {
        let Some(unit) = self.units.units.get(&number).cloned() else { return Ok(Sent::Gone) };
        let kind = match self.suspected(&unit) {
            None => JobKind::Send,
            Some(suspicion) if suspicion.implied => {
                self.unit_was_applied(number, 0);
                return Ok(Sent::Gone);
            }
            Some(suspicion) => {
                let grace_ms = suspicion.grace.as_millis() as i64;
                let left_ms = (suspicion.at_ms + grace_ms - self.shared.now_ms()).clamp(0, grace_ms);
                if left_ms > 0 {
                    self.give_back_unit(number, Some(now + Duration::from_millis(left_ms as u64)));
                    return Ok(Sent::Gone);
                }
                JobKind::ReadBack
            }
        };
        let routes = unit.routes();
        let (memory, lane) = (self.shared.spec.batch_bytes_in_memory_max, unit.lane);
        let open = |route: &usize| {
            let run = &self.routes[*route];
            run.is_open(now) && run.may_call(Api::Collections, lane, memory)
        };
        if !routes.iter().all(open) {
            return Ok(Sent::Waits);
        }
        // Checked again when the batch that locks them has ended: its place is then free, too.
        let parents = self.unit_parents(&unit);
        if self.parents.locked(&parents, lane).is_some() {
            return Ok(Sent::Waits);
        }
        let (api, cost) = self.unit_cost(&unit, kind);
        let oldest = unit.members.first().map(|member| member.offset);
        let patience = self.patience(routes[0], api, unit.members.len(), oldest);
        let Some((place, pass)) = self.admit(routes[0], lane, (api, cost), (true, patience), now) else {
            return Ok(Sent::LaneWaits);
        };
        self.parents.lock(self.next_job, parents, lane, false);
        self.spawn_unit((number, &unit), kind, (api, place, pass))?;
        Ok(Sent::Gone)
    }

    /// The parents that writing a unit locks.
    fn unit_parents(&self, unit: &Unit) -> Vec<ParentKey> {
        let mut parents = Vec::new();
        for member in unit.members.iter().filter(|m| self.routes[usize::from(m.route)].route.locks_parents()) {
            self.window.parents(member.id, &mut parents);
        }
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// What is not known of a unit, if anything.
    fn suspected(&self, unit: &Unit) -> Option<Suspicion> {
        if self.suspects.is_empty() {
            return None;
        }
        let of_member = |member: &Member| self.suspects.get(member.route, member.offset);
        let suspects: Vec<_> = unit.members.iter().filter_map(of_member).collect();
        let at_ms = suspects.iter().map(|suspect| suspect.at_ms).max()?;
        let least = self.shared.spec.recovery_grace;
        let graces = unit.routes().into_iter().map(|route| self.routes[route].suspect_grace(least));
        let implied = suspects.iter().any(|suspect| suspect.implied);
        Some(Suspicion { implied, at_ms, grace: graces.max().unwrap_or(least) })
    }

    /// The way that a unit goes, and what that costs at most.
    fn unit_cost(&self, unit: &Unit, kind: JobKind) -> (Api, Spend) {
        if kind.asks() {
            // A query for each route and operation.
            return (Api::Collections, Spend::calls(2 * unit.routes().len() as u32));
        }
        let sink = &self.org.sink;
        let api = if sink.limits(Api::Graph).is_some() { Api::Graph } else { Api::Collections };
        // A delete may need its record looked up.
        let [write, delete] = [OutOp::Upsert, OutOp::Delete].map(|op| sink.cost(api, op, unit.members.len()));
        (api, if delete.calls > write.calls { delete } else { write })
    }

    fn spawn_unit(
        &mut self,
        (unit_number, unit): (u64, &Unit),
        kind: JobKind,
        (api, place, pass): (Api, OrgPlace, Pass),
    ) -> Result<(), EngineError> {
        let number = self.next_job;
        self.next_job += 1;
        let floor = self.shared.carrier.journal.end()?;
        for route in unit.routes() {
            let run = &mut self.routes[route];
            run.floors.insert(number, floor);
            run.in_flight[unit.lane as usize] += 1;
        }
        let job = UnitJob {
            kind,
            api,
            unit: unit.clone(),
            routes: self.routes.iter().map(|run| run.route.clone()).collect(),
            sent: self.histories.get(unit.members[0].id).sent,
            pass,
            place,
        };
        let carrier = self.shared.carrier.clone();
        self.jobs.spawn(async move {
            let done = carrier.carry_unit(job).await;
            Event::UnitCarried { unit: unit_number, kind, number, done }
        });
        Ok(())
    }
}
