//! What cannot be.

use super::facts::AllocationKind;
use super::report::{BurstPlan, OrgPlan, Problem, ProblemKind, RoutePlan};
use super::what_if::time_words;
use std::time::Duration;

/// Finds every goal that cannot be kept. Remedies are added by the caller.
pub(super) fn find(routes: &[RoutePlan], orgs: &[OrgPlan], burst: Option<&BurstPlan>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = routes.iter().flat_map(of_route).collect();
    problems.extend(orgs.iter().flat_map(of_org));
    if let Some(problem) = burst.and_then(of_burst) {
        problems.push(problem);
    }
    problems
}

fn problem(kind: ProblemKind, subject: impl Into<String>, what: String, why: String) -> Problem {
    Problem { kind, subject: subject.into(), what, why, remedies: Vec::new() }
}

fn of_route(route: &RoutePlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(live) = &route.live else { return problems };
    if live.lanes.is_empty() && live.rate > 0.0 {
        problems.push(problem(
            ProblemKind::NoWay,
            route.id.as_str(),
            format!("nothing takes the rows of route {}", route.id),
            "the org does not have the API that the route asks for".to_owned(),
        ));
        return problems;
    }
    if let Some(slow) = live.lanes.iter().find(|lane| lane.soonest_ms > route.deadline_ms) {
        problems.push(problem(
            ProblemKind::DeadlineTooShort,
            route.id.as_str(),
            format!(
                "route {} cannot meet its deadline of {}",
                route.id,
                time_words(Duration::from_millis(route.deadline_ms))
            ),
            format!(
                "a row that is sent at once by {} comes after {}",
                slow.api,
                seconds(slow.soonest_ms as f64 / 1000.0)
            ),
        ));
    }
    if live.rate > live.capacity {
        problems.push(problem(
            ProblemKind::TooFast,
            route.id.as_str(),
            format!("route {} cannot keep up with {} changes a second", route.id, number(live.rate)),
            format!("the org takes at most {} a second on this route's terms", number(live.capacity)),
        ));
    }
    problems
}

fn of_org(org: &OrgPlan) -> Vec<Problem> {
    let short = org.allocations.iter().filter(|row| row.kind != AllocationKind::EventsDelivered);
    let short = short.filter(|row| row.least > row.budget as f64 || (row.copy > 0.0 && row.budget == 0));
    let mut problems: Vec<Problem> = short
        .map(|row| {
            let span = if row.span_s == 3600 { "an hour" } else { "a day" };
            let most = row
                .most
                .as_ref()
                .map_or(String::new(), |(route, part)| format!("; {:.0} % of it by route {route}", part * 100.0));
            problem(
                ProblemKind::QuotaTooSmall,
                format!("{}/{}", org.id, row.kind.name()),
                format!("{} do not suffice in org {}", row.kind.words(), org.id),
                format!(
                    "the deadlines need {} {span} at least{most}; the share is {} ({:.0} % of {})",
                    number(row.least.max(row.copy.min(1.0))),
                    number(row.budget as f64),
                    row.share * 100.0,
                    number(row.max as f64),
                ),
            )
        })
        .collect();
    if let Some(fan_out) = org.fan_out
        && let Some(max) = fan_out.max.filter(|max| fan_out.delivered_per_day > *max as f64)
    {
        problems.push(problem(
            ProblemKind::DeliveryTooSmall,
            format!("{}/{}", org.id, AllocationKind::EventsDelivered.name()),
            format!("org {} does not deliver so many events", org.id),
            format!(
                "{} events a day to {} subscriber(s) are {} deliveries; the org makes {} a day",
                number(fan_out.events_per_day),
                fan_out.subscribers,
                number(fan_out.delivered_per_day),
                number(max as f64)
            ),
        ));
    }
    problems
}

fn of_burst(burst: &BurstPlan) -> Option<Problem> {
    let max = burst.overflows?;
    Some(problem(
        ProblemKind::BufferTooSmall,
        "burst",
        "the log does not hold the burst".to_owned(),
        format!(
            "{} bytes wait at the worst moment, before compression; the log's limit is {}",
            number(burst.bytes),
            number(max as f64)
        ),
    ))
}

/// A number with grouped thousands; below 10 with one digit after the point.
pub(super) fn number(value: f64) -> String {
    if value < 10.0 && value.fract() > 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn seconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} s") } else { format!("{value:.0} s") }
}
