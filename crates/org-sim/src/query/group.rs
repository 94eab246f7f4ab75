//! Groups of rows: what they have in common, and what is computed of them.

use super::bind::{BindError, Bound, Operand, OrderBy, Scope, Source, operand, wrong};
use super::conditions::{self, Filter, fold};
use super::{eval, run};
use crate::schema::Kind;
use crate::soql::{Aggregate, Item, Select, Term};
use crate::store::Store;
use crate::value::{Decimal, Value};
use hashbrown::{HashMap, HashSet};

/// How rows are grouped and what is wanted of each group.
#[derive(Debug, Default)]
pub struct Groups {
    keys: Vec<Operand>,
    aggregates: Vec<(Aggregate, Operand)>,
    /// Name and source of each value, in the order of the query.
    pub columns: Vec<(String, Source)>,
    having: Option<Filter>,
}

/// One group: its keys and its aggregates.
#[derive(Debug)]
pub struct Group {
    keys: Vec<Value>,
    aggregates: Vec<Value>,
}

/// Binds a grouped query, without its `WHERE`.
pub fn bind(scope: &Scope<'_>, select: &Select) -> Result<(Groups, Vec<OrderBy>), BindError> {
    let mut groups = Groups::default();
    for term in &select.group {
        let key = operand(scope, term)?;
        if key.long || key.kind == Kind::MultiPicklist {
            return Err(wrong("MALFORMED_QUERY", format!("field '{}' can not be grouped in a query call", key.name)));
        }
        groups.keys.push(key);
    }
    let mut unnamed = 0;
    for item in &select.items {
        let Item::Term { term, alias } = item else {
            return Err(wrong("MALFORMED_QUERY", "a grouped query selects only grouped fields and aggregates"));
        };
        let found = groups.operand(scope, term)?;
        let name = match (alias, term) {
            (Some(alias), _) => alias.clone(),
            (None, Term::Path(_)) => found.name,
            (None, _) => {
                unnamed += 1;
                format!("expr{}", unnamed - 1)
            }
        };
        if groups.columns.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            let message = format!("duplicate alias: {name}");
            return Err(BindError { code: "MALFORMED_QUERY", message, at: term.place() });
        }
        groups.columns.push((name, found.source));
    }
    if let Some(expr) = &select.having {
        let mut names = |term: &Term| groups.operand(scope, term);
        groups.having = Some(conditions::bind_condition(expr, scope.now_ms, scope.store, &mut names)?);
    }
    let order = select.order.iter().map(|order| {
        let source = groups.operand(scope, &order.term)?.source;
        Ok(OrderBy { source, descending: order.descending, nulls_last: order.nulls_last })
    });
    let order = order.collect::<Result<_, BindError>>()?;
    Ok((groups, order))
}

impl Groups {
    /// What a term means outside of `WHERE`: a key of the groups, or an aggregate, which is added if it is new.
    fn operand(&mut self, scope: &Scope<'_>, term: &Term) -> Result<Operand, BindError> {
        let Term::Aggregate(aggregate, path, at) = term else {
            let found = operand(scope, term)?;
            let key = self.keys.iter().position(|key| key.source == found.source);
            let message = || format!("Field must be grouped or aggregated: {}", found.name);
            let key = key.ok_or_else(|| BindError { code: "MALFORMED_QUERY", message: message(), at: term.place() })?;
            return Ok(Operand { source: Source::Key(key), ..found });
        };
        let Some(path) = path else {
            let message = "COUNT() must be the only element in the SELECT list";
            return Err(BindError { code: "MALFORMED_QUERY", message: message.into(), at: Some(*at) });
        };
        let of = operand(scope, &Term::Path(path.clone()))?;
        let fits = match aggregate {
            Aggregate::Sum | Aggregate::Avg => of.kind.is_number(),
            Aggregate::Min | Aggregate::Max => !matches!(of.kind, Kind::Boolean | Kind::MultiPicklist | Kind::Time),
            Aggregate::Count | Aggregate::CountDistinct => true,
        };
        if !fits || of.long {
            let message = format!("field {} does not support aggregate operator {}", of.name, aggregate.word());
            return Err(BindError { code: "INVALID_FIELD", message, at: Some(*at) });
        }
        let kind = match aggregate {
            Aggregate::Count | Aggregate::CountDistinct => Kind::Int,
            Aggregate::Sum | Aggregate::Avg => Kind::Double,
            Aggregate::Min | Aggregate::Max => of.kind,
        };
        let known = self.aggregates.iter().position(|(known, field)| known == aggregate && field.source == of.source);
        let number = known.unwrap_or_else(|| {
            self.aggregates.push((*aggregate, of.clone()));
            self.aggregates.len() - 1
        });
        Ok(Operand { source: Source::Aggregate(number), kind, ..of })
    }
}

impl Aggregate {
    fn word(self) -> &'static str {
        match self {
            Aggregate::Count => "COUNT",
            Aggregate::CountDistinct => "COUNT_DISTINCT",
            Aggregate::Sum => "SUM",
            Aggregate::Avg => "AVG",
            Aggregate::Min => "MIN",
            Aggregate::Max => "MAX",
        }
    }
}

impl Group {
    /// The group's value of a source; null for what belongs to rows.
    pub fn value(&self, source: &Source) -> Value {
        match source {
            Source::Key(number) => self.keys[*number].clone(),
            Source::Aggregate(number) => self.aggregates[*number].clone(),
            Source::Field(_) | Source::Date(..) => Value::Null,
        }
    }
}

/// Groups the rows that fit, applies `HAVING`, order, offset and limit. Without an order, groups come in the order of
/// their first row; without keys there is one group even if there is no row.
pub fn run(store: &Store, bound: &Bound, groups: &Groups, deleted: bool) -> Vec<Group> {
    let table = store.table(bound.table);
    let mut found: Vec<(Vec<Value>, Vec<Sum>)> = Vec::new();
    let mut by_key: HashMap<Vec<Value>, usize> = HashMap::new();
    let new_sums = || groups.aggregates.iter().map(|_| Sum::default()).collect::<Vec<_>>();
    if groups.keys.is_empty() {
        by_key.insert(Vec::new(), 0);
        found.push((Vec::new(), new_sums()));
    }
    for row in run::fitting(store, bound, deleted).into_iter().filter_map(|slot| table.row(slot)) {
        let value = |operand: &Operand| eval::source_value(store, &operand.source, row, bound.table);
        let folded = groups.keys.iter().map(|key| fold(&value(key), key.heeds_case)).collect();
        let at = *by_key.entry(folded).or_insert_with(|| {
            found.push((groups.keys.iter().map(|key| value(key).into_owned()).collect(), new_sums()));
            found.len() - 1
        });
        for (sum, (aggregate, operand)) in found[at].1.iter_mut().zip(&groups.aggregates) {
            sum.add(*aggregate, &value(operand), operand.heeds_case);
        }
    }
    let group = |(keys, sums): (Vec<Value>, Vec<Sum>)| {
        let aggregates = sums.into_iter().zip(&groups.aggregates).map(|(sum, (aggregate, _))| sum.value(*aggregate));
        Group { keys, aggregates: aggregates.collect() }
    };
    let fits = |group: &Group| {
        let value = |source: &Source| std::borrow::Cow::Owned(group.value(source));
        groups.having.as_ref().is_none_or(|having| eval::holds(having, &value))
    };
    let mut groups: Vec<Group> = found.into_iter().map(group).filter(fits).collect();
    if !bound.order.is_empty() {
        groups.sort_by_cached_key(|group| run::SortKey::of(&bound.order, |source| group.value(source)));
    }
    groups.drain(..bound.offset.min(groups.len()));
    groups.truncate(bound.limit.unwrap_or(usize::MAX));
    groups
}

/// What is gathered for one aggregate of one group.
#[derive(Debug, Default)]
struct Sum {
    count: u64,
    distinct: HashSet<Value>,
    /// Sum of the numbers, times ten to the power of `scale`.
    mantissa: i128,
    scale: u8,
    least: Value,
    greatest: Value,
}

impl Sum {
    fn add(&mut self, aggregate: Aggregate, value: &Value, heeds_case: bool) {
        if value.is_null() {
            return;
        }
        self.count += 1;
        match (aggregate, value) {
            (Aggregate::CountDistinct, value) => {
                self.distinct.insert(fold(value, heeds_case));
            }
            (Aggregate::Sum | Aggregate::Avg, Value::Number(number)) => {
                let (mantissa, scale) = number.parts();
                let both = self.scale.max(scale);
                let power = |scale: u8| 10i128.pow(u32::from(both - scale));
                self.mantissa = self
                    .mantissa
                    .saturating_mul(power(self.scale))
                    .saturating_add(i128::from(mantissa).saturating_mul(power(scale)));
                self.scale = both;
            }
            (Aggregate::Min, value) if self.least.is_null() || below(value, &self.least) => self.least = value.clone(),
            (Aggregate::Max, value) if self.greatest.is_null() || below(&self.greatest, value) => {
                self.greatest = value.clone();
            }
            _ => {}
        }
    }

    fn value(self, aggregate: Aggregate) -> Value {
        let int = |count: u64| Value::Number(Decimal::int(i64::try_from(count).unwrap_or(i64::MAX)));
        match aggregate {
            Aggregate::Count => int(self.count),
            Aggregate::CountDistinct => int(self.distinct.len() as u64),
            Aggregate::Min => self.least,
            Aggregate::Max => self.greatest,
            Aggregate::Sum | Aggregate::Avg if self.count == 0 => Value::Null,
            Aggregate::Sum => number(&format!("{}e-{}", self.mantissa, self.scale)),
            Aggregate::Avg => {
                let sum = self.mantissa as f64 / 10f64.powi(i32::from(self.scale));
                number(&format!("{:e}", sum / self.count as f64))
            }
        }
    }
}

fn below(a: &Value, b: &Value) -> bool {
    eval::compare(a, b).is_some_and(std::cmp::Ordering::is_lt)
}

/// Reads a number with as many digits after the point as 17 digits leave room for; null beyond all of them.
fn number(text: &str) -> Value {
    let mut scales = (0..=14).rev().map(|scale| Decimal::parse(text, 17, scale));
    match scales.find_map(|parsed| parsed.and_then(Result::ok)) {
        Some(number) => Value::Number(number),
        None => Value::Null,
    }
}
