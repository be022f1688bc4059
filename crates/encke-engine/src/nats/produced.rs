//! How far a producer has come in a log: the last word on a subject of its own, beside the log.

use encke_proto::{MessageId, Offset};
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    link::Put,
    stored::Stored,
    targets::{from_json, to_json},
};
use crate::{PRODUCER_KEPT_S, Producer, metadata::Sequences};

/// How long the stream itself keeps a producer, in seconds by the servers' clock.
const PRODUCER_TTL_S: u64 = 3 * PRODUCER_KEPT_S;

/// How far a producer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Produced {
    epoch: u64,
    /// The last sequence.
    sequence: u64,
    /// The messages of the last ones, the oldest first.
    places: Vec<Option<(MessageId, Offset)>>,
    /// The head of the log behind the last one.
    head: Offset,
}

impl Produced {
    /// What is stored of a producer, if it is of the log that there is now, which is known `since` this head.
    pub(super) fn parse(stored: &Stored, since: Offset) -> Result<Option<Self>, Fault> {
        let produced: Self = from_json(&stored.payload, "a producer")?;
        Ok((produced.head >= since).then_some(produced))
    }

    /// After a sequence that is the next one.
    pub(super) fn after(
        known: Option<&Sequences>,
        producer: &Producer,
        place: Option<(MessageId, Offset)>,
        head: Offset,
    ) -> Self {
        // How old a producer is, the stream's sequence tells.
        let after = Sequences::after(known, producer, encke_proto::Time(0), place);
        let places = after.places().cloned().collect();
        Self { epoch: producer.epoch(), sequence: producer.sequence(), places, head }
    }

    pub(super) fn sequences(&self) -> Sequences {
        Sequences::at(self.epoch, self.sequence, self.places.iter().cloned())
    }

    /// To be stored behind what is there.
    pub(super) fn put(&self, subject: String, expect: u64) -> Put {
        Put {
            subject,
            head: String::new(),
            payload: to_json(self),
            expect: Some(expect),
            ttl_s: Some(PRODUCER_TTL_S),
        }
    }
}
