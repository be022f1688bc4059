//! A connection under TLS that hyper has: the same state that a slot holds, around a socket of tokio's.
//!
//! Nothing is held at rest but that state. What is read is opened in a buffer that all connections of a thread
//! share; of what is written, at most one record is kept until the socket has taken it.

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
        // What is not taken now goes before the next write, or with the next flush.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
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
