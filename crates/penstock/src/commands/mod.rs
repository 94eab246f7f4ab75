//! One module for each command: arguments → answer.

pub mod explain;
pub mod init;
pub mod schema;
