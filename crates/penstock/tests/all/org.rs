//! `penstock org` and its sub-commands.

use super::{answer, penstock};
use org_sim::{OrgConfig, OrgSim};
use serde_json::{Value, json};
use std::path::Path;

async fn at(url: &str, folder: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let all = [&["--json", "org", "--at", url], args].concat();
    let output = penstock(folder, &all, &[]).await;
    (output.status.code(), answer(&output))
}

#[tokio::test]
async fn sub_commands_seed_steer_and_show_a_running_org() {
    let org = OrgSim::start(OrgConfig::default()).await.expect("an org");
    let folder = tempfile::tempdir().expect("a folder");
    let url = org.url();
    let here = async |args: &[&str]| at(&url, folder.path(), args).await;

    std::fs::write(folder.path().join("a.csv"), "Name,Phone\nOne,1\nTwo,#N/A\n,3\n").unwrap();
    let (code, seeded) = here(&["seed", "a.csv", "--object", "Account"]).await;
    assert_eq!((code, &seeded["result"]["written"], &seeded["result"]["refused"]), (Some(3), &json!(2), &json!(1)));
    assert_eq!(seeded["result"]["errors"][0]["row"], json!(3));
    assert_eq!(org.count("Account"), 2);

    let (_, history) = here(&["history"]).await;
    let names: Vec<&Value> =
        history["result"]["entries"].as_array().unwrap().iter().map(|e| &e["changes"]["Name"]["after"]).collect();
    assert_eq!(names, [&json!("One"), &json!("Two")]);

    let (_, added) =
        here(&["fault", "add", r#"{"match": {"api": "collections"}, "effect": {"kind": "html503"}, "count": 1}"#])
            .await;
    assert_eq!(added["result"]["id"], json!(1));
    let (code, _) = here(&["seed", "a.csv", "--object", "Account"]).await;
    assert_eq!(code, Some(1));
    let (_, faults) = here(&["fault", "list"]).await;
    assert_eq!(faults["result"]["faults"][0]["fired"], json!(1));
    let (_, cleared) = here(&["fault", "clear"]).await;
    assert_eq!(cleared["result"]["removed"], json!(1));

    let before = here(&["clock", "--advance", "1ms"]).await.1["result"]["now_ms"].as_i64().unwrap();
    let after = here(&["clock", "--advance", "25h"]).await.1["result"]["now_ms"].as_i64().unwrap();
    assert!(after - before >= 25 * 3_600_000);
    let (_, limits) = here(&["limits", "--max", "500", "--used", "20"]).await;
    assert_eq!(limits["result"]["DailyApiRequests"]["Max"], json!(500));
    let (code, _) = here(&["events"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(here(&["reset"]).await.0, Some(2));
    assert_eq!(here(&["reset", "--yes"]).await.0, Some(0));
    assert_eq!(org.count("Account"), 0);
    org.stop().await;
}

#[tokio::test]
async fn sub_command_without_an_org_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let (code, told) = at(&url, folder.path(), &["limits"]).await;
    assert_eq!((code, &told["error"]["code"]), (Some(1), &json!("PS7103")));
    let (code, told) = at(&url, folder.path(), &["clock", "--advance", "soon"]).await;
    assert_eq!((code, &told["error"]["code"]), (Some(2), &json!("PS1010")));
}

/// Starts `penstock org` as a process and answers it with its address.
async fn started(folder: &Path, args: &[&str]) -> (tokio::process::Child, String) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(["--json", "org", "--listen", "127.0.0.1:0"]).args(args).current_dir(folder);
    let mut child = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let told = lines.next_line().await.expect("reads").expect("a line");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    (child, told["url"].as_str().expect("a url").to_owned())
}

#[tokio::test]
async fn settings_file_and_folder_are_heeded_and_records_survive_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("org.yaml"), "edition: unlimited\nlicences: 3\n").unwrap();
    std::fs::write(folder.path().join("a.csv"), "Name\nOne\nTwo\n").unwrap();
    let args = ["--settings", "org.yaml", "--licences", "4", "--folder", "kept"];
    let (mut child, url) = started(folder.path(), &args).await;
    let (_, limits) = at(&url, folder.path(), &["limits"]).await;
    assert_eq!(limits["result"]["DailyApiRequests"]["Max"], json!(120_000));
    assert_eq!(at(&url, folder.path(), &["seed", "a.csv", "--object", "Account"]).await.0, Some(0));
    child.kill().await.expect("it is killed");
    let (_child, url) = started(folder.path(), &args).await;
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let records = reqwest::get(format!("{url}/_sim/records/Account")).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(records["live"], json!(2));

    let output = penstock(folder.path(), &["--json", "org", "--settings", "a.csv"], &[]).await;
    assert_eq!((output.status.code(), &answer(&output)["error"]["code"]), (Some(2), &json!("PS1010")));
}
