//! The socket of a connection that hyper has for some requests, plain or under TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::tls_stream::TlsStream;
use crate::{
    connection::{Permit, tls::TlsState},
    shards::Sink,
};

/// A socket that came from the table, and may go back.
#[derive(Debug)]
pub(super) enum HyperSocket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl HyperSocket {
    pub(super) fn new(socket: TcpStream, tls: Option<Box<TlsState>>) -> Self {
        match tls {
            Some(state) => Self::Tls(Box::new(TlsStream::new(socket, state))),
            None => Self::Plain(socket),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What the table writes to, and what was read and is still to be looked at. None when the socket can be
    /// used no further.
    pub(super) fn into_sink(self, permit: Permit) -> Option<(Sink, Bytes)> {
        let (socket, tls, opened) = match self {
            Self::Plain(socket) => (socket, None, Bytes::new()),
            Self::Tls(stream) => {
                let (socket, state, opened) = stream.into_parts()?;
                (socket, Some(state), opened)
            }
        };
        let socket = mio::net::TcpStream::from_std(socket.into_std().ok()?);
        Some((Sink::of_socket(socket, permit, tls), opened))
    }
}

impl AsyncRead for HyperSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for HyperSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
