//! Encke: a Comet server. A backend pushes messages and whole web pages to users by id; their browsers
//! receive them at once over held HTTP connections.

pub mod admission;
mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
mod control;
mod cors;
mod dialects;
pub mod engines;
pub mod front;
mod health;
pub mod http;
pub mod inline;
mod logging;
pub mod metrics;
mod names;
mod openapi;
mod pages;
mod publishing;
pub mod random;
pub mod router;
mod schemas;
mod serve;
pub mod shards;
pub mod stopping;
pub mod supervisor;
pub mod table;
pub mod transports;
mod who;
pub mod wire;

pub use api::inline::routes as inline_routes;
pub use serve::{ServeError, run, serve};
