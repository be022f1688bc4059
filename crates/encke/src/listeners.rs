//! The listeners: which connections come in, and where they go. Requests that wait are admitted to the
//! shards' slots; all others are served by hyper.

mod activity;
mod carried;
mod hyper_bridge;
pub mod hyper_server;
mod long_head;
pub mod tls;
mod waiting;

pub use hyper_bridge::HyperBridge;
