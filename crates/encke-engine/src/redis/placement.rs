//! A message's placement in one partition: the one script that appends it to channels there, what it is known
//! again by, and where it got to.

use encke_proto::{ChannelName, Epoch, MessageId, Position, UserId};
use redis::{Cmd, Value};

use super::{
    RedisEngine, bounded,
    reply::{Fields, odd},
    row, script,
};
use crate::{Append, EngineError, KEY_KEPT_S, Key, RECEIPTS_KEPT_S, USER_KEYS_MAX, append::body_bytes};

/// The most channels of one partition that one script appends to.
pub(super) const PART_MAX_CHANNELS: usize = 128;
/// The most idempotency keys of clients that one partition remembers, and the most of backends together with
/// parts of appends to several partitions.
const KEYS_MAX: usize = 100_000;
/// For how many seconds by the server's clock the order of a user's keys is kept after the last one: longer
/// than the keys themselves.
const ORDER_KEPT_S: u64 = 3 * KEY_KEPT_S;
/// What stands before a publisher's key.
const OF_PUBLISHER: char = 'k';
/// What stands before the key of a part of an append to several partitions.
const OF_PART: char = 'p';

/// A message as scripts take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) id: String,
    pub(super) text: Vec<u8>,
    pub(super) bytes: u64,
    pub(super) time: u64,
    pub(super) expires: Option<u64>,
    /// Of a push: until when its receipts are kept.
    pub(super) until: Option<u64>,
}

/// An idempotency key with its publisher: a user, or a backend.
pub(super) struct PublisherKey<'a> {
    pub(super) key: &'a Key,
    pub(super) user: Option<&'a UserId>,
}

/// By what an append, or a part of one, is known again.
pub(super) enum Known<'a> {
    Not,
    /// By what its publisher says. What is kept with it says where the rest is.
    Key(&'a PublisherKey<'a>, &'a str),
    /// As this part of the append of its message.
    Part(usize),
}

/// Where a message got to in one partition.
pub(super) struct Placed {
    pub(super) repeated: bool,
    /// Whether the key came with another request before.
    pub(super) is_reused: bool,
    pub(super) id: MessageId,
    /// What was kept with the key.
    pub(super) plan: String,
    /// What is still to be done, if anything is.
    pub(super) intent: String,
    pub(super) places: Vec<(ChannelName, Position)>,
}

impl Parcel {
    pub(super) fn of(append: &Append, own_max_age_s: u64, is_push: bool) -> Self {
        let end = append.expires.unwrap_or_else(|| append.time.plus_seconds(own_max_age_s));
        Self {
            id: append.id.to_string(),
            text: row::write(append),
            bytes: body_bytes(&append.body),
            time: bounded(append.time.0),
            expires: append.expires.map(|end| bounded(end.0)),
            until: is_push.then(|| bounded(end.plus_seconds(RECEIPTS_KEPT_S).0)),
        }
    }
}

/// The key of a part in its partition.
fn part_key(id: &str, part: usize) -> String {
    format!("{OF_PART}{id}:{part}")
}

impl RedisEngine {
    /// Appends to channels of one partition.
    pub(super) async fn place(
        &self,
        partition: u16,
        parcel: &Parcel,
        channels: &[ChannelName],
        known: &Known<'_>,
        intent: &str,
    ) -> Result<Placed, EngineError> {
        let command = self.placing(partition, parcel, channels, known, intent);
        read_placed(self.server_map.call(partition, command).await?)
    }

    pub(super) fn placing(
        &self,
        partition: u16,
        parcel: &Parcel,
        channels: &[ChannelName],
        known: &Known<'_>,
        intent: &str,
    ) -> Cmd {
        let (key, kept_longer, plan, request, user) = match known {
            Known::Not => (String::new(), 0, "", None, None),
            Known::Key(PublisherKey { key, user }, plan) => {
                (format!("{OF_PUBLISHER}{}", key.text), 0, *plan, key.request, *user)
            }
            // As long again as keys are, since a publisher that repeats a key at its end asks for the parts.
            Known::Part(part) => (part_key(&parcel.id, *part), KEY_KEPT_S * 1000, "", None, None),
        };
        let mut names: Vec<String> = channels.iter().map(|channel| self.names.stream(channel)).collect();
        names.extend(user.map(|user| self.names.user_keys(partition, user)));
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let mut command = self.scripted(&script::APPEND, partition, &names);
        command
            .arg(key)
            .arg(kept_longer)
            .arg(KEYS_MAX)
            .arg(&parcel.id)
            .arg(&parcel.text)
            .arg(parcel.bytes)
            .arg(parcel.time);
        command.arg(number(parcel.expires)).arg(number(parcel.until)).arg(plan).arg(intent);
        command.arg(request.map(|request| format!("{request:016x}")).unwrap_or_default());
        command.arg(number(user.map(|_| USER_KEYS_MAX as u64))).arg(ORDER_KEPT_S);
        for channel in channels {
            let retention = self.retention.of(channel);
            command.arg(channel.as_str()).arg(self.names.topic(channel));
            command
                .arg(bounded(retention.max_messages))
                .arg(bounded(retention.max_bytes))
                .arg(bounded(retention.max_age_s.saturating_mul(1000)));
        }
        command
    }

    /// Forgets a publisher's key that leads to nothing any more but deleted channels.
    pub(super) async fn forget_key(
        &self,
        partition: u16,
        key: &PublisherKey<'_>,
        id: &MessageId,
    ) -> Result<(), EngineError> {
        let mut command = self.scripted(&script::FORGET, partition, &[]);
        command.arg(format!("{OF_PUBLISHER}{}", key.key.text)).arg(id.as_str());
        command.arg(u8::from(key.user.is_some()));
        self.server_map.call(partition, command).await.map(drop)
    }

    /// Asks what became of a part, without doing anything.
    pub(super) fn recalling(&self, partition: u16, id: &str, part: usize) -> Cmd {
        let mut command = self.scripted(&script::RECALL, partition, &[]);
        command.arg(part_key(id, part));
        command
    }
}

pub(super) fn read_placed(value: Value) -> Result<Placed, EngineError> {
    let mut fields = Fields::of(value)?;
    let (repeated, is_reused) = match fields.number()? {
        0 => (false, false),
        1 => (true, false),
        2 => (true, true),
        _ => return Err(odd("result of an append")),
    };
    let id = fields.text()?.parse().map_err(|_| odd("message id"))?;
    let epoch = fields.epoch()?;
    let (plan, intent) = (fields.text()?, fields.text()?);
    let places = read_places(epoch, &mut fields)?;
    Ok(Placed { repeated, is_reused, id, plan, intent, places })
}

/// What became of a part; none when nothing did yet.
pub(super) fn read_recalled(value: Value) -> Result<Option<Vec<(ChannelName, Position)>>, EngineError> {
    if matches!(value, Value::Nil) {
        return Ok(None);
    }
    let mut fields = Fields::of(value)?;
    fields.text()?;
    let epoch = fields.epoch()?;
    fields.text()?;
    read_places(epoch, &mut fields).map(Some)
}

fn read_places(epoch: Epoch, fields: &mut Fields) -> Result<Vec<(ChannelName, Position)>, EngineError> {
    let (mut names, mut offsets) = (fields.list()?, fields.list()?);
    let mut places = Vec::new();
    while !names.is_empty() {
        let name = ChannelName::stored(&names.text()?).map_err(|_| odd("channel"))?;
        places.push((name, Position { epoch, offset: offsets.number()? }));
    }
    Ok(places)
}
