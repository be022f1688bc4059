//! A connection under TLS that hyper has: the same state that a slot holds, around a socket of tokio's.
//!
//! Nothing is held at rest but that state. What is read is opened in a buffer that all connections of a
//! thread share; of what is written, at most one record is kept until the socket has taken it.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::tls::{RecordBuffer, TlsFault, TlsState};

/// The most plain text that is sealed at a time: one record.
const RECORD_BYTES: usize = 16 * 1024;

thread_local! {
    /// What is read is opened here, within one poll.
    static BUFFER: RefCell<RecordBuffer> = RefCell::new(RecordBuffer::new());
}

/// A socket under TLS.
#[derive(Debug)]
pub(super) struct TlsStream<S> {
    socket: S,
    state: Box<TlsState>,
    /// What was opened and not yet read.
    opened: Bytes,
    /// What was sealed and not yet taken by the socket.
    sealed: Vec<u8>,
    /// How much of that the socket has taken.
    sent: usize,
    /// Whether it was said that nothing more is sent.
    ended: bool,
}

impl<S> TlsStream<S> {
    pub(super) fn new(socket: S, state: Box<TlsState>) -> Self {
        Self { socket, state, opened: Bytes::new(), sealed: Vec::new(), sent: 0, ended: false }
    }

    /// What it was made of, and what was opened and not read. None when something is still to be written, so
    /// that it can be used no further.
    pub(super) fn into_parts(self) -> Option<(S, Box<TlsState>, Bytes)> {
        (self.sealed.is_empty() && !self.ended).then_some((self.socket, self.state, self.opened))
    }
}

impl<S: AsyncWrite + Unpin> TlsStream<S> {
    /// Writes what was sealed, and what the protocol has to say.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sealed.append(&mut self.state.take_control());
        while self.sent < self.sealed.len() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.sealed[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.sealed = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Seals the beginning of what is to be written, when everything before it has gone.
    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        gather: impl FnOnce(&mut Vec<u8>),
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        gather(&mut self.sealed);
        let count = self.sealed.len();
        self.state.seal(&mut self.sealed, 0).map_err(invalid)?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
            // What is not taken now goes before the next write, or with the next flush. It was sealed beside
            // its plain text, whose room is not needed meanwhile.
            Poll::Pending => {
                self.sealed.drain(..self.sent);
                self.sent = 0;
                self.sealed.shrink_to_fit();
            }
        }
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Reads from the socket until there is plain text, or the end.
    fn poll_open(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while !self.state.is_peer_closed() {
            let opened = BUFFER.with_borrow_mut(|buffer| {
                let taken = {
                    let mut room = ReadBuf::new(self.state.room(buffer));
                    ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
                    room.filled().len()
                };
                if taken == 0 {
                    // An end that was not said may be the doing of another on the way.
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                let count = self.state.open(buffer, taken).map_err(invalid)?;
                let fits = count.min(out.remaining());
                out.put_slice(&buffer[..fits]);
                self.opened = Bytes::copy_from_slice(&buffer[fits..count]);
                Poll::Ready(Ok(count))
            });
            // Also what is to be said about an error.
            let sent = self.poll_send(cx);
            if ready!(opened)? > 0 {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.opened.is_empty() {
            return self.poll_open(cx, out);
        }
        let count = self.opened.len().min(out.remaining());
        out.put_slice(&self.opened[..count]);
        self.opened.advance(count);
        if self.opened.is_empty() {
            // The buffer that it was part of is given back.
            self.opened = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let part = &bytes[..bytes.len().min(RECORD_BYTES)];
        self.poll_seal(cx, |out| out.extend_from_slice(part))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, |out| {
            for part in parts {
                let room = RECORD_BYTES - out.len();
                out.extend_from_slice(&part[..part.len().min(room)]);
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        if !self.ended {
            self.ended = true;
            let mut last = Vec::new();
            self.state.end(&mut last);
            self.sealed = last;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Opens bytes that came from a client; the plain text in them.
///
/// # Errors
/// As [`TlsState::open`] has it.
pub(super) fn open(state: &mut TlsState, mut bytes: &[u8]) -> Result<Vec<u8>, TlsFault> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut opened = Vec::new();
        while !bytes.is_empty() && !state.is_peer_closed() {
            let room = state.room(buffer);
            let count = bytes.len().min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let plain = state.open(buffer, count)?;
            opened.extend_from_slice(&buffer[..plain]);
        }
        Ok(opened)
    })
}

fn invalid(fault: TlsFault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future as _, poll_fn},
        sync::Arc,
    };

    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_rustls::{TlsConnector, client};

    use super::*;
    use crate::connection::tls::HandshakeLimit;

    type Pair = (client::TlsStream<DuplexStream>, TlsStream<DuplexStream>);

    /// Both ends of a connection whose pipe takes so many bytes at a time.
    async fn pair(pipe: usize) -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (CertificateDer::from(made.cert), made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        let state =
            TlsState::new(Arc::new(config), HandshakeLimit::default().enter([127, 0, 0, 1].into())).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (near, far) = duplex(pipe);
        let connects = async {
            let name = "localhost".try_into().unwrap();
            let mut client = TlsConnector::from(Arc::new(config)).connect(name, near).await.unwrap();
            client.write_all(b"hello").await.unwrap();
            client.flush().await.unwrap();
            client
        };
        let mut server = TlsStream::new(far, Box::new(state));
        let mut hello = [0; 5];
        // A handshake is made as a matter of course while the other end is read.
        let (client, read) = tokio::join!(connects, server.read_exact(&mut hello));
        read.unwrap();
        assert_eq!(&hello, b"hello");
        (client, server)
    }

    #[tokio::test]
    async fn what_is_written_comes_whole_however_little_the_socket_takes() {
        for pipe in [1, 100, 100_000] {
            let (mut client, mut server) = pair(pipe).await;
            let text: Vec<u8> = (0..50_000).map(|number| number as u8).collect();
            let writes = async {
                server.write_all(&text).await.unwrap();
                server.flush().await.unwrap();
                server.shutdown().await.unwrap();
                server
            };
            let mut seen = Vec::new();
            let (server, read) = tokio::join!(writes, client.read_to_end(&mut seen));
            // The end was said, or it would be an error.
            read.unwrap();
            assert_eq!(seen, text);
            assert!(server.into_parts().is_none(), "what was ended goes nowhere else");
        }
    }

    #[tokio::test]
    async fn of_what_a_socket_does_not_take_a_record_is_kept_and_no_more() {
        let (client, mut server) = pair(100).await;
        {
            let mut writes = std::pin::pin!(server.write_all(&[b'x'; 100_000]));
            let polled = poll_fn(|cx| Poll::Ready(writes.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "the socket takes a part of it");
        }
        let kept = server.sealed.capacity();
        assert!(kept > 0 && kept <= RECORD_BYTES + 100, "{kept}");
        drop(client);
    }

    #[tokio::test]
    async fn what_cannot_be_sealed_is_never_sent() {
        let (mut client, mut server) = pair(100_000).await;
        let (raw, _) = client.get_mut();
        raw.write_all(b"not a record at all, and long enough to be seen").await.unwrap();
        server.read_u8().await.unwrap_err();
        for text in [&b"secret"[..], &[b's'; 40_000]] {
            server.write_all(text).await.unwrap_err();
            let _ = server.flush().await;
        }
        let _ = server.shutdown().await;
        drop(server);
        let mut seen = Vec::new();
        raw.read_to_end(&mut seen).await.unwrap();
        let records = seen.split(|byte| *byte == b's');
        assert!(records.count() < 10, "an alert at most: {} bytes", seen.len());
    }

    #[tokio::test]
    async fn what_was_opened_and_not_read_goes_on_with_the_connection() {
        let (mut client, mut server) = pair(100_000).await;
        client.write_all(b"first, second").await.unwrap();
        client.flush().await.unwrap();
        let mut first = [0; 5];
        server.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
        let (_, state, opened) = server.into_parts().unwrap();
        assert_eq!((&opened[..], state.is_handshaking()), (&b", second"[..], false));
    }

    #[tokio::test]
    async fn an_end_that_was_not_said_is_an_error() {
        for said in [true, false] {
            let (mut client, mut server) = pair(100_000).await;
            client.write_all(b"last").await.unwrap();
            client.flush().await.unwrap();
            if said {
                client.shutdown().await.unwrap();
            } else {
                drop(client);
            }
            let mut seen = Vec::new();
            assert_eq!(server.read_to_end(&mut seen).await.is_ok(), said);
            assert_eq!(seen, b"last");
        }
    }
}
