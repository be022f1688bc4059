//! Sockets that come in.

use std::{
    io::{self, Write},
    net::{IpAddr, Shutdown, SocketAddr},
};

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};
use mio::{Interest, net::TcpStream};

use super::{Parts, Shard, Until, token};
use crate::{
    http::response::whole,
    shards::{Sink, Slot, State},
};

/// The most sockets accepted in one turn.
const ACCEPTS_PER_TURN: usize = 256;
/// How long after a failed accept the listener is tried again, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 200;

impl Shard {
    pub(super) fn accept(&mut self) {
        self.accept_from(|parts| Some(parts.listener.accept()), Self::welcome);
    }

    /// The same for those who are to speak TLS, as long as not too many handshakes are under way.
    pub(super) fn accept_tls(&mut self) {
        let next = |parts: &Parts| {
            let tls = parts.tls.as_ref()?;
            if tls.handshakes.is_reached() {
                return Some(Err(io::ErrorKind::QuotaExceeded.into()));
            }
            Some(tls.listener.accept())
        };
        self.accept_from(next, Self::welcome_tls);
    }

    /// Accepts what `next` gives, a bounded number of sockets.
    fn accept_from(
        &mut self,
        next: impl Fn(&Parts) -> Option<io::Result<(TcpStream, SocketAddr)>>,
        welcome: impl Fn(&mut Self, TcpStream, IpAddr),
    ) {
        if self.drains {
            return;
        }
        let mut failed = false;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(accepted) = next(&self.parts) else { return };
            match accepted {
                Ok((socket, address)) => welcome(self, socket, address.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // Out of file descriptors, most likely, or too many handshakes are under way. Connections
                    // that are served are not harmed; the listener is tried again when some may have gone.
                    tracing::warn!(%error, "no connection can be accepted now");
                    failed = true;
                    break;
                }
            }
        }
        // The kernel says only once that a connection waits, so the rest is looked for again: in the next
        // turn, or after a pause when accept failed.
        let pause_ms = if failed { ACCEPT_PAUSE_MS } else { 0 };
        self.accept_resumes_ms = Some(self.now.mono_ms + pause_ms);
    }

    /// Begins a handshake. A client that has no right to a connection is not told so: that would
    /// cost one.
    fn welcome_tls(&mut self, socket: TcpStream, address: IpAddr) {
        let Some(permit) = self.parts.connection_limit.enter(address) else { return };
        let Some(tls) = &self.parts.tls else { return };
        let state = match tls.begin() {
            Ok(state) => state,
            Err(error) => return tracing::error!(%error, "a handshake cannot begin"),
        };
        let slow = tls.signs_slowly();
        let sink = Sink::of_socket(socket, permit, Some(state));
        let Some(key) = self.seat(sink, self.parts.timeouts.head_ms) else { return };
        // Its first event says when there is something to read; a handshake seldom begins at once.
        if slow {
            self.hand_to_hyper(key, Vec::new());
        }
    }

    pub(super) fn welcome(&mut self, mut socket: TcpStream, address: IpAddr) {
        let Some(permit) = self.parts.connection_limit.enter(address) else {
            let refusal = Refusal::new(ErrorCode::Overloaded, "too many connections");
            let mut out = Vec::new();
            // Nothing is read, so it is not known whose page asks; and it is the same for all.
            whole(&mut out, &refusal, Some("*"), self.date.at(self.now.wall));
            // It fits into any socket's buffer; a client that does not take it is refused all the same.
            let _ = socket.write(&out);
            let _ = socket.shutdown(Shutdown::Write);
            return;
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
