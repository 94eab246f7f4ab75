//! Which keys a record writes and reads.
//!
//! A record **writes** the target row that it changes, as (target object, external id's value), and its source row, as
//! (table, business key), unless the business key is that one external id's column. It **reads** the parents that it
//! refers to, as (parent object, the referring column's value). An update that moves a row (other key, other parent)
//! carries the old and the new of both, as far as the record holds them; the two halves of an update that changed the
//! key carry each other's keys through the headers `newkey` and `oldkey`.
//!
//! **Canonical text.** A parent's key and a child's reference must give the same fingerprint although their columns'
//! types differ, and the target matches external ids without regard to case and outer blanks. So values are compared as
//! text: trimmed, in lower case, plain numbers without trailing zeros after the point (`7`, `"7"`, `"7.0"` are one
//! key). This joins more values than the target would: a joined pair waits for each other, which delays and never
//! reorders. Exponents (`7e0`) and leading zeros (`007`) are left alone, as PostgreSQL never prints the first for a key
//! type and the second is another text.

use super::calendar::Moment;
use super::decimal::is_plain;
use super::scan::{Members, member, name_is, string_inside};
use super::value::{Scalar, decode};
use super::view::{ChangeView, TableMatcher};
use crate::expr::{Evaluated, Expression, Found};
use crate::spec::{MapSource, RouteSpec};
use model::{ColumnType, Fingerprint, Op, Record, ReplicaIdentity, ValueMode};
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The keys of one record; reuse it from record to record.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Distinct; empty only for a truncate.
    pub written: Vec<Fingerprint>,
    /// Distinct, and none that is also written.
    pub read: Vec<Fingerprint>,
    /// What is hashed.
    scratch: Vec<u8>,
    /// Canonical texts.
    text: Vec<u8>,
}

/// How to tell a route's keys from its records; compiled once, cheap to share.
#[derive(Clone, Debug)]
pub struct KeyPlan {
    table: TableMatcher,
    mode: ValueMode,
    /// Every column that is looked at, each once.
    columns: Vec<KeyColumn>,
    target: Target,
    target_namespace: Namespace,
    /// Indices into `columns`; empty when the target key says it all.
    business: Vec<usize>,
    business_namespace: Namespace,
    references: Vec<(Namespace, usize)>,
}

#[derive(Clone, Debug)]
enum Target {
    None,
    Column(usize),
    Expression(Arc<Expression>),
}

#[derive(Clone, Debug)]
struct KeyColumn {
    name: String,
    kind: ColumnType,
    /// `before` is sure to carry it.
    in_identity: bool,
}

/// The beginning of what is hashed: the same bytes as `Fingerprint::of` takes.
#[derive(Clone, Debug)]
struct Namespace(Box<[u8]>);

impl Namespace {
    fn new(name: &str) -> Self {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes.into())
    }

    fn of_object(object: &str) -> Self {
        Self::new(&format!("object:{}", object.to_ascii_lowercase()))
    }
}

/// The columns of one row that a plan looks at, in the plan's order. Few of them need no allocation.
#[derive(Clone, Debug, PartialEq)]
struct Spans<'a> {
    few: [Option<&'a [u8]>; Spans::FEW],
    many: Vec<Option<&'a [u8]>>,
    count: usize,
}

impl<'a> Spans<'a> {
    const FEW: usize = 6;

    fn new(count: usize) -> Self {
        Self { few: [None; Self::FEW], many: if count > Self::FEW { vec![None; count] } else { Vec::new() }, count }
    }

    fn all(&self) -> &[Option<&'a [u8]>] {
        if self.count > Self::FEW { &self.many } else { &self.few[..self.count] }
    }

    fn all_mut(&mut self) -> &mut [Option<&'a [u8]>] {
        if self.count > Self::FEW { &mut self.many } else { &mut self.few[..self.count] }
    }

    fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.all()[index]
    }
}

impl KeyPlan {
    /// Compiles the plan. Columns that the table does not have are taken as missing from every record:
    /// `Mapper::compile` reports them.
    pub fn compile(route: &RouteSpec) -> Self {
        let mut columns: Vec<KeyColumn> = Vec::new();
        let mut index_of = |name: &str| {
            columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
                let kind = route.column_type(name).cloned().unwrap_or(ColumnType::Text { length: None });
                let in_identity = route.schema.replica_identity == ReplicaIdentity::Full
                    || route.schema.identity_columns.iter().any(|column| column == name);
                columns.push(KeyColumn { name: name.to_owned(), kind, in_identity });
                columns.len() - 1
            })
        };
        let source = route.external_id.as_deref().and_then(|field| route.source_of(field));
        let target = match source {
            Some(MapSource::Column(name)) => Target::Column(index_of(name)),
            Some(MapSource::Cel(text)) => Expression::compile(text, &route.schema.columns)
                .map_or(Target::None, |expression| Target::Expression(Arc::new(expression))),
            Some(MapSource::Constant(_) | MapSource::Change(_)) | None => Target::None,
        };
        let covered = matches!((source, route.key.as_slice()), (Some(MapSource::Column(name)), [key]) if name == key);
        let business = if covered { Vec::new() } else { route.key.iter().map(|name| index_of(name)).collect() };
        let references = route
            .references
            .iter()
            .map(|reference| (Namespace::of_object(reference.object.as_str()), index_of(&reference.from)))
            .collect();
        Self {
            table: TableMatcher::new(&route.table),
            mode: route.value_mode,
            target,
            target_namespace: Namespace::of_object(route.object.as_str()),
            business,
            business_namespace: Namespace::new(&format!("table:{}", route.table)),
            references,
            columns,
        }
    }

    /// True when the record is of the route's table.
    #[inline]
    pub fn takes(&self, record: &Record<'_>) -> bool {
        self.table.takes(record)
    }

    /// The fingerprint of a target row by its external id's value: what a child's reference to it gives, too.
    pub fn fingerprint_of_target(&self, external_id: &str) -> Fingerprint {
        let mut bytes = Vec::new();
        push_text(&mut bytes, external_id);
        fingerprint(&self.target_namespace, [bytes.as_slice()], &mut Vec::new())
    }

    /// Computes a record's keys into `keys`, which is cleared first.
    ///
    /// A record whose key cannot be told (null, missing column, broken JSON) writes one key that all such records of
    /// the table share: they stay in order among each other, and mapping refuses them.
    pub fn keys(&self, view: &ChangeView<'_>, keys: &mut Keys) {
        keys.written.clear();
        keys.read.clear();
        let (mut after, before) = match view.op() {
            Op::Truncate => return,
            Op::Delete => (None, Some(self.spans(view.before()))),
            Op::Create | Op::Read => (Some(self.spans(view.after())), None),
            Op::Update => (Some(self.spans(view.after())), view.before().map(|row| self.spans(Some(row)))),
        };
        let before = before.map(|mut spans| {
            self.complete_before(view, &mut spans);
            spans
        });
        if let Some(after) = &mut after {
            self.complete_after(view, before.as_ref(), after);
        }
        // Most updates move nothing: the old row's keys are the new one's.
        let before = before.filter(|before| after.as_ref() != Some(before));
        for spans in after.iter().chain(&before) {
            self.write_target(view, spans, keys);
            self.write_business(spans, keys);
        }
        for other in [view.new_key_json(), view.old_key_json()].into_iter().flatten() {
            let spans = self.spans(Some(other));
            if let Target::Column(_) = self.target {
                self.write_target(view, &spans, keys);
            }
            self.write_business(&spans, keys);
        }
        if keys.written.is_empty() {
            keys.written.push(fingerprint(&self.business_namespace, [], &mut keys.scratch));
        }
        for spans in after.iter().chain(&before) {
            self.read_parents(spans, keys);
        }
    }

    /// Finds the plan's columns in one pass over the row, and stops when it has all.
    fn spans<'a>(&self, row: Option<&'a [u8]>) -> Spans<'a> {
        let mut found = Spans::new(self.columns.len());
        let Some(Ok(mut members)) = row.map(Members::of) else { return found };
        let spans = found.all_mut();
        let mut left = spans.len();
        while left > 0 {
            let Ok(Some(name)) = members.name() else { break };
            let wanted = self.columns.iter().position(|column| name_is(name, &column.name));
            let Ok(value) = members.value() else { break };
            if let Some(index) = wanted
                && spans[index].is_none()
            {
                spans[index] = Some(value);
                left -= 1;
            }
        }
        found
    }

    /// A column outside of the identity may stand in `before` as null although it was not; the key is always whole.
    fn complete_before<'a>(&self, view: &ChangeView<'a>, spans: &mut Spans<'a>) {
        let delete = view.op() == Op::Delete;
        for (span, column) in spans.all_mut().iter_mut().zip(&self.columns) {
            if !column.in_identity {
                *span = None;
            }
            if span.is_none() && delete {
                *span = view.key_column(&column.name);
            }
        }
    }

    /// An unchanged column's value stands in `before` or in the key, if anywhere.
    fn complete_after<'a>(&self, view: &ChangeView<'a>, before: Option<&Spans<'a>>, spans: &mut Spans<'a>) {
        for (index, span) in spans.all_mut().iter_mut().enumerate() {
            if span.is_none() {
                *span =
                    before.and_then(|before| before.get(index)).or_else(|| view.key_column(&self.columns[index].name));
            }
        }
    }

    fn write_target(&self, view: &ChangeView<'_>, spans: &Spans<'_>, keys: &mut Keys) {
        let bytes = &mut keys.text;
        bytes.clear();
        let known = match &self.target {
            Target::None => false,
            Target::Column(index) => {
                let span = spans.get(*index);
                span.is_some_and(|raw| canonical(raw, &self.columns[*index].kind, self.mode, bytes))
            }
            Target::Expression(expression) => {
                let find = |name: &str| {
                    let row = view.row().or(view.key_json());
                    row.and_then(|row| member(row, name).ok().flatten()).map_or(Found::Missing, Found::Raw)
                };
                match expression.evaluate(self.mode, find) {
                    Ok(Evaluated::Value(value)) => push_value(bytes, &value),
                    _ => false,
                }
            }
        };
        if known {
            let made = fingerprint(&self.target_namespace, [bytes.as_slice()], &mut keys.scratch);
            push_distinct(&mut keys.written, made);
        }
    }

    fn write_business(&self, spans: &Spans<'_>, keys: &mut Keys) {
        if self.business.is_empty() {
            return;
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(self.business.len()));
        for index in &self.business {
            let Some(raw) = spans.get(*index) else { return };
            // A null part of a business key is a part like any other.
            canonical(raw, &self.columns[*index].kind, self.mode, &mut bytes);
            ends.push(bytes.len());
        }
        let mut start = 0;
        let parts = ends.iter().map(|end| {
            let part = &bytes[start..*end];
            start = *end;
            part
        });
        let made = fingerprint(&self.business_namespace, parts, &mut keys.scratch);
        push_distinct(&mut keys.written, made);
    }

    fn read_parents(&self, spans: &Spans<'_>, keys: &mut Keys) {
        for (namespace, index) in &self.references {
            let bytes = &mut keys.text;
            bytes.clear();
            let Some(raw) = spans.get(*index) else { continue };
            if canonical(raw, &self.columns[*index].kind, self.mode, bytes) {
                let made = fingerprint(namespace, [bytes.as_slice()], &mut keys.scratch);
                if !keys.written.contains(&made) {
                    push_distinct(&mut keys.read, made);
                }
            }
        }
    }
}

fn push_distinct(list: &mut Vec<Fingerprint>, made: Fingerprint) {
    if !list.contains(&made) {
        list.push(made);
    }
}

/// As `Fingerprint::of`, in one call of the hash: its streaming form costs ten times as much on short input.
fn fingerprint<'a>(
    namespace: &Namespace,
    parts: impl IntoIterator<Item = &'a [u8]>,
    scratch: &mut Vec<u8>,
) -> Fingerprint {
    scratch.clear();
    scratch.extend_from_slice(&namespace.0);
    for part in parts {
        scratch.extend_from_slice(&(part.len() as u64).to_le_bytes());
        scratch.extend_from_slice(part);
    }
    Fingerprint(xxh3_64(scratch))
}

/// Appends a key value's canonical text; false when there is none (null, or not of its type).
fn canonical(raw: &[u8], kind: &ColumnType, mode: ValueMode, out: &mut Vec<u8>) -> bool {
    let as_it_stands = matches!(
        kind,
        ColumnType::Text { .. }
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::Uuid
            | ColumnType::Enum { .. }
    ) || (mode == ValueMode::Readable && matches!(kind, ColumnType::Decimal { .. }));
    if as_it_stands {
        let inside = string_inside(raw).unwrap_or(raw);
        let simple = inside.is_ascii() && !inside.contains(&b'\\');
        if let (true, Ok(text)) = (simple && raw != b"null", std::str::from_utf8(inside)) {
            push_text(out, text);
            return true;
        }
    }
    match decode(raw, kind, mode) {
        Ok(Scalar::Null) | Err(_) => false,
        Ok(scalar) => {
            push_text(out, &scalar_text(&scalar));
            true
        }
    }
}

/// Appends the canonical form of a text.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut text = text.trim();
    if memchr::memchr(b'.', text.as_bytes()).is_some() && is_plain(text) {
        text = text.trim_end_matches('0').trim_end_matches('.');
    }
    if text.is_ascii() {
        out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        out.extend_from_slice(text.to_lowercase().as_bytes());
    }
}

fn push_value(out: &mut Vec<u8>, value: &cel::Value) -> bool {
    match value {
        cel::Value::String(text) => push_text(out, text),
        cel::Value::Int(integer) => push_text(out, &integer.to_string()),
        cel::Value::UInt(integer) => push_text(out, &integer.to_string()),
        cel::Value::Float(double) => push_text(out, &double.to_string()),
        cel::Value::Bool(value) => push_text(out, if *value { "true" } else { "false" }),
        _ => return false,
    }
    true
}

/// The canonical text of a key value, for whoever must compare keys outside of this module.
pub fn canonical_text(value: &str) -> String {
    let mut bytes = Vec::new();
    push_text(&mut bytes, value);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn scalar_text<'s>(scalar: &'s Scalar<'_>) -> Cow<'s, str> {
    match scalar {
        Scalar::Null => Cow::Borrowed(""),
        Scalar::Bool(true) => Cow::Borrowed("true"),
        Scalar::Bool(false) => Cow::Borrowed("false"),
        Scalar::Number(text) | Scalar::Text(text) | Scalar::Bytes(text) | Scalar::Json(text) => Cow::Borrowed(text),
        Scalar::Day(day) => Cow::Owned(moment_text(Moment { day: *day, us: 0 })),
        Scalar::Clock(us) => Cow::Owned(us.to_string()),
        Scalar::Moment(moment) => Cow::Owned(moment_text(*moment)),
        Scalar::Beyond(beyond) => Cow::Borrowed(beyond.as_str()),
        Scalar::List(items) => {
            let mut text = String::new();
            items.iter().for_each(|item| text.push_str(&scalar_text(item)));
            Cow::Owned(text)
        }
    }
}

fn moment_text(moment: Moment) -> String {
    let (year, month, day) = moment.day.civil();
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if moment.us != 0 {
        // Writing into a string cannot fail.
        let _ = write!(text, "t{}", moment.us);
    }
    text
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
