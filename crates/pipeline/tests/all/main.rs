//! The engine against a log, a state store and a target that are told when to fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod breaker;
mod bulk;
mod coalesce;
mod crash;
mod dead_letters;
mod delivery;
mod failures;
mod jobs;
mod locks;
mod memory;
mod model_check;
mod overflow;
mod real_stores;
mod target;
mod transactions;
mod transactions_model;
mod world;
mod writes;
