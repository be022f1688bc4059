//! Whom a request is from.

use std::net::IpAddr;

/// The address of the client, on each request that reaches the router: that of its connection, or what a
/// trusted proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);
