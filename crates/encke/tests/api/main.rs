//! The control requests and the server API, each handler with a server of its own behind it.
#![allow(clippy::unwrap_used, missing_docs)]

mod bodies;
mod cancellation;
mod control;
mod cookies;
mod cors;
mod deletion;
mod documented;
mod double;
mod errors;
mod hardening;
mod key_reused;
mod keys;
mod limits;
mod pages;
mod picky;
mod push;
mod push_many;
mod pushes;
mod request_stream;
mod revocation;
mod rules;
mod searches;
mod server;
mod stats;
mod world;
