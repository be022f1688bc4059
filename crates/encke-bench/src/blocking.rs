//! A request at a time, for what is asked between measurements.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::http::{Piece, ResponseReader};

/// A kept connection.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { socket })
    }

    /// Sends a request and returns the status and the body of the answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.socket.write_all(request)?;
        let (mut reader, mut status, mut body, mut done) = (ResponseReader::default(), 0, Vec::new(), false);
        let mut buffer = vec![0; 64 * 1024];
        while !done {
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Head(head) => status = head.status,
                Piece::Body(bytes) => body.extend_from_slice(bytes),
                Piece::End => done = true,
            };
            reader.feed(&buffer[..count], &mut sink).map_err(|error| io::Error::other(error.0))?;
        }
        Ok((status, body))
    }
}
