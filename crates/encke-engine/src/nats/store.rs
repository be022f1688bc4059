//! The parts that every call of the NATS engine works with, and the head of a log as the stream's leader has
//! it.

use std::sync::{Arc, Mutex};

use encke_proto::{ChannelName, Time, UserId};

use super::{
    epoch::Epochs,
    expiry_index::ExpiryIndex,
    fault::Fault,
    kept_times::KeptTimes,
    link::Link,
    names::Names,
    recent::Recent,
    record::{Extent, Record},
    streams::Streams,
    swept::Swept,
    trimmer::Trimmer,
    user_keys::UserKeys,
    writer::Writer,
};
use crate::RetentionTable;

/// What every call works with.
pub(super) struct Store {
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) streams: Streams,
    pub(super) epochs: Arc<Epochs>,
    pub(super) retention: Arc<RetentionTable>,
    pub(super) expiry_index: Arc<ExpiryIndex>,
    pub(super) trimmer: Trimmer,
    pub(super) writer: Writer,
    /// Which keys are too old, and which producers.
    pub(super) keys: KeptTimes,
    pub(super) producers: KeptTimes,
    pub(super) user_keys: UserKeys,
    /// Users who are known for good.
    pub(super) known: Mutex<Recent<UserId, ()>>,
    pub(super) swept: tokio::sync::Mutex<Swept>,
}

/// The end of a log, as its stream's leader has it.
#[derive(Debug)]
pub(super) struct Head {
    /// The sequence of the last message on its subject; 0 when there is none.
    pub(super) seq: u64,
    /// How the log stands in the present epoch.
    pub(super) extent: Extent,
}

impl Store {
    /// Where a log ends.
    pub(super) async fn head(&self, channel: &ChannelName) -> Result<Head, Fault> {
        let ages = self.epochs.sure().await?;
        let Some(stored) = self.link.last(&self.names.log, &self.names.channel(channel)).await? else {
            return Ok(Head { seq: 0, extent: Extent::empty(ages.now) });
        };
        self.head_of(Record::parse(&stored)?).await
    }

    /// The head of the log that ends in `last`.
    pub(super) async fn head_of(&self, last: Record) -> Result<Head, Fault> {
        self.epochs.seen(last.seq);
        if last.extent.epoch > self.epochs.now() {
            // Another node made an epoch that this one has not heard of.
            self.epochs.look().await?;
        }
        Ok(Head { seq: last.seq, extent: last.extent.in_age(&self.epochs.ages()) })
    }

    /// The latest time that the sweep was told.
    pub(super) fn told(&self) -> Time {
        self.expiry_index.now()
    }
}
