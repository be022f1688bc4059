//! Appends to channels of several partitions or of one: which of the two it is, is decided here.

use super::{
    RedisEngine,
    multi_partition_append::{MultiPartitionAppend, Repeat, Spread},
    names::partition_of,
    placement::{Known, PART_MAX_CHANNELS, Parcel, Placed, PublisherKey},
};
use crate::{Append, Appended, EngineError, Targets, append::each_once};

/// How often an append is tried when the logs that its key led to are deleted meanwhile.
const TRIES_MAX: usize = 8;

impl RedisEngine {
    pub(super) async fn append_to_targets(&self, append: Append) -> Result<Appended, EngineError> {
        for _ in 0..TRIES_MAX {
            if let Some(appended) = self.try_append(&append).await? {
                return Ok(appended);
            }
        }
        Err(EngineError::Unavailable("its logs are deleted all the time".into()))
    }

    /// Appends; none when its key led to deleted logs alone, and is forgotten now.
    async fn try_append(&self, append: &Append) -> Result<Option<Appended>, EngineError> {
        let (channels, is_push) = match &append.targets {
            Targets::Channels(channels) => (Some(each_once(channels.iter().cloned())), false),
            Targets::Users(users) => (Some(each_once(users.iter().map(encke_proto::UserId::channel))), true),
            Targets::AllUsers => (None, true),
        };
        let parcel = Parcel::of(append, self.retention.own.max_age_s, is_push);
        // What goes to no channel yet, or to all users, is remembered where its key leads.
        let key = append.key.as_ref().map(|key| PublisherKey { key, user: append.from.as_ref() });
        let key = key.as_ref();
        let elsewhere = || partition_of(key.map_or(append.id.as_str(), |key| &key.key.text));
        let first = match channels.as_deref() {
            Some([first, ..]) => partition_of(first.as_str()),
            _ => elsewhere(),
        };
        let is_one_part = channels.as_ref().is_some_and(|channels| {
            channels.len() <= PART_MAX_CHANNELS
                && channels.iter().all(|channel| partition_of(channel.as_str()) == first)
        });
        let spread = match channels {
            Some(channels) if is_one_part => {
                let known = key.map_or(Known::Not, |key| Known::Key(key, ""));
                let placed = self.place(first, &parcel, &channels, &known, "").await?;
                if placed.plan.is_empty() {
                    let Placed { id, places, repeated, is_reused, .. } = placed;
                    if is_reused {
                        return Err(EngineError::KeyReused);
                    }
                    return Ok(Some(Appended { id, positions: places, repeated }));
                }
                Spread::Repeated(self.repeat_spread(first, placed).await?)
            }
            targets => {
                let multi_partition_append = MultiPartitionAppend { parcel, first, targets };
                self.append_spread(&multi_partition_append, key).await?
            }
        };
        match (spread, key) {
            (Spread::Repeated(Repeat { is_gone: true, appended, .. }), Some(key)) => {
                self.forget_key(first, key, &appended.id).await?;
                Ok(None)
            }
            (Spread::Repeated(Repeat { is_reused: true, .. }), _) => Err(EngineError::KeyReused),
            (Spread::Done(appended) | Spread::Repeated(Repeat { appended, .. }), _) => Ok(Some(appended)),
        }
    }
}
