//! The suite that every implementer of `sink`'s trait runs.
