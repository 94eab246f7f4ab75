//! Standard objects, compound fields and field types as a client sees them.

use crate::support::{config, org, org_with};
use org_sim::Unverified;
use serde_json::{Value, json};

fn field<'d>(describe: &'d Value, name: &str) -> &'d Value {
    describe["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap()
}

#[tokio::test]
async fn address_is_read_as_an_object_and_written_by_its_parts() {
    let (org, client) = org().await;
    let (_, describe) = client.get("sobjects/Account/describe").await;
    let address = field(&describe, "BillingAddress");
    assert_eq!(
        (&address["type"], &address["createable"], &address["filterable"]),
        (&json!("address"), &json!(false), &json!(false))
    );
    assert_eq!(field(&describe, "BillingStreet")["compoundFieldName"], "BillingAddress");
    assert_eq!(field(&describe, "BillingLatitude")["scale"], 15);
    assert_eq!(field(&describe, "Phone")["compoundFieldName"], Value::Null);
    let record =
        json!({ "Name": "n", "BillingCity": "Oslo", "BillingLatitude": 59.913, "BillingGeocodeAccuracy": "City" });
    let (status, created) = client.send("POST", "sobjects/Account", record).await;
    assert_eq!(status, 201, "{created}");
    let path = format!("sobjects/Account/{}", created["id"].as_str().unwrap());
    let expected = json!({
        "city": "Oslo", "country": null, "geocodeAccuracy": "City", "latitude": 59.913, "longitude": null,
        "postalCode": null, "state": null, "street": null,
    });
    let (_, read) = client.get(&path).await;
    assert_eq!(
        (&read["BillingAddress"], &read["ShippingAddress"], &read["BillingCity"]),
        (&expected, &Value::Null, &json!("Oslo"))
    );
    let found = client.query("SELECT BillingAddress FROM Account WHERE BillingCity = 'oslo'").await;
    assert_eq!(found["records"][0]["BillingAddress"], expected);
    let (status, body) = client.send("PATCH", &path, json!({ "BillingAddress": { "city": "Bergen" } })).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_FIELD_FOR_INSERT_UPDATE")));
    let (status, body) = client.get("query?q=SELECT+Id+FROM+Account+WHERE+BillingAddress='x'").await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    org.stop().await;
}

#[tokio::test]
async fn person_names_are_put_together_from_their_parts() {
    let (org, client) = org().await;
    let objects = json!({ "objects": { "Contact": { "fields": { "MiddleName": { "length": 40 }, "Suffix": { "length": 40 } } } } });
    assert_eq!(client.send("POST", "/_sim/objects", objects).await.0, 200);
    let record = json!({ "Salutation": "Dr.", "FirstName": "A", "MiddleName": "B", "LastName": "C", "Suffix": "Jr." });
    let (_, created) = client.send("POST", "sobjects/Contact", record).await;
    let (_, read) = client.get(&format!("sobjects/Contact/{}?fields=Name", created["id"].as_str().unwrap())).await;
    assert_eq!(read["Name"], "A B C Jr.");
    let (_, describe) = client.get("sobjects/Contact/describe").await;
    for part in ["Salutation", "FirstName", "MiddleName", "LastName"] {
        assert_eq!(field(&describe, part)["compoundFieldName"], "Name", "{part}");
    }
    assert_eq!(field(&describe, "Name")["nameField"], true);
    org.stop().await;
}

#[tokio::test]
async fn standard_objects_hold_together() {
    let (org, client) = org().await;
    let create = async |object: &str, record: Value| {
        let (status, body) = client.send("POST", &format!("sobjects/{object}"), record).await;
        assert_eq!(status, 201, "{object}: {body}");
        body["id"].as_str().unwrap().to_owned()
    };
    let account = create("Account", json!({ "Name": "a" })).await;
    let lead = create("Lead", json!({ "LastName": "l", "Company": "c" })).await;
    let task = create("Task", json!({ "Subject": "s", "WhoId": lead, "WhatId": account, "Status": "Completed" })).await;
    create("Event", json!({ "StartDateTime": "2026-01-01T08:00:00Z", "DurationInMinutes": 30, "WhatId": account }))
        .await;
    create("Campaign", json!({ "Name": "c" })).await;
    let won = create("Opportunity", json!({ "Name": "o", "StageName": "Closed Won", "CloseDate": "2026-01-01" })).await;
    let book = create("Pricebook2", json!({ "Name": "b" })).await;
    let product = create("Product2", json!({ "Name": "p" })).await;
    let entry = create("PricebookEntry", json!({ "Pricebook2Id": book, "Product2Id": product, "UnitPrice": 2 })).await;
    let order =
        create("Order", json!({ "AccountId": account, "EffectiveDate": "2026-01-01", "Status": "Draft" })).await;
    let item = json!({ "OrderId": order, "PricebookEntryId": entry, "Quantity": 1, "UnitPrice": 2 });
    create("OrderItem", item).await;
    let (_, read) = client.get(&format!("sobjects/Task/{task}")).await;
    assert_eq!(
        (&read["IsClosed"], &read["IsHighPriority"], &read["Priority"]),
        (&json!(true), &json!(false), &json!("Normal"))
    );
    let found = client.query("SELECT Id, IsWon, IsClosed FROM Opportunity WHERE IsWon = true").await;
    assert_eq!((&found["records"][0]["Id"], &found["records"][0]["IsClosed"]), (&json!(won), &json!(true)));
    let found = client.query("SELECT OrderNumber, Account.Name FROM Order").await;
    assert_eq!(found["records"][0]["OrderNumber"], "00000001");
    let (status, body) = client.send("POST", "sobjects/Task", json!({ "WhoId": account })).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("FIELD_INTEGRITY_EXCEPTION")));
    let (status, body) = client.send("DELETE", &format!("sobjects/Account/{account}"), Value::Null).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("DELETE_FAILED")), "its order holds it");
    let (_, describe) = client.get("sobjects/OrderItem/describe").await;
    assert!(describe["fields"].as_array().unwrap().iter().all(|field| field["name"] != "OwnerId"));
    assert_eq!(field(&client.get("sobjects/Task/describe").await.1, "WhatId")["polymorphicForeignKey"], true);
    org.stop().await;
}

#[tokio::test]
async fn audit_fields_are_set_on_creation_only_where_that_is_allowed() {
    let old = json!({
        "Name": "n", "CreatedDate": "2001-02-03T04:05:06.789Z", "LastModifiedDate": "2002-02-03T04:05:06Z",
    });
    let (org, client) = org().await;
    let (status, body) = client.send("POST", "sobjects/Account", old.clone()).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_FIELD_FOR_INSERT_UPDATE")));
    org.stop().await;
    let mut config = config();
    config.audit_fields_writable = true;
    let (org, client) = org_with(config).await;
    let (status, body) = client.send("POST", "sobjects/Account", old.clone()).await;
    assert_eq!(status, 201, "{body}");
    let path = format!("sobjects/Account/{}", body["id"].as_str().unwrap());
    let (_, read) = client.get(&path).await;
    assert_eq!(read["CreatedDate"], "2001-02-03T04:05:06.000+0000");
    assert_eq!(read["LastModifiedDate"], "2002-02-03T04:05:06.000+0000");
    assert!(read["SystemModstamp"].as_str().unwrap() > "2020", "the system's own stamp is of now");
    let (status, _) = client.send("PATCH", &path, json!({ "CreatedDate": "2001-02-03T04:05:06Z" })).await;
    assert_eq!(status, 400, "an update never sets them");
    for (field, value) in [("CreatedDate", "2999-01-01T00:00:00Z"), ("LastModifiedDate", "2000-01-01T00:00:00Z")] {
        let mut record = old.clone();
        record[field] = json!(value);
        let (_, body) = client.send("POST", "sobjects/Account", record).await;
        assert_eq!(body[0]["errorCode"], "FIELD_INTEGRITY_EXCEPTION", "{field}");
    }
    org.stop().await;
}

#[tokio::test]
async fn unverified_settings_change_what_is_stored() {
    let strict = Unverified { text_is_trimmed: true, datetimes_to_the_second: true, ..Unverified::default() };
    for (unverified, name, at) in
        [(Unverified::default(), " n ", "2026-01-01T00:00:00.999+0000"), (strict, "n", "2026-01-01T00:00:00.000+0000")]
    {
        let mut config = config();
        config.unverified = unverified;
        let (org, client) = org_with(config).await;
        let record = json!({ "Name": " n ", "Code__c": "k" });
        client.upsert("Account", "Code__c", vec![record]).await;
        let record = json!({ "Key__c": 1, "Total__c": 1, "Placed__c": "2026-01-01T00:00:00.999Z" });
        client.upsert("Order__c", "Key__c", vec![record]).await;
        assert_eq!(
            (&org.records("Account")[0]["Name"], &org.records("Order__c")[0]["Placed__c"]),
            (&json!(name), &json!(at))
        );
        org.stop().await;
    }
}
