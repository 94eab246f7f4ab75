//! The suite that every implementer of `state`'s trait runs.
