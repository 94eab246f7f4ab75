//! Lookups that are filled by the parent's external id.

use super::*;
use crate::spec::ReferenceSpec;
use contract::ColumnReference;

impl<'a> Check<'a> {
    /// The plans of every reference, as columns that hold the parent's external id.
    pub(super) fn check_references(&mut self, parents: &[Arc<ObjectSchema>]) -> Vec<(FieldPlan, OutColumn)> {
        let route = self.route;
        let mut plans: Vec<(FieldPlan, OutColumn)> = Vec::new();
        for reference in &route.references {
            let place = format!("references.{}", reference.object);
            let lookup = self.lookup(reference, &place);
            let parent = self.parent_field(reference, parents, &place);
            let source = MapSource::Column(reference.from.clone());
            let index = self.column(&reference.from, &place);
            let (Some(lookup), Some(parent), Some(_)) = (lookup, parent, index) else { continue };
            if route.source_of(&lookup.name).is_some() || plans.iter().any(|(_, out)| out.field == lookup.name) {
                let cause = format!("{} is filled twice", lookup.name);
                self.error("PS5211", &place, cause, "keep one of the two");
            }
            self.check_writable(lookup, &place);
            let Some(relationship) = lookup.relationship_name.clone() else {
                let cause = format!("{}.{} has no relationship name", self.object.name, lookup.name);
                self.error("PS5208", &place, cause, "name another lookup with field:");
                continue;
            };
            // The parent's external id tells what the value must be, the lookup whether it may be empty.
            let parent = FieldSchema { nillable: lookup.nillable, ..parent };
            let Some(mut plan) = self.plan_field(&parent, &source, &place) else { continue };
            plan.target.name = lookup.name.clone();
            let reference = ColumnReference {
                relationship,
                object: reference.object.clone(),
                external_id: parent.name.clone(),
                polymorphic: lookup.reference_to.len() > 1,
            };
            plans.push((plan, OutColumn { field: lookup.name.clone(), reference: Some(reference) }));
        }
        plans
    }

    /// The lookup that the reference fills.
    fn lookup(&mut self, reference: &ReferenceSpec, place: &str) -> Option<&'a FieldSchema> {
        let points = |field: &FieldSchema| {
            let to = reference.object.as_str();
            field.kind == FieldKind::Reference && field.reference_to.iter().any(|o| o.as_str().eq_ignore_ascii_case(to))
        };
        let object = self.object;
        if let Some(name) = &reference.field {
            let field = self.field(name, place)?;
            if !points(field) {
                let cause = format!("{}.{} is no lookup to {}", object.name, field.name, reference.object);
                self.error("PS5208", place, cause, "name a lookup field that points to the object");
                return None;
            }
            return Some(field);
        }
        let all: Vec<&'a FieldSchema> = object.fields.iter().filter(|field| points(field)).collect();
        match all.as_slice() {
            [one] => Some(*one),
            [] => {
                let cause = format!("{} has no lookup to {}", object.name, reference.object);
                let fix = format!("make a lookup field from {} to {}", object.name, reference.object);
                self.error("PS5208", place, cause, fix);
                None
            }
            several => {
                let names: Vec<&str> = several.iter().map(|field| &*field.name).collect();
                let cause =
                    format!("{} has several lookups to {}: {}", object.name, reference.object, names.join(", "));
                self.error("PS5209", place, cause, "name one of them with field:");
                None
            }
        }
    }

    /// The parent's external id field.
    fn parent_field(
        &mut self,
        reference: &ReferenceSpec,
        parents: &[Arc<ObjectSchema>],
        place: &str,
    ) -> Option<FieldSchema> {
        let named = |parent: &&Arc<ObjectSchema>| parent.name.as_str().eq_ignore_ascii_case(reference.object.as_str());
        let Some(parent) = parents.iter().find(named) else {
            let cause = format!("the object {} could not be described", reference.object);
            self.error("PS5210", place, cause, "check its name and the integration user's right to read it");
            return None;
        };
        let Some(field) = parent.field(&reference.external_id) else {
            let near = nearest(&reference.external_id, parent.fields.iter().map(|field| &*field.name));
            let fix = near
                .map_or_else(|| "name an external id of the parent".into(), |near| format!("did you mean {near:?}?"));
            let cause = format!("{} has no field {:?}", parent.name, reference.external_id);
            self.error("PS5210", place, cause, fix);
            return None;
        };
        if !(field.external_id || field.id_lookup) {
            let cause = format!("{}.{} is no external id", parent.name, field.name);
            self.error("PS5210", place, cause, "mark the field External ID (and Unique) in the org");
        }
        Some(field.clone())
    }
}
