//! Reads records by external id: their ids before an update or delete, their fields after an answer was lost.

mod compare;
mod decimal;
mod ids;
mod instant;
mod lookup;
mod query;
mod readback;
pub(crate) mod soql;

pub(crate) use compare::value_text;
pub(crate) use ids::IdCache;
pub(crate) use instant::unix_nanos;
pub(crate) use lookup::{Found, Target};
pub(crate) use readback::read_back;
