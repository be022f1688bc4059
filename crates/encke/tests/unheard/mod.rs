//! An address at which no server listens, as long as a test wants it so.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address that is taken, so that no other test's server comes to have it, and not listened at.
pub struct Unheard {
    _taken: Socket,
    /// Its host and port.
    pub address: String,
}

impl Unheard {
    pub fn new() -> Self {
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
        taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("there are ports");
        let address = taken.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.expect("it was given a port").to_string();
        Self { _taken: taken, address }
    }
}
