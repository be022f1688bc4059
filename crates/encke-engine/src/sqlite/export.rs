//! Reads a whole store, for an engine that takes it over.

use std::{collections::HashMap, path::Path};

use encke_proto::{Body, ChannelName, Epoch, MessageId, Offset, Time, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{FILE, connection, fault::Fault, keys, lock::Lock, row};
use crate::{EngineError, ReceiptState};

/// A log, by the number that it has in this store.
pub(crate) struct ExportedLog {
    pub(crate) number: i64,
    pub(crate) name: ChannelName,
    pub(crate) head: Offset,
    pub(crate) first_seen: Option<Time>,
    pub(crate) last_seen: Option<Time>,
    pub(crate) handed: Offset,
    pub(crate) shown: Offset,
}

/// A message with the logs that it is in, or a push of which only receipts are left.
pub(crate) struct ExportedMessage {
    pub(crate) number: i64,
    pub(crate) id: MessageId,
    pub(crate) from: Option<UserId>,
    pub(crate) time: Time,
    pub(crate) expires: Option<Time>,
    /// Of a push: until when its receipts are kept.
    pub(crate) until: Option<Time>,
    pub(crate) body: Option<Body>,
    pub(crate) places: Vec<(i64, Offset)>,
}

/// What became of a push for the user whose own log it is.
pub(crate) struct ExportedReceipt {
    pub(crate) offset: Offset,
    pub(crate) state: ReceiptState,
    pub(crate) at: Time,
    pub(crate) until: Time,
}

/// An idempotency key, with what it led to.
pub(crate) struct ExportedKey {
    pub(crate) text: String,
    pub(crate) stamp: Time,
    pub(crate) id: MessageId,
    pub(crate) places: Vec<(i64, Offset)>,
}

/// A store that is read and not changed. No server has it open meanwhile.
pub(crate) struct Export {
    db: Connection,
    _lock: Lock,
}

impl Export {
    pub(crate) fn open(directory: &Path) -> Result<Self, EngineError> {
        let file = directory.join(FILE);
        if !file.exists() {
            return Err(EngineError::Unavailable(format!("{}: there is no such store", file.display())));
        }
        let lock = Lock::take(directory)?;
        Ok(Self { db: connection::reader(&file)?, _lock: lock })
    }

    pub(crate) fn epoch(&self) -> Result<Epoch, EngineError> {
        let read = || -> Result<Option<i64>, Fault> {
            let sql = "SELECT value FROM meta WHERE name = 'epoch'";
            Ok(self.db.query_row(sql, [], |row| row.get(0)).optional()?)
        };
        let epoch = read()?.ok_or_else(|| EngineError::Damaged("the store has no epoch".into()))?;
        Ok(Epoch(epoch.cast_unsigned()))
    }

    fn all<T>(&self, sql: &str, mut one: impl FnMut(&Row<'_>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(one(row)?);
        }
        Ok(all)
    }

    pub(crate) fn logs(&self) -> Result<Vec<ExportedLog>, EngineError> {
        let sql = "SELECT c.id, c.name, c.head, u.first_seen, u.last_seen, u.handed, u.shown
                   FROM channels c LEFT JOIN users u ON u.channel = c.id ORDER BY c.id";
        let one = |row: &Row<'_>| {
            let name: String = row.get(1)?;
            let offset = |value: Option<i64>| row::unsigned(value.unwrap_or(0));
            Ok(ExportedLog {
                number: row.get(0)?,
                name: row::channel(&name)?,
                head: row::unsigned(row.get(2)?)?,
                first_seen: row::optional_time(row.get(3)?)?,
                last_seen: row::optional_time(row.get(4)?)?,
                handed: offset(row.get(5)?)?,
                shown: offset(row.get(6)?)?,
            })
        };
        Ok(self.all(sql, one)?)
    }

    /// The messages of each log by the log's number, each as its offset and the number of its body.
    pub(crate) fn places(&self) -> Result<HashMap<i64, Vec<(Offset, i64)>>, EngineError> {
        let sql = "SELECT channel, offset, body FROM messages ORDER BY channel, offset";
        let one = |row: &Row<'_>| Ok((row.get(0)?, (row::unsigned(row.get(1)?)?, row.get(2)?)));
        Ok(by_number(self.all(sql, one)?))
    }

    /// The receipts of each log by the log's number.
    pub(crate) fn receipts(&self) -> Result<HashMap<i64, Vec<ExportedReceipt>>, EngineError> {
        let sql = "SELECT r.channel, r.offset, r.state, r.at, p.until FROM receipts r JOIN pushes p ON p.id = r.push
                   ORDER BY r.channel, r.offset";
        let one = |row: &Row<'_>| {
            let receipt = ExportedReceipt {
                offset: row::unsigned(row.get(1)?)?,
                state: row::state(row.get(2)?)?,
                at: row::time(row.get(3)?)?,
                until: row::time(row.get(4)?)?,
            };
            Ok((row.get(0)?, receipt))
        };
        Ok(by_number(self.all(sql, one)?))
    }

    /// Hands over every message, and every push that has receipts.
    pub(crate) fn messages(
        &self,
        mut each: impl FnMut(ExportedMessage) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut targets: HashMap<i64, Vec<(i64, Offset)>> = HashMap::new();
        let place = |row: &Row<'_>| Ok((row.get(0)?, (row.get(1)?, row::unsigned(row.get(2)?)?)));
        // A push is for those users for whom it has receipts, also where its message was trimmed.
        for sql in [
            "SELECT push, channel, offset FROM receipts ORDER BY push, user",
            "SELECT body, channel, offset FROM messages WHERE body NOT IN (SELECT id FROM pushes) ORDER BY body, channel",
        ] {
            for (number, place) in self.all(sql, place)? {
                targets.entry(number).or_default().push(place);
            }
        }
        let read = |sql: &str, each: &mut dyn FnMut(ExportedMessage) -> Result<(), EngineError>| {
            let mut statement = self.db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut message = message_of(row)?;
                message.places = targets.get(&message.number).cloned().unwrap_or_default();
                each(message).map_err(Fault::Refused)?;
            }
            Ok::<(), Fault>(())
        };
        read(
            "SELECT b.id, b.message, b.sender, b.time, b.expires, p.until, b.kind, b.body
             FROM bodies b LEFT JOIN pushes p ON p.id = b.id ORDER BY b.id",
            &mut each,
        )?;
        read(
            "SELECT id, message, NULL, 0, expires, until, NULL, NULL FROM pushes
             WHERE id NOT IN (SELECT id FROM bodies) ORDER BY id",
            &mut each,
        )?;
        Ok(())
    }

    pub(crate) fn keys(&self) -> Result<Vec<ExportedKey>, EngineError> {
        let one = |row: &Row<'_>| {
            let (id, places): (String, Vec<u8>) = (row.get(2)?, row.get(3)?);
            Ok(ExportedKey {
                text: row.get(0)?,
                stamp: row::time(row.get(1)?)?,
                id: row::message_id(&id)?,
                places: keys::places(&places)?,
            })
        };
        Ok(self.all("SELECT key, time, message, places FROM keys ORDER BY time", one)?)
    }
}

fn by_number<T>(rows: Vec<(i64, T)>) -> HashMap<i64, Vec<T>> {
    let mut all: HashMap<i64, Vec<T>> = HashMap::new();
    for (number, row) in rows {
        all.entry(number).or_default().push(row);
    }
    all
}

fn message_of(row: &Row<'_>) -> Result<ExportedMessage, Fault> {
    let (id, from): (String, Option<String>) = (row.get(1)?, row.get(2)?);
    let (kind, text): (Option<i64>, Option<String>) = (row.get(6)?, row.get(7)?);
    Ok(ExportedMessage {
        number: row.get(0)?,
        id: row::message_id(&id)?,
        from: from.as_deref().map(row::user).transpose()?,
        time: row::time(row.get(3)?)?,
        expires: row::optional_time(row.get(4)?)?,
        until: row::optional_time(row.get(5)?)?,
        body: kind.zip(text).map(|(kind, text)| row::body(kind, text)).transpose()?,
        places: Vec::new(),
    })
}
