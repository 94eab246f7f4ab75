//! What the demo shows while it runs (on a terminal only) and the table at its end.

use super::Outcome;
use crate::output::{table, thousands};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Progress on standard error; quiet with `--json` and in a pipe, but for the steps.
pub(super) struct Show {
    bar: ProgressBar,
    steps: bool,
}

impl Show {
    pub(super) fn new(as_json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !as_json;
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(Some(0), target), steps: !as_json }
    }

    /// Says what happens next.
    pub(super) fn step(&self, text: &str) {
        if self.bar.is_hidden() {
            if self.steps {
                let _closed_pipe = writeln!(std::io::stderr(), "· {text}");
            }
        } else {
            self.bar.println(format!("· {text}"));
        }
    }

    /// Starts the bar: it is as long as the workload.
    pub(super) fn start(&self, duration: Duration, rate: u64) {
        self.step(&format!("the shop opens: {} changes per second for {} s", thousands(rate), duration.as_secs()));
        self.bar.set_length(duration.as_millis() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30.cyan} {msg}") {
            self.bar.set_style(style);
        }
    }

    /// Shows how far the worker has come.
    pub(super) fn progress(&self, elapsed: Duration, status: &Value) {
        let sum = |list: &str, field: &str| -> u64 {
            status[list].as_array().into_iter().flatten().filter_map(|item| item[field].as_u64()).sum()
        };
        self.bar.set_position(elapsed.as_millis() as u64);
        self.bar.set_message(format!(
            "captured {}  applied {}  waiting {}  dead letters {}",
            thousands(sum("sources", "changes")),
            thousands(sum("routes", "applied")),
            thousands(sum("routes", "unsettled") + sum("routes", "lag_records")),
            sum("routes", "dead_lettered"),
        ));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Rows by API, the largest first.
fn by_api(outcome: &Outcome) -> String {
    let mut apis: Vec<(&String, u64)> = outcome.by_api.iter().map(|(api, (rows, _))| (api, *rows)).collect();
    apis.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let parts: Vec<String> = apis.into_iter().map(|(api, rows)| format!("{api} {}", thousands(rows))).collect();
    parts.join(", ")
}

/// The table at the end.
pub(super) fn proof_table(outcome: &Outcome) -> String {
    let (proof, found) = (&outcome.proof, &outcome.proof.findings);
    let mark = |good: bool| if good { "✓" } else { "✗" }.to_owned();
    let zero = |name: &str, n: u64, what: &str| vec![name.to_owned(), thousands(n), mark(n == 0), what.to_owned()];
    let equal = format!("{} = {}", thousands(proof.rows_in_database), thousands(proof.rows_in_org));
    let settled = &outcome.own["totals"];
    let per_record = outcome.calls as f64 / found.effects.max(1) as f64 * 1_000.0;
    let rows = vec![
        zero("lost", found.lost, "changes of the shop that the org never had"),
        zero("out of order", found.out_of_order, "changes that came after a later one of their key"),
        zero("repeated", found.repeated_effects, "changes that came again after another one"),
        vec![
            "dead letters".into(),
            thousands(found.not_applied),
            String::new(),
            "changes that no org could take: kept, with the reason".into(),
        ],
        vec!["rows equal".into(), equal, mark(proof.rows_equal), "database = org, field by field".into()],
        vec![
            "penstock prove".into(),
            format!("{} settled", thousands(settled["settled"].as_u64().unwrap_or_default())),
            mark(outcome.own["holds"] == true),
            "the pipeline's own books: each record settled exactly once".into(),
        ],
        vec![
            "changes".into(),
            thousands(outcome.written.changes()),
            String::new(),
            format!("in {} transactions, and the first copy", thousands(outcome.written.transactions)),
        ],
        vec![
            "worker killed".into(),
            format!("{}×", outcome.kills),
            String::new(),
            format!("SIGKILL; {} sent again, same value", thousands(found.resent)),
        ],
        vec![
            "jobs adopted".into(),
            thousands(outcome.adopted),
            String::new(),
            "rows whose Bulk job outlived the killed worker: asked for, not sent again".into(),
        ],
        vec!["by API".into(), by_api(outcome), String::new(), "what the router chose, as the org saw it".into()],
        vec![
            "API calls".into(),
            format!("{} of {}", thousands(outcome.calls), thousands(outcome.quota)),
            String::new(),
            format!("{per_record:.1} per 1,000 changes, in {:.1} s", outcome.seconds),
        ],
        zero("limit errors", outcome.limit_errors, "requests that the org refused since the day's were spent"),
    ];
    table(&["", "", "", ""], rows)
}
