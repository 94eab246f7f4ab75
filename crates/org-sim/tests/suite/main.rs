//! The org as a client sees it, over sockets.

mod collections;
mod faults;
mod oauth;
mod properties;
mod rest;
mod speed;
mod support;
