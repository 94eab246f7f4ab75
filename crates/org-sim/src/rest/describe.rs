//! Describe: what objects and fields there are.

use super::Plan;
use crate::answer::{Request, Response};
use crate::org::Org;
use crate::schema::{Field, Kind, Object};
use crate::store::FieldAccess;
use crate::value::civil;
use serde_json::{Value as J, json};

/// `GET /sobjects`.
pub fn global(org: &Org, version: u32, request: &Request<'_>) -> Response {
    let changed_ms = org.store.tables().iter().map(|table| table.object.changed_ms).max().unwrap_or(0);
    if unchanged(request, changed_ms) {
        return Response::empty(304).with("last-modified", http_date(changed_ms));
    }
    let objects: Vec<J> = org.store.tables().iter().map(|table| summary(&table.object, version)).collect();
    Response::value(200, &json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects }))
        .with("last-modified", http_date(changed_ms))
}

/// `GET /sobjects/X`.
pub fn info(org: &Org, plan: &Plan) -> Response {
    match find(org, plan) {
        Some(object) => {
            Response::value(200, &json!({ "objectDescribe": summary(object, plan.version), "recentItems": [] }))
        }
        None => super::no_such_object(),
    }
}

/// `GET /sobjects/X/describe`; 304 when nothing changed since `If-Modified-Since`.
pub fn object(org: &Org, plan: &Plan, request: &Request<'_>) -> Response {
    let Some(object) = find(org, plan) else { return super::no_such_object() };
    let modified = http_date(object.changed_ms);
    if unchanged(request, object.changed_ms) {
        return Response::empty(304).with("last-modified", modified);
    }
    let mut body = summary(object, plan.version);
    body["fields"] = fields(org, object);
    body["childRelationships"] = children(org, object);
    set_all(&mut body, &OBJECT_ONLY_NULL, &J::Null);
    set_all(&mut body, &["actionOverrides", "namedLayoutInfos", "recordTypeInfos"], &json!([]));
    body["compactLayoutable"] = J::Bool(true);
    body["sobjectDescribeOption"] = json!("FULL");
    body["supportedScopes"] = json!([{ "label": format!("All {}", object.plural), "name": "everything" }]);
    Response::value(200, &body).with("last-modified", modified)
}

fn unchanged(request: &Request<'_>, changed_ms: i64) -> bool {
    let since = request.header("if-modified-since").and_then(parse_http_date);
    since.is_some_and(|since| since >= changed_ms.div_euclid(1000))
}

fn find<'o>(org: &'o Org, plan: &Plan) -> Option<&'o Object> {
    let table = org.store.find_table(plan.object.as_deref()?)?;
    Some(&org.store.table(table).object)
}

/// What a describe of an object tells of what this org has not got.
const OBJECT_FALSE: [&str; 8] = [
    "activateable",
    "customSetting",
    "deepCloneable",
    "deprecatedAndHidden",
    "feedEnabled",
    "hasSubtypes",
    "isInterface",
    "isSubtype",
];
const OBJECT_NULL: [&str; 7] = [
    "associateEntityType",
    "associateParentEntity",
    "defaultImplementation",
    "extendedBy",
    "extendsInterfaces",
    "implementedBy",
    "implementsInterfaces",
];
const OBJECT_ONLY_NULL: [&str; 4] = ["listviewable", "lookupLayoutable", "networkScopeFieldName", "searchLayoutable"];
const FIELD_FALSE: [&str; 9] = [
    "aiPredictionField",
    "calculated",
    "dependentPicklist",
    "deprecatedAndHidden",
    "displayLocationInDecimal",
    "encrypted",
    "formulaTreatNullNumberAsZero",
    "htmlFormatted",
    "writeRequiresMasterRead",
];
const FIELD_NULL: [&str; 8] = [
    "calculatedFormula",
    "controllerName",
    "defaultValueFormula",
    "filteredLookupInfo",
    "inlineHelpText",
    "mask",
    "maskType",
    "referenceTargetField",
];

/// Sets each of `names` to `value`.
fn set_all(described: &mut J, names: &[&str], value: &J) {
    for name in names {
        described[*name] = value.clone();
    }
}

fn summary(object: &Object, version: u32) -> J {
    let mut described = known(object, version);
    set_all(&mut described, &OBJECT_FALSE, &J::Bool(false));
    set_all(&mut described, &OBJECT_NULL, &J::Null);
    described
}

fn known(object: &Object, version: u32) -> J {
    let base = format!("/services/data/v{version}.0/sobjects/{}", object.name);
    json!({
        "name": &*object.name,
        "label": object.label,
        "labelPlural": object.plural,
        "keyPrefix": String::from_utf8_lossy(&object.prefix),
        "custom": object.custom(),
        "mruEnabled": object.queryable,
        "createable": object.createable,
        "updateable": object.updateable,
        "deletable": object.deletable,
        "undeletable": object.deletable,
        "mergeable": object.field(crate::dml::MASTER_FIELD).is_some(),
        "queryable": object.queryable,
        "retrieveable": object.queryable,
        "searchable": object.queryable,
        "replicateable": true,
        "layoutable": true,
        "triggerable": true,
        "urls": { "sobject": base, "describe": format!("{base}/describe"), "rowTemplate": format!("{base}/{{ID}}") },
    })
}

fn fields(org: &Org, object: &Object) -> J {
    let Some(table) = org.store.find_table(&object.name) else { return json!([]) };
    let access = |number: usize| org.store.access.of(table, number as u16);
    let seen = object.fields.iter().enumerate().filter(|(number, _)| access(*number) != FieldAccess::Hidden);
    let described = seen.map(|(number, schema)| {
        let mut described = field(schema);
        set_all(&mut described, &FIELD_FALSE, &J::Bool(false));
        set_all(&mut described, &FIELD_NULL, &J::Null);
        if org.store.access.sets_audit_fields && schema.is_audit() {
            described["createable"] = J::Bool(true);
        }
        if access(number) == FieldAccess::ReadOnly {
            (described["createable"], described["updateable"]) = (J::Bool(false), J::Bool(false));
        }
        described
    });
    described.collect()
}

fn field(field: &Field) -> J {
    let text = field.kind.is_text();
    let nillable = !field.required && field.kind != Kind::Boolean && field.kind != Kind::Id;
    let picklist: Vec<J> = field
        .values
        .iter()
        .map(|value| {
            let chosen = matches!(&field.default, Some(crate::value::Value::Text(text)) if **text == **value);
            json!({ "active": true, "defaultValue": chosen, "label": value, "validFor": null, "value": value })
        })
        .collect();
    let references =
        field.reference.as_ref().map_or(Vec::new(), |reference| reference.to.iter().map(|to| &**to).collect());
    json!({
        "name": &*field.name,
        "label": field.label,
        "type": field.kind.word(),
        "soapType": field.kind.soap(),
        "length": field.length,
        "byteLength": field.length * if text { 3 } else { 1 },
        "precision": if field.kind == Kind::Int { 0 } else { field.precision },
        "digits": if field.kind == Kind::Int { field.precision } else { 0 },
        "scale": field.scale,
        "nillable": nillable,
        "defaultedOnCreate": field.default.is_some() || field.auto_number.is_some() || &*field.name == "OwnerId",
        "defaultValue": field.default.as_ref().map_or(J::Null, default_json),
        "createable": field.createable,
        "updateable": field.updateable,
        "autoNumber": field.auto_number.is_some(),
        "externalId": field.external_id,
        "idLookup": field.id_lookup || field.external_id,
        "unique": field.unique,
        "caseSensitive": field.case_sensitive,
        "custom": field.custom(),
        "nameField": field.name_field,
        "filterable": field.filterable(),
        "sortable": field.filterable(),
        "groupable": field.filterable() && !field.kind.is_number(),
        "restrictedPicklist": field.restricted,
        "picklistValues": picklist,
        "referenceTo": references,
        "relationshipName": field.reference.as_ref().and_then(|reference| reference.relationship.as_deref()),
        "relationshipOrder": field.reference.as_ref().filter(|reference| reference.master_detail).map(|_| 0),
        "cascadeDelete": field.reference.as_ref().is_some_and(|r| r.on_delete == crate::schema::spec::OnDelete::Cascade),
        "restrictedDelete": field.reference.as_ref().is_some_and(|r| r.on_delete == crate::schema::spec::OnDelete::Restrict),
        "polymorphicForeignKey": field.reference.as_ref().is_some_and(|reference| reference.to.len() > 1),
        "compoundFieldName": field.compound.as_deref(),
        "extraTypeInfo": if field.long { json!("plaintextarea") } else { J::Null },
        "aggregatable": field.filterable() && field.kind != Kind::Boolean,
        "highScaleNumber": field.scale > 8,
        "namePointing": field.reference.as_ref().is_some_and(|reference| reference.to.len() > 1),
        "queryByDistance": field.kind == Kind::Address,
        "searchPrefilterable": field.reference.is_some(),
        "permissionable": field.createable && !field.required,
    })
}

fn default_json(value: &crate::value::Value) -> J {
    let mut out = Vec::new();
    value.write_json(&mut out);
    serde_json::from_slice(&out).unwrap_or(J::Null)
}

fn children(org: &Org, parent: &Object) -> J {
    let mut list = Vec::new();
    for table in org.store.tables() {
        for field in &table.object.fields {
            let Some(reference) = &field.reference else { continue };
            if reference.to.contains(&parent.name) {
                list.push(json!({
                    "childSObject": &*table.object.name,
                    "field": &*field.name,
                    "cascadeDelete": reference.on_delete == crate::schema::spec::OnDelete::Cascade,
                    "restrictedDelete": reference.on_delete == crate::schema::spec::OnDelete::Restrict,
                    "relationshipName": crate::schema::children::name(&table.object, field),
                }));
            }
        }
    }
    J::Array(list)
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes an HTTP date (RFC 9110, section 5.6.7).
fn http_date(ms: i64) -> String {
    let (days, seconds) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[(month - 1) as usize],
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Reads an HTTP date; Unix seconds.
fn parse_http_date(text: &str) -> Option<i64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    if !(0..32).contains(&day) || [hours, minutes, seconds].iter().any(|part| !(0..61).contains(part)) {
        return None;
    }
    Some(crate::value::days_from_civil(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_survive_a_round_trip() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        for ms in [0, 951_782_400_000, 1_795_000_000_000] {
            assert_eq!(parse_http_date(&http_date(ms)), Some(ms / 1000));
        }
        assert_eq!(parse_http_date("yesterday, 99 Foo"), None);
    }
}
