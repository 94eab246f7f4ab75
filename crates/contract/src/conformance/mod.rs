//! One suite for each trait. An implementer calls it from its tests with a way to make a fresh instance.

pub mod log;
pub mod sink;
pub mod source;
pub mod state;
