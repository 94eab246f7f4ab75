//! Two lists of events, field by field, with an explicit list of what may differ.

use super::Event;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that tell of the reader, not of the change.
const NOT_COMPARED: [&str; 3] = ["ts_ms", "ts_us", "ts_ns"];
const NOT_COMPARED_IN_SOURCE: [&str; 1] = ["version"];
/// What Debezium writes for an unchanged TOASTed column, as text and as bytes.
const PLACEHOLDERS: [&str; 2] = ["__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="];
/// Columns of types that Debezium renders in Java before it takes them for bytes.
const SHAPES: [&str; 7] = ["s_box", "s_lseg", "s_path", "s_polygon", "s_circle", "s_line", "n_circle"];
const MISMATCHES_SHOWN: usize = 50;

/// Why a difference is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    UnchangedIsAbsent,
    NullStaysNull,
    ShapeIsPostgresqlsText,
    DebeziumLosesIt,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::UnchangedIsAbsent => "unchanged_toast_is_absent_and_named_in_a_header",
            Self::NullStaysNull => "null_or_unknown_is_not_replaced_by_the_columns_default",
            Self::ShapeIsPostgresqlsText => "geometric_types_keep_postgresqls_text",
            Self::DebeziumLosesIt => "arrays_keep_what_debezium_loses_or_leaves_out",
        }
    }
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    events: usize,
    fields: usize,
    meant: BTreeMap<Reason, usize>,
    mismatches: Vec<String>,
}

/// Compares in order.
pub(super) fn compare(ours: &[Event], theirs: &[Event]) -> Comparison {
    let mut comparison = Comparison { events: ours.len(), ..Comparison::default() };
    if ours.len() != theirs.len() {
        let (ours, theirs) = (ours.len(), theirs.len());
        comparison.mismatches.push(format!("{ours} events of ours, {theirs} of Debezium's"));
    }
    for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
        comparison.event(index, our, their);
    }
    comparison
}

impl Comparison {
    pub(super) fn report(&self) -> Value {
        let meant: Map<String, Value> =
            self.meant.iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
        json!({
            "ok": self.mismatches.is_empty(),
            "events": self.events,
            "fields_compared": self.fields,
            "mismatches": self.mismatches.len(),
            "first_mismatches": self.mismatches.iter().take(MISMATCHES_SHOWN).collect::<Vec<_>>(),
            "documented_differences": meant,
        })
    }

    fn event(&mut self, index: usize, our: &Event, their: &Event) {
        let table = our.value["source"]["table"].as_str().unwrap_or("?").to_owned();
        let place = format!("event {index}, {table} {}", our.value["op"].as_str().unwrap_or("?"));
        self.object(&format!("{place}, key"), &our.key, &their.key, |_, _, _| None);
        for name in names(&our.value, &their.value) {
            let (a, b) = (&our.value[&name], &their.value[&name]);
            match name.as_str() {
                _ if NOT_COMPARED.contains(&name.as_str()) => {}
                "source" => self.object(&format!("{place}, source"), a, b, |_, _, _| None),
                "before" | "after" => {
                    self.object(&format!("{place}, {name}"), a, b, |column, a, b| {
                        meant(&table, &our.unchanged, column, a, b)
                    });
                }
                _ => self.field(&format!("{place}, {name}"), &name, Some(a), Some(b), None),
            }
        }
    }

    fn object(
        &mut self,
        place: &str,
        our: &Value,
        their: &Value,
        meant: impl Fn(&str, Option<&Value>, Option<&Value>) -> Option<Reason>,
    ) {
        if our.is_object() != their.is_object() {
            self.mismatches.push(format!("{place}: {our} against {their}"));
            return;
        }
        for name in names(our, their) {
            if place.ends_with("source") && NOT_COMPARED_IN_SOURCE.contains(&name.as_str()) {
                continue;
            }
            let (a, b) = (our.get(&name), their.get(&name));
            let reason = meant(&name, a, b);
            self.field(&format!("{place}, {name}"), &name, a, b, reason);
        }
    }

    fn field(&mut self, place: &str, name: &str, our: Option<&Value>, their: Option<&Value>, reason: Option<Reason>) {
        self.fields += 1;
        let same = match (our, their) {
            (Some(our), Some(their)) => same(name, our, their),
            (None, None) => true,
            _ => false,
        };
        match reason {
            _ if same => {}
            Some(reason) => *self.meant.entry(reason).or_default() += 1,
            None => {
                let show =
                    |value: Option<&Value>| value.map_or("absent".to_owned(), |value| shorten(&value.to_string()));
                self.mismatches.push(format!("{place}: {} against {}", show(our), show(their)));
            }
        }
    }
}

fn meant(
    table: &str,
    unchanged: &[String],
    column: &str,
    our: Option<&Value>,
    their: Option<&Value>,
) -> Option<Reason> {
    let placeholder = their.and_then(Value::as_str).is_some_and(|text| PLACEHOLDERS.contains(&text));
    if placeholder && our.is_none() && unchanged.iter().any(|name| name == column) {
        return Some(Reason::UnchangedIsAbsent);
    }
    if SHAPES.contains(&column) {
        return Some(Reason::ShapeIsPostgresqlsText);
    }
    match table {
        "defaulted" => Some(Reason::NullStaysNull),
        "apart" => Some(Reason::DebeziumLosesIt),
        _ => None,
    }
}

/// Names of both objects.
fn names(our: &Value, their: &Value) -> BTreeSet<String> {
    let of =
        |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    of(our).into_iter().chain(of(their)).collect()
}

/// Equal as values: numbers as numbers (a `float4` in its own precision), JSON inside an hstore's string as JSON.
fn same(name: &str, our: &Value, their: &Value) -> bool {
    match (our, their) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) if name.ends_with("float4") => a as f32 == b as f32,
                (Some(a), Some(b)) => a == b,
                _ => a == b,
            },
        },
        (Value::String(a), Value::String(b)) if name.ends_with("hstore") => {
            let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
            a == b || (parse(a).is_some() && parse(a) == parse(b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(name, a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(key, a, b)))
        }
        (a, b) => a == b,
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(after: Value) -> Event {
        let value = json!({"op": "c", "after": after, "before": null, "source": {"table": "t", "lsn": 5}});
        Event { key: json!({"id": 1}), value, unchanged: vec!["big".into()] }
    }

    #[test]
    fn planted_differences_are_found() {
        let ours = [event(json!({"id": 1, "a": "x", "c_float8": 0.1}))];
        assert!(compare(&ours, &ours).mismatches.is_empty());
        for planted in [
            json!({"id": 2, "a": "x", "c_float8": 0.1}),
            json!({"id": 1, "a": "y", "c_float8": 0.1}),
            json!({"id": 1, "a": "x", "c_float8": 0.100000001}),
            json!({"id": 1, "c_float8": 0.1}),
            json!({"id": 1, "a": "x", "c_float8": 0.1, "b": null}),
            json!(null),
        ] {
            assert_eq!(compare(&ours, &[event(planted.clone())]).mismatches.len(), 1, "{planted}");
        }
        let mut other_key = ours[0].clone();
        other_key.key = json!({"id": 2});
        assert_eq!(compare(&ours, &[other_key]).mismatches.len(), 1);
        assert_eq!(compare(&ours, &[]).mismatches.len(), 1);
    }

    #[test]
    fn placeholder_is_meant_only_for_a_column_that_we_named_as_unchanged() {
        let placeholder = |column: &str| [event(json!({column: "__debezium_unavailable_value"}))];
        let ours = [event(json!({}))];
        assert!(compare(&ours, &placeholder("big")).mismatches.is_empty());
        assert_eq!(compare(&ours, &placeholder("other")).mismatches.len(), 1);
    }

    #[test]
    fn floats_are_compared_in_their_own_precision() {
        assert!(same("c_float4", &json!(1e-45), &json!(1.4e-45)));
        assert!(!same("c_float8", &json!(1e-45), &json!(1.4e-45)));
        assert!(same("c_float8", &json!(0), &json!(0.0)));
    }
}
