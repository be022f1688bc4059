//! WebSocket (RFC 6455), the server's side and what a client needs of the other, with per-message compression
//! (RFC 7692) that keeps nothing from one message to the next.
//!
//! What comes in is read by a [`Reader`], fed with whatever bytes there are. Between messages it is one empty
//! pointer; only a frame or a message that is not complete costs memory, which [`Rules::message_max_bytes`]
//! bounds. What goes out is not masked, so a message is framed once and the same bytes go to all who receive
//! it: see [`frame`] and [`crate::Entry::ws_frame`].

mod assembly;
mod close;
pub mod deflate;
mod fault;
pub mod frame;
mod handshake;
mod head;
mod inflate;
mod mask;
mod negotiate;
mod reader;

pub use close::{CloseFrame, CloseStatus};
pub use fault::Fault;
pub use handshake::{Handshake, Opening, Rejection, accept, key};
pub use negotiate::Compression;
pub use reader::{Reader, Received, Rules};

/// The largest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_MAX_BYTES: usize = 125;

#[cfg(test)]
mod tests;
