//! The address of a connection's other end, also where it has none. One of IPv4 that came in by a socket of
//! IPv6 is what it is.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// What counts as the address of all clients of a unix socket: they are on this machine.
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The address of what a socket says of its other end.
#[must_use]
pub fn peer_ip(of_socket: io::Result<SocketAddr>) -> IpAddr {
    of_socket.map_or(LOCAL, |address| address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_is_one_by_whatever_socket_it_came_in() {
        let of = |address: &str| peer_ip(Ok(address.parse().unwrap())).to_string();
        assert_eq!(of("[::ffff:127.0.0.2]:80"), "127.0.0.2", "this machine, which has limits of its own");
        assert_eq!(of("[::ffff:203.0.113.7]:80"), of("203.0.113.7:80"));
        assert_eq!(of("[2001:db8::7]:80"), "2001:db8::7");
        assert_eq!(peer_ip(Err(io::ErrorKind::NotConnected.into())), LOCAL);
    }
}
