//! The org as a client sees it, over sockets.

mod collections;
mod faults;
mod oauth;
mod rest;
mod support;
