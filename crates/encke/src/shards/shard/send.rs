//! Bytes that go out, and what comes after them.

use encke_hub::Key;

use super::{PART_MS, Shard, conn_key, handshakes::count_failed_handshake};
use crate::{
    shards::{Sink, Slot, State},
    transports::{HoldKind, NextAction},
};

impl Shard {
    /// Sends what was gathered, and does what comes after it.
    pub(super) fn send(&mut self, key: Key, after: NextAction) {
        if matches!(after, NextAction::HangUp | NextAction::Close) {
            self.leave(key);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        go_on(&mut slot.state, after);
        if slot.seal(&mut self.outbound, 0).is_err() {
            return self.free(key);
        }
        self.written_bytes += self.outbound.len() as u64;
        if slot.unsent.is_some() {
            // Only an answer to what the client asked comes while it takes nothing, and it asks one thing at
            // a time; and the last word to who is slow.
            return self.keep_more(key);
        }
        if self.outbound.is_empty() {
            return self.sent(key);
        }
        match slot.sink.write(&self.outbound) {
            Ok(count) if count == self.outbound.len() => self.sent(key),
            Ok(count) => self.keep(key, self.outbound[count..].to_vec()),
            Err(_) => {
                slot.unwrote(self.outbound.len());
                self.free(key);
            }
        }
    }

    /// Sends what the kernel has not yet taken of what was written, all but the first `taken` bytes, and does
    /// what comes after it.
    pub(super) fn send_rest(&mut self, key: Key, after: NextAction, bytes: &[u8], mut taken: usize) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        go_on(&mut slot.state, after);
        if taken < bytes.len() {
            match slot.sink.write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(_) => {
                    slot.unwrote(bytes.len() - taken);
                    return self.free(key);
                }
            }
        }
        if taken == bytes.len() { self.sent(key) } else { self.keep(key, bytes[taken..].to_vec()) }
    }

    pub(super) fn writable(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(unsent) = &mut slot.unsent else { return };
        match slot.sink.write(&unsent.bytes[unsent.sent..]) {
            Ok(count) => {
                unsent.sent += count;
                if unsent.sent == unsent.bytes.len() {
                    self.laggards.release(unsent);
                    slot.unsent = None;
                    self.sent(key);
                    self.has_drained(key);
                    self.resume(key);
                }
            }
            Err(_) => self.free(key),
        }
    }

    /// Everything that was written is with the kernel.
    pub(super) fn sent(&mut self, key: Key) {
        let conn = conn_key(key);
        let Some(slot) = self.slots.get_mut(key) else { return };
        match &mut slot.state {
            State::Head
            | State::Asks(_)
            | State::Claims { .. }
            | State::Decides { .. }
            | State::Unclaimed(_) => {}
            State::Waits(service) => {
                if service.ready {
                    self.scheduler.put_targeted(key, &mut service.queued);
                }
                if service.transport.hold_kind() == HoldKind::Stream {
                    let silence_ms = service.silence_ms(self.parts.timeouts.heartbeat_ms, self.now);
                    self.set_deadline(key, silence_ms);
                }
                self.owe(key);
            }
            State::Closing | State::HungUp | State::Answered if slot.sink.is_body() => {
                self.owe(key);
                self.free(key);
            }
            State::Closing => self.close(key),
            State::Parting(_) | State::HungUp => {
                if matches!(slot.state, State::HungUp) {
                    slot.sink.hang_up();
                }
                self.owe(key);
                self.hub.detach(conn, self.now);
                self.set_deadline(key, PART_MS);
            }
            State::Answered => {
                // An inline request has no session that could be handed something, or lose its connection.
                if self.hub.session_of(conn).is_some() {
                    self.owe(key);
                    self.hub.detach(conn, self.now);
                }
                self.end_access(key);
                let Some(slot) = self.slots.get_mut(key) else { return };
                slot.state = State::Head;
                // The next request may be there already. It is answered in a turn of its own: requests that
                // are answered as soon as they are read would be answered one within the other.
                let ahead = slot.inbound.is_some();
                self.set_deadline(key, self.parts.timeouts.idle_ms);
                if ahead {
                    self.reads.defer(key);
                }
            }
        }
    }

    /// The last was written to a socket. It is closed when its peer has acknowledged what a receipt is due
    /// for, or has had its time to: of a socket that is closed nothing is known any more.
    fn close(&mut self, key: Key) {
        if !self.owe(key) {
            return self.free(key);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.state = State::HungUp;
        slot.sink.hang_up();
        self.hub.detach(conn_key(key), self.now);
        self.set_deadline(key, PART_MS);
    }

    /// A connection is over: its session loses it, its socket is closed.
    pub(super) fn free(&mut self, key: Key) {
        self.leave(key);
        self.hub.detach(conn_key(key), self.now);
        self.drop_slot(key);
    }

    /// Tells a transport that its connection is over.
    fn leave(&mut self, key: Key) {
        self.act(key, &mut Vec::new(), |transport, context| {
            transport.left(context);
            NextAction::Wait
        });
    }

    /// The same of all that are still there.
    pub(super) fn leave_all(&mut self) {
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.leave(key));
    }

    /// Takes a connection out of the table.
    pub(super) fn take_out(&mut self, key: Key) -> Option<Slot> {
        self.settle_receipts(key);
        self.end_access(key);
        self.slots.remove(key)
    }

    pub(super) fn drop_slot(&mut self, key: Key) {
        self.laggards.forget(key);
        if let Some(mut slot) = self.take_out(key) {
            if let Some(unsent) = &slot.unsent {
                self.laggards.release(unsent);
            }
            if slot.sink.is_handshaking() {
                count_failed_handshake();
            }
            if slot.unsent.is_none() {
                slot.sink.end();
            }
            match &mut slot.sink {
                Sink::Body(body_sink) => drop(self.body_sink.remove(&body_sink.id)),
                // Closing a socket ends its watch as well; this only tells the poll sooner.
                sink => drop(sink.socket_mut().map(|socket| self.parts.poll.registry().deregister(socket))),
            }
        }
    }
}

/// What a socket does once a transport has had its turn.
fn go_on(state: &mut State, after: NextAction) {
    *state = match after {
        NextAction::Wait | NextAction::More => return,
        NextAction::Done => State::Answered,
        NextAction::HangUp => State::HungUp,
        NextAction::Close => State::Closing,
        NextAction::Part => match std::mem::replace(state, State::Head) {
            State::Waits(service) | State::Unclaimed(service) | State::Parting(service) => {
                State::Parting(service)
            }
            _ => State::Closing,
        },
    };
}
