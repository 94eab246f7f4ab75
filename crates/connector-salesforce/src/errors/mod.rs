//! From an answer that is no success to one class of error: the table of codes, and what is read when there is no code.

pub(crate) mod body;
pub mod table;
pub(crate) mod whole;
