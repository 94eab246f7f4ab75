//! Which change would make an impossible goal possible: each candidate is tried by planning with it.

use super::facts::PlanInputs;
use super::report::{Plan, Problem, ProblemKind};
use super::what_if::Change;
use super::{Sinks, plan_without_remedies};
use crate::router::ApiSetting;
use governor::Edition;
use model::RouteId;
use std::time::Duration;

/// Deadlines that are tried, shortest first.
const DEADLINES_S: [u64; 9] = [5, 15, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600];
const PARALLEL: [usize; 4] = [4, 8, 16, 25];

/// The changes that remedy a problem, each by itself and without a new problem; the smallest of each kind. Empty: none
/// that is known does.
pub(super) fn find(inputs: &PlanInputs, plan: &Plan, problem: &Problem, sinks: &Sinks) -> Vec<String> {
    let tries = candidates(inputs, problem);
    let works = |change: &Change| remedies(inputs, plan, problem, change, sinks);
    tries.iter().filter_map(|series| series.iter().find(|change| works(change))).map(ToString::to_string).collect()
}

fn remedies(inputs: &PlanInputs, plan: &Plan, problem: &Problem, change: &Change, sinks: &Sinks) -> bool {
    let mut changed = inputs.clone();
    if change.apply(&mut changed).is_err() {
        return false;
    }
    let after = plan_without_remedies(&changed, sinks);
    let same = |a: &Problem, b: &Problem| a.kind == b.kind && a.subject == b.subject;
    let gone = !after.problems.iter().any(|left| same(left, problem));
    gone && after.problems.iter().all(|left| plan.problems.iter().any(|known| same(left, known)))
}

/// Series of changes worth trying, each from the smallest on.
fn candidates(inputs: &PlanInputs, problem: &Problem) -> Vec<Vec<Change>> {
    match problem.kind {
        ProblemKind::DeadlineTooShort | ProblemKind::TooFast | ProblemKind::NoWay => {
            let id = RouteId::new(&problem.subject);
            vec![
                deadlines(inputs, &id),
                vec![Change::Auto(id.clone())],
                parallel(inputs, &id),
                vec![Change::Coalesce(id)],
            ]
        }
        ProblemKind::QuotaTooSmall => {
            let mut series = vec![shares(inputs, problem)];
            for route in &inputs.routes {
                series.push(deadlines(inputs, &route.id));
                series.push(vec![Change::Coalesce(route.id.clone())]);
                if route.setting != ApiSetting::Auto {
                    series.push(vec![Change::Auto(route.id.clone())]);
                }
            }
            series.push(vec![Change::Edition(Edition::Enterprise), Change::Edition(Edition::Unlimited)]);
            series.push([10, 50, 100, 200, 500, 1_000, 5_000].map(Change::Licences).to_vec());
            if problem.subject.ends_with("PublishedPlatformEvents") {
                series.push((1..=10).map(Change::EventAddOns).collect());
            }
            series
        }
        ProblemKind::DeliveryTooSmall => vec![
            (1..=10).map(Change::EventAddOns).collect(),
            vec![Change::Edition(Edition::Enterprise), Change::Edition(Edition::Unlimited)],
            vec![Change::Subscribers(1)],
        ],
        ProblemKind::BufferTooSmall => Vec::new(),
    }
}

fn deadlines(inputs: &PlanInputs, id: &RouteId) -> Vec<Change> {
    let Some(route) = inputs.routes.iter().find(|route| route.id == *id) else { return Vec::new() };
    let longer = DEADLINES_S.into_iter().map(Duration::from_secs).filter(|deadline| *deadline > route.deadline);
    longer.map(|deadline| Change::Deadline(Some(id.clone()), deadline)).collect()
}

fn parallel(inputs: &PlanInputs, id: &RouteId) -> Vec<Change> {
    let Some(route) = inputs.routes.iter().find(|route| route.id == *id) else { return Vec::new() };
    let most = inputs.org(&route.org).map_or(usize::MAX, |org| org.in_flight_max);
    let more = PARALLEL.into_iter().filter(|number| *number > route.parallel && *number <= most);
    more.map(|number| Change::Parallel(id.clone(), number)).collect()
}

fn shares(inputs: &PlanInputs, problem: &Problem) -> Vec<Change> {
    let org = problem.subject.split('/').next().unwrap_or_default();
    let Some(org) = inputs.orgs.iter().find(|known| known.id.as_str() == org) else { return Vec::new() };
    let now = org.allocations.iter().map(|allocation| allocation.share).fold(0.0, f64::max);
    let steps = (1..=20).map(|step| f64::from(step) * 0.05).filter(|share| *share > now + 1e-9);
    steps.map(|share| Change::Share(Some(org.id.clone()), share)).collect()
}
