//! The suite that every implementer of `log`'s trait runs.
