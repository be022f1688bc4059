//! Receivers that do not take what they are sent: what is kept for them, and when it is enough.

use std::collections::HashMap;

use encke_hub::{Key, Lag};
use encke_proto::{Close, CloseCode};
use prometheus_client::metrics::counter::Counter;

use super::{Shard, conn_key};
use crate::{
    config::SlowPolicy,
    metrics::Metrics,
    shards::{State, Unsent},
};

/// How often it is looked how far a receiver is behind that takes nothing, in milliseconds.
const LAG_LOOK_MS: u64 = 500;
/// The most slow receivers that are looked at for how far behind the farthest is.
const LAGGARDS_LOOKED_AT_MAX: usize = 1_000;
/// The most bytes that one shard keeps for receivers that do not take them. Past it, the one with the most
/// goes.
const UNSENT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a shard knows of receivers that do not take what they are sent. A receiver that keeps up is not in
/// here.
#[derive(Debug)]
pub(super) struct Laggards {
    /// How far each was behind when its socket was full for the first time since it was at the head, or later
    /// if it was less then. Bounded by the slots.
    by_key: HashMap<Key, Lag>,
    /// What is kept for all of them, in bytes.
    unsent_bytes: usize,
    stalled: Counter,
    closed: Counter,
    shed: Counter,
    skipped: Counter,
}

impl Laggards {
    /// No receiver is behind.
    pub(super) fn new() -> Self {
        let metrics = Metrics::global();
        Self {
            by_key: HashMap::new(),
            unsent_bytes: 0,
            stalled: metrics.slow_stalled.clone(),
            closed: metrics.slow_closed.clone(),
            shed: metrics.slow_shed.clone(),
            skipped: metrics.slow_skipped_messages.clone(),
        }
    }

    /// How many there are, and what is kept for them in bytes.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_key.len(), self.unsent_bytes)
    }

    /// Bytes that were kept are with the kernel, or their receiver has gone.
    pub(super) fn release(&mut self, unsent: &Unsent) {
        self.unsent_bytes = self.unsent_bytes.saturating_sub(unsent.bytes.len());
    }

    /// It is gone.
    pub(super) fn forget(&mut self, key: Key) {
        self.by_key.remove(&key);
    }
}

impl Shard {
    /// How many messages the slow receiver is behind that is the farthest, of some if there are very many.
    pub(super) fn farthest_behind(&self) -> u64 {
        let looked_at = self.laggards.by_key.keys().take(LAGGARDS_LOOKED_AT_MAX);
        looked_at.map(|key| self.hub.lag(conn_key(*key)).messages).max().unwrap_or(0)
    }

    /// The kernel has not taken everything: the rest is kept, and the receiver has a while to take it. More
    /// is not kept; it lags by its cursor.
    pub(super) fn keep(&mut self, key: Key, rest: Vec<u8>) {
        let lag = self.hub.lag(conn_key(key));
        let until_ms = self.now.mono_ms + self.parts.timeouts.stalled_ms;
        let Some(slot) = self.slots.get_mut(key) else { return };
        self.laggards.unsent_bytes += rest.len();
        slot.unsent = Some(Box::new(Unsent { bytes: rest, sent: 0, until_ms, look_ms: until_ms }));
        self.laggards.by_key.entry(key).or_insert(lag);
        self.look_again(key, until_ms);
        self.shed();
    }

    /// Keeps what the kernel did not take in another shard.
    pub(super) fn keep_on(&mut self, key: Key, unsent: Box<Unsent>) {
        let (lag, until_ms) = (self.hub.lag(conn_key(key)), unsent.until_ms);
        let Some(slot) = self.slots.get_mut(key) else { return };
        self.laggards.unsent_bytes += unsent.bytes.len();
        slot.unsent = Some(unsent);
        self.laggards.by_key.entry(key).or_insert(lag);
        self.look_again(key, until_ms);
    }

    /// Keeps what was written since, behind what is kept already.
    pub(super) fn keep_more(&mut self, key: Key) {
        if let Some(unsent) = self.slots.get_mut(key).and_then(|slot| slot.unsent.as_mut()) {
            // Nearly always the last word, so that there is no need for room behind it.
            unsent.bytes.reserve_exact(self.outbound.len());
            unsent.bytes.extend_from_slice(&self.outbound);
            self.laggards.unsent_bytes += self.outbound.len();
        }
    }

    /// Everything that was written to a receiver is with the kernel. Once it is at the head, it is none that
    /// is behind any more.
    pub(super) fn has_drained(&mut self, key: Key) {
        // Nearly always no receiver is behind, and this is asked with every message that is sent.
        if !self.laggards.by_key.is_empty()
            && self.slots.get(key).is_none_or(|slot| slot.unsent.is_none())
            && self.hub.lag(conn_key(key)).messages == 0
        {
            self.laggards.forget(key);
        }
    }

    /// Looks at a receiver that does not take what it was sent. False when it does.
    pub(super) fn look_at_laggard(&mut self, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let Some(unsent) = &slot.unsent else { return false };
        // More time is not bought by taking a byte now and then.
        let until_ms = unsent.until_ms;
        if until_ms <= self.now.mono_ms {
            self.laggards.stalled.inc();
            self.free(key);
            return true;
        }
        let waits = matches!(slot.state, State::Waits(_));
        self.look_again(key, until_ms);
        if waits {
            self.bound_lag(key);
        }
        true
    }

    fn look_again(&mut self, key: Key, until_ms: u64) {
        let Some(unsent) = self.slots.get_mut(key).and_then(|slot| slot.unsent.as_mut()) else { return };
        unsent.look_ms = until_ms.min(self.now.mono_ms + LAG_LOOK_MS);
        self.look_in_time(key);
    }

    /// Does what is configured with a receiver that is behind by too much.
    fn bound_lag(&mut self, key: Key) {
        if !self.is_too_far_behind(key) {
            return;
        }
        let (conn, slow) = (conn_key(key), self.parts.slow);
        if slow.policy == SlowPolicy::Gap {
            let skipped = self.hub.skip(conn, Lag { messages: slow.max_messages, bytes: slow.max_bytes });
            self.laggards.skipped.inc_by(skipped);
            if !self.is_too_far_behind(key) {
                return;
            }
        }
        self.laggards.closed.inc();
        let reason = "the client took too little for too long; go on from the cursor".to_owned();
        self.hub.end(
            conn,
            &Close { code: CloseCode::Slow, reason, reconnect: true, retry_ms: None },
            self.now,
        );
    }

    /// Whether a receiver has fallen behind by more than it may. Who began far behind may be so, as long as
    /// it does not get worse: it catches up, at the speed that its network has.
    fn is_too_far_behind(&mut self, key: Key) -> bool {
        let Some(first) = self.laggards.by_key.get_mut(&key) else { return false };
        let lag = self.hub.lag(conn_key(key));
        *first = first.min(lag);
        lag.messages - first.messages > self.parts.slow.max_messages
            || lag.bytes - first.bytes > self.parts.slow.max_bytes
    }

    /// Keeps what is kept for all within its bound.
    fn shed(&mut self) {
        while self.laggards.unsent_bytes > UNSENT_MAX_BYTES {
            let kept = |key: &Key| {
                self.slots
                    .get(*key)
                    .and_then(|slot| slot.unsent.as_ref())
                    .map_or(0, |unsent| unsent.bytes.len())
            };
            let Some(largest) = self.laggards.by_key.keys().copied().max_by_key(kept) else { return };
            self.laggards.shed.inc();
            self.free(largest);
        }
    }
}
