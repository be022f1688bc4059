//! The address that a request came from, as an extension of the request.

use std::net::IpAddr;

/// The address of the client of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);
