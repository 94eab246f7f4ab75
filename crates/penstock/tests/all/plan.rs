//! `penstock plan` from outside: the page and its numbers, refusals, and the run that follows.

use super::{answer, penstock};
use serde_json::Value;
use std::path::Path;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
        .to_str()
        .expect("a plan tells it")
        .to_owned()
}

async fn planned(args: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a plan tells it");
    let city = example("city.yaml");
    let mut all = vec!["--config", &city, "plan", "--json", "--offline"];
    all.extend(args);
    let output = penstock(folder.path(), &all, &[]).await;
    (output.status.code(), answer(&output))
}

fn api_requests(answer: &Value) -> &Value {
    &answer["result"]["plan"]["orgs"][0]["allocations"][0]
}

const ROWS: [&str; 4] = ["--rows", "city.agency=15", "--rows", "city.service_request=1000"];

#[tokio::test]
async fn an_offline_plan_counts_what_is_given_and_says_what_it_assumes() {
    let (code, told) = planned(&ROWS).await;
    assert_eq!((code, told["result"]["possible"].as_bool()), (Some(0), Some(true)), "{told:#}");
    let routes = told["result"]["plan"]["routes"].as_array().unwrap();
    let records: f64 = routes.iter().map(|route| route["copy"]["total"]["records"].as_f64().unwrap()).sum();
    assert_eq!(records, 1_015.0);
    let assumed = told["result"]["assumed"].to_string();
    assert!(assumed.contains("Developer") && assumed.contains("--measure"), "{assumed}");
}

#[tokio::test]
async fn an_impossible_goal_is_exit_3_with_a_change_that_makes_it_possible() {
    // Two changes a second that must be there within five seconds: some 20,000 calls a day, and 7,500 are the share.
    let busy = ["--rate", "city.service_request=2/s", "--what-if", "deadline=requests:5s"];
    let (code, told) = planned(&[&ROWS[..], &busy].concat()).await;
    assert_eq!(code, Some(3), "{told:#}");
    let problem = &told["result"]["plan"]["problems"][0];
    assert_eq!(problem["kind"], "quota_too_small");
    assert!(!problem["remedies"].as_array().unwrap().is_empty(), "{problem:#}");
    // Each remedy is a change that can be asked for: the edition, for one.
    assert!(problem["remedies"].to_string().contains("Enterprise"), "{problem:#}");
    let (code, told) = planned(&[&ROWS[..], &busy, &["edition=enterprise"]].concat()).await;
    assert_eq!(code, Some(0), "{told:#}");
}

#[tokio::test]
async fn what_if_changes_the_same_arithmetic() {
    let base = [&ROWS[..], &["--rate", "city.service_request=1/s"]].concat();
    let (_, once) = planned(&base).await;
    let (_, twice) =
        planned(&[&base[..], &["--what-if", "rate=2x", "edition=unlimited", "licences=500"]].concat()).await;
    let rate = |told: &Value| told["result"]["plan"]["routes"][1]["live"]["rate"].as_f64().unwrap();
    assert_eq!(rate(&twice), 2.0 * rate(&once));
    assert_eq!(api_requests(&twice)["max"], 2_600_000);
    let (code, told) = planned(&[&base[..], &["--what-if", "colour=blue"]].concat()).await;
    assert_eq!((code, told["error"]["code"].as_str()), (Some(2), Some("PS1010")));
    for wrong in
        [["--rate", "city.nowhere=1/s"], ["--rows", "city.agency=many"], ["--burst", "lots"], ["--measure", "1s"]]
    {
        let (code, told) = planned(&wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}: {told:#}");
    }
}

#[tokio::test]
async fn a_burst_is_told_in_records_bytes_and_time_to_drain() {
    let (_, told) = planned(&[&ROWS[..], &["--burst", "city.service_request=5000/s,10m"]].concat()).await;
    let burst = &told["result"]["plan"]["burst"];
    assert_eq!(burst["records"], 3_000_000.0);
    for part in ["waiting", "bytes", "window_bytes", "calls", "drain_s"] {
        assert!(burst[part].as_f64().is_some_and(|number| number > 0.0), "{part}: {burst:#}");
    }
}

#[tokio::test]
async fn the_page_gives_the_verdict_first_and_no_line_is_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let city = example("city.yaml");
    let args = ["--config", &city, "plan", "--offline", "--rate", "city.service_request=2/s", "--burst", "5000/s,10m"];
    let output = penstock(folder.path(), &[&args[..], &ROWS].concat(), &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].starts_with('✓') || lines[2].starts_with('✗'), "{text}");
    for heading in ["First copy", "Live changes, per day", "Org main", "A burst of", "Assumed"] {
        assert!(text.contains(heading), "{heading}: {text}");
    }
    let notes = lines.iter().position(|line| *line == "Assumed").unwrap();
    assert!(lines[..notes].iter().all(|line| line.chars().count() <= 140), "{text}");
}

#[tokio::test]
async fn plan_against_actual_before_any_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(example("city.yaml")).unwrap();
    std::fs::write(folder.path().join("penstock.yaml"), text).unwrap();
    let output = penstock(folder.path(), &["plan", "--actual", "--json"], &[]).await;
    assert_eq!(answer(&output)["error"]["code"], "PS1104");
    let output = penstock(folder.path(), &["plan", "--actual", "--offline", "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
}
