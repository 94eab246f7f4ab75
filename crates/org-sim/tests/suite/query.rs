//! Queries: what they find, how they group and page, what they refuse.

use crate::support::{Client, config, org, org_with, read};
use org_sim::{Org, OrgClock, OrgConfig, OrgSim, Request, RunningOrg, parse_objects};
use proptest::prelude::*;
use serde_json::{Value, json};

const OBJECTS: &str = "
objects:
  Deal__c:
    fields:
      Account__c: {type: lookup, to: Account}
      Amount__c: {type: currency}
      Region__c: {type: picklist, values: [North, South]}
      Tags__c: {type: multi_picklist, values: [Red, Green, Blue]}
      Closed__c: {type: date}
      Seen__c: {type: datetime}
      At__c: {type: time}
      Notes__c: {type: long_text_area}
      Owner2__c: {type: lookup, to: [Account, Contact], relationship: Owner2__r}
";

/// 2026-11-21T12:00:00Z, a Saturday.
const NOW_MS: i64 = 1_795_262_400_000;

async fn deals() -> (RunningOrg, Client) {
    let config = OrgConfig { objects: parse_objects(OBJECTS, "test").unwrap(), ..config() };
    let org = OrgSim::start_at(config, OrgClock::standing(NOW_MS)).await.unwrap();
    let client = Client::log_in(&org).await;
    let mut ids = Vec::new();
    for name in ["Acme", "acme", "Bolt"] {
        ids.push(client.create(json!({ "attributes": { "type": "Account" }, "Name": name })).await["id"].clone());
    }
    let contact = json!({ "attributes": { "type": "Contact" }, "LastName": "Lee", "AccountId": ids[0] });
    let contact = client.create(contact).await["id"].clone();
    let closed = ["2026-11-21", "2026-11-15", "2026-10-31", "2026-01-01", "2025-12-31"];
    for (n, day) in closed.iter().enumerate() {
        let record = json!({
            "attributes": { "type": "Deal__c" }, "Account__c": ids[n % 3], "Amount__c": if n == 4 { Value::Null } else { json!(n as f64 + 0.5) },
            "Region__c": if n % 2 == 0 { "North" } else { "South" }, "Closed__c": day, "Seen__c": format!("{day}T13:05:00Z"),
            "At__c": "10:30:00Z", "Tags__c": (["Red", "Red;Green", "Green;Blue", "Blue", ""][n]),
            "Owner2__c": if n == 1 { contact.clone() } else { ids[2].clone() },
        });
        assert_eq!(client.create(record).await["success"], true);
    }
    (org, client)
}

async fn refusal(client: &Client, soql: &str) -> (u16, String, String) {
    let (status, body) = read(client.call("GET", "query").query(&[("q", soql)]).send().await.unwrap()).await;
    let text = |key: &str| body[0][key].as_str().unwrap_or_default().to_owned();
    (status, text("errorCode"), text("message"))
}

#[tokio::test]
async fn conditions_find_exactly_the_rows_they_name() {
    let (org, client) = deals().await;
    for (condition, count) in [
        ("WHERE Closed__c = TODAY", 1),
        ("WHERE Closed__c = THIS_WEEK", 2),
        ("WHERE Closed__c < THIS_WEEK", 3),
        ("WHERE Closed__c = THIS_MONTH", 2),
        ("WHERE Closed__c != THIS_MONTH", 3),
        ("WHERE Closed__c = LAST_MONTH", 1),
        ("WHERE Closed__c = LAST_N_MONTHS:1", 1),
        ("WHERE Closed__c = THIS_QUARTER", 3),
        ("WHERE Closed__c = THIS_YEAR", 4),
        ("WHERE Closed__c = LAST_YEAR", 1),
        ("WHERE Closed__c <= LAST_YEAR", 1),
        ("WHERE Closed__c > LAST_YEAR", 4),
        ("WHERE Closed__c IN (TODAY, LAST_YEAR, 2026-10-31)", 3),
        ("WHERE Closed__c NOT IN (TODAY, LAST_YEAR, 2026-10-31)", 2),
        ("WHERE Seen__c = TODAY", 1),
        ("WHERE Seen__c = N_DAYS_AGO:6", 1),
        ("WHERE Seen__c >= 2026-11-15T13:05:00.000+0000", 2),
        ("WHERE CALENDAR_YEAR(Closed__c) = 2026 AND CALENDAR_MONTH(Closed__c) = 11", 2),
        ("WHERE DAY_ONLY(Seen__c) = 2025-12-31", 1),
        ("WHERE HOUR_IN_DAY(convertTimezone(Seen__c)) = 13", 5),
        ("WHERE At__c = 10:30:00.000Z", 5),
        ("WHERE Tags__c INCLUDES ('Red')", 2),
        ("WHERE Tags__c INCLUDES ('red;green', 'BLUE')", 3),
        ("WHERE Tags__c EXCLUDES ('Blue')", 3),
        ("WHERE Tags__c = 'Red;Green'", 1),
        ("WHERE Account__c IN (SELECT Id FROM Account WHERE Name LIKE 'ac%')", 4),
        ("WHERE Account__c NOT IN (SELECT AccountId FROM Contact)", 3),
        ("WHERE Account__r.Name = 'ACME' AND NOT (Amount__c > 1 OR Amount__c = NULL)", 1),
        ("d WHERE d.Region__c = 'North' AND d.Account__r.Name != 'Bolt'", 2),
        ("WHERE Owner2__r.Type = 'Contact'", 1),
        ("WHERE Owner2__r.Name = 'Lee' OR Owner2__r.Name = 'Bolt'", 5),
        ("WHERE Owner2__r.LastName = 'Lee'", 1),
        ("USING SCOPE everything WHERE Amount__c > 1 LIMIT 1", 1),
    ] {
        let body = client.query(&format!("SELECT COUNT() FROM Deal__c {condition}")).await;
        assert_eq!(body["totalSize"], count, "{condition}");
    }
    org.stop().await;
}

#[tokio::test]
async fn groups_and_aggregates_are_computed_and_named_as_salesforce_does() {
    let (org, client) = deals().await;
    let records = |body: Value| {
        let mut records = body["records"].as_array().unwrap().clone();
        for record in &mut records {
            let attributes = record.as_object_mut().unwrap().shift_remove("attributes");
            assert_eq!(attributes, Some(json!({ "type": "AggregateResult" })));
        }
        records
    };
    let ask = |soql: &'static str| {
        let client = &client;
        async move { records(client.query(soql).await) }
    };
    assert_eq!(
        ask("SELECT COUNT(Id), COUNT(Amount__c), SUM(Amount__c) total, AVG(Amount__c), MIN(Closed__c), MAX(Amount__c), COUNT_DISTINCT(Region__c) FROM Deal__c").await,
        [json!({ "expr0": 5, "expr1": 4, "total": 8, "expr2": 2, "expr3": "2025-12-31", "expr4": 3.5, "expr5": 2 })]
    );
    assert_eq!(
        ask("SELECT Region__c, COUNT(Id) n, AVG(Amount__c) FROM Deal__c GROUP BY Region__c ORDER BY COUNT(Id) DESC")
            .await,
        [json!({ "Region__c": "North", "n": 3, "expr0": 1.5 }), json!({ "Region__c": "South", "n": 2, "expr0": 2.5 })]
    );
    // Grouping disregards case, as comparing does; a parent's field is named by its last part.
    assert_eq!(
        ask("SELECT Account__r.Name, SUM(Amount__c) FROM Deal__c GROUP BY Account__r.Name HAVING COUNT(Id) > 1 AND Account__r.Name LIKE 'a%'").await,
        [json!({ "Name": "Acme", "expr0": 5.5 })]
    );
    assert_eq!(
        ask("SELECT CALENDAR_YEAR(Closed__c) y, COUNT(Id) FROM Deal__c GROUP BY CALENDAR_YEAR(Closed__c) ORDER BY CALENDAR_YEAR(Closed__c) LIMIT 1").await,
        [json!({ "y": 2025, "expr0": 1 })]
    );
    assert_eq!(
        ask("SELECT Region__c FROM Deal__c GROUP BY Region__c ORDER BY Region__c DESC NULLS LAST").await[0],
        json!({ "Region__c": "South" })
    );
    assert_eq!(
        ask("SELECT COUNT(Id), SUM(Amount__c), MAX(Closed__c) FROM Deal__c WHERE Name = 'none'").await,
        [json!({ "expr0": 0, "expr1": null, "expr2": null })],
        "no row still makes one group"
    );
    assert!(ask("SELECT Region__c, COUNT(Id) FROM Deal__c WHERE Name = 'none' GROUP BY Region__c").await.is_empty());
    org.stop().await;
}

#[tokio::test]
async fn child_queries_and_type_of_show_what_belongs_to_each_row() {
    let (org, client) = deals().await;
    let body = client
        .query("SELECT Name, (SELECT LastName FROM Contacts), (SELECT Amount__c, Account__r.Name FROM Deals__r WHERE Amount__c > 0 ORDER BY Amount__c DESC LIMIT 1) FROM Account ORDER BY Name, Id")
        .await;
    let acme = &body["records"][0];
    let keys: Vec<&String> = acme.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["attributes", "Name", "Contacts", "Deals__r"]);
    assert_eq!((acme["Contacts"]["totalSize"].clone(), acme["Contacts"]["done"].clone()), (json!(1), json!(true)));
    assert_eq!(acme["Contacts"]["records"][0]["LastName"], "Lee");
    assert_eq!(acme["Deals__r"]["records"].as_array().unwrap().len(), 1);
    assert_eq!(acme["Deals__r"]["records"][0]["Amount__c"], 3.5);
    assert_eq!(acme["Deals__r"]["records"][0]["Account__r"]["Name"], "Acme");
    assert_eq!(body["records"][2]["Contacts"], Value::Null, "no children are null, not an empty list");
    let soql = "SELECT TYPEOF Owner2__r WHEN Contact THEN LastName, Account.Name WHEN Account THEN Name END FROM Deal__c ORDER BY Amount__c NULLS LAST LIMIT 2";
    let body = client.query(soql).await;
    assert_eq!(body["records"][0]["Owner2__r"]["Name"], "Bolt");
    let contact = &body["records"][1]["Owner2__r"];
    assert_eq!((contact["attributes"]["type"].as_str(), contact["LastName"].as_str()), (Some("Contact"), Some("Lee")));
    let soql = "SELECT Owner2__r.Type, Owner2__r.LastName, Owner2__r.Industry FROM Deal__c ORDER BY Amount__c NULLS LAST LIMIT 2";
    let body = client.query(soql).await;
    let owners: Vec<String> = [0, 1]
        .map(|at| {
            let mut owner = body["records"][at]["Owner2__r"].clone();
            owner.as_object_mut().unwrap().shift_remove("attributes");
            owner.to_string()
        })
        .into();
    assert_eq!(owners, [r#"{"Type":"Account","Industry":null}"#, r#"{"Type":"Contact","LastName":"Lee"}"#]);
    org.stop().await;
}

#[tokio::test]
async fn children_beyond_a_page_have_a_locator_of_their_own() {
    let (org, client) = org().await;
    let id = client.create(json!({ "attributes": { "type": "Account" }, "Name": "n" })).await["id"].clone();
    for page in 0..3 {
        let record =
            |n| json!({ "attributes": { "type": "Contact" }, "LastName": format!("{page}-{n}"), "AccountId": id });
        let rows: Vec<Value> = (0..150).map(record).collect();
        client.send("POST", "composite/sobjects", json!({ "records": rows })).await;
    }
    let request =
        client.call("GET", "query").query(&[("q", "SELECT Id, (SELECT LastName FROM Contacts) FROM Account")]);
    let (_, body) = read(request.header("sforce-query-options", "batchSize=200").send().await.unwrap()).await;
    assert_eq!((body["totalSize"].clone(), body["done"].clone()), (json!(1), json!(true)));
    let mut page = body["records"][0]["Contacts"].clone();
    let mut seen = Vec::new();
    loop {
        assert_eq!(page["totalSize"], 450);
        seen.extend(page["records"].as_array().unwrap().iter().map(|record| record["LastName"].to_string()));
        match page.get("nextRecordsUrl").cloned() {
            Some(next) => page = client.get(next.as_str().unwrap()).await.1,
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), page["done"].clone()), (450, json!(true)));
    org.stop().await;
}

#[tokio::test]
async fn mistakes_are_refused_with_code_and_place() {
    let (org, client) = deals().await;
    let (_, _, message) = refusal(&client, "SELECT Id, Nothing FROM Account").await;
    assert_eq!(
        message,
        "\nSELECT Id, Nothing FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Nothing' on entity 'Account'. If you \
         are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or \
         the describe call for the appropriate names."
    );
    for (soql, code, part) in [
        ("SELECT Name, COUNT(Id) FROM Account", "MALFORMED_QUERY", "Field must be grouped or aggregated: Name"),
        ("SELECT COUNT(Id) FROM Account GROUP BY Name ORDER BY Phone", "MALFORMED_QUERY", "grouped or aggregated"),
        ("SELECT Name FROM Account HAVING COUNT(Id) > 1", "MALFORMED_QUERY", "HAVING"),
        ("SELECT Name n FROM Account", "MALFORMED_QUERY", "aliasing"),
        (
            "SELECT TYPEOF Owner2__r WHEN Account THEN Name END, Owner2__r.Type FROM Deal__c",
            "INVALID_FIELD",
            "duplicate field selected",
        ),
        ("SELECT Id, id FROM Account", "INVALID_FIELD", "duplicate field selected"),
        ("SELECT Name a, COUNT(Id) a FROM Account GROUP BY Name", "MALFORMED_QUERY", "duplicate alias"),
        ("SELECT SUM(Name) FROM Account", "INVALID_FIELD", "does not support aggregate operator SUM"),
        ("SELECT Description FROM Account GROUP BY Description", "MALFORMED_QUERY", "can not be grouped"),
        ("SELECT Id FROM Account ORDER BY Description", "MALFORMED_QUERY", "can not be sorted"),
        ("SELECT Id FROM Account WHERE COUNT(Id) > 1", "MALFORMED_QUERY", "Aggregate"),
        ("SELECT Id FROM Account GROUP BY ROLLUP(Name)", "MALFORMED_QUERY", "ROLLUP"),
        (
            "SELECT Id, (SELECT Id FROM Nothings) FROM Account",
            "INVALID_TYPE",
            "Didn't understand relationship 'Nothings' in FROM",
        ),
        (
            "SELECT Id FROM Account WHERE Nothing.Name = 'x'",
            "INVALID_FIELD",
            "Didn't understand relationship 'Nothing'",
        ),
        ("SELECT Id FROM Account WHERE Name INCLUDES ('x')", "INVALID_FIELD", "invalid operator"),
        ("SELECT Id FROM Account WHERE Name = TODAY", "INVALID_FIELD", "must be of type"),
        ("SELECT Id FROM Account WHERE CALENDAR_YEAR(Name) = 1", "INVALID_FIELD", "date function"),
        ("SELECT Id FROM Account WHERE Id IN (SELECT Id, Name FROM Account)", "MALFORMED_QUERY", "exactly one"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY", "LIMIT of at most 200"),
        ("SELECT Id FROM Deal__c WHERE Tags__c > 'Red'", "INVALID_FIELD", "invalid operator"),
    ] {
        let (status, found, message) = refusal(&client, soql).await;
        assert_eq!((status, found.as_str()), (400, code), "{soql}: {message}");
        assert!(message.contains(part), "{soql}: {message}");
    }
    let body = client.query("SELECT FIELDS(CUSTOM), Name FROM Deal__c LIMIT 200").await;
    assert!(body["records"][0]["Tags__c"] == "Red" && body["records"][0].get("CreatedDate").is_none());
    let plan = client.get("query?explain=SELECT+Id+FROM+Account+WHERE+Name='x'").await.1;
    assert_eq!(
        (plan["plans"][0]["leadingOperationType"].as_str(), plan["plans"][0]["sobjectCardinality"].clone()),
        (Some("TableScan"), json!(3))
    );
    org.stop().await;
}

#[tokio::test]
async fn too_many_groups_for_one_answer_are_refused() {
    let (org, client) = org_with(config()).await;
    for page in 0..11 {
        let rows = (0..200).map(|n| json!({ "Code__c": format!("{page}-{n}"), "Name": "n" })).collect();
        client.upsert("Account", "Code__c", rows).await;
    }
    let (status, code, _) = refusal(&client, "SELECT Code__c, COUNT(Id) FROM Account GROUP BY Code__c").await;
    assert_eq!((status, code.as_str()), (400, "EXCEEDED_ID_LIMIT"));
    let body = client.query("SELECT Code__c, COUNT(Id) FROM Account GROUP BY Code__c LIMIT 2000").await;
    assert_eq!((body["totalSize"].clone(), body["done"].clone()), (json!(2000), json!(true)));
    org.stop().await;
}

const WORDS: [&str; 46] = [
    "SELECT",
    "FROM",
    "WHERE",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "COUNT(Id)",
    "SUM(Amount__c)",
    "MIN(Closed__c)",
    "CALENDAR_YEAR(Closed__c)",
    "(",
    ")",
    ",",
    "=",
    ">",
    "!=",
    "'x'",
    "1",
    "2026-01-01",
    "null",
    "true",
    "TODAY",
    "LAST_N_YEARS:2000000000",
    "INCLUDES",
    "Id",
    "Name",
    "Tags__c",
    "Region__c",
    "Account__r.Name",
    "Owner2__r.Type",
    "Owner2__r.Name",
    "Deal__c",
    "Account",
    "Deals__r",
    "COUNT()",
    "FIELDS(STANDARD)",
    "DESC",
    "OFFSET",
    "(SELECT Id FROM Deals__r)",
    "TYPEOF Owner2__r WHEN Account THEN Name END",
];

proptest! {
    #[test]
    fn any_words_are_answered_or_refused_without_panic(
        items in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 1..4),
        rest in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..9),
    ) {
        let config = OrgConfig { objects: parse_objects(OBJECTS, "test").unwrap(), ..config() };
        let mut org = Org::new(config, "http://org", NOW_MS).unwrap();
        let token = org.log_in(NOW_MS).unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        for record in [json!({ "attributes": { "type": "Account" }, "Name": "x" }), json!({ "attributes": { "type": "Deal__c" }, "Tags__c": "Red" })] {
            let body = json!({ "records": [record] }).to_string();
            let request = Request::new(&http::Method::POST, "/services/data/v62.0/composite/sobjects", "", &headers, body.as_bytes());
            assert_eq!(org.apply(NOW_MS, &request).status, 200);
        }
        for from in ["Deal__c", "Account"] {
            let text = format!("SELECT {} FROM {from} {}", items.join(","), rest.join(" "));
            let query = format!("q={}", percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC));
            let request = Request::new(&http::Method::GET, "/services/data/v62.0/queryAll", &query, &headers, &[]);
            let answer = org.apply(NOW_MS, &request);
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            prop_assert!(answer.status == 200 && body["records"].is_array() || answer.status == 400 && body[0]["errorCode"].is_string(), "{text}: {body}");
        }
    }
}
