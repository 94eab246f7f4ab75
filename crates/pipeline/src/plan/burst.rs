//! What a burst leaves waiting, and how long it takes to drain.

use super::Sinks;
use super::facts::{AllocationKind, Burst, PlanInputs, RouteFacts};
use super::report::{BurstPlan, Work};
use super::ways::Ways;
use model::Lane;

/// Memory of one waiting record in a window: its position, key fingerprint and state (`window`, some 32 bytes).
const WINDOW_BYTES_PER_RECORD: f64 = 32.0;

/// One route's part of a burst.
struct Part<'a> {
    route: &'a RouteFacts,
    ways: Ways<'a>,
    /// Records per second of the burst.
    rate: f64,
    /// Its usual changes, which go on.
    usual: f64,
}

/// Plans a burst: what comes in beside what can be sent.
pub(super) fn plan(burst: &Burst, inputs: &PlanInputs, sinks: &Sinks) -> BurstPlan {
    let length = burst.length.as_secs_f64();
    let parts = parts(burst, inputs, sinks);
    let records = parts.iter().map(|part| part.rate).sum::<f64>() * length;
    let (mut work, mut waiting, mut bytes, mut drain, mut capacity) = (Work::default(), 0.0, 0.0, Some(0.0_f64), 0.0);
    for part in &parts {
        let speed = part.speed(length);
        capacity += speed;
        let left = ((part.rate + part.usual - speed) * length).max(0.0);
        waiting += left;
        bytes += left * part.route.record_bytes as f64;
        work += part.work(length);
        drain = match (drain, speed > part.usual) {
            (Some(known), true) => Some(known.max(left / (speed - part.usual))),
            (known, _) if left <= 0.0 => known,
            _ => None,
        };
    }
    let mut bound = "the speed of the org's APIs".to_owned();
    if let Some((seconds, words)) = quota_wait(inputs, &parts, work)
        && drain.is_some_and(|known| seconds > known)
    {
        (drain, bound) = (Some(seconds), words);
    }
    BurstPlan {
        rate: burst.rate,
        seconds: length,
        records,
        waiting,
        bytes,
        window_bytes: waiting * WINDOW_BYTES_PER_RECORD,
        drain_s: drain,
        capacity,
        calls: work.calls,
        bulk_batches: work.bulk_batches,
        overflows: inputs.buffer.log_bytes_max.filter(|max| bytes > *max as f64),
        bound,
    }
}

/// The routes that the burst goes through. Without a table it is shared out by usual changes; where none are known, evenly.
fn parts<'a>(burst: &Burst, inputs: &'a PlanInputs, sinks: &'a Sinks) -> Vec<Part<'a>> {
    let usual = |route: &RouteFacts| route.rate.map_or(0.0, |rate| rate.total());
    let takes = |route: &&RouteFacts| burst.table.as_ref().is_none_or(|table| route.table == *table);
    let routes: Vec<&RouteFacts> = inputs.routes.iter().filter(takes).collect();
    let all: f64 = routes.iter().map(|route| usual(route)).sum();
    let even = 1.0 / routes.len().max(1) as f64;
    let part = |route: &&'a RouteFacts| {
        let of_all = if burst.table.is_some() {
            1.0
        } else if all > 0.0 {
            usual(route) / all
        } else {
            even
        };
        let ways = Ways::new(route, inputs.org(&route.org), sinks.get(&route.org).map(|sink| &**sink), &inputs.router);
        Part { route, ways, rate: burst.rate * of_all * route.passes, usual: usual(route) * route.passes }
    };
    routes.iter().map(part).collect()
}

impl Part<'_> {
    /// Records per second that can be sent while so much waits; the route's own choice of API.
    fn speed(&self, length: f64) -> f64 {
        let waiting = ((self.rate * length) as u64).clamp(1, self.ways.waiting_max());
        let Some(way) = self.ways.choose(self.route.op, self.lane(), waiting) else { return 0.0 };
        let rows = way.rows.min(waiting) as f64;
        let time = self.ways.time(way.api, rows).as_secs_f64();
        if time > 0.0 { self.ways.in_flight(way.api) * rows / time } else { self.rate + self.usual }
    }

    fn work(&self, length: f64) -> Work {
        let records = self.rate * length;
        let waiting = (records as u64).clamp(1, self.ways.waiting_max());
        let Some(way) = self.ways.choose(self.route.op, self.lane(), waiting) else { return Work::default() };
        let rows = way.rows.clamp(1, waiting);
        let spend = self.ways.spend(way.api, self.route.op, rows as usize);
        self.ways.work(records, (records / rows as f64).ceil(), spend)
    }

    fn lane(&self) -> Lane {
        let parts = self.route.live_lanes.0;
        Lane::ALL.into_iter().max_by(|a, b| parts[*a as usize].total_cmp(&parts[*b as usize])).unwrap_or_default()
    }
}

/// When the burst needs more of an allocation than is left: how long until the rest is free, and why.
fn quota_wait(inputs: &PlanInputs, parts: &[Part<'_>], work: Work) -> Option<(f64, String)> {
    let org = inputs.org(&parts.first()?.route.org)?;
    let waits = AllocationKind::ALL.into_iter().filter_map(|kind| {
        let facts = org.allocation(kind)?;
        let needed = work.spends(kind);
        let (room, budget) = (facts.room() as f64, facts.budget() as f64);
        if needed <= room || budget <= 0.0 {
            return None;
        }
        let seconds = ((needed - room) / budget).ceil() * kind.span().as_secs_f64();
        Some((seconds, format!("the share of {}", kind.words())))
    });
    waits.max_by(|(a, _), (b, _)| a.total_cmp(b))
}
