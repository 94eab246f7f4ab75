//! What all routes of an org ask of its allocations together.

use super::facts::{AllocationFacts, AllocationKind, OrgFacts};
use super::live::DAY_S;
use super::report::{AllocationPlan, FanOut, LivePlan, OrgPlan, RoutePlan, Work};

/// Adds up the routes of an org, and settles what is expected of each between its least and what it would take freely.
pub(super) fn org_plan(org: &OrgFacts, routes: &mut [RoutePlan]) -> OrgPlan {
    let mut own: Vec<&mut RoutePlan> = routes.iter_mut().filter(|route| route.org == org.id).collect();
    let part = expected_part(org, &own);
    for live in own.iter_mut().filter_map(|route| route.live.as_mut()) {
        settle(live, part);
    }
    let fan_out = fan_out(org, &own);
    let allocations = org.allocations.iter().map(|facts| allocation(facts, org, &own)).collect();
    OrgPlan { id: org.id.clone(), is_told: org.is_told, allocations, start_calls: org.start_calls, fan_out }
}

/// How far above the least the routes come, 0 to 1: what is left of the share is spent, no more.
fn expected_part(org: &OrgFacts, routes: &[&mut RoutePlan]) -> f64 {
    let mut part: f64 = 1.0;
    for facts in &org.allocations {
        let per_span = |work: fn(&LivePlan) -> &Work| -> f64 {
            let lives = routes.iter().filter_map(|route| route.live.as_ref());
            lives.map(|live| work(live).spends(facts.kind)).sum::<f64>() * spans_per_day(facts).recip()
        };
        let (least, freely) = (per_span(|live| &live.least), per_span(|live| &live.freely));
        if freely > facts.budget() as f64 && freely > least {
            part = part.min(((facts.budget() as f64 - least) / (freely - least)).clamp(0.0, 1.0));
        }
    }
    part
}

fn settle(live: &mut LivePlan, part: f64) {
    let between = |least: Work, freely: Work| {
        let at = |least: f64, freely: f64| least + part * (freely - least);
        Work {
            records: at(least.records, freely.records),
            batches: at(least.batches, freely.batches),
            calls: at(least.calls, freely.calls),
            bulk_batches: at(least.bulk_batches, freely.bulk_batches),
            events: at(least.events, freely.events),
        }
    };
    for lane in &mut live.lanes {
        lane.expected = between(lane.least, lane.freely);
    }
    live.expected = between(live.least, live.freely);
}

fn spans_per_day(facts: &AllocationFacts) -> f64 {
    DAY_S / facts.kind.span().as_secs_f64()
}

fn fan_out(org: &OrgFacts, routes: &[&mut RoutePlan]) -> Option<FanOut> {
    let live: f64 = routes.iter().filter_map(|route| route.live.as_ref()).map(|live| live.expected.events).sum();
    let copy: f64 = routes.iter().map(|route| route.copy.total.events).sum();
    if live + copy <= 0.0 {
        return None;
    }
    Some(FanOut {
        events_per_day: live,
        subscribers: org.subscribers,
        delivered_per_day: live * org.subscribers as f64,
        max: org.allocation(AllocationKind::EventsDelivered).map(|facts| facts.max),
    })
}

fn allocation(facts: &AllocationFacts, org: &OrgFacts, routes: &[&mut RoutePlan]) -> AllocationPlan {
    let spans = spans_per_day(facts);
    let subscribers = org.subscribers as f64;
    let delivered = facts.kind == AllocationKind::EventsDelivered;
    // Deliveries are what subscribers take of what is published.
    let of = |work: &Work| if delivered { work.events * subscribers } else { work.spends(facts.kind) };
    let live = |part: fn(&LivePlan) -> &Work| -> f64 {
        routes.iter().filter_map(|route| route.live.as_ref()).map(|live| of(part(live))).sum::<f64>() / spans
    };
    let start = if facts.kind == AllocationKind::ApiRequests { org.start_calls as f64 } else { 0.0 };
    let copy = routes.iter().map(|route| of(&route.copy.total)).sum::<f64>() + start;
    let (patient, expected, at_once) =
        (live(|live| &live.least), live(|live| &live.expected), live(|live| &live.freely));
    // Patience may spare calls at the cost of Bulk batches: the least of an allocation is the smaller of the two.
    let (least, freely) = (patient.min(at_once), patient.max(at_once));
    let (budget, room) = (facts.budget() as f64, facts.room() as f64);
    let span_s = facts.kind.span().as_secs_f64();
    // What live changes leave is the first copy's; its own first span starts with what is left now.
    let for_copy = (budget - least).max(0.0);
    let copy_spans = match copy {
        copy if copy <= (room - least).max(0.0) => 1.0,
        copy if for_copy > 0.0 => 1.0 + ((copy - (room - least).max(0.0)) / for_copy),
        _ => f64::INFINITY,
    };
    let runs_out_s = (freely > 0.0 && freely + copy.min(room) > room)
        .then(|| (room - copy).max(0.0) / freely * span_s)
        .filter(|seconds| *seconds < span_s && freely + copy > budget.min(room));
    let most = routes
        .iter()
        .map(|route| (route, route.live.as_ref().map_or(0.0, |live| of(&live.expected)) + of(&route.copy.total)))
        .filter(|(_, own)| *own > 0.0)
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    let all: f64 = expected * spans + (copy - start);
    AllocationPlan {
        kind: facts.kind,
        span_s: span_s as u64,
        max: facts.max,
        used: facts.used,
        share: facts.share,
        budget: facts.budget(),
        room: facts.room(),
        copy,
        copy_spans: if copy_spans.is_finite() { copy_spans } else { f64::from(u32::MAX) },
        least,
        expected,
        freely,
        runs_out_s,
        most: most.map(|(route, own)| (route.id.clone(), if all > 0.0 { own / all } else { 0.0 })),
    }
}
