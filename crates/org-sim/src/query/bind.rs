//! From names to fields: a query's tree against the org's objects.

use crate::ids::SfId;
use crate::schema::{Field, Kind};
use crate::soql::{Expr, Items, Literal, Op, Path, Select};
use crate::store::Store;
use crate::value::{Decimal, Value};
use hashbrown::HashSet;

/// Rows that `FIELDS(ALL)` and `FIELDS(CUSTOM)` must be limited to.
const ALL_FIELDS_ROWS_MAX: usize = 200;

/// Why a query does not fit the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindError {
    pub code: &'static str,
    pub message: String,
}

fn wrong(code: &'static str, message: impl Into<String>) -> BindError {
    BindError { code, message: message.into() }
}

/// The fields of a row and of its parents.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub fields: Vec<u16>,
    /// Lookup field and what is wanted of the parent.
    pub parents: Vec<(u16, Tree)>,
}

/// A field through lookups.
#[derive(Clone, Debug)]
pub struct BoundPath {
    pub lookups: Vec<u16>,
    pub table: usize,
    pub field: u16,
}

/// A condition on bound fields.
#[derive(Clone, Debug)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Compare {
        path: BoundPath,
        op: Op,
        value: Value,
    },
    /// Lower-cased unless the field heeds case; `%`, `_` and backslash have their meaning.
    Like {
        path: BoundPath,
        pattern: Vec<char>,
        fold: bool,
    },
    In {
        path: BoundPath,
        negated: bool,
        values: Vec<Value>,
        folded: HashSet<Value>,
    },
    /// From inclusive, to exclusive; days or milliseconds by the field's type.
    Between {
        path: BoundPath,
        from: Value,
        to: Value,
    },
}

/// A query ready to run.
pub struct Bound {
    pub table: usize,
    pub tree: Tree,
    pub filter: Option<Filter>,
    /// Path, descending, nulls last.
    pub order: Vec<(BoundPath, bool, bool)>,
}

/// Binds a query.
///
/// # Errors
/// `BindError` with Salesforce's code.
pub fn bind(store: &Store, select: &Select, now_ms: i64) -> Result<Bound, BindError> {
    let table = store.find_table(&select.from).filter(|table| store.table(*table).object.queryable);
    let table =
        table.ok_or_else(|| wrong("INVALID_TYPE", format!("sObject type '{}' is not supported.", select.from)))?;
    let mut tree = Tree::default();
    match &select.items {
        Items::Count => {}
        Items::Fields(paths) => {
            for path in paths {
                let bound = bind_path(store, table, path)?;
                insert(&mut tree, &bound.lookups, bound.field);
            }
        }
        Items::All { standard, custom } => {
            if *custom && select.limit.is_none_or(|limit| limit > ALL_FIELDS_ROWS_MAX) {
                let message = "The SOQL FIELDS function must have a LIMIT of at most 200";
                return Err(wrong("MALFORMED_QUERY", message));
            }
            let fields = store.table(table).object.fields.iter().enumerate();
            let wanted = fields.filter(|(_, field)| if field.custom() { *custom } else { *standard });
            tree.fields = wanted.map(|(number, _)| number as u16).collect();
        }
    }
    let filter = match &select.filter {
        Some(expr) => Some(bind_expr(store, table, expr, now_ms)?),
        None => None,
    };
    let order = select.order.iter().map(|order| {
        let path = bind_path(store, table, &order.path)?;
        Ok((path, order.descending, order.nulls_last))
    });
    let order = order.collect::<Result<_, BindError>>()?;
    Ok(Bound { table, tree, filter, order })
}

fn insert(tree: &mut Tree, lookups: &[u16], field: u16) {
    match lookups.split_first() {
        None if tree.fields.contains(&field) => {}
        None => tree.fields.push(field),
        Some((first, rest)) => {
            let at = match tree.parents.iter().position(|(lookup, _)| lookup == first) {
                Some(at) => at,
                None => {
                    tree.parents.push((*first, Tree::default()));
                    tree.parents.len() - 1
                }
            };
            insert(&mut tree.parents[at].1, rest, field);
        }
    }
}

fn bind_path(store: &Store, table: usize, path: &Path) -> Result<BoundPath, BindError> {
    let mut table = table;
    let mut lookups = Vec::new();
    let (last, parents) = path.split_last().ok_or_else(|| wrong("MALFORMED_QUERY", "a field is missing"))?;
    let mut parents = parents;
    // `Case.Subject` from Case names the object itself.
    if let Some((first, rest)) = parents.split_first()
        && store.table(table).object.relationship(first).is_none()
        && store.table(table).object.name.eq_ignore_ascii_case(first)
    {
        parents = rest;
    }
    if parents.len() > 5 {
        return Err(wrong("INVALID_FIELD", "a query follows at most 5 parent relationships"));
    }
    for name in parents {
        let object = &store.table(table).object;
        let missing = || {
            wrong(
                "INVALID_FIELD",
                format!(
                    "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom \
                         relationship, be sure to append the '__r' after the custom relationship name."
                ),
            )
        };
        let lookup = object.relationship(name).ok_or_else(missing)?;
        let target = object.fields[usize::from(lookup)].reference.as_ref().and_then(|reference| reference.to.first());
        table = target.and_then(|target| store.find_table(target)).ok_or_else(missing)?;
        lookups.push(lookup);
    }
    let object = &store.table(table).object;
    let field = object.field(last).ok_or_else(|| {
        wrong(
            "INVALID_FIELD",
            format!(
                "No such column '{last}' on entity '{}'. If you are attempting to use a custom field, be sure to \
                     append the '__c' after the custom field name.",
                object.name
            ),
        )
    })?;
    Ok(BoundPath { lookups, table, field })
}

fn bind_expr(store: &Store, table: usize, expr: &Expr, now_ms: i64) -> Result<Filter, BindError> {
    let all =
        |terms: &[Expr]| terms.iter().map(|term| bind_expr(store, table, term, now_ms)).collect::<Result<Vec<_>, _>>();
    match expr {
        Expr::And(terms) => Ok(Filter::And(all(terms)?)),
        Expr::Or(terms) => Ok(Filter::Or(all(terms)?)),
        Expr::Not(term) => Ok(Filter::Not(Box::new(bind_expr(store, table, term, now_ms)?))),
        Expr::Compare { path, op, value } => {
            let bound = bind_path(store, table, path)?;
            let field = &store.table(bound.table).object.fields[usize::from(bound.field)];
            compare(field, bound, *op, value, now_ms)
        }
        Expr::In { path, negated, values } => {
            let bound = bind_path(store, table, path)?;
            let field = &store.table(bound.table).object.fields[usize::from(bound.field)];
            not_long(field)?;
            let values = values.iter().map(|value| literal(field, value)).collect::<Result<Vec<_>, _>>()?;
            let folded = values.iter().map(|value| fold(field, value)).collect();
            Ok(Filter::In { path: bound, negated: *negated, values, folded })
        }
    }
}

fn compare(field: &Field, path: BoundPath, op: Op, value: &Literal, now_ms: i64) -> Result<Filter, BindError> {
    not_long(field)?;
    if let Literal::Days { from, count } = value {
        return days(field, path, op, *from, *count, now_ms);
    }
    if op == Op::Like {
        let (Literal::Text(pattern), true) = (value, field.kind.is_text()) else {
            return Err(wrong(
                "INVALID_FIELD",
                format!("invalid operator on {} field {}", field.kind.word(), field.name),
            ));
        };
        let fold = !field.case_sensitive;
        let pattern = if fold { pattern.to_lowercase() } else { pattern.clone() };
        return Ok(Filter::Like { path, pattern: pattern.chars().collect(), fold });
    }
    let value = literal(field, value)?;
    let ordered = !matches!(op, Op::Equal | Op::NotEqual);
    if ordered && matches!(field.kind, Kind::Boolean | Kind::MultiPicklist) {
        return Err(wrong("INVALID_FIELD", format!("invalid operator on {} field {}", field.kind.word(), field.name)));
    }
    Ok(Filter::Compare { path, op, value })
}

fn days(field: &Field, path: BoundPath, op: Op, from: i32, count: i32, now_ms: i64) -> Result<Filter, BindError> {
    let today = now_ms.div_euclid(86_400_000) as i32;
    let day = |offset: i32| match field.kind {
        Kind::Date => Ok(Value::Date(today + offset)),
        Kind::Datetime => Ok(Value::Datetime(i64::from(today + offset) * 86_400_000)),
        _ => Err(wrong(
            "INVALID_FIELD",
            format!("value of filter criterion for field '{}' must be of type {}", field.name, field.kind.word()),
        )),
    };
    let (from, to) = (day(from)?, day(from + count)?);
    let one = |op, value| Filter::Compare { path: path.clone(), op, value };
    Ok(match op {
        Op::Equal => Filter::Between { path, from, to },
        Op::NotEqual => Filter::Not(Box::new(Filter::Between { path, from, to })),
        Op::Less => one(Op::Less, from),
        Op::LessOrEqual => one(Op::Less, to),
        Op::Greater => one(Op::GreaterOrEqual, to),
        Op::GreaterOrEqual | Op::Like => one(Op::GreaterOrEqual, from),
    })
}

fn not_long(field: &Field) -> Result<(), BindError> {
    if !field.filterable() {
        return Err(wrong("INVALID_FIELD", format!("field '{}' can not be filtered in a query call", field.name)));
    }
    Ok(())
}

fn literal(field: &Field, literal: &Literal) -> Result<Value, BindError> {
    let kind = field.kind;
    let must_be = |how: &str| {
        Err(wrong(
            "INVALID_FIELD",
            format!("value of filter criterion for field '{}' must be of type {}{how}", field.name, kind.word()),
        ))
    };
    match literal {
        Literal::Null => Ok(Value::Null),
        Literal::Bool(value) if kind == Kind::Boolean => Ok(Value::Bool(*value)),
        Literal::Number(digits) if kind.is_number() => match Decimal::parse(digits, 18, 9) {
            Some(Ok(number)) => Ok(Value::Number(number)),
            _ => must_be(""),
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
        Literal::Text(_) => must_be(" and should not be enclosed in quotes"),
        _ if kind.is_text() || matches!(kind, Kind::Id | Kind::Reference) => {
            must_be(" and should be enclosed in quotes")
        }
        _ => must_be(""),
    }
}

/// A value as `IN` compares it.
pub fn fold(field: &Field, value: &Value) -> Value {
    match value {
        Value::Text(text) if !field.case_sensitive => Value::Text(text.to_lowercase().into()),
        other => other.clone(),
    }
}
