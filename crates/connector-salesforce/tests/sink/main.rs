//! The sink against real HTTP servers: a scripted one for what the wire can do, the simulated org for the rest.

mod batches;
mod readback;
mod secrets;
mod sessions;
mod stub;
mod updates;
mod wire;
