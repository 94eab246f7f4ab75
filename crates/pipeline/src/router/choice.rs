//! The choice itself.

use super::pace::Pace;
use super::rules::{ApiRule, ApiSetting};
use crate::spec::Operation;
use contract::Spend;
use model::{Api, Lane, TableName};
use std::time::Duration;

/// A way that the rows could go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    pub api: Api,
    /// Rows of one batch.
    pub rows_max: usize,
    /// Batches at once.
    pub parallel: usize,
    pub pace: Pace,
    /// What a batch of `rows_max` rows costs at most.
    pub cost: Spend,
}

/// What a lane may still spend of each allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub calls: u64,
    pub bulk_batches: u64,
    pub events: u64,
}

impl Left {
    /// Without a governor nothing is short.
    pub const PLENTY: Self = Self { calls: u64::MAX, bulk_batches: u64::MAX, events: u64::MAX };
}

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub setting: ApiSetting,
    pub rules: &'a [ApiRule],
    pub bulk_from: usize,
    pub table: &'a TableName,
    pub operation: Operation,
    /// True when the object is a platform event.
    pub events: bool,
    pub lane: Lane,
    /// Rows that are ready.
    pub rows: usize,
    /// Until the deadline of the oldest.
    pub time_left: Duration,
    /// The ways that the target has and takes now.
    pub ways: &'a [Way],
    pub left: Left,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub api: Api,
    /// Rows of the next batch at most.
    pub rows: usize,
    /// One sentence for operators.
    pub reason: String,
}

/// How long a way takes for all rows.
pub fn drain_time(way: &Way, rows: usize) -> Duration {
    let rows_max = way.rows_max.max(1);
    let waves = rows.div_ceil(rows_max).div_ceil(way.parallel.max(1)).max(1);
    way.pace.of(rows.min(rows_max)).saturating_mul(u32::try_from(waves).unwrap_or(u32::MAX))
}

/// What a way takes for all rows, as parts of what is left of each allocation, added up; infinite when something is short.
pub fn price(way: &Way, rows: usize, left: Left) -> f64 {
    let batches = rows.div_ceil(way.rows_max.max(1)).max(1) as f64;
    let per_row = |events: u32| f64::from(events) * rows as f64 / way.rows_max.max(1) as f64;
    let parts = [
        (f64::from(way.cost.calls) * batches, f64::from(way.cost.calls), left.calls),
        (f64::from(way.cost.bulk_batches) * batches, f64::from(way.cost.bulk_batches), left.bulk_batches),
        (per_row(way.cost.events), 1.0_f64.min(f64::from(way.cost.events)), left.events),
    ];
    // One batch must be affordable; the others may find that more is left by then.
    let part = |(all, one, left): (f64, f64, u64)| match () {
        () if all <= 0.0 => 0.0,
        () if one > left as f64 => f64::INFINITY,
        () => all / left as f64,
    };
    parts.into_iter().map(part).sum()
}

/// Chooses; none when the target takes nothing that could carry the rows now.
pub fn choose(question: &Question<'_>) -> Option<Choice> {
    let way_of = |api| question.ways.iter().find(|way| way.api == api);
    let taken =
        |way: &Way, reason: String| Some(Choice { api: way.api, rows: way.rows_max.min(question.rows).max(1), reason });
    if let ApiSetting::Only(Api::Event) = question.setting
        && question.events
    {
        return cheapest_event(question).and_then(|way| taken(way, "the route says event".to_owned()));
    }
    if let ApiSetting::Only(api) = question.setting {
        return way_of(api).and_then(|way| taken(way, format!("the route says {api}")));
    }
    if question.events {
        return cheapest_event(question).and_then(|way| taken(way, "its object is a platform event".to_owned()));
    }
    let rule = question.rules.iter().position(|rule| {
        rule.matches(question.table, question.operation, question.lane, question.rows) && way_of(rule.api).is_some()
    });
    if let Some(at) = rule {
        let api = question.rules[at].api;
        return way_of(api).and_then(|way| taken(way, format!("rule {} of the router", at + 1)));
    }
    let ways: Vec<&Way> = question.ways.iter().filter(|way| suits(way.api, question)).collect();
    let (way, reason) = pick(question, &ways)?;
    taken(way, reason)
}

fn cheapest_event<'a>(question: &Question<'a>) -> Option<&'a Way> {
    let events = question.ways.iter().filter(|way| matches!(way.api, Api::Event | Api::PubSub));
    events.min_by(|a, b| {
        let of = |way: &Way| price(way, question.rows, question.left);
        of(a).total_cmp(&of(b)).then(b.api.cmp(&a.api))
    })
}

/// True for ways that the router takes by itself for rows of this kind.
fn suits(api: Api, question: &Question<'_>) -> bool {
    match api {
        Api::Collections => true,
        // A job's rows are answered when the org pleases, and a delete or update by it needs record ids.
        Api::Bulk => {
            question.lane != Lane::Critical
                && question.rows >= question.bulk_from
                && question.operation != Operation::Update
        }
        Api::Graph | Api::Event | Api::PubSub | Api::Rest => false,
    }
}

/// What is left free of the time: when a job ends is the org's to say, and it is seen a moment later.
fn slack(api: Api, time_left: Duration) -> Duration {
    if api == Api::Bulk { time_left / 5 } else { Duration::ZERO }
}

fn pick<'a>(question: &Question<'_>, ways: &[&'a Way]) -> Option<(&'a Way, String)> {
    let [only] = ways else {
        let weighed: Vec<(&Way, Duration, f64)> = ways
            .iter()
            .map(|way| (*way, drain_time(way, question.rows), price(way, question.rows, question.left)))
            .collect();
        let in_time = weighed.iter().filter(|(way, time, price)| {
            time.saturating_add(slack(way.api, question.time_left)) <= question.time_left && price.is_finite()
        });
        if let Some((way, time, _)) = in_time.min_by(|a, b| a.2.total_cmp(&b.2)) {
            let reason = format!(
                "the cheapest that meets the deadline: {} rows in about {:.0} s of {:.0} s",
                question.rows,
                time.as_secs_f64(),
                question.time_left.as_secs_f64()
            );
            return Some((way, reason));
        }
        let affordable = weighed.iter().filter(|(_, _, price)| price.is_finite()).min_by_key(|(_, time, _)| *time);
        let (way, time, _) = affordable.or_else(|| weighed.first())?;
        let reason = format!(
            "the fastest, as no way meets the deadline: {} rows in about {:.0} s",
            question.rows,
            time.as_secs_f64()
        );
        return Some((way, reason));
    };
    let reason = match only.api {
        Api::Collections if question.lane == Lane::Critical => "critical rows never wait for a job".to_owned(),
        Api::Collections if question.rows < question.bulk_from => {
            format!("{} rows are too few for a job", question.rows)
        }
        api => format!("{api} is the only way open"),
    };
    Some((only, reason))
}
