//! Listeners as operators set them up: a real process for each test, and raw sockets.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod admin;
mod canaries;
mod forged_lines;
mod limits;
mod overload;
mod proxies;
mod server;
mod unix_socket;
