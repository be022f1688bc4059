//! The address of a connection's other end, also where it has none.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// What counts as the address of all clients of a unix socket: they are on this machine.
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The address of what a socket says of its other end.
#[must_use]
pub fn peer_ip(of_socket: io::Result<SocketAddr>) -> IpAddr {
    of_socket.map_or(LOCAL, |address| address.ip())
}
