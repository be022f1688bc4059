//! The listeners: which connections come in, and where they go. Requests that wait are admitted to the
//! shards' slots; all others are served by hyper.

pub mod acme;
mod activity;
mod carried;
mod certificates;
mod client;
mod der;
mod handoffs;
mod handshake;
mod http_2;
pub mod https;
mod hyper_bridge;
pub mod hyper_server;
mod hyper_socket;
mod long_head;
mod progress;
mod request_limit;
mod routers;
pub mod tls_config;
mod tls_stream;
mod validity;
mod waiting;

pub use certificates::{CertificateError, certificate_problem};
pub use handoffs::Handoffs;
pub use hyper_bridge::HyperBridge;
pub use request_limit::RequestLimit;
pub use routers::Routers;
