//! A plan as a page: the verdict first, then what it rests on.

use model::Api;
use pipeline::plan::{AllocationPlan, BurstPlan, Counted, LivePlan, OrgPlan, Plan, Problem, RoutePlan};

/// The page.
pub(crate) fn text(pipeline: &str, plan: &Plan, notes: &[String]) -> String {
    let mut out = format!("Plan for pipeline {pipeline}\n\n");
    out.push_str(&verdict(plan));
    if !plan.problems.is_empty() {
        out.push('\n');
        plan.problems.iter().for_each(|problem| out.push_str(&problem_text(problem)));
    }
    out.push_str("\nFirst copy\n");
    out.push_str(&copies(&plan.routes));
    if plan.routes.iter().any(|route| route.live.is_some()) {
        out.push_str("\nLive changes, per day\n");
        out.push_str(&lives(&plan.routes));
    }
    plan.orgs.iter().for_each(|org| out.push_str(&org_text(org)));
    if let Some(burst) = &plan.burst {
        out.push_str(&burst_text(burst));
    }
    if !notes.is_empty() {
        out.push_str("\nAssumed\n");
        notes.iter().for_each(|note| out.push_str(&format!("  · {note}\n")));
    }
    out
}

/// One or two sentences that a manager reads and nobody else has to explain.
pub(crate) fn verdict(plan: &Plan) -> String {
    let calls: f64 = plan.routes.iter().map(|route| route.copy.total.calls).sum();
    let batches: f64 = plan.routes.iter().map(|route| route.copy.total.bulk_batches).sum();
    let seconds = plan.routes.iter().map(|route| route.copy.seconds).fold(0.0, f64::max);
    let rows: f64 = plan.routes.iter().map(|route| route.copy.total.records).sum();
    let mut out = match plan.problems.len() {
        0 => "✓ It can be done.".to_owned(),
        1 => "✗ It cannot be done as it is: one goal cannot be met.".to_owned(),
        more => format!("✗ It cannot be done as it is: {more} goals cannot be met."),
    };
    if rows > 0.0 {
        let bulk = if batches > 0.0 {
            format!(" and {}", counted(batches, ("Bulk batch", "Bulk batches")))
        } else {
            String::new()
        };
        out.push_str(&format!(
            " The first copy of {} takes about {} and {}{bulk}.",
            counted(rows, ("row", "rows")),
            time(seconds),
            counted(calls, ("API request", "API requests"))
        ));
    }
    out.push('\n');
    if let Some(Daily { least, expected, share }) = daily(plan) {
        let part = if share > 0.0 { least / share * 100.0 } else { 0.0 };
        out.push_str(&format!(
            "  After that {} API requests a day keep the deadlines: {part:.0} % of the {} that this pipeline may take.\n",
            amount(least),
            amount(share)
        ));
        if expected > least * 1.02 {
            out.push_str(&format!("  While there is quota to spare it takes {}, to be sooner.\n", amount(expected)));
        }
    }
    out
}

/// API requests of all orgs in a day.
struct Daily {
    least: f64,
    expected: f64,
    share: f64,
}

/// None when nobody said how often anything changes.
fn daily(plan: &Plan) -> Option<Daily> {
    plan.routes.iter().find(|route| route.live.is_some())?;
    let rows = plan.orgs.iter().filter_map(|org| org.allocations.first());
    let none = Daily { least: 0.0, expected: 0.0, share: 0.0 };
    Some(rows.fold(none, |sum, row| Daily {
        least: sum.least + row.least,
        expected: sum.expected + row.expected,
        share: sum.share + row.budget as f64,
    }))
}

fn problem_text(problem: &Problem) -> String {
    let mut out = format!("  ✗ {}\n      {}\n", problem.what, problem.why);
    match problem.remedies.as_slice() {
        [] => out.push_str("      no single change that is known makes it possible\n"),
        [only] => out.push_str(&format!("      this makes it possible: {only}\n")),
        several => {
            out.push_str("      each of these makes it possible:\n");
            several.iter().for_each(|remedy| out.push_str(&format!("        – {remedy}\n")));
        }
    }
    out
}

fn copies(routes: &[RoutePlan]) -> String {
    let mut rows = Vec::new();
    for route in routes {
        let copy = &route.copy;
        let counted = match copy.counted {
            None => "not known",
            Some(Counted::Estimated) => "estimated",
            Some(Counted::Given) => "given",
            Some(Counted::Exactly | Counted::Measured) => "",
        };
        if copy.by.is_empty() {
            let rest = ["–", "–", "–", "–", "–"].map(str::to_owned);
            rows.push(
                [vec![route.id.to_string(), route.table.clone(), "0".into(), counted.into()], rest.to_vec()].concat(),
            );
        }
        for (index, part) in copy.by.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            rows.push(vec![
                first(route.id.to_string()),
                first(route.table.clone()),
                amount(part.work.records),
                first(counted.to_owned()),
                way(part.api),
                amount(part.work.calls),
                or_dash(part.work.bulk_batches),
                or_dash(part.work.events),
                first(time(copy.seconds)),
            ]);
        }
    }
    lines(&["route", "table", "rows", "", "by", "calls", "Bulk batches", "events", "takes"], "llrllrrrr", &rows)
}

fn lives(routes: &[RoutePlan]) -> String {
    let mut rows = Vec::new();
    for route in routes {
        let Some(LivePlan { lanes, capacity, .. }) = &route.live else { continue };
        for (index, lane) in lanes.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let holds = lane.soonest_ms <= route.deadline_ms && lane.rate <= *capacity;
            rows.push(vec![
                first(route.id.to_string()),
                lane.lane.to_string(),
                rate(lane.rate),
                way(lane.api),
                amount(lane.least.calls),
                amount(lane.expected.calls),
                or_dash(lane.expected.bulk_batches),
                or_dash(lane.expected.events),
                time(route.deadline_ms as f64 / 1000.0),
                time(lane.soonest_ms as f64 / 1000.0),
                if holds { "✓".into() } else { "✗".into() },
            ]);
        }
    }
    let header = [
        "route",
        "lane",
        "changes",
        "by",
        "calls: least",
        "expected",
        "Bulk batches",
        "events",
        "deadline",
        "soonest",
        "holds",
    ];
    lines(&header, "llrlrrrrrrl", &rows)
}

fn org_text(org: &OrgPlan) -> String {
    let told = if org.is_told { "its own figures, now" } else { "assumed figures" };
    let mut out = format!("\nOrg {} ({told})\n", org.id);
    let rows = org
        .allocations
        .iter()
        .filter(|row| row.kind.name() != "DailyDeliveredPlatformEvents" || row.copy + row.freely > 0.0);
    let rows: Vec<Vec<String>> = rows.map(allocation_row).collect();
    let header = [
        "allocation",
        "permitted",
        "used",
        "our share",
        "left",
        "first copy",
        "then: least",
        "expected",
        "at will",
        "lasts",
    ];
    out.push_str(&lines(&header, "lrrrrrrrrl", &rows));
    for row in org.allocations.iter().filter(|row| row.expected > 0.0 || row.copy > 0.0) {
        if let Some((route, part)) = row.most.as_ref().filter(|(_, part)| *part < 0.995) {
            out.push_str(&format!("  {:.0} % of the {} by route {route}\n", part * 100.0, row.kind.words()));
        }
    }
    if org.start_calls > 0 {
        out.push_str(&format!("  each start takes {} more API requests, to describe the objects\n", org.start_calls));
    }
    if let Some(fan_out) = org.fan_out {
        out.push_str(&format!(
            "  events: {} a day to {} subscriber(s) are {} deliveries a day{}\n",
            amount(fan_out.events_per_day),
            fan_out.subscribers,
            amount(fan_out.delivered_per_day),
            fan_out.max.map_or(String::new(), |max| format!("; the org makes {}", amount(max as f64)))
        ));
    }
    out
}

fn allocation_row(row: &AllocationPlan) -> Vec<String> {
    let span = if row.span_s == 3_600 { "an hour" } else { "a day" };
    let lasts = match (row.runs_out_s, row.copy_spans) {
        (Some(seconds), _) => format!("{}, then paced", time(seconds)),
        (None, spans) if spans > 1.0 && spans < 1e6 => {
            format!("copy spread over {}", time(spans * row.span_s as f64))
        }
        (None, spans) if spans >= 1e6 => "never enough".into(),
        _ => "always".into(),
    };
    vec![
        format!("{} {span}", row.kind.words()),
        amount(row.max as f64),
        amount(row.used as f64),
        format!("{} ({:.0} %)", amount(row.budget as f64), row.share * 100.0),
        amount(row.room as f64),
        or_dash(row.copy),
        or_dash(row.least),
        or_dash(row.expected),
        or_dash(row.freely),
        lasts,
    ]
}

fn burst_text(burst: &BurstPlan) -> String {
    let drain = match burst.drain_s {
        Some(seconds) if seconds < 1.0 => "nothing waits after it".to_owned(),
        Some(seconds) => format!("drained {} after its end", time(seconds)),
        None => "never drained: more comes than can be sent".to_owned(),
    };
    let rows = vec![
        vec!["records".into(), amount(burst.records), String::new()],
        vec![
            "wait at the worst moment".into(),
            amount(burst.waiting),
            format!("{} in the log before compression, {} of windows", bytes(burst.bytes), bytes(burst.window_bytes)),
        ],
        vec!["sent meanwhile".into(), rate(burst.capacity), format!("{drain}; what bounds it: {}", burst.bound)],
        vec![
            "cost".into(),
            amount(burst.calls),
            format!("API requests, and {}", counted(burst.bulk_batches, ("Bulk batch", "Bulk batches"))),
        ],
    ];
    format!("\nA burst of {} for {}\n{}", rate(burst.rate), time(burst.seconds), lines(&[], "lrl", &rows))
}

/// A number and what it counts.
fn counted(number: f64, (one, more): (&str, &str)) -> String {
    let text = amount(number);
    let what = if text == "1" { one } else { more };
    format!("{text} {what}")
}

fn way(api: Api) -> String {
    match api {
        Api::Collections => "Collections",
        Api::Graph => "Graph",
        Api::Bulk => "Bulk",
        Api::Event => "events",
        Api::PubSub => "events (Pub/Sub)",
        Api::Rest => "single calls",
    }
    .to_owned()
}

/// A whole number with grouped thousands; something small is not nothing.
pub(crate) fn amount(value: f64) -> String {
    if value > 0.0 && value < 1.0 {
        return "< 1".to_owned();
    }
    crate::output::thousands(value.max(0.0).round() as u64)
}

fn or_dash(value: f64) -> String {
    if value <= 0.0 { "–".to_owned() } else { amount(value) }
}

fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0/s".to_owned(),
        rate if rate >= 10.0 => format!("{}/s", amount(rate)),
        rate if rate >= 0.1 => format!("{rate:.1}/s"),
        rate if rate * 60.0 >= 1.0 => format!("{:.1}/min", rate * 60.0),
        rate => format!("{:.1}/h", rate * 3_600.0),
    }
}

/// A length of time in its two largest units.
pub(crate) fn time(seconds: f64) -> String {
    if seconds.is_nan() || seconds > 1e10 {
        return "for ever".to_owned();
    }
    if seconds < 10.0 {
        return if seconds < 0.05 { "0 s".to_owned() } else { format!("{seconds:.1} s") };
    }
    let whole = seconds.round() as u64;
    let (large, small, words) = match whole {
        0..120 => return format!("{whole} s"),
        120..7_200 => (whole / 60, whole % 60, ("min", "s")),
        7_200..172_800 => (whole / 3_600, whole % 3_600 / 60, ("h", "min")),
        _ => (whole / 86_400, whole % 86_400 / 3_600, ("days", "h")),
    };
    if small == 0 { format!("{large} {}", words.0) } else { format!("{large} {} {small} {}", words.0, words.1) }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut at = 0;
    let mut value = value.max(0.0);
    while value >= 1024.0 && at + 1 < units.len() {
        value /= 1024.0;
        at += 1;
    }
    if value < 10.0 && at > 0 { format!("{value:.1} {}", units[at]) } else { format!("{value:.0} {}", units[at]) }
}

/// `+3 %`; exact agreement is said so.
pub(crate) fn difference(planned: f64, actual: f64) -> String {
    if (planned - actual).abs() < 0.5 {
        return "as planned".to_owned();
    }
    if planned <= 0.0 {
        return "not planned".to_owned();
    }
    format!("{:+.1} %", (actual - planned) / planned * 100.0)
}

/// Columns under a header, two spaces apart, each `l`eft or `r`ight. Without a header only the rows.
pub(crate) fn lines(header: &[&str], align: &str, rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = align.chars().map(|_| 0).collect();
    let heads = header.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
    for row in rows.iter().chain([&heads]) {
        for (column, text) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(text));
        }
    }
    let line = |row: &[String]| {
        let mut out = String::from("  ");
        for ((text, side), wide) in row.iter().zip(align.chars()).zip(&widths).filter(|(_, wide)| **wide > 0) {
            let pad = " ".repeat(wide - width(text));
            out.push_str(&if side == 'r' { format!("{pad}{text}  ") } else { format!("{text}{pad}  ") });
        }
        out.trim_end().to_owned() + "\n"
    };
    let mut out = String::new();
    if !header.is_empty() {
        out.push_str(&line(&heads));
        let ruled = widths.iter().filter(|wide| **wide > 0).map(|wide| wide + 2).sum::<usize>().saturating_sub(2);
        out.push_str(&format!("  {}\n", "─".repeat(ruled)));
    }
    rows.iter().for_each(|row| out.push_str(&line(row)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_amounts_and_differences_read_well() {
        let times = [0.0, 0.12, 9.96, 59.0, 150.0, 7_260.0, 93_600.0, 200_000.0, f64::INFINITY].map(time);
        assert_eq!(
            times,
            ["0 s", "0.1 s", "10.0 s", "59 s", "2 min 30 s", "2 h 1 min", "26 h", "2 days 7 h", "for ever"]
        );
        assert_eq!([0.0, 0.4, 1_234.4].map(amount), ["0", "< 1", "1,234"]);
        assert_eq!(difference(200.0, 210.0), "+5.0 %");
        assert_eq!(difference(3.0, 3.2), "as planned");
        assert_eq!(difference(0.0, 7.0), "not planned");
        assert_eq!([0.002, 0.05, 0.5, 20.0].map(rate), ["7.2/h", "3.0/min", "0.5/s", "20/s"]);
        assert_eq!(bytes(3.0 * 1024.0 * 1024.0), "3.0 MiB");
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let rows =
            vec![vec!["a".to_owned(), "1".into(), String::new()], vec!["bc".into(), "1,000".into(), String::new()]];
        let text = lines(&["x", "n", ""], "lrl", &rows);
        let expected = "  x       n\n  ─────────\n  a       1\n  bc  1,000\n";
        assert_eq!(text, expected);
    }
}
