//! A socket that does not wait, in plain text or with TLS over it.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use tokio_rustls::rustls::ClientConnection;

use super::Bytes;

/// A client's socket.
#[derive(Debug)]
pub struct Socket {
    /// The socket itself.
    pub tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    /// Puts TLS over a socket, or nothing.
    #[must_use]
    pub fn new(tcp: TcpStream, tls: Option<ClientConnection>) -> Self {
        Self { tcp, tls: tls.map(Box::new) }
    }

    /// Sends as much as the kernel takes; how many bytes are not to be sent again. With TLS that is all of
    /// them, as what is left waits in its own buffer for [`Socket::flush`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return write_all(&mut self.tcp, bytes) };
        tls.writer().write_all(bytes)?;
        self.flush()?;
        Ok(bytes.len())
    }

    /// Sends what TLS has to send, as far as the kernel takes it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.tcp) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads into the buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Bytes {
        let read = if self.tls.is_some() { self.read_tls(buffer) } else { self.tcp.read(buffer) };
        match read {
            Ok(0) => Bytes::End,
            // A read that does not fill the buffer has emptied the socket (epoll(7)); what comes later is
            // told anew. Of a record there may be more in any case.
            Ok(count) => Bytes::Some(count, count == buffer.len() || self.tls.is_some()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Bytes::Nothing
            }
            Err(error) => Bytes::Broken(error),
        }
    }

    fn read_tls(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(0) };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            tls.read_tls(&mut self.tcp)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            // The handshake goes on, a key is updated.
            self.flush()?;
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
