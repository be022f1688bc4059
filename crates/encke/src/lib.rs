//! Encke: a Comet server. A backend pushes messages and whole web pages to users by id; their browsers receive them at once over held HTTP connections.

mod api;
pub mod app;
pub mod auth;
mod body;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
mod control;
mod cors;
mod dialects;
mod drain;
pub mod engines;
pub mod errands;
pub mod front;
mod health;
mod logging;
pub mod metrics;
mod names;
mod openapi;
mod pages;
mod query;
pub mod random;
pub mod refusal;
pub mod router;
mod serve;
pub mod shards;
pub mod supervisor;
pub mod table;
pub mod transports;
mod who;
pub mod wire;

pub use serve::{ServeError, run, serve};
