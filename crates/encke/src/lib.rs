//! Encke: a Comet server. A backend pushes messages and whole web pages to users by id; their browsers receive them at once over held HTTP connections.

pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod front;
pub mod metrics;
pub mod random;
pub mod refusal;
pub mod router;
mod serve;
pub mod shards;
pub mod table;
pub mod transports;
pub mod wire;

pub use serve::{ServeError, serve};
