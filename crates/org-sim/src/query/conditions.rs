//! Conditions: from names and literals to comparisons of values.

use super::bind::{BindError, Operand, Source, bind, wrong};
use crate::ids::SfId;
use crate::schema::Kind;
use crate::soql::{Expr, Item, Literal, Op, Relative, Select, Term};
use crate::store::Store;
use crate::value::{Decimal, Value};
use hashbrown::HashSet;

/// A condition on bound values.
#[derive(Clone, Debug)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Compare {
        source: Source,
        op: Op,
        value: Value,
        heeds_case: bool,
    },
    /// Lower-cased unless the field heeds case; `%`, `_` and backslash have their meaning.
    Like {
        source: Source,
        pattern: Vec<char>,
        fold: bool,
    },
    In {
        source: Source,
        negated: bool,
        values: Vec<Value>,
        folded: HashSet<Value>,
        heeds_case: bool,
    },
    /// From inclusive, to exclusive; days or milliseconds by the field's type.
    Between {
        source: Source,
        from: Value,
        to: Value,
    },
    /// Any of the lists, of each all; lower-cased.
    Includes {
        source: Source,
        negated: bool,
        lists: Vec<Vec<String>>,
    },
}

type Names<'n> = dyn FnMut(&Term) -> Result<Operand, BindError> + 'n;

/// Binds a condition; `names` finds what a term means.
///
/// # Errors
/// `BindError` with Salesforce's code.
pub fn bind_condition(expr: &Expr, now_ms: i64, store: &Store, names: &mut Names<'_>) -> Result<Filter, BindError> {
    let all = |terms: &[Expr], names: &mut Names<'_>| {
        terms.iter().map(|term| bind_condition(term, now_ms, store, names)).collect::<Result<Vec<_>, _>>()
    };
    match expr {
        Expr::And(terms) => Ok(Filter::And(all(terms, names)?)),
        Expr::Or(terms) => Ok(Filter::Or(all(terms, names)?)),
        Expr::Not(term) => Ok(Filter::Not(Box::new(bind_condition(term, now_ms, store, names)?))),
        Expr::Compare { term, op, value } => compare(filterable(names(term)?)?, *op, value, now_ms),
        Expr::In { term, negated, values } => {
            let operand = filterable(names(term)?)?;
            let mut plain = Vec::new();
            let mut ranges = Vec::new();
            for value in values {
                match value {
                    Literal::Relative(relative) => ranges.push(range(&operand, Op::Equal, *relative, now_ms)?),
                    value => plain.push(literal(&operand, value)?),
                }
            }
            let listed = within(operand, *negated, plain);
            if ranges.is_empty() {
                return Ok(listed);
            }
            let any = Filter::Or(ranges);
            Ok(match negated {
                true => Filter::And(vec![listed, Filter::Not(Box::new(any))]),
                false => Filter::Or(vec![listed, any]),
            })
        }
        Expr::InQuery { term, negated, query } => {
            let operand = filterable(names(term)?)?;
            Ok(within(operand, *negated, inner_values(store, query, now_ms)?))
        }
        Expr::Includes { term, negated, values } => {
            let operand = filterable(names(term)?)?;
            if operand.kind != Kind::MultiPicklist {
                return Err(bad_operator(&operand));
            }
            let list = |value: &Literal| match value {
                Literal::Text(text) => Ok(text.split(';').map(|word| word.trim().to_lowercase()).collect()),
                _ => Err(must_be(&operand, " and should be enclosed in quotes")),
            };
            let lists = values.iter().map(list).collect::<Result<_, _>>()?;
            Ok(Filter::Includes { source: operand.source, negated: *negated, lists })
        }
    }
}

fn within(operand: Operand, negated: bool, values: Vec<Value>) -> Filter {
    let heeds_case = operand.heeds_case;
    let folded = values.iter().map(|value| fold(value, heeds_case)).collect();
    Filter::In { source: operand.source, negated, values, folded, heeds_case }
}

/// The values of a query in a condition.
fn inner_values(store: &Store, query: &Select, now_ms: i64) -> Result<Vec<Value>, BindError> {
    let [Item::Term { term: term @ Term::Path(_), alias: None }] = query.items.as_slice() else {
        return Err(wrong("MALFORMED_QUERY", "The inner select query must select exactly one field"));
    };
    let bound = bind(store, query, now_ms)?;
    let alias = query.alias.as_deref();
    let scope = super::bind::Scope { store, table: bound.table, alias, now_ms };
    let Source::Field(path) = super::bind::operand(&scope, term)?.source else { return Ok(Vec::new()) };
    let table = store.table(bound.table);
    let rows = super::run::rows(store, &bound, false).into_iter().filter_map(|slot| table.row(slot));
    let values = rows.map(|row| super::eval::path_value(store, &path, row, bound.table).into_owned());
    Ok(values.filter(|value| !value.is_null()).collect())
}

fn compare(operand: Operand, op: Op, value: &Literal, now_ms: i64) -> Result<Filter, BindError> {
    if let Literal::Relative(relative) = value {
        return range(&operand, op, *relative, now_ms);
    }
    if op == Op::Like {
        let (Literal::Text(pattern), true) = (value, operand.kind.is_text()) else {
            return Err(bad_operator(&operand));
        };
        let fold = !operand.heeds_case;
        let pattern = if fold { pattern.to_lowercase() } else { pattern.clone() };
        return Ok(Filter::Like { source: operand.source, pattern: pattern.chars().collect(), fold });
    }
    let value = literal(&operand, value)?;
    let ordered = !matches!(op, Op::Equal | Op::NotEqual);
    if ordered && matches!(operand.kind, Kind::Boolean | Kind::MultiPicklist) {
        return Err(bad_operator(&operand));
    }
    Ok(Filter::Compare { source: operand.source, op, value, heeds_case: operand.heeds_case })
}

fn range(operand: &Operand, op: Op, relative: Relative, now_ms: i64) -> Result<Filter, BindError> {
    let (from, to) = relative.days(now_ms.div_euclid(86_400_000) as i32);
    let day = |day: i32| match operand.kind {
        Kind::Date => Ok(Value::Date(day)),
        Kind::Datetime => Ok(Value::Datetime(i64::from(day) * 86_400_000)),
        _ => Err(must_be(operand, "")),
    };
    let (from, to) = (day(from)?, day(to)?);
    let source = operand.source.clone();
    let one = |op, value| Filter::Compare { source: operand.source.clone(), op, value, heeds_case: false };
    Ok(match op {
        Op::Equal => Filter::Between { source, from, to },
        Op::NotEqual => Filter::Not(Box::new(Filter::Between { source, from, to })),
        Op::Less => one(Op::Less, from),
        Op::LessOrEqual => one(Op::Less, to),
        Op::Greater => one(Op::GreaterOrEqual, to),
        Op::GreaterOrEqual => one(Op::GreaterOrEqual, from),
        Op::Like => return Err(bad_operator(operand)),
    })
}

fn filterable(operand: Operand) -> Result<Operand, BindError> {
    if operand.long {
        let message = format!("field '{}' can not be filtered in a query call", operand.name);
        return Err(wrong("INVALID_FIELD", message));
    }
    Ok(operand)
}

fn bad_operator(operand: &Operand) -> BindError {
    wrong("INVALID_FIELD", format!("invalid operator on {} field {}", operand.kind.word(), operand.name))
}

fn must_be(operand: &Operand, how: &str) -> BindError {
    let (name, kind) = (&operand.name, operand.kind.word());
    wrong("INVALID_FIELD", format!("value of filter criterion for field '{name}' must be of type {kind}{how}"))
}

fn literal(operand: &Operand, literal: &Literal) -> Result<Value, BindError> {
    let kind = operand.kind;
    match literal {
        Literal::Null => Ok(Value::Null),
        Literal::Bool(value) if kind == Kind::Boolean => Ok(Value::Bool(*value)),
        Literal::Number(digits) if kind.is_number() => match Decimal::parse(digits, 18, 9) {
            Some(Ok(number)) => Ok(Value::Number(number)),
            _ => Err(must_be(operand, "")),
        },
        // Empty text matches what is stored for it: null.
        Literal::Text(text) if text.is_empty() => Ok(Value::Null),
        Literal::Text(text) if kind.is_text() => Ok(Value::Text(text.as_str().into())),
        Literal::Text(text) if matches!(kind, Kind::Id | Kind::Reference) => match SfId::parse(text) {
            Some(id) => Ok(Value::Id(id)),
            None => Err(wrong("INVALID_QUERY_FILTER_OPERATOR", format!("invalid ID field: {text}"))),
        },
        Literal::Date(days) if kind == Kind::Date => Ok(Value::Date(*days)),
        Literal::Datetime(ms) if kind == Kind::Datetime => Ok(Value::Datetime(*ms)),
        Literal::Time(ms) if kind == Kind::Time => Ok(Value::Time(*ms)),
        Literal::Text(_) => Err(must_be(operand, " and should not be enclosed in quotes")),
        _ if kind.is_text() || matches!(kind, Kind::Id | Kind::Reference) => {
            Err(must_be(operand, " and should be enclosed in quotes"))
        }
        _ => Err(must_be(operand, "")),
    }
}

/// A value as `IN` and groups compare it.
pub fn fold(value: &Value, heeds_case: bool) -> Value {
    match value {
        Value::Text(text) if !heeds_case => Value::Text(text.to_lowercase().into()),
        other => other.clone(),
    }
}
