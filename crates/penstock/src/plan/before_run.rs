//! The look at the plan before a run: quick, and never in the way of a run when nobody can be asked.

use super::stored::{self, StoredPlan};
use super::{Asked, Gathered, gather, page};
use crate::config::{Config, Places};
use crate::output::{Answer, Exit, Problem};
use connector_postgres::copied_tables;
use contract::{Clock, Sink, StateStore};
use model::{OrgId, SourceId};
use pipeline::plan::{Plan, plan};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest that one count, one sample or the org's answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest that all of it may take.
const WHOLE_LIMIT: Duration = Duration::from_secs(10);
const SAMPLE_ROWS: u32 = 2_000;

/// What a run has at its start.
pub(crate) struct Starting<'a> {
    pub config: &'a Config,
    pub places: &'a Places,
    pub state: Arc<dyn StateStore>,
    pub sinks: &'a HashMap<OrgId, Arc<dyn Sink>>,
    pub clock: &'a dyn Clock,
}

/// Plans, stores the plan, and refuses an impossible one unless told to go on. A database or an org that does not answer
/// stops nothing: that is logged, and the run goes on.
///
/// # Errors
/// The answer of `penstock run`: the goals that cannot be met.
pub(crate) async fn check(starting: Starting<'_>, despite: bool) -> Result<(), Box<Answer>> {
    if is_nothing_new(&starting).await {
        return Ok(());
    }
    let asked = Asked {
        limit: LIMIT,
        sample_rows: SAMPLE_ROWS,
        quick: true,
        state: Some(starting.state.clone()),
        sinks: starting.sinks.clone(),
        ..Asked::default()
    };
    let gathering = gather(starting.config, starting.places, &asked);
    let Ok(Gathered { inputs, sinks, notes }) = tokio::time::timeout(WHOLE_LIMIT, gathering).await else {
        tracing::warn!("the plan was not worked out within {WHOLE_LIMIT:?}; the run goes on without it");
        return Ok(());
    };
    for note in &notes {
        tracing::info!(%note, "plan");
    }
    let plan = plan(&inputs, &sinks);
    let stored = StoredPlan { at_ms: starting.clock.now_ms(), plan };
    if let Err(error) = stored::store(&*starting.state, &stored).await {
        tracing::warn!(%error, "the plan was not stored; `penstock plan --actual` will not know it");
    }
    match (stored.plan.is_possible(), despite) {
        (true, _) => Ok(()),
        (false, true) => {
            tracing::warn!(goals = stored.plan.problems.len(), "the plan is impossible; going on as told");
            Ok(())
        }
        (false, false) => Err(Box::new(refusal(&starting.config.pipeline, &stored.plan, &notes))),
    }
}

/// True when there is nothing to plan: every table is copied, and nobody said what is expected.
async fn is_nothing_new(starting: &Starting<'_>) -> bool {
    let expect = &starting.config.expect;
    if !expect.changes.is_empty() || expect.burst.is_some() {
        return false;
    }
    for (name, source) in &starting.config.sources {
        let copied = copied_tables(&*starting.state, &SourceId::new(name)).await.unwrap_or_default();
        let done = copied.values().filter(|rows| rows.is_none()).count();
        if source.snapshot.enabled && done < source.tables.len() {
            return false;
        }
    }
    true
}

fn refusal(pipeline: &str, plan: &Plan, notes: &[String]) -> Answer {
    let first = plan.problems.first();
    let problem = Problem {
        code: "PS1012".into(),
        place: "the plan".into(),
        cause: first.map_or_else(String::new, |problem| format!("{}: {}", problem.what, problem.why)),
        fix: first.and_then(|problem| problem.remedies.first()).map_or_else(
            || "see `penstock plan`; --despite-plan runs all the same".to_owned(),
            |remedy| format!("{remedy}; or --despite-plan to run all the same"),
        ),
    };
    let result = json!({"possible": false, "plan": plan, "assumed": notes});
    let summary = "the plan is impossible: nothing was sent; --despite-plan runs all the same";
    Answer {
        exit: Exit::Found,
        error: Some(problem),
        ..Answer::done(summary, page::text(pipeline, plan, notes), result)
    }
}
