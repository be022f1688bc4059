//! A request and its answer, for requests that are not held.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::http::{Piece, ResponseReader};

/// How long an answer may take before it is given up.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The connection of a caller, kept as long as it is good.
#[derive(Debug)]
pub struct Asker {
    address: SocketAddr,
    token: String,
    socket: Option<TcpStream>,
}

impl Asker {
    /// With this key or token, at this address. Nothing is sent yet.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), socket: None }
    }

    /// The status and the body of the answer to a POST.
    ///
    /// # Errors
    /// When none came: then it is not known what became of the request.
    pub async fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        self.ask("POST", path, body).await
    }

    /// The same of the answer to a GET.
    ///
    /// # Errors
    /// When none came.
    pub async fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.ask("GET", path, "").await
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let answer = timeout(TIMEOUT, self.exchange(method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.socket = None;
        }
        answer
    }

    async fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => TcpStream::connect(self.address).await?,
        };
        socket.set_nodelay(true)?;
        let (address, token, length) = (self.address, &self.token, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await?;
        let (mut reader, mut status, mut body, mut closes, mut done) =
            (ResponseReader::default(), 0, Vec::new(), false, false);
        let mut buffer = vec![0; 16 * 1024];
        while !done {
            let count = socket.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Head(head) => (status, closes) = (head.status, head.closes),
                Piece::Body(bytes) => body.extend_from_slice(bytes),
                Piece::End => done = true,
            };
            reader.feed(&buffer[..count], &mut sink).map_err(|error| io::Error::other(error.0))?;
        }
        self.socket = (!closes).then_some(socket);
        Ok((status, body))
    }
}
