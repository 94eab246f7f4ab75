//! Events as JSON, for CometD and the control requests: names instead of bitmaps, nothing that did not change.

use super::avro::{Datum, Member, Type};
use super::bitmap;
use super::schema::{EventSchema, Origin};
use crate::value::Value;
use serde_json::{Map, Value as Json, json};

/// An event's payload as JSON; none when the bytes are no value of the schema.
///
/// Change events leave out what has no value, unless it was set to null; dates and times are texts.
pub fn payload(schema: &EventSchema, bytes: &[u8]) -> Option<Json> {
    let Ok(Datum::Record(values)) = Datum::read(&schema.kind, bytes) else { return None };
    let mut out = Map::new();
    let is_change = schema.origins.first() == Some(&Origin::Header);
    let nulled = if is_change { header(schema, &values[0], &mut out) } else { Vec::new() };
    for (at, (value, member)) in values.iter().zip(schema.members()).enumerate().skip(usize::from(is_change)) {
        let mut json = of(value, member);
        for (_, inner) in nulled.iter().filter(|(top, _)| usize::from(*top) == at) {
            let name = inner.and_then(|inner| Some(&member.kind.record()?.fields.get(usize::from(inner))?.name));
            if let Some(name) = name {
                if json.is_null() {
                    json = json!({});
                }
                json[&**name] = Json::Null;
            }
        }
        let set_to_null = nulled.contains(&(at as u16, None));
        if !is_change || !json.is_null() || set_to_null {
            out.insert(member.name.to_string(), json);
        }
    }
    Some(Json::Object(out))
}

/// Writes the header with names for bitmaps; the fields that were set to null.
fn header(schema: &EventSchema, value: &Datum, out: &mut Map<String, Json>) -> Vec<(u16, Option<u16>)> {
    let members =
        schema.members().first().and_then(|member| member.kind.record()).map_or(&[][..], |record| &record.fields);
    let mut header = Map::new();
    let mut nulled = Vec::new();
    for (value, member) in value.members().iter().zip(members) {
        let json = match (&*member.name, value) {
            ("nulledFields" | "diffFields" | "changedFields", Datum::Texts(entries)) => {
                let fields = bitmap::read(entries).unwrap_or_default();
                let names = fields.iter().map(|(top, inner)| field_name(schema, *top, *inner)).collect();
                if &*member.name == "nulledFields" {
                    nulled = fields;
                }
                names
            }
            _ => plain(value, &member.kind),
        };
        header.insert(member.name.to_string(), json);
    }
    out.insert("ChangeEventHeader".into(), Json::Object(header));
    nulled
}

/// `Phone`, or `BillingAddress.City` for a part of a compound.
pub fn field_name(schema: &EventSchema, top: u16, inner: Option<u16>) -> String {
    let Some(member) = schema.members().get(usize::from(top)) else { return String::new() };
    let part = inner.and_then(|inner| Some(&member.kind.record()?.fields.get(usize::from(inner))?.name));
    part.map_or(member.name.to_string(), |part| format!("{}.{part}", member.name))
}

fn of(value: &Datum, member: &Member) -> Json {
    let doc = member.doc.as_deref().unwrap_or_default();
    match value {
        Datum::Long(ms) if doc.contains("DateTime") => {
            let text = Value::Datetime(*ms).to_string();
            json!(text.replace("+0000", "Z"))
        }
        Datum::Long(ms) if doc.contains("DateOnly") => json!(Value::Date(ms.div_euclid(86_400_000) as i32).to_string()),
        Datum::Long(ms) if doc.contains("TimeOnly") => json!(Value::Time(*ms as i32).to_string()),
        Datum::Record(values) => {
            let fields = member.kind.record().map_or(&[][..], |record| &record.fields);
            let parts = values.iter().zip(fields).filter(|(value, _)| !value.is_null());
            Json::Object(parts.map(|(value, member)| (member.name.to_string(), of(value, member))).collect())
        }
        _ => plain(value, &member.kind),
    }
}

fn plain(value: &Datum, kind: &Type) -> Json {
    match (value, kind) {
        (Datum::Null | Datum::Record(_), _) => Json::Null,
        (Datum::Boolean(value), _) => json!(value),
        (Datum::Int(value), _) => json!(value),
        (Datum::Long(value), _) => json!(value),
        (Datum::Double(value), _) => json!(value),
        (Datum::Text(text), _) => json!(text),
        (Datum::Texts(texts), _) => json!(texts),
        (Datum::Symbol(at), Type::Enum(of)) => json!(of.symbols.get(*at)),
        (Datum::Symbol(at), _) => json!(at),
    }
}
