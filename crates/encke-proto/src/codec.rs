//! The wire formats, one file each. A codec writes bytes to a buffer; it knows nothing of HTTP, sockets or time.

pub mod poll;
pub mod sse;
