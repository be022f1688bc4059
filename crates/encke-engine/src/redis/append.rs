//! Appends to channels of several partitions or of one: which of the two it is, is decided here.

use super::{
    RedisEngine,
    multi_partition_append::MultiPartitionAppend,
    names::partition_of,
    placement::{Known, PART_MAX_CHANNELS, Parcel},
};
use crate::{Append, Appended, EngineError, Targets, append::each_once};

impl RedisEngine {
    pub(super) async fn append_to_targets(&self, append: Append) -> Result<Appended, EngineError> {
        let (channels, is_push) = match &append.targets {
            Targets::Channels(channels) => (Some(each_once(channels.iter().cloned())), false),
            Targets::Users(users) => (Some(each_once(users.iter().map(encke_proto::UserId::channel))), true),
            Targets::AllUsers => (None, true),
        };
        let parcel = Parcel::of(&append, self.retention.own.max_age_s, is_push);
        // What goes to no channel yet, or to all users, is remembered where its key leads.
        let elsewhere = || partition_of(append.key.as_deref().unwrap_or(append.id.as_str()));
        let first = match channels.as_deref() {
            Some([first, ..]) => partition_of(first.as_str()),
            _ => elsewhere(),
        };
        let is_one_part = channels.as_ref().is_some_and(|channels| {
            channels.len() <= PART_MAX_CHANNELS
                && channels.iter().all(|channel| partition_of(channel.as_str()) == first)
        });
        match channels {
            Some(channels) if is_one_part => {
                let known = append.key.as_deref().map_or(Known::Not, |key| Known::Key(key, ""));
                let placed = self.place(first, &parcel, &channels, &known, "").await?;
                if !placed.plan.is_empty() {
                    return self.repeat_spread(first, placed).await;
                }
                Ok(Appended { id: placed.id, positions: placed.places, repeated: placed.repeated })
            }
            channels => {
                let multi_partition_append = MultiPartitionAppend { parcel, first, targets: channels };
                self.append_spread(multi_partition_append, append.key.as_deref()).await
            }
        }
    }
}
