//! The wire formats, one file each. A codec writes bytes to a buffer; it knows nothing of HTTP, sockets or
//! time.

pub mod bayeux;
pub mod classic;
mod entry;
pub mod iframe;
mod message_form;
pub mod ndjson;
pub mod poll;
pub mod pusher;
mod short;
pub mod sse;
pub mod ws;

pub use entry::Entry;
pub use message_form::MessageForm;
