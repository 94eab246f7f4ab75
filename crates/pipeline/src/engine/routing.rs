//! What the router is asked for a route and lane, and when its choice goes out.

use super::group::Group;
use crate::router::{ApiSetting, Choice, Left, Question, Way, choose};
use crate::spec::Operation;
use contract::{OutOp, Spend};
use model::{Api, Lane, Offset};
use std::time::Duration;

/// What may be spent now, as the router weighs it.
fn left(outlook: governor::Outlook) -> Left {
    let now = |left: governor::Left| if left.held_for_ms > 0 { 0 } else { left.now };
    Left { calls: now(outlook.calls), bulk_batches: now(outlook.bulk_batches), events: now(outlook.events) }
}

impl Group {
    /// Chooses an API for what is ready; none when no way is open now.
    pub(super) fn choose(&mut self, index: usize, lane: Lane, ready: usize, now: Duration) -> Option<Choice> {
        let oldest = self.window.oldest_ready(index as u16, lane);
        let run = &self.routes[index];
        let spec = &run.route.spec;
        let router = &self.shared.spec.router;
        let bytes_max = self.shared.spec.batch_bytes_in_memory_max;
        // The common case, without weighing anything.
        let plain = spec.api == ApiSetting::Auto && router.rules.is_empty() && !run.route.is_event();
        if plain && (ready < router.bulk_from || lane == Lane::Critical || !run.route.may_go_by_job()) {
            let rows = run.rows_wanted(Api::Collections);
            return run.may_call(Api::Collections, lane, bytes_max).then(|| Choice {
                api: Api::Collections,
                rows,
                reason: String::new(),
            });
        }
        let choice = self.weigh(index, lane, ready, oldest, now)?;
        let open = match choice.api {
            Api::Bulk => run.may_start_job(),
            api => run.may_call(api, lane, bytes_max),
        };
        open.then_some(choice)
    }

    /// The router's choice for so many rows.
    fn weigh(&self, index: usize, lane: Lane, rows: usize, oldest: Option<Offset>, now: Duration) -> Option<Choice> {
        let run = &self.routes[index];
        let spec = &run.route.spec;
        let router = &self.shared.spec.router;
        let paces = self.org.paces.lock().clone();
        let ways: Vec<Way> = Api::ALL
            .into_iter()
            .filter(|api| *api != Api::Bulk || spec.api != ApiSetting::Auto || run.route.may_go_by_job())
            .filter(|api| self.org.gate.may_send(*api, now).is_ok())
            .filter_map(|api| {
                let limits = run.route.limits(api)?;
                let rows_max = run.rows_wanted(api);
                let parallel = if api == Api::Bulk { limits.in_flight_max } else { spec.parallel.max(1) };
                let cost = self.org.sink.cost(api, op_of(spec.operation), rows_max);
                Some(Way { api, rows_max, parallel: parallel.min(limits.in_flight_max), pace: paces.of(api), cost })
            })
            .collect();
        choose(&Question {
            setting: spec.api,
            rules: &router.rules,
            bulk_from: router.bulk_from,
            table: &spec.table,
            operation: spec.operation,
            events: run.route.is_event(),
            lane,
            rows,
            time_left: self.time_left(index, oldest),
            ways: &ways,
            left: left(self.org.permits.outlook(lane)),
        })
    }

    /// True when rows that are too few for a full job would go by one if they were enough for it.
    fn would_make_a_job(&mut self, index: usize, lane: Lane, ready: usize, now: Duration) -> bool {
        let rows = self.routes[index].rows_wanted(Api::Bulk);
        let oldest = self.window.oldest_ready(index as u16, lane);
        ready < rows && self.weigh(index, lane, rows, oldest, now).is_some_and(|choice| choice.api == Api::Bulk)
    }

    /// How long the record at `oldest` has until the route's deadline.
    pub(super) fn time_left(&self, index: usize, oldest: Option<Offset>) -> Duration {
        let written_ms = oldest.and_then(|offset| self.ages.oldest_at(offset));
        let age_ms = written_ms.map_or(0, |written_ms| self.shared.now_ms().saturating_sub(written_ms).max(0));
        self.routes[index].route.spec.deadline.saturating_sub(Duration::from_millis(age_ms as u64))
    }

    /// How long a batch can wait and still be applied in time: what is left without the time that its call takes, half as
    /// much again, and a twentieth of the deadline.
    pub(super) fn patience(&self, index: usize, api: Api, rows: usize, oldest: Option<Offset>) -> Duration {
        let call = self.org.paces.lock().of(api).of(rows);
        let margin = call + call / 2 + self.routes[index].route.spec.deadline / 20;
        self.time_left(index, oldest).saturating_sub(margin)
    }

    /// What a batch of the chosen way costs at most.
    pub(super) fn cost(&self, index: usize, choice: &Choice) -> Spend {
        let operation = self.routes[index].route.spec.operation;
        self.org.sink.cost(choice.api, op_of(operation), choice.rows)
    }

    /// True when the batch goes now; false when it waits for more rows.
    pub(super) fn is_due(&mut self, index: usize, lane: Lane, choice: &Choice, ready: usize, now: Duration) -> bool {
        /// After a wait in vain none for so many times as long: rows that become ready one by one never fill a job.
        const ALONE_FOR: u32 = 10;
        let copying = self.is_copied(index);
        let by_job = choice.api == Api::Bulk;
        let waiting = if lane == Lane::Bulk { self.window.counts(index as u16, lane).waiting } else { 0 };
        let makes_job = waiting > 0 && ready + waiting >= self.shared.spec.router.bulk_from;
        // The first rows of a copy are the beginning of a job; where an expression tells the lane, too, if live changes in
        // between can bear it. So are those of a backlog of bulk rows, also of one that waits for its parents.
        let begins_job = copying && self.bears_bulk_wait(index, lane)
            || lane == Lane::Bulk && self.routes[index].route.may_go_by_job() && (makes_job || self.is_behind());
        let may_wait = !by_job && now >= self.routes[index].alone_until[lane as usize];
        let for_job = may_wait && begins_job && self.would_make_a_job(index, lane, ready, now);
        let run = &self.routes[index];
        let wait = match () {
            () if by_job && ready < run.rows_wanted(Api::Bulk) && (copying || waiting > 0 || self.is_behind()) => {
                self.shared.spec.router.bulk_wait
            }
            () if for_job => self.shared.spec.router.bulk_wait,
            () if !by_job && run.in_flight[lane as usize] > 0 && ready < choice.rows => run.route.spec.batch.linger,
            () => return true,
        };
        let since = *self.routes[index].linger[lane as usize].get_or_insert(now);
        self.routes[index].linger_for[lane as usize] = wait;
        let over = now >= since + wait;
        if over && for_job {
            self.routes[index].alone_until[lane as usize] = now.saturating_add(wait.saturating_mul(ALONE_FOR));
        }
        over
    }

    /// True when rows of the lane may wait for a job's company.
    fn bears_bulk_wait(&self, index: usize, lane: Lane) -> bool {
        /// A wait is a tenth of the deadline at most.
        const OF_DEADLINE: u32 = 10;
        let (route, wait) = (&self.routes[index].route, self.shared.spec.router.bulk_wait);
        let in_time = lane == Lane::Standard && wait.saturating_mul(OF_DEADLINE) <= route.spec.deadline;
        route.may_go_by_job() && (lane == Lane::Bulk || in_time)
    }

    /// True while the source still copies the route's table.
    fn is_copied(&self, index: usize) -> bool {
        let copying = self.shared.copying.read();
        !copying.is_empty() && copying.contains(&self.routes[index].route.spec.table)
    }

    /// True while records stand in the log that are not in the window.
    fn is_behind(&self) -> bool {
        let end = self.shared.carrier.log.bounds(&self.stream).map(|bounds| bounds.durable);
        end.is_ok_and(|end| self.window.cursor() < end)
    }
}

/// The operation of a route's rows, deletes apart.
fn op_of(operation: Operation) -> OutOp {
    match operation {
        Operation::Upsert => OutOp::Upsert,
        Operation::Create => OutOp::Create,
        Operation::Update => OutOp::Update,
    }
}
