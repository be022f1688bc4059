//! What a slot writes to: a socket of its own, plain or under TLS, or a response that hyper sends because
//! the connection has to stay with it (HTTP/2, requests with a body).

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown},
};

use mio::net::TcpStream;

use super::{BodySink, Received, TlsSocket, tls_socket::invalid};
use crate::connection::{
    ListenerRole, Permit,
    tls::{RecordBuffer, TlsState},
};

/// What a slot writes to.
#[derive(Debug)]
pub enum Sink {
    /// A socket of its own, and the right to have it open.
    Socket(TcpStream, Permit),
    /// The same under TLS.
    Tls(Box<TlsSocket>),
    /// A response that hyper sends.
    Body(Box<BodySink>),
}

impl Sink {
    /// Whether hyper frames what is written, and reads what comes in.
    #[must_use]
    pub fn is_body(&self) -> bool {
        matches!(self, Self::Body(_))
    }

    /// Whether its receiver is known to be gone. Of a socket, the kernel's poll tells.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Body(body_sink) if body_sink.is_gone())
    }

    /// Whether it is a socket under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is one whose handshake is under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.state.is_handshaking())
    }

    /// Whether it is one under TLS of which nothing has come yet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.state.is_silent())
    }

    /// Whether it has a place that is kept for operators.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.permit().is_some_and(Permit::is_reserved)
    }

    /// Whether a request waits on it without more ado.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.permit().is_none_or(Permit::is_plain)
    }

    /// The right to have its socket open, if it has one of its own.
    #[must_use]
    pub fn permit(&self) -> Option<&Permit> {
        match self {
            Self::Socket(_, permit) => Some(permit),
            Self::Tls(tls) => Some(&tls.permit),
            Self::Body(_) => None,
        }
    }

    /// What is served on its connection.
    #[must_use]
    pub fn role(&self) -> ListenerRole {
        self.permit().map_or(ListenerRole::Combined, Permit::role)
    }

    /// The address of its client, where it has a connection of its own.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.permit().and_then(Permit::address)
    }

    /// Its socket, if it has one of its own.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Socket(socket, _) => Some(socket),
            Self::Tls(tls) => Some(&tls.socket),
            Self::Body(_) => None,
        }
    }

    /// The same.
    pub fn socket_mut(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Socket(socket, _) => Some(socket),
            Self::Tls(tls) => Some(&mut tls.socket),
            Self::Body(_) => None,
        }
    }

    /// A socket with the right to have it open, and what is known of its cryptography.
    #[must_use]
    pub fn of_socket(socket: TcpStream, permit: Permit, tls: Option<Box<TlsState>>) -> Self {
        match tls {
            Some(state) => Self::Tls(Box::new(TlsSocket { socket, permit, state })),
            None => Self::Socket(socket, permit),
        }
    }

    /// What it was made of, if it has a socket of its own.
    #[must_use]
    pub fn into_socket(self) -> Option<(TcpStream, Permit, Option<Box<TlsState>>)> {
        match self {
            Self::Socket(socket, permit) => Some((socket, permit, None)),
            Self::Tls(tls) => {
                let TlsSocket { socket, permit, state } = *tls;
                Some((socket, permit, Some(state)))
            }
            Self::Body(_) => None,
        }
    }

    /// Says that nothing more will be written. What has been goes out, and what comes in can still be read.
    pub fn hang_up(&mut self) {
        match self {
            // A peer that is gone already needs no telling.
            Self::Socket(socket, _) => drop(socket.shutdown(Shutdown::Write)),
            Self::Tls(tls) => tls.hang_up(),
            // The shard that carries it does so when it is given back.
            Self::Body(_) => {}
        }
    }

    /// Says what is still to be said before the connection is closed, when everything that was written is
    /// with the kernel.
    pub fn end(&mut self) {
        if let Self::Tls(tls) = self {
            tls.end();
        }
    }

    /// Reads what has come in on a socket of its own.
    ///
    /// # Errors
    /// As the socket has it; and [`io::ErrorKind::InvalidData`] from a peer that does not keep to TLS.
    pub fn read(&mut self, into: &mut RecordBuffer) -> io::Result<Received> {
        match self {
            Self::Socket(socket, _) => {
                let room = into.plain_room();
                let room_bytes = room.len();
                Ok(match socket.read(room)? {
                    0 => Received::End { orderly: true },
                    count => Received::Bytes { count, taken: count, is_all: count < room_bytes },
                })
            }
            Self::Tls(tls) => tls.read(into),
            // hyper reads what its client sends.
            Self::Body(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Puts what is in `out` from `start` on into the form in which it is written: records under TLS, and as
    /// it is elsewhere.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.state.seal(out, start).map_err(invalid),
            Self::Socket(..) | Self::Body(_) => Ok(()),
        }
    }

    /// Writes what was sealed until everything is taken or no more is taken now; how much was.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket, _) => write_all(socket, bytes),
            Self::Tls(tls) => write_all(&mut tls.socket, bytes),
            Self::Body(body_sink) => body_sink.write(bytes),
        }
    }
}

fn write_all(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
