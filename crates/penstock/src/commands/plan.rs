//! `penstock plan`: what a configuration will cost and whether its goals can be kept, before anything is sent.

use super::opened::{open, problem};
use crate::cli::PlanArgs;
use crate::config::{Config, Loaded, Rate, Time, load_file};
use crate::output::{Answer, Exit, Problem};
use crate::plan::{Asked, Gathered, actual, gather, page, stored};
use crate::wiring::DataDir;
use contract::StateStore;
use model::TableName;
use pipeline::plan::{Burst, Change, ChangeRate, Counted, Plan, plan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a count or the org's answer may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Rows of each table that are looked at for lanes, filters and lengths.
const SAMPLE_ROWS: u32 = 5_000;
/// The longest that tables are watched.
const MEASURE_MAX: Duration = Duration::from_secs(3_600);

/// Plans; exit 3 when a goal cannot be met.
pub async fn run(config_file: &Path, args: &PlanArgs) -> Answer {
    if args.actual {
        return against_actual(config_file).await;
    }
    let Loaded { config, findings, places } = load_file(config_file);
    let Some(config) = config.filter(|_| findings.is_empty()) else { return Answer::findings(&findings, true, "") };
    let asked = match asked(&config, args) {
        Ok(asked) => asked,
        Err(cause) => return usage(cause),
    };
    let Gathered { mut inputs, sinks, notes } = gather(&config, &places, &asked).await;
    for text in &args.what_if {
        let made = Change::parse(text).and_then(|change| change.apply(&mut inputs));
        if let Err(error) = made {
            return usage(error.to_string());
        }
    }
    let plan = plan(&inputs, &sinks);
    let mut text = page::text(&config.pipeline, &plan, &notes);
    if !args.what_if.is_empty() {
        text.insert_str(0, &format!("What if: {}\n\n", args.what_if.join(", ")));
    }
    answer(&plan, text, &notes)
}

fn answer(plan: &Plan, text: String, notes: &[String]) -> Answer {
    let exit = if plan.is_possible() { Exit::Done } else { Exit::Found };
    let summary = if plan.is_possible() { "" } else { "a goal cannot be met: see above" };
    let result = json!({"possible": plan.is_possible(), "plan": plan, "assumed": notes});
    Answer { exit, ..Answer::done(summary, text, result) }
}

fn usage(cause: String) -> Answer {
    let problem = Problem {
        code: "PS1010".into(),
        place: "penstock plan".into(),
        cause,
        fix: "see `penstock plan --help`".into(),
    };
    Answer { exit: Exit::Usage, ..Answer::failed(problem) }
}

/// What the command line asks for.
fn asked(config: &Config, args: &PlanArgs) -> Result<Asked, String> {
    let known: Vec<TableName> = config
        .sources
        .values()
        .flat_map(|source| &source.tables)
        .filter_map(|table| TableName::parse(table).ok())
        .collect();
    let table = |name: &str| -> Result<TableName, String> {
        let table = TableName::parse(name).map_err(|cause| format!("{name:?}: {cause}"))?;
        if known.contains(&table) { Ok(table) } else { Err(format!("no source captures {name}")) }
    };
    let mut rates = BTreeMap::new();
    for text in &args.rate {
        let (name, rate) = text.split_once('=').ok_or_else(|| format!("{text:?}: write table=5/s"))?;
        let updates = Rate::parse(rate)?.0;
        rates.insert(table(name)?, ChangeRate { inserts: 0.0, updates, deletes: 0.0, counted: Counted::Given });
    }
    let mut rows = BTreeMap::new();
    for text in &args.rows {
        let (name, count) = text.split_once('=').ok_or_else(|| format!("{text:?}: write table=50000"))?;
        let count: u64 =
            count.replace(['_', ','], "").parse().map_err(|_| format!("{count:?} is no number of rows"))?;
        rows.insert(table(name)?, count);
    }
    let measure = args.measure.as_deref().map(Time::parse).transpose()?.map(|time| time.0);
    if measure.is_some_and(|length| length > MEASURE_MAX || length.is_zero()) {
        return Err(format!("tables are watched for {MEASURE_MAX:?} at most"));
    }
    if args.offline && measure.is_some() {
        return Err("nothing can be measured offline".into());
    }
    let burst = args.burst.as_deref().map(|text| burst(text, &table)).transpose()?;
    let state = DataDir::new(&config.data_dir).state();
    let state = state.exists().then(|| state_store::StateStore::open_read_only(&state).ok()).flatten();
    let state = state.map(|state| Arc::new(state) as Arc<dyn StateStore>);
    let asked = Asked {
        offline: args.offline,
        measure,
        limit: LIMIT,
        sample_rows: SAMPLE_ROWS,
        rows,
        rates,
        ..Asked::default()
    };
    Ok(Asked { burst, state, ..asked })
}

/// `5000/s,10m`, or `schema.table=5000/s,10m`.
fn burst(text: &str, table: &dyn Fn(&str) -> Result<TableName, String>) -> Result<Burst, String> {
    let wrong = || format!("{text:?} is no burst; write 5000/s,10m or table=5000/s,10m");
    let (of, text) = text.split_once('=').map_or((None, text), |(name, rest)| (Some(name), rest));
    let (rate, length) = text.split_once(',').ok_or_else(wrong)?;
    let table = of.map(table).transpose()?;
    Ok(Burst { rate: Rate::parse(rate.trim())?.0, length: Time::parse(length.trim())?.0, table })
}

/// The stored plan against what was really sent.
async fn against_actual(config_file: &Path) -> Answer {
    let opened = match open(config_file, false) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let place = opened.config.data_dir.display().to_string();
    let stored = match stored::load(&*opened.state).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Answer::done("no run has stored a plan here yet", "", json!({"planned": Value::Null})),
        Err(error) => return Answer::failed(problem(error.code(), &place, &error)),
    };
    match actual::compare(&*opened.log, &stored).await {
        Ok(compared) => {
            let text = actual::text(&compared);
            let result = json!({"planned_at_ms": stored.at_ms, "routes": compared, "plan": stored.plan});
            Answer::done("planned and done, since the run began that stored the plan", text, result)
        }
        Err(error) => Answer::failed(problem(error.code(), &place, &error)),
    }
}
