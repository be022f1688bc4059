//! Sockets that come in.

use std::{
    io::{self, Write},
    net::{IpAddr, Shutdown},
};

use encke_hub::Key;
use encke_proto::{ErrorCode, Refusal};
use mio::{Interest, net::TcpStream};

use super::{Shard, Until, token};
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
        if self.drains {
            return;
        }
        let mut failed = false;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.parts.listener.accept() {
                Ok((socket, address)) => self.welcome(socket, address.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // Out of file descriptors, most likely. Connections that are served are not harmed; the
                    // listener is tried again when some may have gone.
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
            Sink::Socket(socket, _) => self.parts.poll.registry().register(
                socket,
                token(key),
                Interest::READABLE | Interest::WRITABLE,
            ),
            Sink::Body(body_sink) => {
                self.body_sink.insert(body_sink.id, key);
                Ok(())
            }
        };
        if let Err(error) = registered {
            tracing::warn!(%error, "a socket cannot be watched");
            self.slots.remove(key);
            return None;
        }
        Some(key)
    }
}
