//! The connection table: sockets that wait, and what is needed to serve them from one thread a core.
//!
//! A socket that waits is a [`slot::Slot`] here: no task, no timer, no buffer. Its request's head was read by
//! [`head`]; whatever else arrives is given to hyper with its bytes.

mod carrier;
mod connection_limit;
mod forwarded;
pub mod head;
pub mod inline_head;
mod listener_role;
mod liveness;
mod peer_ip;
mod proxy_protocol;
mod remembered_heads;
pub mod tls;
mod trusted_proxies;

pub use carrier::{Acknowledged, Carrier, Given, Sent};
pub use connection_limit::{
    ConnectionLimit, ConnectionLimits, Permit, RESERVED_MAX, RESERVED_PER_ADDRESS_MAX,
};
pub use forwarded::{ForwardedClient, ForwardedFields};
pub use listener_role::ListenerRole;
pub use liveness::bound_silence;
pub use peer_ip::{LOCAL, peer_ip};
pub use proxy_protocol::{PREFACE_MAX_BYTES, Preface};
pub use remembered_heads::{KnownHead, RememberedHeads};
pub use trusted_proxies::{Peer, TrustedProxies};
