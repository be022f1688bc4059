//! The connection table: sockets that wait, and what is needed to serve them from one thread a core.
//!
//! A socket that waits is a [`slot::Slot`] here: no task, no timer, no buffer. Its request's head was read by
//! [`head`]; whatever else arrives is given to hyper with its bytes.

mod carrier;
mod connection_limit;
pub mod head;
pub mod inline_head;
mod listener_role;
mod liveness;
mod remembered_heads;
pub mod tls;

pub use carrier::{Acknowledged, Carrier, Given, Sent};
pub use connection_limit::{ConnectionLimit, Permit, RESERVED_MAX, RESERVED_PER_ADDRESS_MAX};
pub use listener_role::ListenerRole;
pub use liveness::bound_silence;
pub use remembered_heads::{KnownHead, RememberedHeads};
