//! Every mistake of a route that can be seen without a row.
//!
//! Findings have codes PS51xx (the route against its table) and PS52xx (the route against the target's objects). The
//! checks go on behind a mistake, so that one run shows all of them.

mod fields;
mod fitting;
mod references;

use super::coerce::coerce;
use super::fields::FieldTarget;
use super::mapper::{DeletePlan, FieldPlan, FieldSource, LanePlan, Mapper, ReadColumn, scalar_of};
use crate::event::value::Scalar;
use crate::expr::{Expression, ProblemKind};
use crate::spec::{ChangePart, DeletePolicy, LaneSpec, MapSource, Operation, RouteSpec};
use cel::Value;
use contract::{FieldKind, FieldSchema, ObjectSchema, OutColumn, OutOp};
use model::{Cell, Finding, Lane, ReplicaIdentity};
use std::borrow::Cow;
use std::sync::Arc;

/// What a check gives: the mapper unless a mistake left it without meaning, and all findings.
pub(super) struct Checked {
    pub mapper: Option<Mapper>,
    pub findings: Vec<Finding>,
}

/// The state of one check.
struct Check<'a> {
    route: &'a RouteSpec,
    object: &'a ObjectSchema,
    findings: Vec<Finding>,
    columns: Vec<ReadColumn>,
}

/// Checks and compiles a route.
pub(super) fn check(route: &RouteSpec, object: &ObjectSchema, parents: &[Arc<ObjectSchema>]) -> Checked {
    let mut check = Check { route, object, findings: Vec::new(), columns: Vec::new() };
    check.plan_columns();
    check.check_object();
    check.check_business_key();
    let key = check.check_key();
    let mut fields: Vec<(FieldPlan, OutColumn)> = check.check_map();
    fields.extend(check.check_references(parents));
    check.check_repeats();
    check.check_required(&fields);
    check.check_position_field();
    let deletes = check.check_deletes(&mut fields);
    let filter = check.check_filter();
    let lane = check.check_lane();
    let Check { findings, columns, .. } = check;
    let op = match route.operation {
        Operation::Upsert => OutOp::Upsert,
        Operation::Create => OutOp::Create,
        Operation::Update => OutOp::Update,
    };
    let identity = match route.schema.replica_identity {
        ReplicaIdentity::Full => route.schema.columns.iter().map(|column| column.name.clone()).collect(),
        _ => route.schema.identity_columns.clone(),
    };
    let (fields, out): (Vec<FieldPlan>, Vec<OutColumn>) = fields.into_iter().unzip();
    let mapper = Mapper {
        mode: route.value_mode,
        op,
        deletes,
        truncate: route.truncate,
        columns,
        key,
        fields,
        out: out.into(),
        filter,
        lane,
        identity,
        warnings: Vec::new(),
    };
    Checked { mapper: Some(mapper), findings }
}

impl<'a> Check<'a> {
    fn place(&self, rest: &str) -> String {
        format!("routes.{}.{rest}", self.route.id)
    }

    fn error(&mut self, code: &'static str, place: &str, cause: impl Into<String>, fix: impl Into<String>) {
        let place = self.place(place);
        self.findings.push(Finding::error(code, place, cause, fix));
    }

    fn warning(&mut self, code: &'static str, place: &str, cause: impl Into<String>, fix: impl Into<String>) {
        let place = self.place(place);
        self.findings.push(Finding::warning(code, place, cause, fix));
    }

    /// Gathers the columns that plain mappings read, in the table's order.
    fn plan_columns(&mut self) {
        let mapped: Vec<&str> = self
            .route
            .map
            .iter()
            .filter_map(|(_, source)| match source {
                MapSource::Column(name) => Some(name.as_str()),
                _ => None,
            })
            .chain(self.route.references.iter().map(|reference| reference.from.as_str()))
            .collect();
        let columns = self.route.schema.columns.iter().filter(|column| mapped.contains(&column.name.as_str()));
        self.columns = columns.map(|column| ReadColumn::new(&column.name, &column.kind)).collect();
    }

    fn column(&mut self, name: &str, place: &str) -> Option<usize> {
        let found = self.columns.iter().position(|column| column.name == name);
        if found.is_none() {
            let names = self.route.schema.columns.iter().map(|column| column.name.as_str());
            let near = nearest(name, names);
            let table = self.route.table.clone();
            self.error(
                "PS5101",
                place,
                format!("table {table} has no column {name:?}"),
                near.map_or_else(|| "name a column of the table".into(), |near| format!("did you mean {near:?}?")),
            );
        }
        found
    }

    fn check_object(&mut self) {
        let (object, route) = (self.object, self.route);
        let deletes = route.deletes == DeletePolicy::Delete && route.external_id.is_some();
        let needs = [
            (matches!(route.operation, Operation::Upsert | Operation::Create) && !object.createable, "create"),
            (matches!(route.operation, Operation::Upsert | Operation::Update) && !object.updateable, "update"),
            (deletes && !object.deletable, "delete"),
        ];
        for (lacking, right) in needs {
            if lacking {
                self.error(
                    "PS5212",
                    "to.object",
                    format!("the integration user may not {right} {}", object.name),
                    format!("grant the user {right} on {} in a permission set", object.name),
                );
            }
        }
    }

    fn check_business_key(&mut self) {
        let route = self.route;
        if route.key.is_empty() {
            let cause = format!("table {} has no primary key and no business key is given", route.table);
            self.error("PS5104", "key", cause, format!("set streams.{}.keys.{}", route.stream.stream, route.table));
        }
        for name in &route.key {
            if route.schema.column(name).is_none() {
                let cause = format!("table {} has no column {name:?}, which the business key names", route.table);
                self.error("PS5101", "key", cause, "name a column of the table");
            }
        }
    }

    /// The external id: its field, where its value comes from, and whether a delete carries it.
    fn check_key(&mut self) -> Option<FieldPlan> {
        let route = self.route;
        let Some(name) = route.external_id.as_deref() else {
            if route.operation != Operation::Create {
                let fix = "set to.external_id to a field that is marked External ID";
                self.error("PS5103", "to.external_id", "an upsert or update needs an external id", fix);
            } else if !matches!(route.deletes, DeletePolicy::Ignore | DeletePolicy::Create) {
                let fix = "set deletes: ignore, or deletes: create for a row of its own, or give an external id";
                self.error("PS5102", "deletes", "without an external id a deleted row cannot be found", fix);
            }
            return None;
        };
        let Some(field) = self.object.field(name) else {
            let near = nearest(name, self.object.fields.iter().map(|field| &*field.name));
            let fix = near.map_or_else(
                || {
                    format!(
                        "make the field in the org and mark it External ID, or name another field of {}",
                        self.object.name
                    )
                },
                |near| format!("did you mean {near:?}?"),
            );
            self.error("PS5203", "to.external_id", format!("{} has no field {name:?}", self.object.name), fix);
            return None;
        };
        if !(field.external_id || field.id_lookup || field.kind == FieldKind::Id) {
            let cause = format!("{}.{} is no external id", self.object.name, field.name);
            self.error("PS5203", "to.external_id", cause, "mark the field External ID (and Unique) in the org");
        }
        let place = format!("map.{name}");
        let Some(source) = route.source_of(name) else {
            let fix = format!("add {name}: <column> to the route's map");
            self.error("PS5103", &place, "the external id is not mapped", fix);
            return None;
        };
        let plan = self.plan_field(field, source, &place);
        self.check_delete_carries_key(source);
        plan
    }

    fn check_delete_carries_key(&mut self, source: &MapSource) {
        let route = self.route;
        if matches!(route.deletes, DeletePolicy::Ignore | DeletePolicy::Create) {
            return;
        }
        let read: Vec<String> = match source {
            MapSource::Column(name) => vec![name.clone()],
            MapSource::Cel(text) => Expression::compile(text, &route.schema.columns)
                .map(|expression| expression.columns().iter().map(|column| column.name.clone()).collect())
                .unwrap_or_default(),
            MapSource::Change(ChangePart::Key) => return,
            MapSource::Constant(_) | MapSource::Change(_) => {
                let cause = "the external id is the same for many rows: they would be one";
                self.error("PS5103", "map", cause, "map it from a column");
                return;
            }
        };
        let sure = |name: &String| {
            route.schema.replica_identity == ReplicaIdentity::Full
                || route.schema.identity_columns.contains(name)
                || route.key.contains(name)
        };
        for name in read.iter().filter(|name| !sure(name) && route.schema.column(name).is_some()) {
            self.error(
                "PS5102",
                "deletes",
                format!("a delete does not carry column {name:?}, which the external id comes from"),
                format!("run ALTER TABLE {} REPLICA IDENTITY FULL, or set deletes: ignore", route.table),
            );
        }
    }

    fn check_filter(&mut self) -> Option<Expression> {
        let text = self.route.filter.as_deref()?;
        let expression = self.compile_expression(text, "filter")?;
        let wrong = |value: &Value| !matches!(value, Value::Bool(_) | Value::Null | Value::Map(_));
        if expression.leaves().iter().any(|leaf| wrong(&leaf.sample)) {
            self.error("PS5108", "filter", "the filter does not give true or false", "end it in a comparison");
        }
        Some(expression)
    }

    fn check_lane(&mut self) -> LanePlan {
        let text = match &self.route.lane {
            LaneSpec::Constant(lane) => return LanePlan::Constant(*lane),
            LaneSpec::Cel(text) => text,
        };
        let Some(expression) = self.compile_expression(text, "lane") else {
            return LanePlan::Constant(Lane::Standard);
        };
        for leaf in expression.leaves() {
            let wrong = match &leaf.sample {
                Value::String(word) => leaf.literal && Lane::from_word(word).is_none(),
                Value::Map(_) => false,
                _ => true,
            };
            if wrong {
                let cause = format!("the lane's expression can give {:?}", leaf.sample);
                self.error("PS5108", "lane", cause, "give critical, standard or bulk");
            }
        }
        LanePlan::Expression(expression)
    }

    /// Compiles an expression and turns its problems into findings.
    fn compile_expression(&mut self, text: &str, place: &str) -> Option<Expression> {
        match Expression::compile(text, &self.route.schema.columns) {
            Ok(expression) => Some(expression),
            Err(problems) => {
                for problem in problems {
                    let (code, fix) = match problem.kind {
                        ProblemKind::Syntax => ("PS5105", "correct the expression"),
                        ProblemKind::UnknownVariable => ("PS5106", "an expression reads the table's columns by name"),
                        ProblemKind::UnknownFunction => ("PS5107", "use a function of CEL's standard library"),
                        ProblemKind::Types => ("PS5108", "convert with string(), int(), double() or timestamp()"),
                    };
                    let at = format!("line {}, column {}", problem.line, problem.column);
                    self.error(code, place, format!("{} ({at} of {text:?})", problem.message), fix);
                }
                None
            }
        }
    }
}

/// A constant as a column's value would be.
fn scalar_of_json(value: &serde_json::Value) -> Option<Scalar<'static>> {
    Some(match value {
        serde_json::Value::Null => Scalar::Null,
        serde_json::Value::Bool(value) => Scalar::Bool(*value),
        serde_json::Value::Number(number) => Scalar::Number(Cow::Owned(number.to_string())),
        serde_json::Value::String(text) => Scalar::Text(Cow::Owned(text.clone())),
        _ => return None,
    })
}

/// The name that differs in the fewest letters, when it is near enough to be a slip of the pen.
fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let distances = names.map(|name| (distance(&wanted.to_lowercase(), &name.to_lowercase()), name));
    distances.min().filter(|(distance, _)| *distance <= 1 + wanted.len() / 5).map(|(_, name)| name)
}

/// Edits between two texts: insertions, deletions, replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "../check_tests.rs"]
mod tests;
