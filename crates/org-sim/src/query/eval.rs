//! Whether a row fits a condition, and which rows need be looked at.

use super::bind::{BoundPath, Source, TYPE_FIELD};
use super::conditions::{Filter, fold};
use crate::schema::Storage;
use crate::soql::{DateFunction, Op};
use crate::store::{Row, Store};
use crate::value::{Decimal, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// The value that a path leads to; null where a parent is missing.
///
/// Behind a polymorphic lookup the row may be of another object than the path was bound to: names decide then.
pub fn path_value<'r>(store: &'r Store, path: &BoundPath, row: &'r Row, table: usize) -> Cow<'r, Value> {
    let (mut row, mut table) = (row, table);
    for (bound, lookup) in &path.lookups {
        let parent = same_field(store, *bound, *lookup, table)
            .map(|lookup| row.value(&store.table(table).object, lookup))
            .and_then(|value| if let Value::Id(id) = value.as_ref() { store.row_of(*id) } else { None });
        match parent {
            Some((parent_table, _, parent)) => (row, table) = (parent, parent_table),
            None => return Cow::Owned(Value::Null),
        }
    }
    if path.field == TYPE_FIELD {
        return Cow::Owned(Value::Text((&*store.table(table).object.name).into()));
    }
    match same_field(store, path.table, path.field, table) {
        Some(field) => row.value(&store.table(table).object, field),
        None => Cow::Owned(Value::Null),
    }
}

/// The field of `table` with the name of a field of `bound`; the same one when both are the same table.
pub fn same_field(store: &Store, bound: usize, field: u16, table: usize) -> Option<u16> {
    if bound == table {
        return Some(field);
    }
    store.table(table).object.field(&store.table(bound).object.fields.get(usize::from(field))?.name)
}

/// The value of a source for a row; null for what belongs to groups.
pub fn source_value<'r>(store: &'r Store, source: &Source, row: &'r Row, table: usize) -> Cow<'r, Value> {
    match source {
        Source::Field(path) => path_value(store, path, row, table),
        Source::Date(function, path) => Cow::Owned(match path_value(store, path, row, table).as_ref() {
            Value::Date(days) => date_value(*function, i64::from(*days) * 86_400_000),
            Value::Datetime(ms) => date_value(*function, *ms),
            _ => Value::Null,
        }),
        Source::Key(_) | Source::Aggregate(_) => Cow::Owned(Value::Null),
    }
}

fn date_value(function: DateFunction, ms: i64) -> Value {
    match function {
        DateFunction::DayOnly => Value::Date(i32::try_from(function.of(ms)).unwrap_or_default()),
        _ => Value::Number(Decimal::int(function.of(ms))),
    }
}

/// Tells whether a condition holds; `value` gives the value of a source.
pub fn holds<'v>(filter: &Filter, value: &dyn Fn(&Source) -> Cow<'v, Value>) -> bool {
    match filter {
        Filter::And(terms) => terms.iter().all(|term| holds(term, value)),
        Filter::Or(terms) => terms.iter().any(|term| holds(term, value)),
        Filter::Not(term) => !holds(term, value),
        Filter::Compare { source, op, value: wanted, heeds_case } => compares(&value(source), *op, wanted, *heeds_case),
        Filter::Like { source, pattern, fold } => match value(source).text() {
            None => false,
            Some(text) => {
                let text = if *fold { text.to_lowercase() } else { text.to_owned() };
                like(&text.chars().collect::<Vec<_>>(), pattern)
            }
        },
        Filter::In { source, negated, folded, heeds_case, .. } => {
            folded.contains(&fold(&value(source), *heeds_case)) != *negated
        }
        Filter::Between { source, from, to } => {
            let value = value(source);
            compare(&value, from).is_some_and(Ordering::is_ge) && compare(&value, to).is_some_and(Ordering::is_lt)
        }
        Filter::Includes { source, negated, lists } => {
            let value = value(source);
            let chosen: Vec<String> = value.text().unwrap_or_default().split(';').map(str::to_lowercase).collect();
            lists.iter().any(|list| list.iter().all(|word| chosen.contains(word))) != *negated
        }
    }
}

fn compares(value: &Value, op: Op, wanted: &Value, heeds_case: bool) -> bool {
    if value.is_null() || wanted.is_null() {
        let same = value.is_null() && wanted.is_null();
        return match op {
            Op::Equal => same,
            Op::NotEqual => !same,
            _ => false,
        };
    }
    let order = match (value, wanted) {
        (Value::Text(a), Value::Text(b)) if heeds_case => Some(a.cmp(b)),
        _ => compare(value, wanted),
    };
    match op {
        Op::Equal => order == Some(Ordering::Equal),
        Op::NotEqual => order != Some(Ordering::Equal),
        Op::Less => order.is_some_and(Ordering::is_lt),
        Op::LessOrEqual => order.is_some_and(Ordering::is_le),
        Op::Greater => order.is_some_and(Ordering::is_gt),
        Op::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Op::Like => false,
    }
}

/// Orders two values of one type; text without regard to case.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) if a == b => Ordering::Equal,
        (Value::Text(a), Value::Text(b)) if a.is_ascii() && b.is_ascii() => {
            a.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(b.bytes().map(|byte| byte.to_ascii_lowercase()))
        }
        (Value::Text(a), Value::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
        (Value::Id(a), Value::Id(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Datetime(a), Value::Datetime(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        _ => return None,
    })
}

/// Matches `%` (any text) and `_` (any character); a backslash takes the next one literally.
fn like(text: &[char], pattern: &[char]) -> bool {
    let (mut at, mut next) = (0, 0);
    // Where to go on after the last `%`: one character later than the time before.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let matched = match pattern.get(next) {
            None if at == text.len() => return true,
            Some('%') => {
                retry = Some((at, next + 1));
                next += 1;
                continue;
            }
            Some('_') if at < text.len() => Some(1),
            Some('\\') if next + 1 < pattern.len() => (text.get(at) == pattern.get(next + 1)).then_some(2),
            Some(letter) => (text.get(at) == Some(letter)).then_some(1),
            None => None,
        };
        match (matched, retry) {
            (Some(step), _) => {
                at += 1;
                next += step;
            }
            (None, Some((from, after))) if from < text.len() => {
                retry = Some((from + 1, after));
                (at, next) = (from + 1, after);
            }
            (None, _) => return false,
        }
    }
}

/// Slots of which all fitting live rows are members, found by an index; none when the whole table must be read.
pub fn candidates(store: &Store, filter: &Filter, table: usize) -> Option<Vec<u32>> {
    match filter {
        Filter::And(terms) => terms.iter().find_map(|term| candidates(store, term, table)),
        Filter::Or(terms) => {
            let mut all = Vec::new();
            for term in terms {
                all.extend(candidates(store, term, table)?);
            }
            Some(all)
        }
        Filter::Compare { source: Source::Field(path), op: Op::Equal, value, .. } => {
            lookup(store, path, std::slice::from_ref(value), table)
        }
        Filter::In { source: Source::Field(path), negated: false, values, .. } => lookup(store, path, values, table),
        _ => None,
    }
}

fn lookup(store: &Store, path: &BoundPath, values: &[Value], table: usize) -> Option<Vec<u32>> {
    if !path.lookups.is_empty() || values.iter().any(Value::is_null) {
        return None;
    }
    let table = store.table(table);
    let field = table.object.fields.get(usize::from(path.field))?;
    let mut slots = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Value::Id(id) if field.storage == Storage::Id => slots.extend(table.slot_of(*id)),
            Value::Id(id) if field.tracks_children() => slots.extend(table.children_of(path.field, *id)),
            _ => slots.extend_from_slice(table.find(path.field, value)?),
        }
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(text: &str, pattern: &str) -> bool {
        like(&text.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>())
    }

    fn naive(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|skip| naive(&text[skip..], rest)),
            ['_', rest @ ..] => !text.is_empty() && naive(&text[1..], rest),
            ['\\', letter, rest @ ..] => text.first() == Some(letter) && naive(&text[1..], rest),
            [letter, rest @ ..] => text.first() == Some(letter) && naive(&text[1..], rest),
        }
    }

    #[test]
    fn like_takes_wildcards_and_escapes() {
        assert!(matches("Acme 100%", "A%\\%") && !matches("Acme 100", "A%\\%"));
        assert!(matches("", "%") && !matches("", "_") && matches("ab", "__"));
        let long = "a".repeat(5000);
        assert!(!matches(&long, "%a%a%a%a%a%a%a%b"));
    }

    proptest! {
        #[test]
        fn like_agrees_with_the_naive_matcher(text in "[ab%]{0,8}", pattern in "[ab%_\\\\]{0,6}") {
            let (t, p): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
            prop_assert_eq!(like(&t, &p), naive(&t, &p));
        }
    }
}
