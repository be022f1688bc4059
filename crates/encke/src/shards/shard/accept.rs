//! Sockets that come in.

use std::{
    io::{self, Write},
    net::{IpAddr, Shutdown, SocketAddr},
};

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};
use mio::{Interest, net::TcpStream};

use super::{Shard, Until, token};
use crate::{
    connection::{Peer, Permit, peer_ip},
    http::response::whole,
    shards::{Sink, Slot, State},
};

/// The most sockets accepted at each listener in one turn. One that comes to nothing costs as much as some
/// deliveries: it is accepted, watched, read and closed again. So a flood of them adds less than a
/// millisecond to a turn, and a client that was there before is served once in each.
pub(super) const ACCEPTS_PER_TURN: usize = 16;
/// How long after a failed accept, or one beyond the limit, the listener is tried again, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 200;

/// When each listener is tried next, in milliseconds of the clock that never goes back. That is once in a
/// turn at most, whether the kernel says that sockets wait or some were left in the turn before. Each has a
/// time of its own, so that what holds up one does not hold up the other.
#[derive(Debug, Default)]
pub(super) struct AcceptResumes {
    plain_ms: Option<u64>,
    tls_ms: Option<u64>,
    admin_ms: Option<u64>,
}

impl AcceptResumes {
    /// Sockets wait at the listener for plain text, as the kernel says.
    pub(super) fn plain_has_some(&mut self, now_ms: u64) {
        self.plain_ms = Some(now_ms);
    }

    /// The same at the listener for TLS.
    pub(super) fn tls_has_some(&mut self, now_ms: u64) {
        self.tls_ms = Some(now_ms);
    }

    /// The same at the listener for operators.
    pub(super) fn admin_has_some(&mut self, now_ms: u64) {
        self.admin_ms = Some(now_ms);
    }

    /// Whether a listener is to be tried now.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        [self.plain_ms, self.tls_ms, self.admin_ms]
            .into_iter()
            .flatten()
            .any(|resumes_ms| resumes_ms <= now_ms)
    }
}

/// What a listener gives.
enum Accepted {
    Socket(TcpStream, IpAddr),
    /// This one came to nothing; there may be others.
    Aborted,
    /// No other waits.
    Empty,
    /// Too many handshakes are under way.
    Limit,
    Failed(io::Error),
}

impl From<io::Result<(TcpStream, SocketAddr)>> for Accepted {
    fn from(accepted: io::Result<(TcpStream, SocketAddr)>) -> Self {
        accepted.map(|(socket, address)| (socket, peer_ip(Ok(address)))).into()
    }
}

impl From<io::Result<(TcpStream, IpAddr)>> for Accepted {
    fn from(accepted: io::Result<(TcpStream, IpAddr)>) -> Self {
        match accepted {
            Ok((socket, address)) => Self::Socket(socket, address),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Self::Empty,
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => Self::Aborted,
                _ => Self::Failed(error),
            },
        }
    }
}

impl Shard {
    fn accept_plain(&mut self) {
        let next = |shard: &mut Self| shard.parts.listener.accept().into();
        self.accept_resumes.plain_ms = self.accept_from(next, Self::meet);
    }

    /// The same for those who are to speak TLS, as long as not too many handshakes are under way.
    fn accept_tls(&mut self) {
        self.accept_resumes.tls_ms = self.accept_from(Self::next_tls, Self::meet_tls);
    }

    /// The same for operators, who have a limit of their own.
    fn accept_admin(&mut self) {
        let next = |shard: &mut Self| {
            shard.parts.admin.as_ref().map_or(Accepted::Empty, |admin| admin.listener.accept().into())
        };
        self.accept_resumes.admin_ms = self.accept_from(next, Self::welcome_admin);
    }

    /// Accepts from the listeners that are to be tried now.
    pub(super) fn accept(&mut self) {
        let now_ms = self.now.mono_ms;
        if self.accept_resumes.plain_ms.is_some_and(|resumes_ms| resumes_ms <= now_ms) {
            self.accept_plain();
        }
        if self.accept_resumes.tls_ms.is_some_and(|resumes_ms| resumes_ms <= now_ms) {
            self.accept_tls();
        }
        if self.accept_resumes.admin_ms.is_some_and(|resumes_ms| resumes_ms <= now_ms) {
            self.accept_admin();
        }
    }

    fn next_tls(&mut self) -> Accepted {
        let is_reached = self.parts.tls.as_ref().is_some_and(|tls| tls.handshakes.is_reached());
        if is_reached && !self.end_slow_handshake() {
            return Accepted::Limit;
        }
        self.parts.tls.as_ref().map_or(Accepted::Empty, |tls| tls.listener.accept().into())
    }

    /// Accepts what `next` gives, a bounded number of sockets. When it is to be tried again.
    fn accept_from(
        &mut self,
        next: impl Fn(&mut Self) -> Accepted,
        welcome: impl Fn(&mut Self, TcpStream, IpAddr),
    ) -> Option<u64> {
        if self.drains {
            return None;
        }
        let mut pause_ms = 0;
        for _ in 0..ACCEPTS_PER_TURN {
            match next(self) {
                Accepted::Socket(socket, address) => welcome(self, socket, address),
                Accepted::Aborted => {}
                Accepted::Empty => return None,
                // Not worth a line in the log: any client can bring it about, as often as it likes.
                Accepted::Limit => {
                    pause_ms = ACCEPT_PAUSE_MS;
                    break;
                }
                Accepted::Failed(error) => {
                    // Out of file descriptors, most likely. Connections that are served are not harmed; the
                    // listener is tried again when some may have gone.
                    tracing::warn!(%error, "no connection can be accepted now");
                    pause_ms = ACCEPT_PAUSE_MS;
                    break;
                }
            }
        }
        // The kernel says only once that a connection waits, so the rest is looked for again: in the next
        // turn, or after a pause when accept failed.
        Some(self.now.mono_ms + pause_ms)
    }

    /// Begins a handshake. A client that has no right to a connection is not told so: that would
    /// cost one.
    pub(super) fn welcome_tls(&mut self, socket: TcpStream, address: IpAddr) {
        if self.may_connect(address).is_err() {
            return;
        }
        let is_reached = self.parts.tls.as_ref().is_some_and(|tls| tls.handshakes.is_reached_by(address));
        if is_reached && !self.end_slow_handshake_of(address) {
            return;
        }
        let Some(permit) = self.parts.connection_limit.enter(address) else { return };
        let Some(tls) = &self.parts.tls else { return };
        let state = match tls.begin(address) {
            Ok(state) => state,
            Err(error) => return tracing::error!(%error, "a handshake cannot begin"),
        };
        let sink = Sink::of_socket(socket, permit, Some(state));
        // Its first event says when there is something to read; a handshake seldom begins at once.
        if let Some(key) = self.seat(sink, self.parts.timeouts.head_ms) {
            self.expect_hello(key, address);
        }
    }

    pub(super) fn welcome(&mut self, socket: TcpStream, address: IpAddr) {
        let permit = self.may_connect(address).and_then(|()| {
            let full = || Refusal::new(ErrorCode::Overloaded, "too many connections");
            self.parts.connection_limit.enter(address).ok_or_else(full)
        });
        self.welcome_with(socket, permit);
    }

    /// Whether one more connection may come from an address now. A proxy that is declared brings those of
    /// many clients.
    fn may_connect(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.parts.connection_limit.peer(address) == Peer::Proxy {
            return Ok(());
        }
        self.parts.admit.rate_limits.connect(address, self.now.wall)
    }

    fn welcome_admin(&mut self, socket: TcpStream, address: IpAddr) {
        let permit = self.parts.admin.as_ref().and_then(|admin| admin.connection_limit.enter(address));
        let full = || Refusal::new(ErrorCode::Overloaded, "too many connections");
        self.welcome_with(socket, permit.ok_or_else(full));
    }

    /// Begins a connection; without a right to it, its client is told so.
    fn welcome_with(&mut self, mut socket: TcpStream, permit: Result<Permit, Refusal>) {
        let permit = match permit {
            Ok(permit) => permit,
            Err(refusal) => {
                let mut out = Vec::new();
                // Nothing is read, so it is not known whose page asks; and it is the same for all.
                whole(&mut out, &refusal, Some("*"), self.date.at(self.now.wall));
                // It fits into any socket's buffer; a client that does not take it is refused all the same.
                let _ = socket.write(&out);
                let _ = socket.shutdown(Shutdown::Write);
                return;
            }
        };
        if let Some(key) = self.seat(Sink::Socket(socket, permit), self.parts.timeouts.head_ms) {
            // Should it have hung up already, its first event will say so.
            self.readable(key, Until::Short);
        }
    }

    /// Gives a connection a place in the table.
    pub(super) fn seat(&mut self, sink: Sink, timeout_ms: u64) -> Option<Key> {
        let deadline_ms = self.now.mono_ms + timeout_ms;
        let key = self.slots.insert(Slot {
            sink,
            state: State::Head,
            deadline_ms,
            look_ms: 0,
            written: 0,
            unsent: None,
            inbound: None,
        });
        let slot = self.slots.get_mut(key)?;
        slot.look_ms = self.wheel.insert(deadline_ms, key.index);
        let registered = match &mut slot.sink {
            Sink::Body(body_sink) => {
                self.body_sink.insert(body_sink.id, key);
                Ok(())
            }
            sink => sink.socket_mut().map_or(Ok(()), |socket| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.parts.poll.registry().register(socket, token(key), interest)
            }),
        };
        if let Err(error) = registered {
            tracing::warn!(%error, "a socket cannot be watched");
            self.slots.remove(key);
            return None;
        }
        if matches!(&slot.sink, Sink::Tls(tls) if tls.state.is_peer_closed()) {
            // The client has said so elsewhere, and the kernel will not say it again.
            self.reads.defer(key);
        }
        Some(key)
    }
}
