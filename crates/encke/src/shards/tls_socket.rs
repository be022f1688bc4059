//! A socket under TLS in the table: what is read from it is opened in the buffer that all connections share,
//! and what is sealed for it is written like any other bytes.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
};

use mio::net::TcpStream;

use super::Received;
use crate::connection::{
    Permit,
    tls::{RecordBuffer, TlsState},
};

/// A socket under TLS, and the right to have it open.
#[derive(Debug)]
pub struct TlsSocket {
    /// The socket, to which records are written.
    pub socket: TcpStream,
    /// The right to have it open.
    pub permit: Permit,
    /// What is known of the connection's cryptography.
    pub state: Box<TlsState>,
}

impl TlsSocket {
    /// Reads once, and opens what is complete.
    pub(super) fn read(&mut self, into: &mut RecordBuffer) -> io::Result<Received> {
        if self.state.is_peer_closed() {
            return Ok(Received::End { orderly: true });
        }
        let room = self.state.room(into);
        if room.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let room_bytes = room.len();
        match self.socket.read(room)? {
            0 => Ok(Received::End { orderly: false }),
            taken => {
                let count = self.state.open(into, taken).map_err(invalid)?;
                // An end that was said is found by the next read, of which the kernel may not tell.
                Ok(Received::Bytes {
                    count,
                    taken,
                    is_all: taken < room_bytes && !self.state.is_peer_closed(),
                })
            }
        }
    }

    /// Says that nothing more will be sent, if everything else that was to be has been.
    pub(super) fn end(&mut self) {
        let mut last = Vec::new();
        self.state.end(&mut last);
        if !last.is_empty() {
            // A peer that is gone, or takes nothing, needs no telling.
            let _ = self.socket.write(&last);
        }
    }

    /// The same, and that of the socket.
    pub(super) fn hang_up(&mut self) {
        self.end();
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// What the peer did wrong, as an error of its socket.
pub(super) fn invalid(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}
