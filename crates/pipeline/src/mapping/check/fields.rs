//! The route's map against the object's fields.

use super::fitting::{Fit, fit_of_column, fit_of_value, size_warning};
use super::*;

impl<'a> Check<'a> {
    /// Every mapped field but the external id.
    pub(super) fn check_map(&mut self) -> Vec<(FieldPlan, OutColumn)> {
        let route = self.route;
        let mut plans = Vec::new();
        for (name, source) in &route.map {
            if route.external_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(name)) {
                continue;
            }
            let place = format!("map.{name}");
            let Some(field) = self.field(name, &place) else { continue };
            self.check_writable(field, &place);
            if let Some(plan) = self.plan_field(field, source, &place) {
                plans.push((plan, OutColumn { field: field.name.clone(), reference: None }));
            }
        }
        plans
    }

    pub(super) fn field(&mut self, name: &str, place: &str) -> Option<&'a FieldSchema> {
        let found = self.object.field(name);
        if found.is_none() {
            let near = nearest(name, self.object.fields.iter().map(|field| &*field.name));
            let fix = near.map_or_else(
                || {
                    format!(
                        "make the field, or let the integration user see it, or name another field of {}",
                        self.object.name
                    )
                },
                |near| format!("did you mean {near:?}?"),
            );
            self.error("PS5201", place, format!("{} has no field {name:?}", self.object.name), fix);
        }
        found
    }

    pub(super) fn check_writable(&mut self, field: &FieldSchema, place: &str) {
        let create = matches!(self.route.operation, Operation::Upsert | Operation::Create) && !field.createable;
        let update = matches!(self.route.operation, Operation::Upsert | Operation::Update) && !field.updateable;
        let what = match (create, update) {
            (false, false) => return,
            (true, false) => "created with a value",
            (false, true) => "updated",
            (true, true) => "written",
        };
        let cause = format!("{}.{} cannot be {what}", self.object.name, field.name);
        // The parent of a master-detail row is set once; sending the same parent again is taken.
        if field.kind == FieldKind::Reference && !create {
            self.warning("PS5202", place, cause, "a change of the parent will be refused by the org");
            return;
        }
        let fix = if field.calculated {
            "leave it out: it is calculated by the org"
        } else {
            "grant the integration user edit on the field, or leave it out"
        };
        self.error("PS5202", place, cause, fix);
    }

    /// The plan of one field; `None` when its source makes no sense.
    pub(super) fn plan_field(&mut self, field: &FieldSchema, source: &MapSource, place: &str) -> Option<FieldPlan> {
        let target = FieldTarget::new(field);
        let source = match source {
            MapSource::Column(name) => {
                let index = self.column(name, place)?;
                self.check_column(name, field, &target, place);
                FieldSource::Column(index)
            }
            MapSource::Constant(value) => FieldSource::Constant(self.constant(value, &target, place)?),
            MapSource::Cel(text) => {
                let expression = self.compile_expression(text, place)?;
                self.check_expression(&expression, &target, place);
                FieldSource::Expression(expression)
            }
            MapSource::Change(part) => {
                self.check_change(*part, &target, place);
                FieldSource::Change(*part)
            }
        };
        Some(FieldPlan { target, source })
    }

    /// A change's part is a text, its time a moment.
    fn check_change(&mut self, part: ChangePart, target: &FieldTarget, place: &str) {
        let fits = match (part, target.kind) {
            (ChangePart::Time, kind) => matches!(kind, FieldKind::Datetime | FieldKind::Date | FieldKind::Text),
            (_, kind) => matches!(kind, FieldKind::Text | FieldKind::TextArea | FieldKind::Picklist),
        };
        if !fits {
            let cause =
                format!("{{change: {}}} does not fit {}, which is {:?}", part.as_str(), target.name, target.kind);
            self.error("PS5204", place, cause, "map it to a text; {change: time} also to a date and time");
        }
    }

    fn check_column(&mut self, name: &str, field: &FieldSchema, target: &FieldTarget, place: &str) {
        let Some(column) = self.route.schema.column(name) else { return };
        let what =
            format!("column {name:?} is {}, {}.{} is {:?}", column.kind, self.object.name, field.name, field.kind);
        match fit_of_column(&column.kind, field.kind) {
            Fit::Yes => {}
            Fit::Loses(why) => {
                self.warning("PS5204", place, format!("{what}: {why}"), "convert it with a cel expression")
            }
            Fit::No => {
                self.error("PS5204", place, what, "map another column, or convert it with a cel expression");
                return;
            }
        }
        if let Some((code, cause)) = size_warning(&column.kind, target) {
            self.warning(
                code,
                place,
                format!("{what}: {cause}"),
                "rows that do not fit become dead letters; shorten them with cel",
            );
        }
        if let (model::ColumnType::Enum { labels }, Some(_)) = (&column.kind, &target.picklist) {
            let outside: Vec<&String> = labels.iter().filter(|label| target.lacks(label)).collect();
            if !outside.is_empty() {
                let cause = format!("the restricted picklist {} lacks the enum's labels {outside:?}", field.name);
                self.warning("PS5207", place, cause, "add the values to the picklist, or convert them with cel");
            }
        }
        let key = self.route.external_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(&field.name));
        if column.nullable && !target.nillable && !key {
            let cause = format!("column {name:?} may be null, {}.{} takes no null", self.object.name, field.name);
            self.warning("PS5213", place, cause, "rows with a null become dead letters; give a value with cel");
        }
    }

    pub(super) fn constant(&mut self, value: &serde_json::Value, target: &FieldTarget, place: &str) -> Option<Cell> {
        let Some(scalar) = scalar_of_json(value) else {
            self.error("PS5214", place, "a constant is a text, a number, true, false or null", "write one value");
            return None;
        };
        match coerce(scalar, true, target) {
            Ok(cell) => Some(cell),
            Err(refusal) => {
                self.error("PS5214", place, refusal.message, "write a constant that the field can hold");
                None
            }
        }
    }

    fn check_expression(&mut self, expression: &Expression, target: &FieldTarget, place: &str) {
        for leaf in expression.leaves() {
            let cause = match (leaf.literal, fit_of_value(&leaf.sample, target.kind)) {
                (true, _) => {
                    let scalar = scalar_of(leaf.sample.clone()).unwrap_or(Scalar::Null);
                    coerce(scalar, true, target).err().map(|refusal| refusal.message)
                }
                (false, Fit::No) => {
                    let kind = leaf.sample.type_of();
                    Some(format!("the expression gives a {kind}, {} is {:?}", target.name, target.kind))
                }
                (false, _) => None,
            };
            if let Some(cause) = cause {
                self.error("PS5108", place, cause, "convert with string(), int(), double() or timestamp()");
            }
        }
    }

    /// A field that is written twice.
    pub(super) fn check_repeats(&mut self) {
        let route = self.route;
        let mut seen: Vec<String> = Vec::new();
        for (name, _) in &route.map {
            let lower = name.to_ascii_lowercase();
            if seen.contains(&lower) {
                let fix = "keep one of the two";
                self.error("PS5211", &format!("map.{name}"), format!("{name} is mapped twice"), fix);
            }
            seen.push(lower);
        }
    }

    /// Fields that a new row must have and that nothing fills.
    pub(super) fn check_required(&mut self, fields: &[(FieldPlan, OutColumn)]) {
        if self.route.operation == Operation::Update {
            return;
        }
        let object = self.object;
        for field in &object.fields {
            let needed = field.createable && !field.nillable && !field.defaulted_on_create;
            let filled = fields.iter().any(|(_, out)| out.field.eq_ignore_ascii_case(&field.name))
                || self.route.source_of(&field.name).is_some()
                || self.route.position_field.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&field.name));
            if needed && !filled && field.kind != FieldKind::Boolean {
                let cause = format!("{}.{} is required and nothing fills it", object.name, field.name);
                let fix = format!("add {} to the route's map or references", field.name);
                self.error("PS5206", "map", cause, fix);
            }
        }
    }

    pub(super) fn check_position_field(&mut self) {
        /// `partition:offset` of two 32- and 64-bit numbers.
        const CHARS: u32 = 31;
        let Some(name) = self.route.position_field.as_deref() else { return };
        let Some(field) = self.field(name, "to.position_field") else { return };
        self.check_writable(field, "to.position_field");
        if field.kind != FieldKind::Text || (field.length > 0 && field.length < CHARS) {
            let cause = format!("{}.{} is no text of {CHARS} characters or more", self.object.name, field.name);
            self.error("PS5215", "to.position_field", cause, "make it a Text field of length 40");
        }
        if self.route.source_of(name).is_some() {
            self.error("PS5211", "to.position_field", format!("{name} is also mapped"), "keep one of the two");
        }
    }

    /// What a delete does; `set` may need a column of its own.
    pub(super) fn check_deletes(&mut self, fields: &mut Vec<(FieldPlan, OutColumn)>) -> DeletePlan {
        let route = self.route;
        let (name, value) = match &route.deletes {
            DeletePolicy::Delete => return DeletePlan::Delete,
            DeletePolicy::Ignore => return DeletePlan::Ignore,
            DeletePolicy::Create => {
                if route.operation != Operation::Create {
                    let cause = "deletes: create makes a new row, and the route does not create rows";
                    self.error("PS5102", "deletes", cause, "set operation: create, or choose delete, ignore or set");
                }
                return DeletePlan::Create;
            }
            DeletePolicy::Set { field, value } => (field, value),
        };
        let Some(field) = self.field(name, "deletes.set") else { return DeletePlan::Ignore };
        self.check_writable(field, "deletes.set");
        let target = FieldTarget::new(field);
        let Some(cell) = self.constant(value, &target, "deletes.set") else { return DeletePlan::Ignore };
        let index = fields.iter().position(|(_, out)| out.field == field.name).unwrap_or_else(|| {
            // Rows that are not deleted leave the field alone.
            let plan = FieldPlan { target, source: FieldSource::Constant(Cell::Unchanged) };
            fields.push((plan, OutColumn { field: field.name.clone(), reference: None }));
            fields.len() - 1
        });
        let mut cells = vec![Cell::Unchanged; fields.len()];
        cells[index] = cell;
        DeletePlan::Set(cells)
    }
}
