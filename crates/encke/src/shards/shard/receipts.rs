//! Receipts that are due: what a user was pushed is with the kernel, and becomes `delivered` when the peer's
//! kernel has acknowledged it (ADR 0021).

use std::collections::{HashMap, VecDeque};

use encke_batch::unacknowledged;
use encke_hub::{Key, Receipt};
use encke_proto::IntHashState;

use super::{Shard, conn_key};
use crate::{
    connection::{Acknowledged, Sent},
    shards::{Sink, Slot, Unsent},
};

/// How often the kernel is asked again for a connection whose peer has not acknowledged what it was sent, in
/// milliseconds.
const LOOK_MS: u64 = 50;
/// The most connections for which it is asked in one turn.
const LOOKS_PER_TURN: usize = if cfg!(test) { 4 } else { 1_024 };
/// The most connections that are asked after. What is sent to others meanwhile stays `queued`, and is sent
/// again.
const CONNECTIONS_MAX: usize = 65_536;
/// The most receipts that wait for one connection. Past it the newest stands for those that come.
const RECEIPTS_MAX: usize = 8;

/// The receipts of a shard that are due.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Those of each connection, in the order in which what they are for was sent. A connection that has
    /// acknowledged everything is in here until its next turn.
    by_key: HashMap<Key, VecDeque<Due>, IntHashState>,
    /// The same connections, in the order in which they are looked at.
    order: VecDeque<Key>,
    /// When the next round of looks begins, in milliseconds of the clock that never goes back.
    look_ms: u64,
    /// How many connections are still to be looked at in the round under way.
    round_left: usize,
}

/// A receipt that is due.
#[derive(Debug)]
struct Due {
    receipt: Receipt,
    behind: Behind,
}

/// What has to be acknowledged.
#[derive(Debug)]
enum Behind {
    /// So many bytes that were written for a socket, as [`Slot::written`] counts them.
    Socket(u32),
    /// What was given to hyper.
    BodySink(Sent),
}

impl Receipts {
    /// How long nothing is to be looked at, in milliseconds; none when nothing is due.
    pub(super) fn rests_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.order.is_empty()).then(|| self.look_ms.saturating_sub(now_ms))
    }

    /// Whether this is the last that waits for a connection.
    fn has(&self, key: Key, receipt: &Receipt) -> bool {
        self.by_key.get(&key).and_then(VecDeque::back).is_some_and(|last| last.receipt == *receipt)
    }

    /// For how many connections any waits.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.by_key.values().filter(|dues| !dues.is_empty()).count()
    }

    /// Whether any waits for a connection.
    fn waits(&self, key: Key) -> bool {
        self.by_key.get(&key).is_some_and(|dues| !dues.is_empty())
    }

    fn put(&mut self, key: Key, due: Due, now_ms: u64) {
        if !self.by_key.contains_key(&key) {
            if self.by_key.len() >= CONNECTIONS_MAX {
                return;
            }
            if self.order.is_empty() {
                self.look_ms = now_ms + LOOK_MS;
            }
            self.order.push_back(key);
        }
        let dues = self.by_key.entry(key).or_default();
        if dues.len() >= RECEIPTS_MAX
            && let Some(last) = dues.back()
            // A connection that is kept may serve another user next, for whom no receipt of the former
            // stands; nor one of another device.
            && (&last.receipt.user, &last.receipt.device) == (&due.receipt.user, &due.receipt.device)
        {
            dues.pop_back();
        }
        if dues.len() < RECEIPTS_MAX {
            dues.push_back(due);
        }
    }
}

impl Shard {
    /// Everything that was written for a connection is with the kernel, or with hyper. If a receipt is
    /// due for it, it is given now or when the peer has acknowledged it. True when one waits.
    pub(super) fn owe(&mut self, key: Key) -> bool {
        let Some(receipt) = self.hub.owed(conn_key(key)) else { return false };
        if self.receipts.has(key, &receipt) {
            // A broadcast behind a push that is not acknowledged yet: nothing is due for it, so nothing is
            // asked.
            return true;
        }
        let Some(slot) = self.slots.get(key) else { return false };
        let behind = match &slot.sink {
            Sink::Socket(..) | Sink::Tls(_) => Behind::Socket(slot.written),
            Sink::Body(body_sink) => match body_sink.sent() {
                Some(sent) => Behind::BodySink(sent),
                // It cannot be known what became of it.
                None => return false,
            },
        };
        let mut due = Due { receipt, behind };
        if self.receipts.waits(key) {
            self.receipts.put(key, due, self.now.mono_ms);
            return self.look_for_receipts(key);
        }
        match due.behind.acknowledged(Some(slot), &mut None) {
            Acknowledged::Yes => self.hub.handed(due.receipt, self.now),
            Acknowledged::NotYet => self.receipts.put(key, due, self.now.mono_ms),
            Acknowledged::Never => {}
        }
        self.receipts.waits(key)
    }

    /// Looks again at connections whose peers had not acknowledged everything, when it is time to.
    pub(super) fn look_at_receipts(&mut self) {
        if self.receipts.rests_ms(self.now.mono_ms) != Some(0) {
            return;
        }
        if self.receipts.round_left == 0 {
            self.receipts.round_left = self.receipts.order.len();
        }
        let looks = self.receipts.round_left.min(LOOKS_PER_TURN);
        self.receipts.round_left -= looks;
        for _ in 0..looks {
            let Some(key) = self.receipts.order.pop_front() else { break };
            if self.look_for_receipts(key) {
                self.receipts.order.push_back(key);
            } else {
                self.receipts.by_key.remove(&key);
            }
        }
        if self.receipts.round_left == 0 {
            self.receipts.look_ms = self.now.mono_ms + LOOK_MS;
        }
    }

    /// Gives those receipts for which the peer of a connection has acknowledged enough. True when others
    /// wait.
    pub(super) fn look_for_receipts(&mut self, key: Key) -> bool {
        let Some(dues) = self.receipts.by_key.get_mut(&key) else { return false };
        let slot = self.slots.get(key);
        let mut outstanding = None;
        while let Some(due) = dues.front_mut() {
            match due.behind.acknowledged(slot, &mut outstanding) {
                Acknowledged::NotYet => return true,
                Acknowledged::Yes => {
                    if let Some(due) = dues.pop_front() {
                        self.hub.handed(due.receipt, self.now);
                    }
                }
                // It stays `queued`, and so does what was sent behind it.
                Acknowledged::Never => dues.clear(),
            }
        }
        false
    }

    /// A socket leaves the table. Who has acknowledged everything has had it, and of the rest nothing will be
    /// known.
    pub(super) fn settle_receipts(&mut self, key: Key) {
        if self.receipts.waits(key) {
            self.look_for_receipts(key);
            if self.slots.get(key).is_some_and(|slot| !slot.sink.is_body())
                && let Some(dues) = self.receipts.by_key.get_mut(&key)
            {
                dues.clear();
            }
        }
    }

    /// All that can be known now.
    pub(super) fn settle_all_receipts(&mut self) {
        let keys: Vec<Key> = self.receipts.by_key.keys().copied().collect();
        for key in keys {
            self.look_for_receipts(key);
        }
    }
}

impl Behind {
    /// Whether it is acknowledged. How much of what was written for a socket is not, is asked once for all
    /// who keep the answer in `outstanding`.
    fn acknowledged(&mut self, slot: Option<&Slot>, outstanding: &mut Option<usize>) -> Acknowledged {
        let written = match self {
            Self::BodySink(sent) => return sent.acknowledged(),
            Self::Socket(written) => *written,
        };
        let Some(slot) = slot else { return Acknowledged::Never };
        if outstanding.is_none() {
            *outstanding = outstanding_of(&slot.sink, slot.unsent.as_deref());
        }
        match *outstanding {
            Some(count) if count <= slot.written.wrapping_sub(written) as usize => Acknowledged::Yes,
            Some(_) => Acknowledged::NotYet,
            None => Acknowledged::Never,
        }
    }
}

/// How many bytes were written for a socket and are not acknowledged; none when the kernel does not say.
pub(super) fn outstanding_of(sink: &Sink, unsent: Option<&Unsent>) -> Option<usize> {
    let socket = sink.socket()?;
    // What the kernel did not take yet was written after everything that it did take.
    let kept = unsent.map_or(0, |unsent| unsent.bytes.len() - unsent.sent);
    Some(unacknowledged(socket).ok()? + kept)
}
