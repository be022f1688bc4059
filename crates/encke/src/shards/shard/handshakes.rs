//! TLS handshakes in a shard's loop: how many steps of them are taken in one turn, and what they leave to do.
//!
//! A step may cost a signature and a key exchange, which is as much as some hundred deliveries. So a turn has
//! few of them, and connections that are not served in one wait in a queue here: a flood of handshakes costs
//! those who wait for messages a bounded share of each turn.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
};

use encke_hub::Key;
use rustls::HandshakeKind;
use tokio::sync::oneshot;

use super::{Shard, Until};
use crate::{
    connection::tls::HANDSHAKES_MAX,
    metrics::Metrics,
    rate_limits::network,
    shards::{Sink, State},
};

/// The most steps in one turn: with a fast signature (P-256) about half a millisecond, since every second one
/// only ends a handshake.
pub(super) const STEPS_PER_TURN: usize = 4;

/// How long a client may take for its hello until its connection may be ended for another, when too many
/// handshakes are under way, in milliseconds. A hello comes right behind the connection.
const HELLO_MIN_MS: u64 = 500;
/// The same for the rest of a handshake, which needs one answer of the client's.
const REST_MIN_MS: u64 = 2_000;
/// The most connections of which it is known when they came, in each of the two queues. Handshakes that are
/// under way are fewer.
const EXPECTED_MAX: usize = 2 * HANDSHAKES_MAX;

/// The steps of the turn, and connections that wait for the next one. Each stands in the queue once; one that
/// has ended since stands there until its turn comes.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    left: usize,
    waiting: VecDeque<Key>,
    in_queue: HashSet<Key>,
    /// Connections whose hello is expected, in the order in which they came. Those that are further or gone
    /// since stand there until they are passed over. At most [`EXPECTED_MAX`].
    hellos: VecDeque<UnderWay>,
    /// The same of those whose hello was answered, or who were waiting for a step.
    rest: VecDeque<UnderWay>,
}

/// A handshake that began.
#[derive(Debug)]
struct UnderWay {
    place: Place,
    address: IpAddr,
    since_ms: u64,
}

/// Where a handshake is made.
#[derive(Debug)]
enum Place {
    /// In the shard's loop.
    Here(Key),
    /// Beside the shards; this ends it.
    Elsewhere(oneshot::Sender<()>),
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its client has not said its hello, or not all of it.
    Hello,
    /// The hello was answered, or is looked at elsewhere.
    Rest,
    /// The client has said something, and waits for a step.
    Waits,
    /// It is done, or gone.
    Over,
}

impl Handshakes {
    /// None waits.
    pub(super) fn new() -> Self {
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
    pub(super) fn expect_hello(&mut self, key: Key, address: IpAddr) {
        let since_ms = self.now.mono_ms;
        let hellos = std::mem::take(&mut self.handshakes.hellos);
        self.handshakes.hellos = self.with(hellos, UnderWay { place: Place::Here(key), address, since_ms });
    }

    /// Remembers that a handshake was given away. What tells that it is to be ended.
    pub(super) fn expect_elsewhere(&mut self, address: IpAddr) -> oneshot::Receiver<()> {
        let (sender, ends) = oneshot::channel();
        let since_ms = self.now.mono_ms;
        self.expect_rest(UnderWay { place: Place::Elsewhere(sender), address, since_ms });
        ends
    }

    fn expect_rest(&mut self, under_way: UnderWay) {
        let rest = std::mem::take(&mut self.handshakes.rest);
        self.handshakes.rest = self.with(rest, under_way);
    }

    /// A queue with one more, in its bound: handshakes that are under way are fewer.
    fn with(&self, mut queue: VecDeque<UnderWay>, under_way: UnderWay) -> VecDeque<UnderWay> {
        if queue.len() >= EXPECTED_MAX {
            queue.retain(|under_way| self.progress(&under_way.place) != Progress::Over);
        }
        queue.push_back(under_way);
        queue
    }

    fn progress(&self, place: &Place) -> Progress {
        let key = match place {
            Place::Here(key) => *key,
            Place::Elsewhere(ends) => {
                return if ends.is_closed() { Progress::Over } else { Progress::Rest };
            }
        };
        match self.slots.get(key).map(|slot| &slot.sink) {
            Some(Sink::Tls(tls)) if tls.state.is_handshaking() => {
                if self.handshakes.in_queue.contains(&key) {
                    Progress::Waits
                } else if tls.state.is_answered() {
                    Progress::Rest
                } else {
                    Progress::Hello
                }
            }
            _ => Progress::Over,
        }
    }

    /// Whether it may be ended for another.
    fn is_slow(&self, under_way: &UnderWay) -> bool {
        let min_ms = match self.progress(&under_way.place) {
            Progress::Hello => HELLO_MIN_MS,
            Progress::Rest => REST_MIN_MS,
            // What it waits for is this loop.
            Progress::Waits | Progress::Over => return false,
        };
        self.now.mono_ms >= under_way.since_ms + min_ms
    }

    fn end_handshake(&mut self, under_way: UnderWay) -> bool {
        match under_way.place {
            Place::Here(key) => self.free(key),
            // It may be done meanwhile.
            Place::Elsewhere(ends) => return ends.send(()).is_ok(),
        }
        true
    }

    /// Ends a handshake whose client is slow, so that another can begin: the oldest without a whole hello, or
    /// else the oldest of the others. False when there is none. Without that, clients that only connect, or
    /// say a byte of their hello, would keep out all others.
    pub(super) fn end_slow_handshake(&mut self) -> bool {
        while let Some(oldest) = self.handshakes.hellos.pop_front() {
            match self.progress(&oldest.place) {
                Progress::Over => {}
                Progress::Rest | Progress::Waits => self.expect_rest(oldest),
                Progress::Hello if self.is_slow(&oldest) => return self.end_handshake(oldest),
                Progress::Hello => {
                    self.handshakes.hellos.push_front(oldest);
                    break;
                }
            }
        }
        while let Some(oldest) = self.handshakes.rest.pop_front() {
            if self.progress(&oldest.place) == Progress::Over {
                continue;
            }
            if self.is_slow(&oldest) {
                return self.end_handshake(oldest);
            }
            self.handshakes.rest.push_front(oldest);
            break;
        }
        false
    }

    /// The same among those from one address, which has its share of all handshakes.
    pub(super) fn end_slow_handshake_of(&mut self, address: IpAddr) -> bool {
        let is_slow =
            |under_way: &UnderWay| network(under_way.address) == network(address) && self.is_slow(under_way);
        if let Some(at) = self.handshakes.hellos.iter().position(is_slow) {
            let slow = self.handshakes.hellos.remove(at);
            return slow.is_some_and(|slow| self.end_handshake(slow));
        }
        let slow =
            self.handshakes.rest.iter().position(is_slow).and_then(|at| self.handshakes.rest.remove(at));
        slow.is_some_and(|slow| self.end_handshake(slow))
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
        // What is not a whole message yet costs next to nothing.
        if finished.is_some() || !control.is_empty() {
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
    Metrics::global().tls_handshakes.of(kind).inc();
}

/// Counts one that will never be.
pub fn count_failed_handshake() {
    Metrics::global().tls_handshakes.of("failed").inc();
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
