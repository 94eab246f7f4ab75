//! The suite that every implementer of `source`'s trait runs.
