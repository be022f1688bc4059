//! The wire formats, one file each. A codec writes bytes to a buffer; it knows nothing of HTTP, sockets or
//! time.

pub mod bayeux;
pub mod classic;
mod entry;
pub mod iframe;
pub mod ndjson;
pub mod poll;
pub mod sse;
pub mod ws;

pub use entry::Entry;
