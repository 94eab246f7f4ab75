//! The sink against real HTTP servers: a scripted one for what the wire can do, the simulated org for the rest.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print; clippy knows only functions marked as tests"
)]

mod batches;
mod bulk;
mod bulk_adopted;
mod bulk_faults;
mod bulk_same;
mod events;
mod graph;
mod jobs;
mod jwt;
mod losses;
mod org;
mod readback;
mod real_data;
mod secrets;
mod sessions;
mod stub;
mod updates;
mod wire;
