//! Commands that need no server.

use super::{answer, penstock};

#[tokio::test]
async fn explain_prints_a_page_and_refuses_an_unknown_code() {
    let folder = tempfile::tempdir().unwrap();
    let page = penstock(folder.path(), &["explain", "PS1003", "--json"], &[]).await;
    assert_eq!(page.status.code(), Some(0));
    assert_eq!(answer(&page)["result"]["code"], "PS1003");
    let none = penstock(folder.path(), &["explain", "PS0000", "--json"], &[]).await;
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(answer(&none)["ok"], false);
}

#[tokio::test]
async fn init_then_check_offline_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(penstock(folder.path(), &["init"], &[]).await.status.code(), Some(0));
    let check = penstock(folder.path(), &["check", "--offline", "--json"], &[]).await;
    assert_eq!((check.status.code(), answer(&check)["ok"].clone()), (Some(0), true.into()));
    let again = penstock(folder.path(), &["init", "--json"], &[]).await;
    assert_eq!(again.status.code(), Some(2));
}

#[tokio::test]
async fn a_missing_configuration_is_exit_2_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["check", "run", "status", "prove"] {
        let output = penstock(folder.path(), &[command, "--json"], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{command}");
        let answer = answer(&output);
        assert_eq!(answer["command"], command);
        assert_eq!(answer["error"]["code"], "PS1001", "{answer}");
    }
}

#[tokio::test]
async fn bad_usage_is_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(penstock(folder.path(), &["frobnicate"], &[]).await.status.code(), Some(2));
    assert_eq!(penstock(folder.path(), &["--help"], &[]).await.status.code(), Some(0));
    assert_eq!(penstock(folder.path(), &["--version"], &[]).await.status.code(), Some(0));
}

#[tokio::test]
async fn schema_is_a_json_schema() {
    let folder = tempfile::tempdir().unwrap();
    let output = penstock(folder.path(), &["schema"], &[]).await;
    assert_eq!(answer(&output)["type"], "object");
}
