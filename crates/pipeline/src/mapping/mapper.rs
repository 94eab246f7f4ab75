//! A route's mapping, compiled: one pass over the row's JSON, then one coercion per field.

use super::change;
use super::check::{self, Checked};
use super::coerce::{coerce, is_zoned};
use super::fields::FieldTarget;
use super::refusal::{RefusalKind as Kind, RowRefusal};
use super::row::MappedRow;
use crate::event::calendar::Moment;
use crate::event::scan::{Members, name_is};
use crate::event::value::{Beyond, Scalar, decode};
use crate::event::{ChangeView, calendar};
use crate::expr::{Evaluated, Expression, Found};
use crate::spec::{ChangePart, RouteSpec, TruncatePolicy};
use cel::Value;
use contract::{ObjectSchema, OutColumn, OutOp};
use model::{Cell, ColumnType, FieldValue, Finding, Lane, Op, ValueMode};
use std::borrow::Cow;
use std::sync::Arc;

/// Maps the records of one route. Cheap to share; used from any thread.
#[derive(Debug)]
pub struct Mapper {
    pub(super) mode: ValueMode,
    /// What a created, updated or read row becomes.
    pub(super) op: OutOp,
    pub(super) deletes: DeletePlan,
    pub(super) truncate: TruncatePolicy,
    /// The columns that plain mappings read, in the table's order.
    pub(super) columns: Vec<ReadColumn>,
    pub(super) key: Option<FieldPlan>,
    /// In the order of `out`.
    pub(super) fields: Vec<FieldPlan>,
    pub(super) out: Arc<[OutColumn]>,
    pub(super) filter: Option<Expression>,
    pub(super) lane: LanePlan,
    pub(super) identity: Vec<String>,
    pub(super) warnings: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct ReadColumn {
    pub name: String,
    pub kind: ColumnType,
    pub zoned: bool,
}

#[derive(Debug)]
pub(super) struct FieldPlan {
    pub target: FieldTarget,
    pub source: FieldSource,
}

#[derive(Debug)]
pub(super) enum FieldSource {
    /// An index into `Mapper::columns`.
    Column(usize),
    Constant(Cell),
    Expression(Expression),
    Change(ChangePart),
}

#[derive(Debug)]
pub(super) enum DeletePlan {
    Delete,
    Ignore,
    /// The whole row's cells: unchanged but for one.
    Set(Vec<Cell>),
    /// A row of its own.
    Create,
}

#[derive(Debug)]
pub(super) enum LanePlan {
    Constant(Lane),
    Expression(Expression),
}

impl Mapper {
    /// Checks a route against its table and its target's objects, and compiles it.
    ///
    /// `parents` holds the objects that the route's references name, in any order.
    ///
    /// # Errors
    /// Every finding, warnings included, when at least one of them is an error.
    pub fn compile(
        route: &RouteSpec,
        object: &ObjectSchema,
        parents: &[Arc<ObjectSchema>],
    ) -> Result<Self, Vec<Finding>> {
        let Checked { mapper, findings } = check::check(route, object, parents);
        let refused = findings.iter().any(|finding| finding.severity == model::Severity::Error);
        match mapper {
            Some(mapper) if !refused => Ok(Self { warnings: findings, ..mapper }),
            _ => Err(findings),
        }
    }

    /// What the check found that does not stop a run.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// What the cells of a mapped row mean, in order.
    pub fn columns(&self) -> Arc<[OutColumn]> {
        self.out.clone()
    }

    /// Says whether the record is to be sent; when not it is settled as filtered.
    ///
    /// A delete is tested over `before`; when that lacks a column of the filter, the delete passes: deleting a row that
    /// the target never had counts as applied. An update that leaves the filter is filtered like any other: the target
    /// keeps the row as it last was.
    ///
    /// # Errors
    /// `RowRefusal` when the filter fails over this row, or reads a column whose value is not known since it did not
    /// change.
    pub fn passes(&self, view: &ChangeView<'_>) -> Result<bool, RowRefusal> {
        match view.op() {
            Op::Truncate => return Ok(self.truncate == TruncatePolicy::Refuse),
            Op::Delete if matches!(self.deletes, DeletePlan::Ignore) => return Ok(false),
            _ => {}
        }
        let Some(filter) = &self.filter else { return Ok(true) };
        let delete = view.op() == Op::Delete;
        if delete && filter.columns().iter().any(|column| self.find(view, &column.name) == Found::Missing) {
            return Ok(true);
        }
        match filter.evaluate(self.mode, |name| self.find(view, name)) {
            Ok(Evaluated::Value(Value::Bool(passes))) => Ok(passes),
            Ok(Evaluated::Value(Value::Null)) => Ok(false),
            Ok(Evaluated::Value(other)) => {
                Err(Kind::ExpressionFailed.of_row(format!("the filter gave {other:?}, not true or false")))
            }
            Ok(Evaluated::Unchanged) => Err(Kind::FilterUnknown.of_row(
                "the filter reads a column whose value did not change and is not in the record; \
                 REPLICA IDENTITY FULL brings it along",
            )),
            Err(error) => Err(Kind::ExpressionFailed.of_row(format!("the filter: {error}"))),
        }
    }

    /// Tells the record's lane. Rows of the first copy go to `bulk` where the lane is a constant, so that live changes pass
    /// them; an expression decides about them as about all others. A record that does not hold what the expression reads (a
    /// delete without the column, an unchanged column) goes to `standard`.
    ///
    /// # Errors
    /// `RowRefusal` when the expression fails or gives another word.
    pub fn lane(&self, view: &ChangeView<'_>) -> Result<Lane, RowRefusal> {
        let expression = match &self.lane {
            LanePlan::Constant(_) if view.op() == Op::Read => return Ok(Lane::Bulk),
            LanePlan::Constant(lane) => return Ok(*lane),
            LanePlan::Expression(expression) => expression,
        };
        let unknown = |column: &model::Column| matches!(self.find(view, &column.name), Found::Missing);
        if view.op() == Op::Truncate || expression.columns().iter().any(unknown) {
            return Ok(Lane::Standard);
        }
        match expression.evaluate(self.mode, |name| self.find(view, name)) {
            Ok(Evaluated::Unchanged) => Ok(Lane::Standard),
            Ok(Evaluated::Value(Value::String(word))) => Lane::from_word(&word)
                .ok_or_else(|| Kind::UnknownLane.of_row(format!("the lane's expression gave {word:?}"))),
            Ok(Evaluated::Value(other)) => {
                Err(Kind::UnknownLane.of_row(format!("the lane's expression gave {other:?}")))
            }
            Err(error) => Err(Kind::ExpressionFailed.of_row(format!("the lane's expression: {error}"))),
        }
    }

    /// Maps a record to a row of the target.
    ///
    /// # Errors
    /// `RowRefusal` when a value does not fit its field, an expression fails, or the external id is not known.
    pub fn map(&self, view: &ChangeView<'_>) -> Result<MappedRow, RowRefusal> {
        match view.op() {
            Op::Truncate => Err(Kind::Truncate.of_row("a truncate names no rows")),
            Op::Delete if matches!(self.deletes, DeletePlan::Create) => self.map_last(view),
            Op::Delete => {
                let key = self.map_key(view, &[])?;
                Ok(match &self.deletes {
                    DeletePlan::Set(cells) => MappedRow { op: OutOp::Update, key, cells: cells.clone() },
                    DeletePlan::Delete | DeletePlan::Ignore | DeletePlan::Create => {
                        MappedRow { op: OutOp::Delete, key, cells: Vec::new() }
                    }
                })
            }
            Op::Create | Op::Update | Op::Read => {
                let spans = self.spans(view)?;
                let key = self.map_key(view, &spans)?;
                let cells = self.fields.iter().map(|field| self.map_field(field, view, &spans));
                Ok(MappedRow { op: self.op, key, cells: cells.collect::<Result<_, _>>()? })
            }
        }
    }

    /// Finds the columns in one pass. The row stands in the table's order, as the plan's columns do, so that each name
    /// is compared with one column; what is not found in that way is searched for.
    fn spans<'a>(&self, view: &ChangeView<'a>) -> Result<Vec<Option<&'a [u8]>>, RowRefusal> {
        let malformed = |why: &str| Kind::Malformed.of_row(format!("the record is no change event: {why}"));
        let row = view.after().ok_or_else(|| match view.whole() {
            Ok(()) => malformed("it has no row in after"),
            Err(broken) => malformed(broken.why),
        })?;
        let mut spans: Vec<Option<&'a [u8]>> = Vec::with_capacity(self.columns.len());
        let mut members = Members::of(row).map_err(|broken| malformed(broken.why))?;
        while spans.len() < self.columns.len() {
            let Some(name) = members.name().map_err(|broken| malformed(broken.why))? else { break };
            let value = members.value().map_err(|broken| malformed(broken.why))?;
            if name_is(name, &self.columns[spans.len()].name) {
                spans.push(Some(value));
            }
        }
        while spans.len() < self.columns.len() {
            spans.push(view.after_column(&self.columns[spans.len()].name));
        }
        Ok(spans)
    }

    /// What the record says of a column, for expressions.
    fn find<'a>(&self, view: &ChangeView<'a>, name: &str) -> Found<'a> {
        let before = || {
            let sure = self.identity.iter().any(|column| column == name);
            if sure { view.before_column(name) } else { None }.or_else(|| view.key_column(name))
        };
        if view.op() == Op::Delete {
            return before().map_or(Found::Missing, Found::Raw);
        }
        match view.after_column(name) {
            Some(raw) => Found::Raw(raw),
            None if view.is_unchanged(name) => before().map_or(Found::Unchanged, Found::Raw),
            None => Found::Missing,
        }
    }

    fn map_key(&self, view: &ChangeView<'_>, spans: &[Option<&[u8]>]) -> Result<Option<FieldValue>, RowRefusal> {
        let Some(plan) = &self.key else { return Ok(None) };
        let unknown = |why: &str| Kind::NoKey.of_field(&plan.target.name, format!("the external id {why}"));
        let cell = match &plan.source {
            FieldSource::Column(index) => {
                let column = &self.columns[*index];
                let raw = spans.get(*index).copied().flatten();
                let raw = raw.or_else(|| match self.find(view, &column.name) {
                    Found::Raw(raw) => Some(raw),
                    Found::Unchanged | Found::Missing => None,
                });
                self.map_column(raw.ok_or_else(|| unknown("is not in the record"))?, column, &plan.target)
            }
            FieldSource::Expression(expression) => self.map_expression(expression, view, &plan.target),
            FieldSource::Constant(cell) => Ok(cell.clone()),
            FieldSource::Change(part) => coerce(change::part(view, *part)?, true, &plan.target),
        };
        match cell {
            Ok(Cell::Value(value)) => Ok(Some(value)),
            Ok(Cell::Null) => Err(unknown("is null or empty")),
            Ok(Cell::Unchanged) => Err(unknown("did not change and is not in the record")),
            Err(refusal) if refusal.code == Kind::NullNotAllowed.code() => Err(unknown("is null or empty")),
            Err(refusal) => Err(refusal),
        }
    }

    fn map_field(&self, plan: &FieldPlan, view: &ChangeView<'_>, spans: &[Option<&[u8]>]) -> Result<Cell, RowRefusal> {
        match &plan.source {
            FieldSource::Column(index) => match spans[*index] {
                Some(raw) => self.map_column(raw, &self.columns[*index], &plan.target),
                None if view.is_unchanged(&self.columns[*index].name) => Ok(Cell::Unchanged),
                None => Err(missing(&self.columns[*index].name, &plan.target)),
            },
            FieldSource::Constant(cell) => Ok(cell.clone()),
            FieldSource::Expression(expression) => self.map_expression(expression, view, &plan.target),
            FieldSource::Change(part) => coerce(change::part(view, *part)?, true, &plan.target),
        }
    }

    /// Maps a delete to a row of its own: what the source did not tell of the deleted row is left out.
    fn map_last(&self, view: &ChangeView<'_>) -> Result<MappedRow, RowRefusal> {
        let key = self.map_key(view, &[])?;
        let cell = |plan: &FieldPlan| match &plan.source {
            FieldSource::Column(index) => match self.find(view, &self.columns[*index].name) {
                Found::Raw(raw) => self.map_column(raw, &self.columns[*index], &plan.target),
                Found::Unchanged | Found::Missing => Ok(Cell::Unchanged),
            },
            FieldSource::Expression(expression) => {
                let known = |column: &model::Column| matches!(self.find(view, &column.name), Found::Raw(_));
                if expression.columns().iter().all(known) {
                    self.map_expression(expression, view, &plan.target)
                } else {
                    Ok(Cell::Unchanged)
                }
            }
            FieldSource::Constant(_) | FieldSource::Change(_) => self.map_field(plan, view, &[]),
        };
        let cells = self.fields.iter().map(cell).collect::<Result<_, _>>()?;
        Ok(MappedRow { op: OutOp::Create, key, cells })
    }

    #[inline]
    fn map_column(&self, raw: &[u8], column: &ReadColumn, target: &FieldTarget) -> Result<Cell, RowRefusal> {
        let scalar = decode(raw, &column.kind, self.mode)
            .map_err(|wrong| Kind::WrongType.of_field(&target.name, format!("column {}: {wrong}", column.name)))?;
        coerce(scalar, column.zoned, target)
    }

    fn map_expression(
        &self,
        expression: &Expression,
        view: &ChangeView<'_>,
        target: &FieldTarget,
    ) -> Result<Cell, RowRefusal> {
        let gone = expression.columns().iter().find(|column| self.find(view, &column.name) == Found::Missing);
        if let Some(column) = gone {
            return Err(missing(&column.name, target));
        }
        match expression.evaluate(self.mode, |name| self.find(view, name)) {
            Ok(Evaluated::Unchanged) => Ok(Cell::Unchanged),
            Ok(Evaluated::Value(value)) => {
                let scalar = scalar_of(value).ok_or_else(|| {
                    Kind::ExpressionFailed.of_field(&target.name, "the expression's result is no value of a field")
                })?;
                coerce(scalar, true, target)
            }
            Err(error) => Err(Kind::ExpressionFailed.of_field(&target.name, error.to_string())),
        }
    }
}

fn missing(column: &str, target: &FieldTarget) -> RowRefusal {
    let why = format!("the record has no column {column:?}, which the table had at start");
    Kind::MissingColumn.of_field(&target.name, why)
}

/// A CEL result as a column's value would be; `None` for what no field can take.
pub(super) fn scalar_of(value: Value) -> Option<Scalar<'static>> {
    Some(match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(value),
        Value::Int(integer) => Scalar::Number(Cow::Owned(integer.to_string())),
        Value::UInt(integer) => Scalar::Number(Cow::Owned(integer.to_string())),
        Value::Float(double) => match model::Number::from_f64(double) {
            Some(number) => Scalar::Number(Cow::Owned(number.as_str().to_owned())),
            None if double.is_nan() => Scalar::Beyond(Beyond::NotANumber),
            None if double > 0.0 => Scalar::Beyond(Beyond::Infinity),
            None => Scalar::Beyond(Beyond::MinusInfinity),
        },
        Value::String(text) => Scalar::Text(Cow::Owned(text.as_ref().clone())),
        Value::Bytes(bytes) => {
            use base64::Engine;
            Scalar::Bytes(Cow::Owned(base64::engine::general_purpose::STANDARD.encode(bytes.as_slice())))
        }
        Value::Timestamp(at) => {
            let us = i64::from(at.timestamp_subsec_micros());
            let seconds = at.timestamp();
            let day = calendar::Day(seconds.div_euclid(86_400));
            Scalar::Moment(Moment::at(day, seconds.rem_euclid(86_400) * 1_000_000 + us))
        }
        Value::List(items) => {
            Scalar::List(items.iter().map(|item| scalar_of(item.clone())).collect::<Option<Vec<_>>>()?)
        }
        map @ Value::Map(_) => Scalar::Json(Cow::Owned(map.json().ok()?.to_string())),
        _ => return None,
    })
}

impl ReadColumn {
    pub(super) fn new(name: &str, kind: &ColumnType) -> Self {
        Self { name: name.to_owned(), kind: kind.clone(), zoned: is_zoned(kind) }
    }
}
