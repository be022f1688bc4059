//! Where a message got to, as it is kept: in pages for pushes, whose receipts are asked for by user, and
//! beside an idempotency key.

use bytes::Bytes;
use encke_proto::{ChannelName, Epoch, MessageId, Offset, Position, Time};
use serde::{Deserialize, Serialize};

use super::{fault::Fault, stored::Stored};
use crate::{Appended, Key, key::is_reused};

/// The most targets of one page. With the messages themselves, a page and a key they fit into one batch.
pub(super) const PAGE_MAX_TARGETS: usize = 900;

/// A target: its channel, and the place that the message got there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    #[serde(rename = "c")]
    pub(super) channel: ChannelName,
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    #[serde(rename = "o")]
    pub(super) offset: Offset,
    /// Which of the message's targets it is.
    #[serde(rename = "n")]
    pub(super) index: usize,
}

/// A page of a message's targets, by channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TargetPage {
    /// Whether there are receipts.
    pub(super) push: bool,
    pub(super) time: u64,
    pub(super) expires: Option<u64>,
    /// Until when receipts are told.
    pub(super) until: u64,
    /// How many pages there are.
    pub(super) pages: usize,
    pub(super) targets: Vec<Target>,
}

/// What a key led to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) id: MessageId,
    /// The hash of the request that it came with; older ones have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<u64>,
    /// How many pages of targets there are; if none, the targets are here.
    pub(super) pages: usize,
    pub(super) targets: Vec<Target>,
}

/// The places as targets, the first of which has this index.
pub(super) fn targets(positions: &[(ChannelName, Position)], index: impl Fn(usize) -> usize) -> Vec<Target> {
    let target = |(place, (channel, position)): (usize, &(ChannelName, Position))| Target {
        channel: channel.clone(),
        epoch: position.epoch,
        offset: position.offset,
        index: index(place),
    };
    positions.iter().enumerate().map(target).collect()
}

/// What was appended, from all of its targets in any order.
pub(super) fn appended(id: MessageId, mut targets: Vec<Target>, repeated: bool) -> Appended {
    targets.sort_unstable_by_key(|target| target.index);
    let position = |target: Target| (target.channel, Position { epoch: target.epoch, offset: target.offset });
    Appended { id, positions: targets.into_iter().map(position).collect(), repeated }
}

impl TargetPage {
    pub(super) fn parse(stored: &Stored) -> Result<Self, Fault> {
        from_json(&stored.payload, "a page of targets")
    }

    pub(super) fn expires(&self) -> Option<Time> {
        self.expires.map(Time)
    }
}

impl KeyRecord {
    /// Refuses a key that comes with another request than before.
    pub(super) fn check(&self, key: Option<&Key>) -> Result<(), Fault> {
        let again = key.and_then(|key| key.request);
        if is_reused(self.request, again) { Err(Fault::KeyReused) } else { Ok(()) }
    }

    pub(super) fn parse(stored: &Stored) -> Result<Self, Fault> {
        from_json(&stored.payload, "a key")
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    // These types have neither maps with odd keys nor numbers that JSON lacks, so this cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, Fault> {
    serde_json::from_slice(json).map_err(|error| Fault::damaged(format!("{what} is not understood: {error}")))
}
