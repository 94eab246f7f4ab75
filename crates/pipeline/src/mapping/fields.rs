//! A target field as coercion needs it.

use contract::{FieldKind, FieldSchema};
use std::collections::HashSet;
use std::sync::Arc;

/// The limits of one field.
#[derive(Clone, Debug)]
pub(super) struct FieldTarget {
    pub name: Arc<str>,
    pub kind: FieldKind,
    /// Characters; 0: no limit.
    pub length: u32,
    /// Digits before the point at most; none: no limit.
    pub whole_digits: Option<u32>,
    /// Digits after the point at most; none: no limit.
    pub scale: Option<u32>,
    pub nillable: bool,
    /// Lower-cased values of a restricted picklist. The target may take another case; a refusal here would be wrong
    /// then.
    pub picklist: Option<HashSet<String>>,
}

impl FieldTarget {
    pub fn new(field: &FieldSchema) -> Self {
        let number = matches!(field.kind, FieldKind::Double | FieldKind::Currency) && field.precision > 0;
        let scale = match field.kind {
            FieldKind::Int => Some(0),
            _ => number.then_some(field.scale),
        };
        Self {
            name: field.name.clone(),
            kind: field.kind,
            length: if is_text(field.kind) { field.length } else { 0 },
            whole_digits: number.then(|| field.precision.saturating_sub(field.scale)),
            scale,
            nillable: field.nillable,
            picklist: (field.picklist_restricted && is_picklist(field.kind))
                .then(|| field.picklist.iter().map(|value| value.to_lowercase()).collect()),
        }
    }

    /// True when a restricted picklist does not have the value.
    pub fn lacks(&self, value: &str) -> bool {
        self.picklist.as_ref().is_some_and(|values| !values.contains(&value.to_lowercase()))
    }
}

fn is_picklist(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Picklist | FieldKind::MultiPicklist)
}

/// Kinds whose values are plain text with a length.
pub(super) fn is_text(kind: FieldKind) -> bool {
    matches!(
        kind,
        FieldKind::Text
            | FieldKind::Email
            | FieldKind::Phone
            | FieldKind::Url
            | FieldKind::TextArea
            | FieldKind::Picklist
            | FieldKind::MultiPicklist
            | FieldKind::Id
            | FieldKind::Reference
            | FieldKind::Other
    )
}
