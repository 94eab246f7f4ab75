//! As much of Avro as events need: types with their JSON, and values in binary form both ways.
//!
//! A union is written by the kind of its value, so a value carries no branch number. `apache-avro` is the oracle of the
//! property tests.

use serde_json::{Value as Json, json};
use std::sync::Arc;

/// Records and arrays nested deeper than this are refused: the reader recurses.
const DEPTH_MAX: usize = 16;

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Double,
    Text,
    Enum(Arc<Enum>),
    /// An array of texts, the only kind that events have.
    Texts,
    Record(Arc<Record>),
    Union(Vec<Type>),
}

/// An enumeration.
#[derive(Debug, PartialEq)]
pub struct Enum {
    pub name: &'static str,
    pub symbols: &'static [&'static str],
}

/// A record type.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub name: String,
    pub doc: Option<&'static str>,
    pub fields: Vec<Member>,
}

/// A field of a record.
#[derive(Debug, PartialEq)]
pub struct Member {
    pub name: Arc<str>,
    pub kind: Type,
    pub doc: Option<String>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    /// The symbol's number.
    Symbol(usize),
    Texts(Vec<Box<str>>),
    Record(Vec<Datum>),
}

/// Why bytes are no value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    #[error("the payload ends too early")]
    Short,
    #[error("the payload goes on after its end")]
    Long,
    #[error("a number in the payload is out of range")]
    Range,
    #[error("a text in the payload is no UTF-8")]
    Utf8,
    #[error("the payload is nested too deeply")]
    Depth,
}

impl Type {
    /// A type that may be null.
    pub fn nullable(self) -> Self {
        Type::Union(vec![Type::Null, self])
    }

    /// The record, also when it may be null.
    pub fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Type::Record(record) => Some(record),
            Type::Union(branches) => branches.iter().find_map(Type::record),
            _ => None,
        }
    }

    /// The schema as JSON. `known` has the names that were defined further up; they are referred to.
    pub fn schema(&self, known: &mut Vec<String>) -> Json {
        match self {
            Type::Null => json!("null"),
            Type::Boolean => json!("boolean"),
            Type::Int => json!("int"),
            Type::Long => json!("long"),
            Type::Double => json!("double"),
            Type::Text => json!("string"),
            Type::Texts => json!({"type": "array", "items": "string"}),
            Type::Enum(of) => json!({"type": "enum", "name": of.name, "symbols": of.symbols}),
            Type::Union(branches) => branches.iter().map(|branch| branch.schema(known)).collect(),
            Type::Record(record) => record.schema(known),
        }
    }
}

impl Record {
    fn schema(&self, known: &mut Vec<String>) -> Json {
        if known.contains(&self.name) {
            return json!(self.name);
        }
        let first = known.is_empty();
        known.push(self.name.clone());
        let mut schema = json!({"type": "record", "name": self.name});
        if first {
            schema["namespace"] = json!("com.sforce.eventbus");
        }
        if let Some(doc) = self.doc {
            schema["doc"] = json!(doc);
        }
        let fields = self.fields.iter().map(|member| {
            let mut field = json!({"name": &*member.name, "type": member.kind.schema(known)});
            if let Some(doc) = &member.doc {
                field["doc"] = json!(doc);
            }
            if matches!(member.kind, Type::Union(_)) {
                field["default"] = Json::Null;
            }
            field
        });
        schema["fields"] = fields.collect();
        schema
    }
}

impl Datum {
    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The members, if this is a record.
    pub fn members(&self) -> &[Datum] {
        match self {
            Datum::Record(members) => members,
            _ => &[],
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_of(&self, kind: &Type) -> bool {
        matches!(
            (self, kind),
            (Datum::Null, Type::Null)
                | (Datum::Boolean(_), Type::Boolean)
                | (Datum::Int(_), Type::Int)
                | (Datum::Long(_), Type::Long)
                | (Datum::Double(_), Type::Double)
                | (Datum::Text(_), Type::Text)
                | (Datum::Symbol(_), Type::Enum(_))
                | (Datum::Texts(_), Type::Texts)
                | (Datum::Record(_), Type::Record(_))
        )
    }

    /// Appends the binary form.
    ///
    /// # Panics
    /// When the value is not of this type: both come from this crate.
    pub fn write(&self, kind: &Type, out: &mut Vec<u8>) {
        match (self, kind) {
            (value, Type::Union(branches)) => {
                let branch = branches.iter().position(|branch| value.is_of(branch));
                let branch = branch.expect("a value of a union is of one of its types");
                write_long(out, branch as i64);
                value.write(&branches[branch], out);
            }
            (Datum::Null, Type::Null) => {}
            (Datum::Boolean(value), Type::Boolean) => out.push(u8::from(*value)),
            (Datum::Int(value), Type::Int) => write_long(out, i64::from(*value)),
            (Datum::Long(value), Type::Long) => write_long(out, *value),
            (Datum::Double(value), Type::Double) => out.extend_from_slice(&value.to_le_bytes()),
            (Datum::Text(text), Type::Text) => write_text(out, text),
            (Datum::Symbol(at), Type::Enum(_)) => write_long(out, *at as i64),
            (Datum::Texts(texts), Type::Texts) => {
                if !texts.is_empty() {
                    write_long(out, texts.len() as i64);
                    texts.iter().for_each(|text| write_text(out, text));
                }
                out.push(0);
            }
            (Datum::Record(values), Type::Record(record)) => {
                assert!(values.len() == record.fields.len(), "a record has a value for each field");
                for (value, member) in values.iter().zip(&record.fields) {
                    value.write(&member.kind, out);
                }
            }
            _ => unreachable!("{self:?} is no {kind:?}"),
        }
    }

    /// Reads one value that takes up all of `bytes`.
    ///
    /// # Errors
    /// `AvroError`.
    pub fn read(kind: &Type, bytes: &[u8]) -> Result<Self, AvroError> {
        let mut rest = bytes;
        let value = read(kind, &mut rest, 0)?;
        if rest.is_empty() { Ok(value) } else { Err(AvroError::Long) }
    }
}

fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

fn read_long(rest: &mut &[u8]) -> Result<i64, AvroError> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(AvroError::Short)?;
        *rest = after;
        if shift == 63 && *byte > 1 {
            return Err(AvroError::Range);
        }
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    Err(AvroError::Range)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], AvroError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(AvroError::Short)?;
    *rest = after;
    Ok(taken)
}

fn read_text(rest: &mut &[u8]) -> Result<Box<str>, AvroError> {
    let length = usize::try_from(read_long(rest)?).map_err(|_| AvroError::Range)?;
    std::str::from_utf8(take(rest, length)?).map(Into::into).map_err(|_| AvroError::Utf8)
}

fn read(kind: &Type, rest: &mut &[u8], depth: usize) -> Result<Datum, AvroError> {
    if depth > DEPTH_MAX {
        return Err(AvroError::Depth);
    }
    Ok(match kind {
        Type::Null => Datum::Null,
        Type::Boolean => match take(rest, 1)? {
            [0] => Datum::Boolean(false),
            [1] => Datum::Boolean(true),
            _ => return Err(AvroError::Range),
        },
        Type::Int => Datum::Int(i32::try_from(read_long(rest)?).map_err(|_| AvroError::Range)?),
        Type::Long => Datum::Long(read_long(rest)?),
        Type::Double => {
            let bytes = take(rest, 8)?.try_into().map_err(|_| AvroError::Short)?;
            Datum::Double(f64::from_le_bytes(bytes))
        }
        Type::Text => Datum::Text(read_text(rest)?),
        Type::Enum(of) => {
            let at = usize::try_from(read_long(rest)?).ok().filter(|at| *at < of.symbols.len());
            Datum::Symbol(at.ok_or(AvroError::Range)?)
        }
        Type::Texts => read_texts(rest)?,
        Type::Union(branches) => {
            let at = usize::try_from(read_long(rest)?).map_err(|_| AvroError::Range)?;
            read(branches.get(at).ok_or(AvroError::Range)?, rest, depth + 1)?
        }
        Type::Record(record) => {
            let fields = record.fields.iter().map(|member| read(&member.kind, rest, depth + 1));
            Datum::Record(fields.collect::<Result<_, _>>()?)
        }
    })
}

fn read_texts(rest: &mut &[u8]) -> Result<Datum, AvroError> {
    let mut texts = Vec::new();
    loop {
        let count = read_long(rest)?;
        if count == 0 {
            return Ok(Datum::Texts(texts));
        }
        if count < 0 {
            // A negative count is followed by the block's size.
            read_long(rest)?;
        }
        // Each text takes a byte at least, so a count beyond the rest fails before it costs memory.
        for _ in 0..count.unsigned_abs() {
            texts.push(read_text(rest)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::types::Value as Theirs;
    use proptest::prelude::*;

    fn kind() -> Type {
        let member = |name: &str, kind: Type| Member { name: name.into(), kind, doc: Some("Data:Text".into()) };
        let inner = Arc::new(Record {
            name: "Inner".into(),
            doc: None,
            fields: vec![member("A", Type::Text.nullable()), member("B", Type::Double.nullable())],
        });
        Type::Record(Arc::new(Record {
            name: "Outer".into(),
            doc: None,
            fields: vec![
                member("Bool", Type::Boolean.nullable()),
                member("Int", Type::Int),
                member("Long", Type::Long.nullable()),
                member("Text", Type::Union(vec![Type::Null, Type::Text, Type::Record(inner.clone())])),
                member("Texts", Type::Texts),
                member("Enum", Type::Enum(Arc::new(Enum { name: "E", symbols: &["X", "Y"] }))),
                member("Again", Type::Record(inner).nullable()),
            ],
        }))
    }

    fn or_null(value: impl Strategy<Value = Datum>) -> impl Strategy<Value = Datum> {
        prop::option::of(value).prop_map(|value| value.unwrap_or(Datum::Null))
    }

    fn text() -> impl Strategy<Value = Datum> {
        ".{0,12}".prop_map(|text| Datum::Text(text.into()))
    }

    fn inner() -> impl Strategy<Value = Datum> {
        (or_null(text()), or_null((-1e9..1e9).prop_map(Datum::Double))).prop_map(|(a, b)| Datum::Record(vec![a, b]))
    }

    fn datum() -> impl Strategy<Value = Datum> {
        (
            or_null(any::<bool>().prop_map(Datum::Boolean)),
            any::<i32>().prop_map(Datum::Int),
            or_null(any::<i64>().prop_map(Datum::Long)),
            or_null(prop_oneof![text().boxed(), inner().boxed()]),
            prop::collection::vec(".{0,5}", 0..4)
                .prop_map(|texts| Datum::Texts(texts.into_iter().map(Into::into).collect())),
            (0usize..2).prop_map(Datum::Symbol),
            or_null(inner()),
        )
            .prop_map(|(a, b, c, d, e, f, g)| Datum::Record(vec![a, b, c, d, e, f, g]))
    }

    fn ours(value: &Theirs) -> Datum {
        match value {
            Theirs::Null => Datum::Null,
            Theirs::Boolean(value) => Datum::Boolean(*value),
            Theirs::Int(value) => Datum::Int(*value),
            Theirs::Long(value) => Datum::Long(*value),
            Theirs::Double(value) => Datum::Double(*value),
            Theirs::String(text) => Datum::Text(text.as_str().into()),
            Theirs::Enum(at, _) => Datum::Symbol(*at as usize),
            Theirs::Union(_, value) => ours(value),
            Theirs::Array(items) => Datum::Texts(items.iter().map(|item| ours(item).text().unwrap().into()).collect()),
            Theirs::Record(members) => Datum::Record(members.iter().map(|(_, value)| ours(value)).collect()),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_independent_reader_reads_what_is_written(value in datum()) {
            let kind = kind();
            let mut bytes = Vec::new();
            value.write(&kind, &mut bytes);
            prop_assert_eq!(&Datum::read(&kind, &bytes).unwrap(), &value);
            let schema = apache_avro::Schema::parse_str(&kind.schema(&mut Vec::new()).to_string()).unwrap();
            let theirs = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &bytes[..]).unwrap();
            prop_assert_eq!(ours(&theirs), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = Datum::read(&kind(), &bytes) {
                let mut again = Vec::new();
                value.write(&kind(), &mut again);
                prop_assert_eq!(Datum::read(&kind(), &again).unwrap(), value);
            }
        }
    }

    #[test]
    fn payload_that_is_cut_or_too_long_is_refused() {
        let kind = Type::Text;
        let mut bytes = Vec::new();
        Datum::Text("hello".into()).write(&kind, &mut bytes);
        assert_eq!(Datum::read(&kind, &bytes[..3]), Err(AvroError::Short));
        bytes.push(0);
        assert_eq!(Datum::read(&kind, &bytes), Err(AvroError::Long));
    }
}
