//! Rows as single Avro data in binary form.
//!
//! Source: Apache Avro specification 1.12, "Binary Encoding". Platform events use records of primitive types and of unions
//! with null; anything else can only be null.

use crate::read::{unix_nanos, value_text};
use model::{Cell, FieldValue};
use serde_json::Value;

/// What a topic's events look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    pub id: String,
    /// In the order of the encoding.
    pub fields: Vec<Field>,
}

/// A field of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    kind: Kind,
    /// The branches of null and of the type, when the field is a union of both.
    union: Option<(i64, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    /// Can only be null.
    Other,
}

impl Kind {
    fn read(json: &Value) -> Self {
        let word = match json {
            Value::String(word) => word.as_str(),
            // A logical type is encoded as the type below it.
            Value::Object(object) => object.get("type").and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        };
        match word {
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            _ => Self::Other,
        }
    }
}

impl Schema {
    /// Reads a schema's JSON; none when it is no record.
    pub fn read(id: &str, json: &str) -> Option<Self> {
        let schema: Value = serde_json::from_str(json).ok()?;
        let fields = schema.get("fields")?.as_array()?;
        let fields = fields.iter().map(|field| {
            let name = field.get("name")?.as_str()?.to_owned();
            let kind = field.get("type")?;
            let Value::Array(branches) = kind else { return Some(Field { name, kind: Kind::read(kind), union: None }) };
            let null = branches.iter().position(|branch| branch == "null")?;
            let other = branches.iter().position(|branch| branch != "null")?;
            Some(Field { name, kind: Kind::read(&branches[other]), union: Some((null as i64, other as i64)) })
        });
        Some(Self { id: id.to_owned(), fields: fields.collect::<Option<_>>()? })
    }
}

/// A value that its field cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub field: String,
    /// Without the value, which is data.
    pub why: &'static str,
}

impl Field {
    /// Writes a cell; one that is unchanged is null, since an event has no earlier state.
    ///
    /// # Errors
    /// `Unfit`; nothing that could be decoded was written.
    pub fn write(&self, out: &mut Vec<u8>, cell: &Cell) -> Result<(), Unfit> {
        let unfit = |why| Unfit { field: self.name.clone(), why };
        let Cell::Value(value) = cell else {
            let (null, _) = self.union.ok_or_else(|| unfit("the field cannot be null"))?;
            long(out, null);
            return Ok(());
        };
        if let Some((_, branch)) = self.union {
            long(out, branch);
        }
        let text = value_text(value);
        match (self.kind, value) {
            (Kind::Boolean, FieldValue::Bool(flag)) => out.push(u8::from(*flag)),
            (Kind::Boolean, _) => match &*text {
                "true" => out.push(1),
                "false" => out.push(0),
                _ => return Err(unfit("it is neither true nor false")),
            },
            (Kind::Int, _) => long(out, i64::from(text.parse::<i32>().map_err(|_| unfit("it is no whole number"))?)),
            (Kind::Long, _) => long(out, whole_or_millis(&text).ok_or_else(|| unfit("it is no number and no time"))?),
            (Kind::Float, _) => {
                out.extend_from_slice(&(number(&text).ok_or_else(|| unfit("it is no number"))? as f32).to_le_bytes());
            }
            (Kind::Double, _) => {
                out.extend_from_slice(&number(&text).ok_or_else(|| unfit("it is no number"))?.to_le_bytes());
            }
            (Kind::Text | Kind::Bytes, _) => {
                long(out, text.len() as i64);
                out.extend_from_slice(text.as_bytes());
            }
            (Kind::Other, _) => return Err(unfit("the field has a type that cannot be written")),
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A whole number, or a date or time as Unix milliseconds.
fn whole_or_millis(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let nanos = if text.len() == 10 { unix_nanos(&format!("{text}T00:00:00Z")) } else { unix_nanos(text) };
    nanos.and_then(|nanos| i64::try_from(nanos.div_euclid(1_000_000)).ok())
}

/// Writes a zigzag varint.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::types::Value as Avro;
    use proptest::prelude::*;

    const JSON: &str = r#"{"type":"record","name":"X__e","fields":[
        {"name":"CreatedDate","type":"long","doc":"x"},{"name":"CreatedById","type":"string"},
        {"name":"Text__c","type":["null","string"],"default":null},{"name":"Flag__c","type":["null","boolean"]},
        {"name":"Total__c","type":["null","double"]},{"name":"At__c","type":["null",{"type":"long","logicalType":"timestamp-millis"}]}]}"#;

    fn text(text: &str) -> Cell {
        Cell::Value(FieldValue::Text(text.into()))
    }

    fn decoded(cells: &[Cell]) -> Vec<Avro> {
        let schema = Schema::read("s", JSON).unwrap();
        let mut out = Vec::new();
        schema.fields.iter().zip(cells).for_each(|(field, cell)| field.write(&mut out, cell).unwrap());
        let oracle = apache_avro::Schema::parse_str(JSON).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&oracle).build().unwrap();
        match reader.read_value(&mut &out[..]).unwrap() {
            Avro::Record(fields) => fields.into_iter().map(|(_, value)| value).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_that_a_field_cannot_hold_is_refused_by_name() {
        let schema = Schema::read("s", JSON).unwrap();
        let refused = |at: usize, cell: Cell| schema.fields[at].write(&mut Vec::new(), &cell).unwrap_err().field;
        assert_eq!(refused(1, Cell::Null), "CreatedById");
        assert_eq!(refused(3, text("maybe")), "Flag__c");
        assert_eq!(refused(4, text("1e999")), "Total__c");
        assert_eq!(refused(5, text("noon")), "At__c");
        assert_eq!(Schema::read("s", "{}"), None);
    }

    #[test]
    fn times_and_dates_are_milliseconds() {
        assert_eq!(whole_or_millis("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!(whole_or_millis("2024-02-29T00:00:01.5Z"), Some(1_709_164_801_500));
        assert_eq!(whole_or_millis("17"), Some(17));
    }

    proptest! {
        #[test]
        fn another_reader_finds_what_was_written(ms: i64, words in ".{0,20}", flag: bool, total in -1e15f64..1e15) {
            let ms = ms / 4;
            let number = |n: String| Cell::Value(FieldValue::Number(n.parse().unwrap()));
            let cells = [number(ms.to_string()), text(&words), text(&words), Cell::Value(FieldValue::Bool(flag)),
                number(serde_json::to_string(&total).unwrap()), Cell::Null];
            let some = |at, value| Avro::Union(at, Box::new(value));
            prop_assert_eq!(decoded(&cells), vec![Avro::Long(ms), Avro::String(words.clone()), some(1, Avro::String(words)),
                some(1, Avro::Boolean(flag)), some(1, Avro::Double(total)), some(0, Avro::Null)]);
        }

        #[test]
        fn any_schema_text_is_read_or_refused(json in ".{0,80}") {
            let _ = Schema::read("s", &json);
        }
    }
}
