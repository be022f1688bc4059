//! Encke: a Comet server. A backend pushes messages and whole web pages to users by id; their browsers
//! receive them at once over held HTTP connections.

pub mod admission;
pub mod app;
mod asyncapi;
mod audited;
pub mod auth;
pub mod cli;
mod client_api;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod connection;
mod cors;
pub mod dialects;
pub mod engines;
mod extractors;
mod file_thread;
mod health;
mod history;
pub mod http;
pub mod inline;
mod key_sources;
pub mod listeners;
mod logging;
pub mod metrics;
pub mod new_channels;
mod openapi;
mod pages;
mod presence;
mod publishing;
pub mod random;
mod regular_file;
pub mod reload;
pub mod router;
mod serve;
mod server_api;
pub mod shards;
pub mod stopping;
pub mod supervisor;
pub mod transports;
mod validation;
pub mod wire;

pub use serve::{Reread, ServeError, run, serve};
pub use server_api::inline::routes as inline_routes;
