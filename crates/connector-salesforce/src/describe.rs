//! Descriptions of objects, cached until somebody says that they are out of date.

use crate::faults::{self, fault};
use crate::transport::{Call, Transport};
use contract::{FieldKind, FieldSchema, ObjectSchema, SinkError};
use http::StatusCode;
use model::{ErrorClass, ObjectName};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Cached descriptions.
///
/// A forgotten one is kept for `If-Modified-Since`: the org then answers 304 without the (often 500 KB) body. A change of
/// permissions need not move that date, so one that is forgotten again after a 304 is fetched whole.
#[derive(Default)]
pub(crate) struct Descriptions {
    cached: Mutex<HashMap<ObjectName, Cached>>,
    /// One request at a time: callers that wait find the answer in the cache.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Cached {
    schema: Arc<ObjectSchema>,
    last_modified: Option<String>,
    fresh: bool,
    /// The last answer was a 304.
    confirmed: bool,
}

impl Descriptions {
    /// Returns the description, fetching it when it is not cached.
    ///
    /// # Errors
    /// `SinkError`; `PS4101` with class `Permanent` when there is no such object, or the user may not see it.
    pub async fn get(
        &self,
        transport: &Transport,
        object: &ObjectName,
        spent: &mut u32,
    ) -> Result<Arc<ObjectSchema>, SinkError> {
        if let Some(schema) = self.fresh(object) {
            return Ok(schema);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(schema) = self.fresh(object) {
            return Ok(schema);
        }
        let stale = self.cached.lock().get(object).cloned();
        let place = format!("describe {object}");
        if !is_api_name(object.as_str()) {
            return Err(fault(faults::NO_OBJECT, ErrorClass::Permanent, &place, "this is no object's API name"));
        }
        let mut call = Call::get(format!("{}/sobjects/{object}/describe", transport.data_path), &place);
        call.if_modified_since = stale.as_ref().and_then(|cached| cached.last_modified.as_deref());
        let answer = transport.call(&call, spent).await.map_err(|mut error| {
            if matches!(error.target_code.as_deref(), Some("NOT_FOUND" | "INVALID_TYPE")) {
                error.code = model::ErrorCode(faults::NO_OBJECT);
                error.class = ErrorClass::Permanent;
            }
            error
        })?;
        let cached = match (answer.status, stale) {
            (StatusCode::NOT_MODIFIED, Some(stale)) => Cached { fresh: true, confirmed: true, ..stale },
            _ => Cached {
                schema: Arc::new(parse(&answer.body).map_err(|why| {
                    fault(
                        faults::MALFORMED,
                        ErrorClass::Transient,
                        &place,
                        format!("the description cannot be read: {why}"),
                    )
                })?),
                last_modified: answer.last_modified,
                fresh: true,
                confirmed: false,
            },
        };
        let schema = Arc::clone(&cached.schema);
        self.cached.lock().insert(object.clone(), cached);
        Ok(schema)
    }

    fn fresh(&self, object: &ObjectName) -> Option<Arc<ObjectSchema>> {
        self.cached.lock().get(object).filter(|cached| cached.fresh).map(|cached| Arc::clone(&cached.schema))
    }

    /// Says that the description is out of date.
    pub fn forget(&self, object: &ObjectName) {
        let mut cached = self.cached.lock();
        match cached.get_mut(object) {
            Some(entry) if entry.confirmed || entry.last_modified.is_none() => {
                cached.remove(object);
            }
            Some(entry) => entry.fresh = false,
            None => {}
        }
    }
}

/// True for what can be an object's or a field's API name, and so can stand in a path or in SOQL as it is.
pub(crate) fn is_api_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireObject {
    name: String,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    deletable: bool,
    #[serde(default)]
    queryable: bool,
    fields: Vec<WireField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WireField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    length: u32,
    precision: u32,
    /// Digits of an `int`, which has no precision.
    digits: u32,
    scale: u32,
    nillable: bool,
    defaulted_on_create: bool,
    createable: bool,
    updateable: bool,
    external_id: bool,
    id_lookup: bool,
    unique: bool,
    case_sensitive: bool,
    calculated: bool,
    reference_to: Option<Vec<String>>,
    relationship_name: Option<String>,
    picklist_values: Option<Vec<WirePicklistValue>>,
    restricted_picklist: bool,
    /// 0 or 1 for a master-detail relationship, null for a lookup.
    relationship_order: Option<u8>,
}

#[derive(Deserialize)]
struct WirePicklistValue {
    value: Option<String>,
    #[serde(default)]
    active: bool,
}

fn parse(body: &[u8]) -> Result<ObjectSchema, serde_json::Error> {
    let object: WireObject = serde_json::from_slice(body)?;
    Ok(ObjectSchema {
        name: ObjectName::new(object.name),
        createable: object.createable,
        updateable: object.updateable,
        deletable: object.deletable,
        queryable: object.queryable,
        fields: object.fields.into_iter().map(field).collect(),
    })
}

fn field(wire: WireField) -> FieldSchema {
    let picklist = wire.picklist_values.unwrap_or_default().into_iter();
    FieldSchema {
        kind: kind(&wire.kind),
        name: wire.name.into(),
        length: wire.length,
        precision: if wire.precision == 0 { wire.digits } else { wire.precision },
        scale: wire.scale,
        nillable: wire.nillable,
        defaulted_on_create: wire.defaulted_on_create,
        createable: wire.createable,
        updateable: wire.updateable,
        external_id: wire.external_id,
        id_lookup: wire.id_lookup,
        unique: wire.unique,
        case_sensitive: wire.case_sensitive,
        calculated: wire.calculated,
        reference_to: wire.reference_to.unwrap_or_default().iter().map(ObjectName::new).collect(),
        relationship_name: wire.relationship_name.map(Arc::from),
        picklist: picklist.filter(|value| value.active).filter_map(|value| value.value).collect(),
        picklist_restricted: wire.restricted_picklist,
        master_detail: wire.relationship_order.is_some(),
    }
}

/// Maps describe's `type`. Source: SOAP API Developer Guide, "Field Types".
fn kind(wire: &str) -> FieldKind {
    match wire {
        "id" => FieldKind::Id,
        "boolean" => FieldKind::Boolean,
        "int" | "long" => FieldKind::Int,
        "double" | "percent" => FieldKind::Double,
        "currency" => FieldKind::Currency,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::Datetime,
        "time" => FieldKind::Time,
        "string" | "encryptedstring" | "combobox" => FieldKind::Text,
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "url" => FieldKind::Url,
        "textarea" => FieldKind::TextArea,
        "picklist" => FieldKind::Picklist,
        "multipicklist" => FieldKind::MultiPicklist,
        "reference" => FieldKind::Reference,
        "base64" => FieldKind::Base64,
        "address" | "location" => FieldKind::Compound,
        _ => FieldKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_description_is_read_with_nulls_and_unknown_keys() {
        let body = br#"{"name":"Case","createable":true,"updateable":true,"deletable":true,"queryable":true,"label":"x",
            "fields":[{"name":"Status","type":"picklist","length":255,"nillable":true,"createable":true,"updateable":true,
              "picklistValues":[{"value":"New","active":true},{"value":"Old","active":false}],"restrictedPicklist":true,
              "referenceTo":[],"relationshipName":null,"extra":1},
             {"name":"Num__c","type":"double","precision":18,"scale":2},{"name":"N","type":"int","digits":9},
             {"name":"AccountId","type":"reference","referenceTo":["Account"],"relationshipName":"Account","relationshipOrder":null},
             {"name":"Order__c","type":"reference","referenceTo":["Order__c"],"relationshipName":"Order__r","relationshipOrder":0}]}"#;
        let schema = parse(body).unwrap();
        let status = schema.field("status").unwrap();
        assert_eq!((status.kind, status.picklist.as_slice()), (FieldKind::Picklist, ["New".to_owned()].as_slice()));
        assert!(status.picklist_restricted);
        assert_eq!(schema.field("Num__c").map(|f| (f.precision, f.scale)), Some((18, 2)));
        assert_eq!(schema.field("N").map(|f| f.precision), Some(9));
        assert_eq!(schema.field("AccountId").unwrap().relationship_name.as_deref(), Some("Account"));
        let owned = |name| schema.field(name).unwrap().master_detail;
        assert!(owned("Order__c") && !owned("AccountId"));
    }

    #[test]
    fn only_api_names_go_into_paths_and_queries() {
        assert!(is_api_name("Order__c") && is_api_name("ns__Order__c"));
        assert!(
            !is_api_name("")
                && !is_api_name("1a")
                && !is_api_name("a/../b")
                && !is_api_name("a b")
                && !is_api_name("É")
        );
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let _ = parse(&body);
        }
    }
}
