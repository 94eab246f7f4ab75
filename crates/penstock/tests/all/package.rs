//! The Salesforce package and the simulated org agree: what Penstock writes fits what the package defines.

use org_sim::{ObjectsSpec, OrgConfig, OrgSim};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The text inside the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = xml.find(&open)? + open.len();
    Some(&xml[from..from + xml[from..].find(&close)?])
}

/// A field of the package as an org's schema file would say it.
fn field(xml: &str) -> Value {
    let is = |name: &str| element(xml, name) == Some("true");
    let number = |name: &str| element(xml, name).and_then(|text| text.parse::<u64>().ok());
    let kind = match element(xml, "type").expect("the package is whole") {
        "Text" => "text",
        "LongTextArea" => "long_text_area",
        "Number" => "number",
        "Picklist" => "picklist",
        "DateTime" => "datetime",
        other => panic!("{other}"),
    };
    let values: Vec<&str> =
        xml.split("<value>").skip(1).map(|part| element(part, "fullName").expect("the package is whole")).collect();
    let default = element(xml, "defaultValue").and_then(|text| text.parse::<i64>().ok()).map(Value::from);
    json!({
        "type": kind, "label": element(xml, "label"), "length": number("length"), "precision": number("precision"),
        "scale": number("scale"), "required": is("required"), "external_id": is("externalId"), "unique": is("unique"),
        "case_sensitive": is("caseSensitive"), "restricted": is("restricted"),
        "default": default.or_else(|| values.first().map(|first| json!(first))), "values": values,
    })
}

/// An object of the package as an org's schema file would say it.
fn object(name: &str) -> Value {
    let folder = repository("salesforce/force-app/main/default/objects").join(name);
    let xml = std::fs::read_to_string(folder.join(format!("{name}.object-meta.xml"))).expect("the package is whole");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("fields"))
        .expect("the package is whole")
        .map(|entry| entry.expect("the package is whole").path())
        .collect();
    files.sort();
    let mut fields = serde_json::Map::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("the package is whole");
        fields.insert(element(&text, "fullName").expect("the package is whole").to_owned(), field(&text));
    }
    let publish = element(&xml, "publishBehavior").map(|word| match word {
        "PublishImmediately" => "immediately",
        "PublishAfterCommit" => "after_commit",
        other => panic!("{other}"),
    });
    let name = element(&xml, "displayFormat").map(|format| json!({"auto_number": format}));
    json!({
        "label": element(&xml, "label"), "plural": element(&xml, "pluralLabel"), "name": name, "publish": publish,
        "fields": fields,
    })
}

fn schema() -> ObjectsSpec {
    let text = std::fs::read_to_string(repository("examples/salesforce-org.yaml")).expect("the package is whole");
    serde_saphyr::from_str(&text).expect("the package is whole")
}

#[test]
fn the_simulated_orgs_schema_is_the_packages() {
    let names = ["CDC_Staging__c", "Integration_Log__c", "PostgreSQL_Data__e"];
    let objects: serde_json::Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), object(name))).collect();
    let package: ObjectsSpec = serde_json::from_value(json!({ "objects": objects })).expect("the package is whole");
    assert_eq!(
        serde_json::to_value(schema()).expect("the package is whole"),
        serde_json::to_value(package).expect("the package is whole")
    );
}

#[tokio::test]
async fn an_event_of_the_packages_fields_is_published_and_one_with_another_field_is_refused() {
    let config = OrgConfig { objects: schema(), ..OrgConfig::default() };
    let app = config.apps[0].clone();
    let org = OrgSim::start(config).await.expect("the package is whole");
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("the package is whole");
    let form =
        [("grant_type", "client_credentials"), ("client_id", &app.client_id), ("client_secret", &app.client_secret)];
    let token: Value = client
        .post(format!("{}/services/oauth2/token", org.url()))
        .form(&form)
        .send()
        .await
        .expect("the package is whole")
        .json()
        .await
        .expect("the package is whole");
    let event = json!({
        "attributes": {"type": "PostgreSQL_Data__e"}, "Pipeline__c": "city", "Event_Type__c": "city.service_request",
        "Table__c": "city.service_request", "Operation__c": "u", "Key__c": "{\"unique_key\":1}", "Position__c": "0:17",
        "Committed_At__c": "2026-11-21T20:00:00.000Z", "Payload__c": "{\"unique_key\":1,\"status\":\"Closed\"}",
    });
    let publish = async |event: &Value| -> Value {
        let request = client.post(format!("{}/services/data/v62.0/composite/sobjects", org.url()));
        let request = request.bearer_auth(token["access_token"].as_str().expect("the package is whole"));
        request
            .json(&json!({"allOrNone": false, "records": [event]}))
            .send()
            .await
            .expect("the package is whole")
            .json()
            .await
            .expect("the package is whole")
    };

    let published = publish(&event).await;
    assert_eq!(published[0]["success"], true, "{published}");
    let mut unknown = event.clone();
    unknown["Colour__c"] = json!("blue");
    assert_ne!(publish(&unknown).await[0]["success"], true);
    let mut incomplete = event;
    incomplete.as_object_mut().expect("the package is whole").remove("Position__c");
    assert_ne!(publish(&incomplete).await[0]["success"], true);
    org.stop().await;
}
