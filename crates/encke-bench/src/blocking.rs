//! A request at a time, for what is asked between measurements.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::{
    http::{Piece, ResponseReader},
    tls::{self, Use},
};

/// A kept connection.
#[derive(Debug)]
pub struct Line {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    /// Connects, with TLS if it is given.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn open(address: SocketAddr, tls: Option<&tls::Client>) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let socket = match tls {
            None => Socket::Plain(socket),
            Some(tls) => Socket::Tls(Box::new(StreamOwned::new(tls.connection(Use::Ask)?, socket))),
        };
        Ok(Self { socket })
    }

    /// Sends a request and returns the status and the body of the answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        match &mut self.socket {
            Socket::Plain(socket) => socket.write_all(request)?,
            Socket::Tls(socket) => {
                socket.write_all(request)?;
                socket.flush()?;
            }
        }
        let (mut reader, mut status, mut body, mut done) = (ResponseReader::default(), 0, Vec::new(), false);
        let mut buffer = vec![0; 64 * 1024];
        while !done {
            let count = match &mut self.socket {
                Socket::Plain(socket) => socket.read(&mut buffer)?,
                Socket::Tls(socket) => socket.read(&mut buffer)?,
            };
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
