//! The table of idempotency keys: the first result of each, its age, and how many there may be.

use encke_proto::{Epoch, Offset, Position, Time};
use rusqlite::{Connection, OptionalExtension, params};

use super::{fault::Fault, row};
use crate::{Append, Appended, EngineError, KEY_KEPT_S, passed::Passed};

/// The most idempotency keys that are remembered at once.
const KEYS_MAX: u64 = 20_000_000;
/// The most old keys that are forgotten at a time.
const FORGET_MAX_KEYS: usize = 5000;

/// Where a message got to, in few bytes: a push to all users has very many places.
#[derive(Default)]
pub(super) struct Places(Vec<u8>);

impl Places {
    pub(super) fn add(&mut self, channel: i64, offset: Offset) {
        self.write(channel.cast_unsigned());
        self.write(offset);
    }

    fn write(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn read(bytes: &mut std::slice::Iter<'_, u8>) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.next().ok_or_else(|| Fault::damaged("a key's places end in the middle"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::damaged("a key's place is too long"))
}

/// The places of a key: the number of each channel, and the offset.
pub(super) fn places(bytes: &[u8]) -> Result<Vec<(i64, Offset)>, Fault> {
    let (mut bytes, mut places) = (bytes.iter(), Vec::new());
    while !bytes.as_slice().is_empty() {
        places.push((read(&mut bytes)?.cast_signed(), read(&mut bytes)?));
    }
    Ok(places)
}

/// What the first message with this key led to.
pub(super) fn find(db: &Connection, key: &str, epoch: Epoch) -> Result<Option<Appended>, Fault> {
    let found: Option<(String, Vec<u8>)> = db
        .prepare_cached("SELECT message, places FROM keys WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((message, bytes)) = found else { return Ok(None) };
    let mut positions = Vec::new();
    for (channel, offset) in places(&bytes)? {
        let name: Option<String> = db
            .prepare_cached("SELECT name FROM channels WHERE id = ?1")?
            .query_row([channel], |row| row.get(0))
            .optional()?;
        let name = name.ok_or_else(|| Fault::damaged("a key's channel is missing"))?;
        positions.push((row::channel(&name)?, Position { epoch, offset }));
    }
    Ok(Some(Appended { id: row::message_id(&message)?, positions, repeated: true }))
}

/// The stamp of the youngest key: time goes on from there. While the store was closed, none has gone by.
fn last_stamp(db: &Connection) -> Result<Time, Fault> {
    let last: Option<i64> = db.query_row("SELECT max(time) FROM keys", [], |row| row.get(0))?;
    Ok(row::optional_time(last)?.unwrap_or(Time(0)))
}

/// What the writer knows of the remembered keys without asking.
pub(super) struct Keys {
    /// How many there are; none when they must be counted again.
    count: Option<u64>,
    /// How old they are.
    passed: Passed,
}

impl Keys {
    pub(super) fn open(db: &Connection) -> Result<Self, Fault> {
        Ok(Self { count: None, passed: Passed::from(last_stamp(db)?) })
    }

    /// Makes sure that one more key can be remembered. Refusing is better than forgetting a key too early:
    /// that could become a second message.
    pub(super) fn make_room(&mut self, db: &Connection, now: Time) -> Result<(), Fault> {
        if self.count(db)? >= KEYS_MAX {
            self.forget_old(db, now)?;
        }
        if self.count(db)? >= KEYS_MAX {
            let text = format!("{KEYS_MAX} idempotency keys came within {KEY_KEPT_S} seconds");
            return Err(Fault::Refused(EngineError::Unavailable(text)));
        }
        Ok(())
    }

    /// Remembers where the first message with this key got to. Its stamp is the time that has gone by, see
    /// [`Passed`].
    pub(super) fn remember(
        &mut self,
        db: &Connection,
        key: &str,
        append: &Append,
        places: &Places,
    ) -> Result<(), Fault> {
        db.prepare_cached("INSERT INTO keys (key, time, message, places) VALUES (?1, ?2, ?3, ?4)")?.execute(
            params![key, row::number(self.passed.at(append.time).0), append.id.as_str(), places.0],
        )?;
        self.count = self.count.map(|count| count + 1);
        Ok(())
    }

    /// Forgets some of the keys whose time is over. How many; there may be more.
    pub(super) fn forget_old(&mut self, db: &Connection, now: Time) -> Result<usize, Fault> {
        let oldest = row::number(self.passed.at(now).minus_seconds(KEY_KEPT_S).0);
        let forgotten = db
            .prepare_cached(
                "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE time < ?1 ORDER BY time LIMIT ?2)",
            )?
            .execute(params![oldest, row::limit(FORGET_MAX_KEYS)])?;
        self.count = self.count.map(|count| count.saturating_sub(forgotten as u64));
        Ok(forgotten)
    }

    /// A transaction was undone: how many keys there are is not known any more.
    pub(super) fn forget_count(&mut self) {
        self.count = None;
    }

    fn count(&mut self, db: &Connection) -> Result<u64, Fault> {
        if let Some(count) = self.count {
            return Ok(count);
        }
        let count = row::unsigned(db.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?)?;
        self.count = Some(count);
        Ok(count)
    }
}
