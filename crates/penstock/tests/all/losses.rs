//! Ways in which connectors of today lose rows in silence, attacked from outside the program. Those that lie in a single call are
//! in connector-salesforce's `losses.rs`.

use super::world::{CITY, Made, World};
use org_sim::{FieldAccess, FieldSecurity};
use serde_json::Value;

const ROWS: &str = "insert into city.agency values ('FDNY', 'Fire');
                    insert into city.service_request (unique_key, agency, created_date, complaint_type, status, borough)
                    values (1, 'FDNY', now(), 'Smoke', 'Open', 'BRONX')";

/// A finding of this code in what `check` told.
fn finding<'a>(told: &'a Value, code: &str) -> Option<&'a Value> {
    told["result"]["findings"].as_array()?.iter().find(|finding| finding["code"] == code)
}

#[tokio::test]
async fn a_table_that_no_route_takes_is_told_and_its_changes_arrive_when_one_does() {
    let mut whole = String::new();
    let without_requests = |text: String| {
        whole.clone_from(&text);
        text.split_once("  requests:\n").map(|(above, _)| above.to_owned()).unwrap()
    };
    let world = World::new(Made { rows: ROWS, ..CITY }, without_requests).await;
    let told = world.done(&["check", "--json"]).await;
    let told = finding(&told, "PS1011").expect("a finding").to_string();
    assert!(told.contains("city.service_request"), "{told}");
    world.settle().await;
    world.sql("update city.service_request set status = 'Closed'").await;
    world.settle().await;
    assert_eq!((world.org.records("Account").len(), world.org.records("Case").len()), (1, 0));

    std::fs::write(world.folder.path().join("penstock.yaml"), whole).unwrap();
    world.settle().await;
    let cases = world.org.records("Case");
    assert_eq!((cases.len(), cases[0]["Status"].as_str()), (1, Some("Closed")), "{cases:?}");
    let ours = |entry: &&org_sim::HistoryEntry| entry.object == "Case";
    assert_eq!(world.org.history().iter().filter(ours).count(), 2, "the copied row and its change, in this order");
    world.done(&["prove", "--json"]).await;
    world.org.stop().await;
}

#[tokio::test]
async fn a_field_that_the_user_may_not_write_is_told_before_anything_is_sent() {
    for access in [FieldAccess::Hidden, FieldAccess::ReadOnly] {
        let security = FieldSecurity { user: None, object: "Case".into(), field: "Borough__c".into(), access };
        let world =
            World::with_org(Made { rows: ROWS, ..CITY }, |text| text, |org| org.field_security = vec![security]);
        let world = world.await;
        for command in [&["check", "--json"][..], &["run", "--until-settled", "--json"]] {
            let (code, told) = world.run(command).await;
            assert!(code != Some(0) && told.to_string().contains("Borough__c"), "{command:?} {code:?}: {told:#}");
        }
        assert!(world.org.history().is_empty(), "{access:?}: no row is written without the field");
        world.org.stop().await;
    }
}

#[tokio::test]
async fn a_position_that_is_no_longer_there_stops_the_run_with_the_reason() {
    let world = World::new(Made { rows: ROWS, ..CITY }, |text| text).await;
    world.settle().await;
    world.sql("select pg_drop_replication_slot('penstock')").await;
    world.sql("update city.service_request set status = 'Closed'").await;
    let (code, told) = world.run(&["run", "--until-settled", "--json"]).await;
    assert!(code != Some(0) && told.to_string().contains("PS2153"), "{code:?}: {told:#}");
    world.org.stop().await;
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let sizes = entries.map(|entry| match entry.file_type().expect("a type").is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().expect("a size").len(),
    });
    sizes.sum()
}

#[tokio::test]
async fn a_stream_that_is_smaller_than_what_goes_through_it_loses_nothing() {
    const MIB: u64 = 1 << 20;
    let rows = "insert into city.agency values ('DOT', 'Roads');
                insert into city.service_request
                    (unique_key, agency, created_date, complaint_type, status, resolution_description)
                select n, 'DOT', now(), 'Pothole', 'Open',
                    (select string_agg(md5(n || '/' || part), '') from generate_series(1, 900) part)
                from generate_series(1, 2600) n";
    let limited = |text: String| text.replacen("    from: city_db\n", "    from: city_db\n    max_bytes: 64MiB\n", 1);
    let world = World::new(Made { rows, ..CITY }, limited).await;
    world.settle().await;
    assert_eq!(world.org.records("Case").len(), 2_600, "of 75 MB each row arrives");
    world.done(&["prove", "--json"]).await;
    let bytes = bytes_below(&world.folder.path().join("penstock-data/log"));
    assert!(bytes < 90 * MIB, "the log has {} MiB", bytes / MIB);
    world.org.stop().await;
}
