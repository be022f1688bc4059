//! TLS handshakes in a shard's loop: how many steps of them are taken in one turn, and what they leave to do.
//!
//! A step may cost a signature and a key exchange, which is as much as some hundred deliveries. So a turn has
//! few of them, and connections that are not served in one wait in a queue here: a flood of handshakes costs
//! those who wait for messages a bounded share of each turn.

use std::collections::{HashSet, VecDeque};

use encke_hub::Key;
use rustls::HandshakeKind;

use super::{Shard, Until};
use crate::{
    connection::tls::HANDSHAKES_MAX,
    shards::{Sink, State},
};

/// The most steps in one turn: with a fast signature (P-256) about half a millisecond, since every second one
/// only ends a handshake.
pub(super) const STEPS_PER_TURN: usize = 4;

/// How long a client may say nothing until its connection may be ended for another, when too many handshakes
/// are under way, in milliseconds. A hello comes right behind the connection, or a second later if lost.
const SILENT_MIN_MS: u64 = 2_000;
/// The most connections of which it is known when they came. Those that say nothing are fewer.
const EXPECTED_MAX: usize = 2 * HANDSHAKES_MAX;

/// The steps of the turn, and connections that wait for the next one. Each stands in the queue once; one that
/// has ended since stands there until its turn comes.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    left: usize,
    waiting: VecDeque<Key>,
    in_queue: HashSet<Key>,
    /// Connections in the order in which they came, and when, in milliseconds; those that have said something
    /// or are gone since stand there until they are passed over. At most [`EXPECTED_MAX`].
    expected: VecDeque<(Key, u64)>,
}

impl Handshakes {
    /// None waits.
    pub(super) fn new() -> Self {
        metrics::describe_counter!(
            "encke_tls_handshakes_total",
            "TLS handshakes that are done, in full or by a ticket, and those that came to nothing."
        );
        Self::default()
    }

    /// A turn begins. How many connections wait.
    fn begin(&mut self) -> usize {
        self.left = STEPS_PER_TURN;
        self.waiting.len()
    }

    /// The connection that has waited longest, if the turn has a step left for it.
    fn next(&mut self) -> Option<Key> {
        if self.left == 0 {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.in_queue.remove(&key);
        Some(key)
    }

    /// Whether the turn has a step left for a connection; else it waits for the next one.
    pub(super) fn has_left(&mut self, key: Key) -> bool {
        if self.left == 0 && self.in_queue.insert(key) {
            self.waiting.push_back(key);
        }
        self.left > 0
    }

    /// A step was taken.
    fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Whether the next turn has something to do that the kernel will not tell of.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Shard {
    /// Remembers that a handshake is to begin.
    pub(super) fn expect_hello(&mut self, key: Key) {
        if self.handshakes.expected.len() >= EXPECTED_MAX {
            let mut expected = std::mem::take(&mut self.handshakes.expected);
            expected.retain(|(key, _)| self.is_silent(*key));
            self.handshakes.expected = expected;
        }
        self.handshakes.expected.push_back((key, self.now.mono_ms));
    }

    /// Ends the oldest handshake whose client has said nothing for a while, so that another can begin. False
    /// when there is none. Without that, clients that only connect would keep out all others.
    pub(super) fn end_silent_handshake(&mut self) -> bool {
        while let Some((key, since_ms)) = self.handshakes.expected.front().copied() {
            let is_silent = self.is_silent(key);
            if is_silent && self.now.mono_ms < since_ms + SILENT_MIN_MS {
                return false;
            }
            self.handshakes.expected.pop_front();
            if is_silent {
                self.free(key);
                return true;
            }
        }
        false
    }

    /// Whether a connection's client has said nothing yet. One that waits for a step of its handshake has.
    fn is_silent(&self, key: Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.sink.is_silent())
            && !self.handshakes.in_queue.contains(&key)
    }

    /// Goes on with handshakes that had to wait.
    pub(super) fn advance_handshakes(&mut self) {
        for _ in 0..self.handshakes.begin() {
            let Some(key) = self.handshakes.next() else { return };
            self.readable(key, Until::Empty);
        }
    }

    /// Does what TLS itself asks for after a read, with so much plain text at the beginning of the buffer.
    /// False when the connection is not read on here.
    pub(super) fn after_read(&mut self, key: Key, count: usize) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let Sink::Tls(tls) = &mut slot.sink else { return true };
        let control = tls.state.take_control();
        let (finished, http_2) = (tls.state.finished_handshake(), tls.state.is_http_2());
        let is_challenge = tls.state.is_challenge();
        if finished.is_some() || tls.state.is_handshaking() {
            self.handshakes.spend();
        }
        if !control.is_empty() && !self.send_control(key, control) {
            return false;
        }
        let Some(kind) = finished else { return true };
        count_handshake(kind);
        if is_challenge {
            // The directory has seen what it came for.
            self.free(key);
            return false;
        }
        // From here on it has the time of any client that has not said what it wants.
        self.set_deadline(key, self.parts.timeouts.head_ms);
        if http_2 {
            self.hand_to_hyper(key, self.inbound[..count].to_vec());
        }
        !http_2
    }

    /// Sends what the protocol has to say, behind what was written before. False when the connection is over
    /// because its client takes nothing.
    fn send_control(&mut self, key: Key, control: Vec<u8>) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        slot.wrote(control.len());
        if slot.unsent.is_some() {
            self.outbound = control;
            self.keep_more(key);
            return true;
        }
        match slot.sink.write(&control) {
            Ok(count) if count == control.len() => return true,
            // Little is said before there is a service, and all of it fits into a socket whose client takes
            // what it was sent.
            Ok(count) if !matches!(slot.state, State::Head | State::Asks(_) | State::Claims { .. }) => {
                self.keep(key, control[count..].to_vec());
                return true;
            }
            Ok(_) | Err(_) => {}
        }
        self.free(key);
        false
    }
}

/// Counts a handshake that is done.
pub fn count_handshake(kind: HandshakeKind) {
    let kind = if kind == HandshakeKind::Resumed { "resumed" } else { "full" };
    metrics::counter!("encke_tls_handshakes_total", "kind" => kind).increment(1);
}

/// Counts one that will never be.
pub fn count_failed_handshake() {
    metrics::counter!("encke_tls_handshakes_total", "kind" => "failed").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_some_steps_and_the_others_wait_in_their_order() {
        let mut handshakes = Handshakes::default();
        let key = |index| Key { index, generation: 1 };
        assert_eq!(handshakes.begin(), 0);
        let taken = |handshakes: &mut Handshakes, keys: std::ops::Range<u32>| {
            let take = |index: &u32| {
                let taken = handshakes.has_left(key(*index));
                handshakes.spend();
                taken
            };
            keys.filter(take).count()
        };
        assert_eq!(taken(&mut handshakes, 0..10), STEPS_PER_TURN);
        assert_eq!(taken(&mut handshakes, 4..10), 0, "each stands in the queue once");
        assert_eq!(handshakes.begin(), 10 - STEPS_PER_TURN);
        for index in 4..8 {
            assert_eq!(handshakes.next(), Some(key(index)));
            assert!(handshakes.has_left(key(index)));
            handshakes.spend();
        }
        assert_eq!((handshakes.next(), handshakes.has_waiting()), (None, true));
    }
}
