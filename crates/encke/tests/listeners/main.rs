//! Listeners as operators set them up: a real process for each test, and raw sockets.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod admin;
mod limits;
mod proxies;
mod server;
