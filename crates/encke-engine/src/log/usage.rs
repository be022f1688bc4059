//! What of a segment is in use, and for how long.

use std::collections::BTreeMap;

use encke_proto::Time;

/// What pushes are counted by: the hour in which their receipts are forgotten.
const HOUR_MS: u64 = 3_600_000;

/// What keeps a segment's bytes from being dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes of messages that some log has.
    pub(super) live: u64,
    /// Bytes of pushes by the hour until which they have receipts.
    pub(super) pushes: BTreeMap<u64, u64>,
    /// The stamp until which some idempotency key leads here.
    pub(super) keyed_until: Time,
}

impl Usage {
    pub(super) fn add_push(&mut self, until: Time, length: u32) {
        *self.pushes.entry(until.0 / HOUR_MS).or_default() += u64::from(length);
    }

    /// The bytes in use at this time, or more: a push that a log has and that has receipts counts twice. Less
    /// would be wrong: what compaction moves would be found unused again, and be moved for ever.
    pub(super) fn bytes(&self, now: Time) -> u64 {
        self.live + self.pushes.range(now.0 / HOUR_MS..).map(|(_, bytes)| bytes).sum::<u64>()
    }
}
