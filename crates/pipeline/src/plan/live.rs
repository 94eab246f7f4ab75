//! What live changes cost per day, and whether they come in time.
//!
//! Three figures for each lane:
//!
//! ```text
//!   freely    each batch goes as soon as it may: what the engine does while there is quota to spare
//!   least     each batch waits as long as the deadline allows: what the engine does when quota is short
//!   expected  between them: what the share of the allocation permits
//! ```

use super::facts::{ChangeRate, RouteFacts};
use super::report::{LaneLive, LivePlan, Work};
use super::ways::{Chosen, Ways};
use crate::spec::{Coalesce, Ordering};
use model::Lane;
use std::time::Duration;

/// Seconds of a day.
pub(super) const DAY_S: f64 = 86_400.0;
/// The part of a deadline that may be spent on waiting for company, the call's own time taken off: the rest is for what
/// cannot be foreseen.
const WAIT_PART: f64 = 0.8;

/// Plans the live changes of a route; none when nobody said how often its table changes.
pub(super) fn plan(route: &RouteFacts, ways: &Ways<'_>) -> Option<LivePlan> {
    let rate = route.rate?;
    let sent = sent(route, rate);
    let mut lanes = Vec::new();
    let mut capacity: f64 = 0.0;
    for lane in Lane::ALL {
        let own = sent.times(route.live_lanes.of(lane));
        if own.total() <= 0.0 {
            continue;
        }
        let Some((planned, most)) = lane_plan(route, ways, lane, own) else { continue };
        capacity = capacity.max(most);
        lanes.push(planned);
    }
    let sum = |part: fn(&LaneLive) -> Work| lanes.iter().map(part).sum();
    Some(LivePlan {
        counted: rate.counted,
        least: sum(|lane| lane.least),
        expected: sum(|lane| lane.freely),
        freely: sum(|lane| lane.freely),
        capacity,
        rate: sent.total(),
        lanes,
    })
}

/// The changes that are sent: those that the filter lets through, deletes only where they do something.
fn sent(route: &RouteFacts, rate: ChangeRate) -> ChangeRate {
    let deletes = if route.delete.is_some() { rate.deletes } else { 0.0 };
    ChangeRate { deletes, ..rate }.times(route.passes.clamp(0.0, 1.0))
}

fn lane_plan(route: &RouteFacts, ways: &Ways<'_>, lane: Lane, rate: ChangeRate) -> Option<(LaneLive, f64)> {
    let at_once = ways.choose(route.op, lane, 1)?;
    let merged = merged(route, rate);
    let (patient, interval) = patient(route, ways, lane, merged.total(), &at_once)?;
    let freely_per_s = freely(route, ways, &at_once, rate.total());
    let least_per_s = interval.min(freely_per_s);
    let least = per_day(route, ways, &patient, merged, least_per_s);
    let freely = per_day(route, ways, &at_once, rate, freely_per_s);
    // Waiting never costs more: where a job's own calls outweigh what it saves, the batches go one by one.
    let least = if least.calls > freely.calls { freely } else { least };
    let rows = (rate.total() / freely_per_s).max(1.0);
    let live = LaneLive {
        lane,
        api: at_once.api,
        rate: rate.total(),
        least,
        expected: freely,
        freely,
        soonest_ms: ways.time(at_once.api, rows).as_millis() as u64,
        reason: at_once.reason.clone(),
    };
    Some((live, capacity(ways, &at_once).max(capacity(ways, &patient))))
}

/// With `coalesce: latest`, waiting changes of one row merge: in each deadline's time a row is sent once at most.
fn merged(route: &RouteFacts, rate: ChangeRate) -> ChangeRate {
    let (Coalesce::Latest, Some(rows)) = (route.coalesce, route.rows) else { return rate };
    let wait = wait(route.deadline).as_secs_f64();
    if wait <= 0.0 || rate.updates <= 0.0 {
        return rate;
    }
    ChangeRate { updates: rate.updates.min(rows.rows as f64 / wait), ..rate }
}

fn wait(deadline: Duration) -> Duration {
    deadline.mul_f64(WAIT_PART)
}

/// The way that batches go which wait as long as they may, and how many go per second.
fn patient(route: &RouteFacts, ways: &Ways<'_>, lane: Lane, rate: f64, at_once: &Chosen) -> Option<(Chosen, f64)> {
    if route.ordering == Ordering::Fifo {
        return Some((at_once.clone(), rate));
    }
    let spare = |way: &Chosen, rows: f64| wait(route.deadline.saturating_sub(ways.time(way.api, rows))).as_secs_f64();
    let gathered = rate * spare(at_once, 1.0);
    let way = ways.choose(route.op, lane, (gathered as u64).max(1))?;
    let gathered = (rate * spare(&way, gathered.min(way.rows as f64))).clamp(1.0, way.rows as f64);
    Some((way, rate / gathered))
}

/// Batches per second when each goes as soon as it may: alone when nothing is in flight, else after `linger`, and not
/// more of them than can be in flight.
fn freely(route: &RouteFacts, ways: &Ways<'_>, way: &Chosen, rate: f64) -> f64 {
    if route.ordering == Ordering::Fifo {
        return rate;
    }
    let most_full = rate / way.rows as f64;
    let (base, per_row) = ways.speed(way.api);
    let in_flight = ways.in_flight(way.api);
    // How many calls are under way on average when each row goes alone: with less than one, most go at once.
    let busy = (rate * (base + per_row)).min(1.0);
    let lingering = rate / (1.0 + busy * rate * route.batch.linger.as_secs_f64());
    let possible = if base > 0.0 { (in_flight - per_row * rate) / base } else { f64::INFINITY };
    lingering.min(possible).max(most_full)
}

/// The most rows per second of full batches.
fn capacity(ways: &Ways<'_>, way: &Chosen) -> f64 {
    let time = ways.time(way.api, way.rows as f64).as_secs_f64();
    if time > 0.0 { ways.in_flight(way.api) * way.rows as f64 / time } else { f64::INFINITY }
}

/// What so many batches per second cost in a day. Rows of different operations never share a batch: a batch of upserts and
/// deletes goes as two.
fn per_day(route: &RouteFacts, ways: &Ways<'_>, way: &Chosen, rate: ChangeRate, batches_per_s: f64) -> Work {
    let total = rate.total();
    let rows = total / batches_per_s;
    let parts = [(Some(route.op), rate.inserts + rate.updates), (route.delete, rate.deletes)];
    let works = parts.into_iter().filter(|(_, part)| *part > 0.0).filter_map(|(op, part)| {
        let op = op?;
        let share = part / total;
        let present = 1.0 - (1.0 - share).powf(rows);
        let batches = batches_per_s * present * DAY_S;
        let records = part * DAY_S;
        let spend = ways.spend(way.api, op, (records / batches).ceil().max(1.0) as usize);
        Some(ways.work(records, batches, spend))
    });
    works.sum()
}
