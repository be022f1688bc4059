//! The places of a user's devices in the user's own channel, as they are kept: in an internal log of the
//! user's, of which the last records are read together (ADR 0033).

use encke_engine::{
    Append, DEVICE_LOG_MESSAGES, DEVICE_LOGS, Engine, EngineError, PageLimit, ReadFrom, Targets,
};
use encke_proto::{
    Body, ChannelName, DeviceName, Epoch, MessageId, Offset, Position, Time, UserId, limits::USER_MAX_DEVICES,
};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use crate::random;

/// All that is kept of a log.
const ALL: PageLimit = PageLimit { messages: DEVICE_LOG_MESSAGES as usize, bytes: 1 << 20 };

/// The end of a log.
const ONE: PageLimit = PageLimit { messages: 1, bytes: 1 };

/// How far each device of a user has got: at most [`USER_MAX_DEVICES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DevicePlaces(Vec<DevicePlace>);

/// How far a device has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DevicePlace {
    device: DeviceName,
    epoch: u64,
    offset: u64,
    /// When it had got there, in milliseconds since 1970.
    at: u64,
}

impl DevicePlaces {
    /// Where a device goes on, if it was here.
    #[must_use]
    pub fn of(&self, device: &DeviceName) -> Option<Position> {
        let place = self.0.iter().find(|place| place.device == *device)?;
        Some(Position { epoch: Epoch(place.epoch), offset: place.offset })
    }

    /// The same, with what is known besides and is not written yet: that is the later word.
    #[must_use]
    pub fn goes_on(&self, device: &DeviceName, known: Option<Position>) -> Option<Position> {
        match (self.of(device), known) {
            (Some(kept), Some(known)) if kept.epoch == known.epoch && known.offset < kept.offset => {
                Some(kept)
            }
            (kept, known) => known.or(kept),
        }
    }

    /// A device has got as far as this. It does not go back; in another epoch the later word counts.
    pub fn reach(&mut self, device: &DeviceName, position: Position, at: Time) {
        let (epoch, offset) = (position.epoch.0, position.offset);
        self.take_in(DevicePlace { device: device.clone(), epoch, offset, at: at.0 });
        self.let_go();
    }

    fn take_in(&mut self, place: DevicePlace) {
        match self.0.iter_mut().find(|known| known.device == place.device) {
            None => self.0.push(place),
            Some(known) if known.epoch == place.epoch => {
                known.offset = known.offset.max(place.offset);
                known.at = known.at.max(place.at);
            }
            Some(known) if known.at <= place.at => *known = place,
            Some(_) => {}
        }
    }

    /// Lets go of those that are away longest.
    fn let_go(&mut self) {
        self.0.sort_by_key(|place| std::cmp::Reverse(place.at));
        self.0.truncate(USER_MAX_DEVICES);
    }
}

/// The internal channel that holds the places of a user's devices. The id is not to be read in its name.
#[must_use]
pub fn log_of(user: &UserId) -> ChannelName {
    let digest = Sha256::digest(user.as_str());
    let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    ChannelName::internal(&format!("{DEVICE_LOGS}{text}"))
}

/// What is kept of a user's devices. Two nodes may have written at the same moment, each without the word of
/// the other, so all records count.
///
/// # Errors
/// Those of the engine.
pub async fn read(engine: &dyn Engine, user: &UserId) -> Result<DevicePlaces, EngineError> {
    let page = engine.read(&log_of(user), ReadFrom::Before(u64::MAX), ALL).await?;
    let mut places = DevicePlaces::default();
    for entry in &page.entries {
        let Body::Data(data) = &entry.message().body else { continue };
        let Ok(DevicePlaces(read)) = serde_json::from_str(data.get()) else { continue };
        // A record of ours holds no more.
        read.into_iter().take(USER_MAX_DEVICES).for_each(|place| places.take_in(place));
    }
    places.let_go();
    Ok(places)
}

/// The devices of a user, each with whether it has got as far as this place in the user's own log. What has
/// not been written yet, within the last second, does not count.
///
/// # Errors
/// Those of the engine.
pub async fn reached(
    engine: &dyn Engine,
    user: &UserId,
    offset: Offset,
) -> Result<Vec<(DeviceName, bool)>, EngineError> {
    let places = read(engine, user).await?;
    if places.0.is_empty() {
        return Ok(Vec::new());
    }
    // The log may have begun a new epoch since a device was here.
    let end = engine.read(&user.channel(), ReadFrom::Before(u64::MAX), ONE).await?;
    let reached = |place: DevicePlace| {
        let at = Position { epoch: Epoch(place.epoch), offset: place.offset };
        let is_there = end.lineage.carry(at, end.epoch).is_some_and(|at| at.offset >= offset);
        (place.device, is_there)
    };
    Ok(places.0.into_iter().map(reached).collect())
}

/// Writes down how far devices of a user have got. Of a user who is not known any more nothing is kept.
///
/// # Errors
/// Those of the engine.
pub async fn write(
    engine: &dyn Engine,
    user: &UserId,
    reached: &[(DeviceName, Position)],
    at: Time,
) -> Result<(), EngineError> {
    if engine.user(user).await?.is_none() {
        return Ok(());
    }
    let mut places = read(engine, user).await?;
    for (device, position) in reached {
        places.reach(device, *position, at);
    }
    let unavailable = |error: &dyn std::fmt::Display| EngineError::Unavailable(error.to_string());
    let data = to_raw_value(&places).map_err(|error| unavailable(&error))?;
    let bits = random::pooled_bits().map_err(|error| unavailable(&error))?;
    let append = Append {
        id: MessageId::fresh(at, bits),
        key: None,
        targets: Targets::Channels(vec![log_of(user)]),
        body: Body::Data(data.into()),
        from: None,
        time: at,
        expires: None,
        trace: None,
    };
    engine.append(append).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use encke_engine::{EVENT_LOG, RetentionTable, memory::MemoryEngine};

    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName::new(name).unwrap()
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position { epoch: Epoch(epoch), offset }
    }

    #[test]
    fn the_device_that_is_away_longest_goes() {
        let mut places = DevicePlaces::default();
        for number in 0..USER_MAX_DEVICES as u64 {
            places.reach(&device(&format!("d{number}")), at(1, 5), Time(number));
        }
        places.reach(&device("d0"), at(1, 6), Time(100));
        places.reach(&device("new"), at(1, 1), Time(101));
        assert_eq!(places.0.len(), USER_MAX_DEVICES);
        let found = ["d0", "d1", "d2", "new"].map(|name| places.of(&device(name)).map(|at| at.offset));
        assert_eq!(found, [Some(6), None, Some(5), Some(1)]);
    }

    #[test]
    fn a_place_does_not_go_back_but_in_a_later_epoch() {
        let mut places = DevicePlaces::default();
        for (position, time, expected) in [
            (at(1, 5), 10, at(1, 5)),
            (at(1, 3), 11, at(1, 5)),
            (at(2, 1), 12, at(2, 1)),
            (at(1, 9), 11, at(2, 1)),
        ] {
            places.reach(&device("phone"), position, Time(time));
            assert_eq!(places.of(&device("phone")), Some(expected), "{position:?}");
        }
        for (known, expected) in [
            (None, at(2, 1)),
            (Some(at(2, 0)), at(2, 1)),
            (Some(at(2, 7)), at(2, 7)),
            (Some(at(3, 0)), at(3, 0)),
        ] {
            assert_eq!(places.goes_on(&device("phone"), known), Some(expected));
        }
        assert_eq!(places.goes_on(&device("other"), None), None);
    }

    #[tokio::test]
    async fn what_two_nodes_wrote_at_the_same_moment_counts_together() {
        let engine = MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1));
        let user = UserId::new("alice").unwrap();
        let now = Time(1_000);
        write(&engine, &user, &[(device("phone"), at(1, 1))], now).await.unwrap();
        assert_eq!(read(&engine, &user).await.unwrap(), DevicePlaces::default(), "there is no such user");
        engine.seen(&user, now).await.unwrap();
        // Each of these was put together without the word of the other.
        for (name, offset) in [("phone", 4), ("laptop", 2), ("phone", 3)] {
            let mut places = DevicePlaces::default();
            places.reach(&device(name), at(1, offset), now);
            let body = Body::Data(to_raw_value(&places).unwrap().into());
            let targets = Targets::Channels(vec![log_of(&user)]);
            let id = MessageId::from_bits(offset.into());
            let append =
                Append { id, key: None, targets, body, from: None, time: now, expires: None, trace: None };
            engine.append(append).await.unwrap();
        }
        for round in 0..20 {
            let kept = read(&engine, &user).await.unwrap();
            assert_eq!(
                (kept.of(&device("phone")), kept.of(&device("laptop"))),
                (Some(at(1, 4)), Some(at(1, 2)))
            );
            write(&engine, &user, &[(device(&format!("other {round}")), at(1, 1))], now).await.unwrap();
            // The two that are at stake were here last.
            let later = Time(now.0 + round + 1);
            let both = [(device("phone"), at(1, 1)), (device("laptop"), at(1, 1))];
            write(&engine, &user, &both, later).await.unwrap();
        }
        let log = log_of(&user);
        let page = engine.read(&log, ReadFrom::Before(u64::MAX), PageLimit { messages: 99, ..ALL });
        assert!(page.await.unwrap().entries.len() as u64 <= DEVICE_LOG_MESSAGES);
    }

    #[test]
    fn places_are_kept_as_long_as_pushes() {
        let table = RetentionTable::default();
        let kept = table.of(&log_of(&UserId::new("alice").unwrap()));
        assert_eq!((kept.max_messages, kept.max_age_s), (DEVICE_LOG_MESSAGES, table.own.max_age_s));
        assert_ne!(kept.max_age_s, table.of(&ChannelName::internal(EVENT_LOG)).max_age_s);
    }
}
