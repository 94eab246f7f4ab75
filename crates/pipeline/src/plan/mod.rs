//! What a configuration costs, and whether its goals can be kept: known before anything is sent.
//!
//! ```text
//!   rows and change rates ─┐
//!   routes ────────────────┼─▶ ways ─▶ copy, live ─▶ allocations ─▶ problems ─▶ remedies
//!   the org's allocations ─┘    │
//!                               └─ the router's choice and the sink's own cost: what a run then does
//! ```
//!
//! Pure: no I/O, no clock. The same inputs give the same plan, so that "what if" is the same arithmetic over changed inputs,
//! and a remedy is proposed only after a plan with it was worked out and found possible.
//!
//! Invariants:
//! 1. What a batch costs and which way it goes is never assumed here: `ways` asks what the engine asks.
//! 2. `least ≤ expected ≤ freely` for every lane of a route and every allocation.
//! 3. A plan is impossible only if `problems` says what, why, and which change would help (or that none of those known does).

mod allocations;
mod burst;
mod copy;
mod facts;
mod live;
mod problems;
mod remedies;
mod report;
mod sample;
mod ways;
mod what_if;

#[cfg(test)]
mod tests;

pub use facts::{
    AllocationFacts, AllocationKind, Buffer, Burst, ChangeRate, Counted, LaneParts, OrgFacts, PlanInputs, RouteFacts,
    RowCount,
};
pub use governor::{Edition, Entitlement};
pub use report::{
    AllocationPlan, ApiWork, BurstPlan, CopyPlan, FanOut, LivePlan, OrgPlan, Plan, Problem, ProblemKind, RoutePlan,
    Work,
};
pub use sample::RowTraits;
pub use ways::Ways;
pub use what_if::{Change, ChangeError, edition_words};

use allocations::org_plan;
use contract::Sink;
use model::OrgId;
use std::collections::HashMap;
use std::sync::Arc;

/// What tells limits and costs of each org; nothing is sent through them.
pub type Sinks = HashMap<OrgId, Arc<dyn Sink>>;

/// Works out a plan with its problems and what would remedy them.
pub fn plan(inputs: &PlanInputs, sinks: &Sinks) -> Plan {
    let mut plan = plan_without_remedies(inputs, sinks);
    for index in 0..plan.problems.len() {
        let found = remedies::find(inputs, &plan, &plan.problems[index], sinks);
        plan.problems[index].remedies = found;
    }
    plan
}

/// The plan alone: quick, for a look before a run.
pub fn plan_without_remedies(inputs: &PlanInputs, sinks: &Sinks) -> Plan {
    let mut routes: Vec<RoutePlan> = Vec::with_capacity(inputs.routes.len());
    for route in &inputs.routes {
        let ways = Ways::new(route, inputs.org(&route.org), sinks.get(&route.org).map(|sink| &**sink), &inputs.router);
        routes.push(RoutePlan {
            id: route.id.clone(),
            org: route.org.clone(),
            table: route.table.to_string(),
            object: route.object.clone(),
            deadline_ms: route.deadline.as_millis() as u64,
            copy: copy::plan(route, &ways),
            live: live::plan(route, &ways),
        });
    }
    let orgs: Vec<OrgPlan> = inputs.orgs.iter().map(|org| org_plan(org, &mut routes)).collect();
    let burst = inputs.burst.as_ref().map(|burst| burst::plan(burst, inputs, sinks));
    let problems = problems::find(&routes, &orgs, burst.as_ref());
    Plan { routes, orgs, burst, problems, window_bytes_max: inputs.buffer.window_bytes_max }
}
