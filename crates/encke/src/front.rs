//! The front door: who comes in, and where they are led. Requests that wait are admitted to the connection
//! table; all others are served by the HTTP library.

mod activity;
mod carried;
mod holder;
pub mod library;
mod long_head;
pub mod tls;

pub use holder::{Holder, hold};
