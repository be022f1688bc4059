//! What a slot writes to: a socket of its own, plain or under TLS, or a response that hyper sends because
//! the connection has to stay with it (HTTP/2, requests with a body).

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::HttpBody;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use mio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::{Mailbox, Received, ShardCommand, TlsSocket, tls_socket::invalid};
use crate::connection::{
    Given, ListenerRole, Permit, Sent,
    tls::{RecordBuffer, TlsState},
};

/// How many writes hyper may be behind before its receiver counts as slow.
const WRITES_AHEAD: usize = 4;
/// And how many bytes, in pieces of at most so many: what is ahead, and what hyper then has of it, is kept
/// for a receiver that takes nothing.
const AHEAD_MAX_BYTES: usize = 16 * 1024;

/// How far a body sink is ahead of hyper.
#[derive(Debug, Default)]
struct Ahead {
    /// Whether the table is to be told when hyper has taken something.
    wants: AtomicBool,
    /// How many bytes hyper has not taken.
    bytes: AtomicUsize,
}

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

/// The number of a body sink; one server never gives two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodySinkId(pub u64);

/// The table's end of a response that hyper sends.
#[derive(Debug)]
pub struct BodySink {
    /// Which it is.
    pub id: BodySinkId,
    head: Option<oneshot::Sender<Response<()>>>,
    body: mpsc::Sender<Bytes>,
    /// How many bytes of the body were given to hyper, and what it has taken of them. None where it cannot be
    /// known what becomes of it.
    given: Option<(u64, Arc<Given>)>,
    ahead: Arc<Ahead>,
    home: SinkHome,
}

/// The shard that a response is of, which changes when its client names a user who lives elsewhere.
#[derive(Clone, Debug)]
pub struct SinkHome(Arc<Mutex<Mailbox<ShardCommand>>>);

impl SinkHome {
    /// The way into that shard.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<ShardCommand> {
        // Nothing stops halfway here, so that it is whole even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// hyper's end. Dropping it tells the table that the receiver is gone.
#[derive(Debug)]
pub struct HyperBody {
    id: BodySinkId,
    home: SinkHome,
    body: mpsc::Receiver<Bytes>,
    ahead: Arc<Ahead>,
    given: Option<Arc<Given>>,
    /// How many bytes hyper has taken.
    taken: u64,
    /// The last byte of what it took last, which it is still to take.
    last: Bytes,
}

/// Both ends of a response that hyper sends and the shard behind `home` writes. The head comes first, by
/// itself. Without `given`, it is not asked whether the client's side has it, and no receipt is given for it.
#[must_use]
pub fn body_sink(
    id: BodySinkId,
    home: Mailbox<ShardCommand>,
    given: Option<Arc<Given>>,
) -> (BodySink, oneshot::Receiver<Response<()>>, HyperBody) {
    let (head, head_comes) = oneshot::channel();
    let (sender, receiver) = mpsc::channel(WRITES_AHEAD);
    let ahead = Arc::new(Ahead::default());
    let counted = given.clone().map(|given| (0, given));
    let home = SinkHome(Arc::new(Mutex::new(home)));
    let body_sink = BodySink {
        id,
        head: Some(head),
        body: sender,
        given: counted,
        ahead: Arc::clone(&ahead),
        home: home.clone(),
    };
    (
        body_sink,
        head_comes,
        HyperBody { id, home, body: receiver, ahead, given, taken: 0, last: Bytes::new() },
    )
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
        matches!(self, Self::Body(body_sink) if body_sink.body.is_closed())
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

impl BodySink {
    /// The shard that it is of.
    #[must_use]
    pub fn home(&self) -> SinkHome {
        self.home.clone()
    }

    /// From now on it is of this shard, which then looks for what was said of it to the former one.
    pub fn move_to(&self, home: &Mailbox<ShardCommand>) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = home.clone();
    }

    /// Everything that was given to hyper so far, to be asked after.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        let (count, given) = self.given.as_ref()?;
        Some(Sent::new(given, *count))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut head_bytes = 0;
        let taken = self.give(bytes, &mut head_bytes)?;
        if let Some((count, _)) = &mut self.given {
            *count += (taken - head_bytes) as u64;
        }
        Ok(taken)
    }

    /// Gives hyper bytes, the head by itself; how many it has room for, and how many of them are the
    /// head.
    fn give(&mut self, bytes: &[u8], head_bytes: &mut usize) -> io::Result<usize> {
        let mut taken = 0;
        if let Some(head) = self.head.take() {
            let (response, length) = read_head(bytes).ok_or(io::ErrorKind::InvalidData)?;
            head.send(response).map_err(|_| io::ErrorKind::BrokenPipe)?;
            taken = length;
            *head_bytes = length;
        }
        let mut asked = false;
        while taken < bytes.len() {
            let count = self.room(bytes.len() - taken);
            if count > 0 {
                let piece = Bytes::copy_from_slice(&bytes[taken..taken + count]);
                self.ahead.bytes.fetch_add(count, Ordering::SeqCst);
                match self.body.try_send(piece) {
                    Ok(()) => {
                        taken += count;
                        continue;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        self.ahead.bytes.fetch_sub(count, Ordering::SeqCst);
                    }
                }
            }
            if asked {
                break;
            }
            // hyper says when it has taken something; it may just have, so it is tried once more.
            self.ahead.wants.store(true, Ordering::SeqCst);
            asked = true;
        }
        Ok(taken)
    }

    /// How many of so many bytes hyper has room for. Not a small part of many: pieces would become ever
    /// smaller.
    fn room(&self, count: usize) -> usize {
        let room = AHEAD_MAX_BYTES.saturating_sub(self.ahead.bytes.load(Ordering::SeqCst));
        if room < count && room < AHEAD_MAX_BYTES / 2 { 0 } else { room.min(count) }
    }
}

/// The head as a transport wrote it, in hyper's form. How the connection goes on is hyper's
/// business.
fn read_head(bytes: &[u8]) -> Option<(Response<()>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.code?).ok()?;
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name != header::CONNECTION && name != header::TRANSFER_ENCODING {
            response.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
    }
    Some((response, length))
}

impl HttpBody for HyperBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.last.is_empty() {
            self.taken += self.last.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.last)))));
        }
        if let Some(given) = &self.given {
            given.asks(self.taken);
        }
        let Some(mut bytes) = ready!(self.body.poll_recv(cx)) else { return Poll::Ready(None) };
        self.ahead.bytes.fetch_sub(bytes.len(), Ordering::SeqCst);
        if self.ahead.wants.swap(false, Ordering::SeqCst) {
            self.home.mailbox().post_or_miss(ShardCommand::Drained(self.id));
        }
        if let Some(given) = &self.given
            && given.is_shared()
            && bytes.len() > 1
        {
            // hyper waits for the peer to take a byte more of the response before it goes on, but not
            // for as many as it goes on with (hyper's `PipeToSendStream`). So when it asks for what
            // comes behind a byte, that has a place among those that go out, and so has everything before it.
            let rest = bytes.len() - 1;
            self.last = bytes.split_off(rest);
        }
        self.taken += bytes.len() as u64;
        if let Some(given) = &self.given {
            given.takes(self.taken);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for HyperBody {
    fn drop(&mut self) {
        // Should the command be missed, the next heartbeat finds out.
        // Closed before it is said, so that a shard which it moves to meanwhile sees it.
        self.body.close();
        self.home.mailbox().post_or_miss(ShardCommand::Gone(self.id));
    }
}
