//! Where sockets of streams come in: a port of TCP or the file of a unix socket. What is served on them, and
//! whose they are, is known elsewhere.

use std::{
    io,
    net::{IpAddr, Shutdown},
    os::fd::OwnedFd,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, TcpStream, UnixListener},
};
use socket2::SockRef;

use crate::connection::{LOCAL, peer_ip};

/// What streams come from: a port, or a file.
#[derive(Debug)]
pub enum StreamListener {
    /// Of TCP.
    Tcp(TcpListener),
    /// A unix socket, which all shards listen at.
    Unix(UnixListener),
}

impl StreamListener {
    /// The next connection and the address that it counts for: that of this machine for a unix socket.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(socket, address)| (socket, peer_ip(Ok(address)))),
            Self::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                // A socket of streams is read, written and shut down alike, whatever made it; what only TCP
                // has is asked for by none who would not do without.
                Ok((TcpStream::from(OwnedFd::from(socket)), LOCAL))
            }
        }
    }

    /// Has the kernel refuse what comes from now on.
    pub fn refuse(&self) {
        // It fails if that was done already, by another shard at the same unix socket.
        let _ = match self {
            Self::Tcp(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
            Self::Unix(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
        };
    }
}

impl Source for StreamListener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, interests),
            Self::Unix(listener) => listener.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.reregister(registry, token, interests),
            Self::Unix(listener) => listener.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(registry),
            Self::Unix(listener) => listener.deregister(registry),
        }
    }
}
