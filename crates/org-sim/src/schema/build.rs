//! From YAML's objects to working ones: defaults filled in, contradictions refused.

use super::spec::{FieldSpec, FieldType, NameSpec, ObjectSpec, ObjectsSpec, OnDelete, Publish, Targets};
use super::{Checks, Field, Kind, NumberFormat, Object, Reference, Storage, compound, rules};
use crate::error::SimError;
use crate::ids::SfId;
use crate::value::{Decimal, Value, parse_date, parse_datetime};
use hashbrown::HashMap;
use std::sync::Arc;

/// Fields per object, as the number of a field is kept in 16 bits; Salesforce allows 900 at most.
const FIELDS_MAX: usize = 4000;

/// Fields that stand for their record, by name.
const NAME_FIELDS: [&str; 5] = ["Name", "CaseNumber", "OrderNumber", "OrderItemNumber", "Subject"];

/// External ids per object.
const EXTERNAL_IDS_MAX: usize = 25;

/// Masters per object.
const DETAILS_MAX: usize = 2;

/// Reads objects from YAML.
///
/// # Errors
/// `SimError::Unreadable` with line and column.
pub fn parse_yaml(text: &str, place: &str) -> Result<ObjectsSpec, SimError> {
    serde_saphyr::from_str(text)
        .map_err(|error| SimError::Unreadable { place: place.to_owned(), cause: error.to_string() })
}

/// The objects that every org has.
///
/// # Errors
/// `SimError`, if the embedded file were broken (a test sees to it that it is not).
pub fn standard() -> Result<ObjectsSpec, SimError> {
    parse_yaml(include_str!("../../objects/standard.yaml"), "objects/standard.yaml")
}

/// Adds objects and fields to `known`.
///
/// Existing fields keep their number and cannot be redefined differently; repeating the same definition changes nothing.
/// Nothing is changed when an error is returned.
///
/// # Errors
/// `SimError::Definition` with the object and the field.
pub fn extend(known: &[Object], spec: &ObjectsSpec, now_ms: i64) -> Result<Vec<Object>, SimError> {
    let mut objects = known.to_vec();
    for (name, spec) in &spec.objects.0 {
        match objects.iter().position(|object| object.name.eq_ignore_ascii_case(name)) {
            Some(at) => add_fields(&mut objects[at], spec, now_ms)?,
            None => {
                let object = new_object(&objects, name, spec, now_ms)?;
                objects.push(object);
            }
        }
    }
    check_targets(&objects)?;
    Ok(objects)
}

fn check_targets(objects: &[Object]) -> Result<(), SimError> {
    for object in objects {
        for field in &object.fields {
            for to in field.reference.iter().flat_map(|reference| &reference.to) {
                if !objects.iter().any(|other| other.name == *to) {
                    return Err(SimError::definition(
                        format!("{}.{}", object.name, field.name),
                        format!("there is no object {to} to point to"),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn add_fields(object: &mut Object, spec: &ObjectSpec, now_ms: i64) -> Result<(), SimError> {
    let person = |field: &Field| field.storage == Storage::PersonName;
    for (name, spec) in &compound::with_parts(&spec.fields) {
        let mut field = new_field(&object.name, name, spec)?;
        if let Some(when) = &spec.true_when {
            let place = || format!("{}.{name}", object.name);
            let from = object.field(&when.field);
            let from =
                from.ok_or_else(|| SimError::definition(place(), format!("there is no {} before it", when.field)))?;
            field.true_when = Some((from, when.values.clone()));
        }
        match object.field(name) {
            None => {
                object.push(field);
                object.changed_ms = now_ms;
            }
            Some(number) => {
                let known = &object.fields[usize::from(number)];
                if known.kind != field.kind || known.length != field.length || known.unique != field.unique {
                    return Err(SimError::definition(
                        format!("{}.{name}", object.name),
                        "the field exists already and is defined differently",
                    ));
                }
            }
        }
    }
    rules::add(object, &spec.rules.0)?;
    if object.fields.iter().any(person) {
        for field in object.fields.iter_mut().filter(|field| compound::is_name_part(&field.name)) {
            field.compound = Some("Name".into());
        }
    }
    for (count, max, what) in [
        (object.checks.external_id.len(), EXTERNAL_IDS_MAX, "external ids"),
        (object.fields.iter().filter(|field| field.is_detail()).count(), DETAILS_MAX, "master-detail fields"),
    ] {
        if count > max {
            return Err(SimError::definition(&*object.name, format!("more than {max} {what}")));
        }
    }
    if object.fields.len() > FIELDS_MAX {
        return Err(SimError::definition(&*object.name, format!("more than {FIELDS_MAX} fields")));
    }
    Ok(())
}

fn new_object(known: &[Object], name: &str, spec: &ObjectSpec, now_ms: i64) -> Result<Object, SimError> {
    check_name(name, name)?;
    let prefix = match &spec.prefix {
        Some(prefix) => prefix_of(name, prefix)?,
        None => free_prefix(name, |prefix| known.iter().any(|object| object.prefix == prefix))
            .ok_or_else(|| SimError::definition(name, "no key prefix is free"))?,
    };
    if let Some(other) = known.iter().find(|other| other.prefix == prefix) {
        return Err(SimError::definition(name, format!("{} has the same key prefix", other.name)));
    }
    let (custom, is_event) = (name.ends_with("__c"), name.ends_with("__e"));
    let label = spec.label.clone().unwrap_or_else(|| label_of(name));
    let mut object = Object {
        name: name.into(),
        plural: spec.plural.clone().unwrap_or_else(|| format!("{label}s")),
        label,
        prefix,
        createable: spec.createable.unwrap_or(true),
        updateable: spec.updateable.unwrap_or(!is_event),
        deletable: spec.deletable.unwrap_or(!is_event),
        queryable: spec.queryable.unwrap_or(!is_event),
        publish_at_once: spec.publish != Some(Publish::AfterCommit),
        fields: Vec::new(),
        compounds: Vec::new(),
        checks: Checks::default(),
        rules: Vec::new(),
        changed_ms: now_ms,
        by_name: HashMap::new(),
        by_relationship: HashMap::new(),
    };
    object.push(system("Id", Kind::Id, Storage::Id));
    object.push(system("IsDeleted", Kind::Boolean, Storage::IsDeleted));
    let is_detail = spec.fields.0.iter().any(|(_, field)| field.kind == FieldType::MasterDetail);
    let has_owner = spec.fields.0.iter().any(|(field, _)| field == "OwnerId");
    if spec.owner.unwrap_or(!is_detail && !is_event && name != "User") && !has_owner {
        let mut owner = system("OwnerId", Kind::Reference, Storage::Cell);
        owner.reference = Some(to_user("Owner"));
        (owner.createable, owner.updateable) = (true, true);
        object.push(owner);
    }
    if custom && !spec.fields.0.iter().any(|(field, _)| field == "Name") {
        object.push(custom_name(name, spec)?);
    }
    for (field, storage) in [
        ("CreatedDate", Storage::CreatedDate),
        ("LastModifiedDate", Storage::LastModifiedDate),
        ("SystemModstamp", Storage::SystemModstamp),
    ] {
        object.push(system(field, Kind::Datetime, storage));
    }
    for (field, storage, relationship) in [
        ("CreatedById", Storage::CreatedById, "CreatedBy"),
        ("LastModifiedById", Storage::LastModifiedById, "LastModifiedBy"),
    ] {
        let mut by = system(field, Kind::Reference, storage);
        by.reference = Some(to_user(relationship));
        object.push(by);
    }
    add_fields(&mut object, spec, now_ms)?;
    Ok(object)
}

fn to_user(relationship: &str) -> Reference {
    Reference {
        to: vec!["User".into()],
        relationship: Some(relationship.into()),
        on_delete: OnDelete::Clear,
        master_detail: false,
    }
}

fn custom_name(object: &str, spec: &ObjectSpec) -> Result<Field, SimError> {
    let spec = match &spec.name {
        Some(NameSpec::AutoNumber(format)) => {
            FieldSpec { kind: FieldType::AutoNumber, format: Some(format.clone()), ..FieldSpec::default() }
        }
        _ => FieldSpec { kind: FieldType::Text, length: Some(80), ..FieldSpec::default() },
    };
    let mut field = new_field(object, "Name", &spec)?;
    field.name_field = true;
    Ok(field)
}

fn system(name: &str, kind: Kind, storage: Storage) -> Field {
    Field {
        name: name.into(),
        label: label_of(name),
        kind,
        storage,
        length: if matches!(kind, Kind::Id | Kind::Reference) { 18 } else { 0 },
        precision: 0,
        scale: 0,
        required: true,
        unique: false,
        external_id: false,
        id_lookup: kind == Kind::Id,
        case_sensitive: false,
        values: Vec::new(),
        restricted: false,
        default: None,
        reference: None,
        createable: false,
        updateable: false,
        auto_number: None,
        name_field: false,
        long: false,
        compound: None,
        true_when: None,
    }
}

fn new_field(object: &str, name: &str, spec: &FieldSpec) -> Result<Field, SimError> {
    let place = format!("{object}.{name}");
    check_name(&place, name)?;
    let (kind, length) = kind_and_length(spec);
    let wrong = |cause: &str| Err(SimError::definition(&*place, cause));
    if matches!(kind, Kind::Picklist | Kind::MultiPicklist) && spec.restricted && spec.values.is_empty() {
        return wrong("a restricted picklist needs values");
    }
    if (spec.external_id || spec.unique) && !matches!(kind, Kind::Text | Kind::Email | Kind::Double | Kind::Int) {
        return wrong("only text, e-mail and numbers can be unique or an external id");
    }
    let scale = spec.scale.unwrap_or(match kind {
        Kind::Currency | Kind::Percent => 2,
        _ => 0,
    });
    let precision = spec.precision.unwrap_or(if kind == Kind::Int { 9 } else { 18 });
    if kind.is_number() && (precision == 0 || precision > 18 || scale > precision) {
        return wrong("precision must be 1 to 18 and not below scale");
    }
    if spec.true_when.is_some() && kind != Kind::Boolean {
        return wrong("only a checkbox has `true_when`");
    }
    let read_only = matches!(spec.kind, FieldType::AutoNumber | FieldType::PersonName | FieldType::Address)
        || spec.true_when.is_some();
    let detail = spec.kind == FieldType::MasterDetail;
    let mut field = Field {
        name: name.into(),
        label: spec.label.clone().unwrap_or_else(|| label_of(name)),
        kind,
        storage: match spec.kind {
            FieldType::PersonName => Storage::PersonName,
            FieldType::Address => Storage::Address,
            _ if spec.true_when.is_some() => Storage::Listed,
            _ => Storage::Cell,
        },
        length,
        precision: if kind.is_number() { precision } else { 0 },
        scale: if kind.is_number() && kind != Kind::Int { scale } else { 0 },
        required: spec.required || detail,
        unique: spec.unique,
        external_id: spec.external_id,
        id_lookup: spec.id_lookup,
        case_sensitive: spec.case_sensitive,
        values: spec.values.clone(),
        restricted: spec.restricted,
        default: None,
        reference: reference(&place, name, spec)?,
        createable: spec.createable.unwrap_or(!read_only),
        updateable: spec.updateable.unwrap_or(!read_only && (!detail || spec.reparentable)),
        auto_number: None,
        name_field: NAME_FIELDS.contains(&name),
        long: spec.kind == FieldType::LongTextArea,
        compound: None,
        true_when: None,
    };
    if spec.kind == FieldType::AutoNumber {
        field.auto_number = Some(number_format(&place, spec.format.as_deref().unwrap_or("{00000000}"))?);
    }
    field.default = default_value(&place, &field, spec)?;
    Ok(field)
}

fn kind_and_length(spec: &FieldSpec) -> (Kind, u32) {
    let length = |default: u32| spec.length.unwrap_or(default);
    match spec.kind {
        FieldType::Text => (Kind::Text, length(255)),
        FieldType::TextArea => (Kind::TextArea, length(255)),
        FieldType::LongTextArea => (Kind::TextArea, length(32_768)),
        FieldType::Picklist => (Kind::Picklist, length(255)),
        FieldType::MultiPicklist => (Kind::MultiPicklist, length(4099)),
        FieldType::Checkbox => (Kind::Boolean, 0),
        FieldType::Int => (Kind::Int, 0),
        FieldType::Number => (Kind::Double, 0),
        FieldType::Currency => (Kind::Currency, 0),
        FieldType::Percent => (Kind::Percent, 0),
        FieldType::Date => (Kind::Date, 0),
        FieldType::Datetime => (Kind::Datetime, 0),
        FieldType::Time => (Kind::Time, 0),
        FieldType::Email => (Kind::Email, length(80)),
        FieldType::Phone => (Kind::Phone, length(40)),
        FieldType::Url => (Kind::Url, length(255)),
        FieldType::Lookup | FieldType::MasterDetail => (Kind::Reference, 18),
        FieldType::AutoNumber => (Kind::Text, length(30)),
        FieldType::PersonName => (Kind::Text, length(121)),
        FieldType::Address => (Kind::Address, 0),
    }
}

fn reference(place: &str, name: &str, spec: &FieldSpec) -> Result<Option<Reference>, SimError> {
    let master_detail = spec.kind == FieldType::MasterDetail;
    if spec.kind != FieldType::Lookup && !master_detail {
        return match spec.to {
            Some(_) => Err(SimError::definition(place, "only a lookup or a master-detail field has `to`")),
            None => Ok(None),
        };
    }
    let to: Vec<Arc<str>> = match &spec.to {
        Some(Targets::One(object)) => vec![object.as_str().into()],
        Some(Targets::Several(objects)) => objects.iter().map(|object| object.as_str().into()).collect(),
        None => Vec::new(),
    };
    if to.is_empty() {
        return Err(SimError::definition(place, "a lookup needs `to`, the object that it points to"));
    }
    let relationship = spec.relationship.clone().unwrap_or_else(|| match name.strip_suffix("__c") {
        Some(stem) => format!("{stem}__r"),
        None => name.strip_suffix("Id").unwrap_or(name).to_owned(),
    });
    let on_delete = match spec.on_delete {
        _ if master_detail => OnDelete::Cascade,
        // A required lookup cannot be cleared.
        OnDelete::Clear if spec.required => OnDelete::Restrict,
        on_delete => on_delete,
    };
    Ok(Some(Reference { to, relationship: Some(relationship.into()), on_delete, master_detail }))
}

fn default_value(place: &str, field: &Field, spec: &FieldSpec) -> Result<Option<Value>, SimError> {
    use serde_json::Value as J;
    let value = match (&spec.default, field.kind) {
        (None, Kind::Boolean) if spec.true_when.is_some() => return Ok(None),
        (None, Kind::Boolean) => Value::Bool(false),
        (None, _) => return Ok(None),
        (Some(J::Bool(value)), Kind::Boolean) => Value::Bool(*value),
        (Some(J::Number(number)), kind) if kind.is_number() => {
            match Decimal::parse(&number.to_string(), field.precision, field.scale) {
                Some(Ok(number)) => Value::Number(number),
                _ => return Err(SimError::definition(place, "the default does not fit the field")),
            }
        }
        (Some(J::String(text)), kind) if kind.is_text() => Value::Text(text.as_str().into()),
        (Some(J::String(text)), Kind::Date) => {
            parse_date(text).map(Value::Date).ok_or_else(|| SimError::definition(place, "the default is no date"))?
        }
        (Some(J::String(text)), Kind::Datetime) => parse_datetime(text)
            .map(Value::Datetime)
            .ok_or_else(|| SimError::definition(place, "the default is no date and time"))?,
        (Some(J::String(text)), Kind::Reference) => SfId::parse(text)
            .map(Value::Id)
            .ok_or_else(|| SimError::definition(place, "the default is no record id"))?,
        _ => return Err(SimError::definition(place, "the default does not fit the field's type")),
    };
    Ok(Some(value))
}

fn number_format(place: &str, format: &str) -> Result<NumberFormat, SimError> {
    let wrong = || SimError::definition(place, "an auto-number format looks like C-{0000}");
    let (before, rest) = format.split_once('{').ok_or_else(wrong)?;
    let (zeros, after) = rest.split_once('}').ok_or_else(wrong)?;
    if zeros.is_empty() || zeros.len() > 18 || !zeros.bytes().all(|byte| byte == b'0') {
        return Err(wrong());
    }
    Ok(NumberFormat { before: before.to_owned(), width: zeros.len(), after: after.to_owned() })
}

fn check_name(place: &str, name: &str) -> Result<(), SimError> {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if letters && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && name.len() <= 80 {
        return Ok(());
    }
    Err(SimError::definition(place, "an API name has letters, digits and underscores and starts with a letter"))
}

fn prefix_of(place: &str, prefix: &str) -> Result<[u8; 3], SimError> {
    <[u8; 3]>::try_from(prefix.as_bytes())
        .ok()
        .filter(|prefix| prefix.iter().all(u8::is_ascii_alphanumeric))
        .ok_or_else(|| SimError::definition(place, "a key prefix has three letters or digits"))
}

/// The first custom key prefix that is not taken: `a00`, `a01`, …, for events `e00`, `e01`, ….
pub fn free_prefix(object: &str, taken: impl Fn([u8; 3]) -> bool) -> Option<[u8; 3]> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let first = if object.ends_with("__e") { b'e' } else { b'a' };
    let all = DIGITS.iter().flat_map(|second| DIGITS.iter().map(move |third| [first, *second, *third]));
    all.into_iter().find(|prefix| !taken(*prefix))
}

/// `LastModifiedDate` → `Last Modified Date`, `AccountId` → `Account ID`, `Agency_Code__c` → `Agency Code`.
fn label_of(name: &str) -> String {
    let stem = name.strip_suffix("__c").unwrap_or(name);
    let mut label = String::with_capacity(stem.len() + 4);
    let mut previous = ' ';
    for letter in stem.chars() {
        if letter == '_' {
            label.push(' ');
        } else {
            if letter.is_ascii_uppercase() && previous.is_ascii_lowercase() {
                label.push(' ');
            }
            label.push(letter);
        }
        previous = letter;
    }
    match label.strip_suffix(" Id") {
        Some(stem) => format!("{stem} ID"),
        None => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(yaml: &str) -> Result<Vec<Object>, SimError> {
        let base = extend(&[], &standard()?, 0)?;
        extend(&base, &parse_yaml(yaml, "test")?, 1)
    }

    #[test]
    fn standard_objects_build_and_repeat_without_change() {
        let objects = extend(&[], &standard().unwrap(), 0).unwrap();
        let again = extend(&objects, &standard().unwrap(), 9).unwrap();
        assert!(again.iter().all(|object| object.changed_ms == 0));
        for name in ["Account", "Contact", "Case", "Lead", "Opportunity", "User"] {
            assert!(objects.iter().any(|object| &*object.name == name), "{name}");
        }
    }

    #[test]
    fn custom_object_gets_prefix_name_owner_and_system_fields() {
        let objects =
            built("objects: {Order__c: {fields: {Total__c: {type: currency}, A__c: {type: lookup, to: Account}}}}")
                .unwrap();
        let order = objects.last().unwrap();
        assert_eq!(order.prefix, *b"a00");
        for name in ["Id", "Name", "OwnerId", "SystemModstamp", "total__c"] {
            assert!(order.field(name).is_some(), "{name}");
        }
        assert_eq!(order.relationship("a__R"), order.field("A__c"));
        assert_eq!(order.fields[usize::from(order.field("Total__c").unwrap())].scale, 2);
    }

    #[test]
    fn contradictions_are_refused_with_their_place() {
        for (yaml, place) in [
            ("objects: {A__c: {fields: {P__c: {type: picklist, restricted: true}}}}", "A__c.P__c"),
            ("objects: {A__c: {fields: {L__c: {type: lookup}}}}", "A__c.L__c"),
            ("objects: {A__c: {fields: {L__c: {type: lookup, to: Nothing}}}}", "A__c.L__c"),
            ("objects: {A__c: {prefix: '001'}}", "A__c"),
            ("objects: {A__c: {fields: {D__c: {type: date, unique: true}}}}", "A__c.D__c"),
            ("objects: {A__c: {fields: {N__c: {type: number, precision: 19}}}}", "A__c.N__c"),
            ("objects: {A__c: {fields: {N__c: {type: number, default: x}}}}", "A__c.N__c"),
            ("objects: {Account: {fields: {Name: {type: number}}}}", "Account.Name"),
        ] {
            let error = built(yaml).unwrap_err();
            assert!(error.to_string().contains(&format!("at {place}:")), "{yaml}: {error}");
        }
    }

    #[test]
    fn unknown_key_is_refused_with_its_line() {
        let error = parse_yaml("objects:\n  A__c:\n    fields: {X__c: {typ: text}}\n", "f.yaml").unwrap_err();
        assert!(error.to_string().contains("typ"), "{error}");
        assert!(parse_yaml("objects: {A__c: {}, A__c: {}}", "f.yaml").is_err());
    }
}
