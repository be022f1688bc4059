//! Appends that reach several partitions: no script can do them at once. They are done in the partition of
//! the first target, together with a note of what is intended for the others; then in the others, each of
//! which knows the part again; then the note is removed. A node that finds an old note finishes what it says,
//! so the message is in all logs or in none in the end.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use encke_proto::{ChannelName, Position};
use serde_json::{Value as Json, json};

use super::{
    RedisEngine, bounded,
    names::{PARTITIONS, partition_of},
    placement::{Known, PART_MAX_CHANNELS, Parcel, Placed, PublisherKey, read_placed, read_recalled},
    reply::Fields,
    script,
    server_map::Call,
    user_locations::read_names,
};
use crate::{Appended, EngineError};

/// The most rounds of an append to all users: with [`PART_MAX_CHANNELS`] users a partition each, some 300
/// million users.
const ROUNDS_MAX: usize = 10_000;

/// Where a message got to.
type Places = Vec<(ChannelName, Position)>;

/// An append to several partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MultiPartitionAppend {
    pub(super) parcel: Parcel,
    /// The partition that has the note.
    pub(super) first: u16,
    /// None for all users.
    pub(super) targets: Option<Vec<ChannelName>>,
}

/// What the first append with a key led to, by now.
pub(super) struct Repeat {
    /// Whether all of its channels were deleted since: then the key is as good as new.
    pub(super) is_gone: bool,
    /// Whether it came with another request.
    pub(super) is_reused: bool,
    pub(super) appended: Appended,
}

/// What became of an append to several partitions.
pub(super) enum Spread {
    Done(Appended),
    Repeated(Repeat),
}

/// The channels of one partition, or some of them.
struct Part<'a> {
    partition: u16,
    /// Which one of its partition.
    number: usize,
    channels: Vec<&'a ChannelName>,
}

impl MultiPartitionAppend {
    /// What is to be appended with one script each; the first one is of the first target.
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut open: HashMap<u16, usize> = HashMap::new();
        for channel in self.targets.iter().flatten() {
            let partition = partition_of(channel.as_str());
            match open.get(&partition) {
                Some(at) if parts[*at].channels.len() < PART_MAX_CHANNELS => {
                    parts[*at].channels.push(channel)
                }
                full => {
                    let number = full.map_or(0, |at| parts[*at].number + 1);
                    open.insert(partition, parts.len());
                    parts.push(Part { partition, number, channels: vec![channel] });
                }
            }
        }
        parts
    }

    fn to_json(&self) -> String {
        let Parcel { id, text, bytes, time, expires, until } = &self.parcel;
        // JSON holds no other bytes than text.
        let (utf8, base64) = match std::str::from_utf8(text) {
            Ok(utf8) => (Some(utf8), None),
            Err(_) => (None, Some(STANDARD.encode(text))),
        };
        json!({
            "id": id, "text": utf8, "base64": base64, "bytes": bytes, "time": time, "expires": expires,
            "until": until, "first": self.first, "targets": self.names(),
        })
        .to_string()
    }

    fn names(&self) -> Option<Vec<&str>> {
        self.targets.as_ref().map(|targets| targets.iter().map(ChannelName::as_str).collect())
    }

    /// What is kept with the key: enough to ask for every part.
    fn plan(&self) -> String {
        json!({ "targets": self.names() }).to_string()
    }

    /// Reads a note, as the sweep finds it or as a repeated key brings it: before it stands when it was
    /// written.
    fn read(note: &str) -> Result<Self, EngineError> {
        let json: Json =
            note.get(15..).and_then(|json| serde_json::from_str(json).ok()).ok_or_else(unreadable)?;
        let text = |name: &str| json[name].as_str().map(str::to_owned).ok_or_else(unreadable);
        let number = |name: &str| json[name].as_u64().ok_or_else(unreadable);
        let parcel = Parcel {
            id: text("id")?,
            text: match json["base64"].as_str() {
                Some(base64) => STANDARD.decode(base64).map_err(|_| unreadable())?,
                None => text("text")?.into_bytes(),
            },
            bytes: number("bytes")?,
            time: number("time")?,
            expires: json["expires"].as_u64(),
            until: json["until"].as_u64(),
        };
        let first = u16::try_from(number("first")?).map_err(|_| unreadable())?;
        Ok(Self { parcel, first, targets: read_targets(&json)? })
    }
}

fn unreadable() -> EngineError {
    EngineError::Damaged("what Redis keeps of an append to several partitions cannot be read".into())
}

/// The targets of a note or a plan; none for all users.
fn read_targets(json: &Json) -> Result<Option<Vec<ChannelName>>, EngineError> {
    let Some(names) = json["targets"].as_array() else { return Ok(None) };
    let names = names
        .iter()
        .map(|name| name.as_str().and_then(|name| ChannelName::stored(name).ok()).ok_or_else(unreadable));
    names.collect::<Result<_, _>>().map(Some)
}

/// The places in the order of the targets; those of all users in the order of the ids.
fn in_order(targets: Option<&[ChannelName]>, places: Places) -> Places {
    match targets {
        Some(targets) => {
            let found: HashMap<ChannelName, Position> = places.into_iter().collect();
            targets.iter().filter_map(|target| Some((target.clone(), *found.get(target)?))).collect()
        }
        None => {
            let mut places = places;
            places.sort_by(|one, other| one.0.cmp(&other.0));
            places
        }
    }
}

impl RedisEngine {
    pub(super) async fn append_spread(
        &self,
        multi_partition_append: &MultiPartitionAppend,
        key: Option<&PublisherKey<'_>>,
    ) -> Result<Spread, EngineError> {
        self.check_open(multi_partition_append).await?;
        let plan = multi_partition_append.plan();
        let known = key.map_or(Known::Not, |key| Known::Key(key, &plan));
        let channels: Vec<ChannelName> = multi_partition_append
            .parts()
            .first()
            .map(|part| part.channels.iter().map(|name| (*name).clone()).collect())
            .unwrap_or_default();
        let placed = self
            .place(
                multi_partition_append.first,
                &multi_partition_append.parcel,
                &channels,
                &known,
                &multi_partition_append.to_json(),
            )
            .await?;
        if placed.repeated {
            return self.repeat_spread(multi_partition_append.first, placed).await.map(Spread::Repeated);
        }
        let mut places = placed.places;
        places.extend(self.finish(multi_partition_append).await?);
        let positions = in_order(multi_partition_append.targets.as_deref(), places);
        Ok(Spread::Done(Appended { id: placed.id, positions, repeated: false }))
    }

    /// Refuses an append to public channels some of which are closed or have ended. What comes to its end
    /// while the append is under way is passed over by it. The first partition looks for itself.
    async fn check_open(&self, multi_partition_append: &MultiPartitionAppend) -> Result<(), EngineError> {
        let is_push = multi_partition_append.parcel.until.is_some();
        if is_push {
            // Nothing but its messages is ever known of a user's own channel.
            return Ok(());
        }
        let calls = multi_partition_append.parts().into_iter().skip(1).map(|part| {
            let mut command = self.scripted(&script::OPEN, part.partition, &[]);
            command.arg(multi_partition_append.parcel.time);
            for name in part.channels {
                command.arg(name.as_str());
            }
            Call { partition: part.partition, command }
        });
        self.calls(calls.collect()).await.map(drop)
    }

    /// What the first append with a key led to: asks for its parts, and finishes it if it is not finished.
    pub(super) async fn repeat_spread(&self, first: u16, placed: Placed) -> Result<Repeat, EngineError> {
        let is_reused = placed.is_reused;
        if placed.plan.is_empty() {
            let appended = Appended { id: placed.id, positions: placed.places, repeated: true };
            return Ok(Repeat { is_gone: false, is_reused, appended });
        }
        let mut places = placed.places;
        let targets = if placed.intent.is_empty() {
            let plan: Json = serde_json::from_str(&placed.plan).map_err(|_| unreadable())?;
            let parcel = Parcel {
                id: placed.id.to_string(),
                text: Vec::new(),
                bytes: 0,
                time: 0,
                expires: None,
                until: None,
            };
            let multi_partition_append =
                MultiPartitionAppend { parcel, first, targets: read_targets(&plan)? };
            places.extend(self.recall(&multi_partition_append).await?);
            multi_partition_append.targets
        } else {
            let multi_partition_append = MultiPartitionAppend::read(&placed.intent)?;
            places.extend(self.finish(&multi_partition_append).await?);
            multi_partition_append.targets
        };
        let count = places.len();
        let places = self.without_deleted(places).await?;
        let is_gone = places.is_empty() && count > 0;
        let positions = in_order(targets.as_deref(), places);
        Ok(Repeat { is_gone, is_reused, appended: Appended { id: placed.id, positions, repeated: true } })
    }

    /// Those of the places whose channels were not deleted since.
    async fn without_deleted(&self, places: Places) -> Result<Places, EngineError> {
        let mut by_partition: BTreeMap<u16, Places> = BTreeMap::new();
        for place in places {
            by_partition.entry(partition_of(place.0.as_str())).or_default().push(place);
        }
        let (mut calls, mut asked) = (Vec::new(), Vec::new());
        for (partition, places) in by_partition {
            for some in places.chunks(PART_MAX_CHANNELS) {
                let mut command = self.scripted(&script::KEPT, partition, &[]);
                for (channel, position) in some {
                    command.arg(channel.as_str()).arg(bounded(position.offset));
                }
                calls.push(Call { partition, command });
                asked.push(some.to_vec());
            }
        }
        let mut kept = Places::new();
        for (value, places) in self.calls(calls).await?.into_iter().zip(asked) {
            let mut fields = Fields::of(value)?;
            for place in places {
                kept.extend((fields.number()? == 1).then_some(place));
            }
        }
        Ok(kept)
    }

    /// Finishes what a note says.
    pub(super) async fn finish_note(&self, note: &str) -> Result<(), EngineError> {
        self.finish(&MultiPartitionAppend::read(note)?).await.map(drop)
    }

    /// Appends what is not appended yet of all parts but the first, and removes the note.
    async fn finish(&self, multi_partition_append: &MultiPartitionAppend) -> Result<Places, EngineError> {
        let places = match &multi_partition_append.targets {
            Some(_) => self.finish_parts(multi_partition_append).await?,
            None => self.all_users(multi_partition_append, true).await?,
        };
        let mut command = redis::cmd("HDEL");
        command
            .arg(&self.names.keys(multi_partition_append.first)[script::INTENTS_KEY])
            .arg(&multi_partition_append.parcel.id);
        // If it stays, the sweep finds that there is nothing left to do.
        drop(self.server_map.call(multi_partition_append.first, command).await);
        Ok(places)
    }

    async fn finish_parts(
        &self,
        multi_partition_append: &MultiPartitionAppend,
    ) -> Result<Places, EngineError> {
        let parts = multi_partition_append.parts().into_iter().skip(1);
        let calls = parts.map(|part| {
            let channels: Vec<ChannelName> = part.channels.into_iter().cloned().collect();
            Call {
                partition: part.partition,
                command: self.placing(
                    part.partition,
                    &multi_partition_append.parcel,
                    &channels,
                    &Known::Part(part.number),
                    "",
                ),
            }
        });
        let mut places = Vec::new();
        // All of them are tried, so that as little as possible is left to the sweep.
        let answers = self.server_map.calls(calls.collect()).await;
        for answer in answers {
            places.extend(read_placed(answer?)?.places);
        }
        Ok(places)
    }

    async fn recall(&self, multi_partition_append: &MultiPartitionAppend) -> Result<Places, EngineError> {
        if multi_partition_append.targets.is_none() {
            return self.all_users(multi_partition_append, false).await;
        }
        let parts = multi_partition_append.parts().into_iter().skip(1);
        let calls = parts.map(|part| Call {
            partition: part.partition,
            command: self.recalling(part.partition, &multi_partition_append.parcel.id, part.number),
        });
        let mut places = Vec::new();
        for value in self.calls(calls.collect()).await? {
            places.extend(read_recalled(value)?.unwrap_or_default());
        }
        Ok(places)
    }

    /// The parts of an append to all users: in each partition some users at a time, each time behind the last
    /// of the part before. A part that was done says itself who was in it.
    async fn all_users(
        &self,
        multi_partition_append: &MultiPartitionAppend,
        append: bool,
    ) -> Result<Places, EngineError> {
        let mut places: Places = Vec::new();
        let mut left: Vec<(u16, String)> =
            (0..PARTITIONS).map(|partition| (partition, String::new())).collect();
        for number in 0..ROUNDS_MAX {
            if left.is_empty() {
                return Ok(places);
            }
            let mut questions = Vec::with_capacity(2 * left.len());
            for (partition, after) in &left {
                questions.push(Call {
                    partition: *partition,
                    command: self.recalling(*partition, &multi_partition_append.parcel.id, number),
                });
                questions.push(Call {
                    partition: *partition,
                    command: self.paging_users(*partition, after, PART_MAX_CHANNELS),
                });
            }
            let mut answers = self.calls(questions).await?.into_iter();
            let (mut calls, mut next) = (Vec::new(), Vec::new());
            for (partition, _) in left {
                let (Some(recalled), Some(users)) = (answers.next(), answers.next()) else {
                    return Err(unreadable());
                };
                if let Some(part) = read_recalled(recalled)? {
                    next.extend(part.last().map(|(last, _)| (partition, own_name(last))));
                    places.extend(part);
                    continue;
                }
                let channels: Vec<ChannelName> =
                    read_names(users)?.iter().map(encke_proto::UserId::channel).collect();
                if append && !channels.is_empty() {
                    calls.push(Call {
                        partition,
                        command: self.placing(
                            partition,
                            &multi_partition_append.parcel,
                            &channels,
                            &Known::Part(number),
                            "",
                        ),
                    });
                }
            }
            let partitions: Vec<u16> = calls.iter().map(|call| call.partition).collect();
            let mut failed = None;
            for (answer, partition) in self.server_map.calls(calls).await.into_iter().zip(partitions) {
                match answer.and_then(read_placed) {
                    Ok(placed) => {
                        next.extend(placed.places.last().map(|(last, _)| (partition, own_name(last))));
                        places.extend(placed.places);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            left = next;
        }
        Err(EngineError::Unavailable("there are too many users for one push".into()))
    }
}

/// The id of the user whose own channel this is.
fn own_name(channel: &ChannelName) -> String {
    channel.owner().map(|user| user.as_str().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_as_it_was() {
        let names = ["@a b", "x"].iter().filter_map(|name| ChannelName::any(name).ok()).collect();
        let (text, bytes) = (&b"1 \"2\"\n{}"[..], &b"a/b\n\0\xff"[..]);
        for (targets, text) in [(None, text), (Some(vec![]), bytes), (Some(names), text)] {
            let parcel = Parcel {
                id: "A".into(),
                text: text.into(),
                bytes: 2,
                time: 3,
                expires: Some(4),
                until: None,
            };
            let multi_partition_append = MultiPartitionAppend { parcel, first: 255, targets };
            assert_eq!(
                MultiPartitionAppend::read(&format!("000000000000007{}", multi_partition_append.to_json())),
                Ok(multi_partition_append)
            );
        }
        for note in
            ["", "000000000000007", "000000000000007{}", "000000000000007[]", "000000000000007{\"id\":\"x\"}"]
        {
            assert_eq!(MultiPartitionAppend::read(note), Err(unreadable()), "{note}");
        }
    }

    #[test]
    fn parts_are_whole_partitions_in_bounded_pieces() {
        let targets: Vec<ChannelName> =
            (0..100_000).filter_map(|index| ChannelName::any(&format!("@u{index}")).ok()).collect();
        let parcel =
            Parcel { id: String::new(), text: Vec::new(), bytes: 0, time: 0, expires: None, until: None };
        let multi_partition_append =
            MultiPartitionAppend { parcel, first: partition_of("@u0"), targets: Some(targets) };
        let parts = multi_partition_append.parts();
        assert_eq!(
            (parts[0].partition, parts[0].number, parts[0].channels[0].as_str()),
            (multi_partition_append.first, 0, "@u0")
        );
        assert_eq!(parts.iter().map(|part| part.channels.len()).sum::<usize>(), 100_000);
        let mut numbers: Vec<(u16, usize)> = parts.iter().map(|part| (part.partition, part.number)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), parts.len(), "each part has a name of its own");
        for part in parts {
            assert!(
                part.channels.len() <= PART_MAX_CHANNELS
                    && part.channels.iter().all(|name| partition_of(name.as_str()) == part.partition)
            );
        }
    }
}
