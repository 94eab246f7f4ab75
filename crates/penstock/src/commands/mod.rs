//! One module for each command: arguments → answer.

pub mod check;
pub mod dlq;
pub mod explain;
pub mod init;
mod opened;
pub mod org;
pub mod plan;
pub mod prove;
pub mod quota;
pub mod run;
pub mod schema;
pub mod status;
pub mod trace;

pub(crate) use opened::problem;
