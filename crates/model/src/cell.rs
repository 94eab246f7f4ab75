//! One field of a row on its way to a target.

use crate::number::Number;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A field's state: a value, null, or unchanged (neither null nor a value).
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The source did not send it (unchanged TOAST, a field outside `changedFields`): the target keeps what it has.
    Unchanged,
    /// The target's field is cleared.
    Null,
    Value(FieldValue),
}

/// A value in the shape that a JSON API takes. Numbers keep the source's digits: they are never rounded through a float.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    Bool(bool),
    /// A JSON number in its literal digits (`-12.3400`, `1e10`), valid JSON.
    Number(Number),
    Text(Arc<str>),
}
