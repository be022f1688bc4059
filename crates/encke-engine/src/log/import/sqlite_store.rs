//! Reads the whole store that the former engine `sqlite` kept in a data directory.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    path::Path,
};

use encke_proto::{Body, ChannelName, Epoch, MessageId, Offset, Time, UserId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, config::DbConfig};
use serde_json::value::RawValue;

use crate::{EngineError, ReceiptState};

/// The database's name in its directory.
const FILE: &str = "encke.sqlite3";
/// The file that a server of that engine had locked.
const LOCK: &str = "encke.lock";
/// The only version of its schema that there ever was.
const SCHEMA: i64 = 1;

/// A log, by the number that it has in this store.
pub(super) struct OldLog {
    pub(super) number: i64,
    pub(super) name: ChannelName,
    pub(super) head: Offset,
    pub(super) first_seen: Option<Time>,
    pub(super) last_seen: Option<Time>,
    pub(super) handed: Offset,
    pub(super) shown: Offset,
}

/// A message with the logs that it is in, or a push of which only receipts are left.
pub(super) struct OldMessage {
    pub(super) number: i64,
    pub(super) id: MessageId,
    pub(super) from: Option<UserId>,
    pub(super) time: Time,
    pub(super) expires: Option<Time>,
    /// Of a push: until when its receipts are kept.
    pub(super) until: Option<Time>,
    pub(super) body: Option<Body>,
    pub(super) places: Vec<(i64, Offset)>,
}

/// What became of a push for the user whose own log it is.
pub(super) struct OldReceipt {
    pub(super) offset: Offset,
    pub(super) state: ReceiptState,
    pub(super) at: Time,
    pub(super) until: Time,
}

/// An idempotency key, with what it led to.
pub(super) struct OldKey {
    pub(super) text: String,
    pub(super) stamp: Time,
    pub(super) id: MessageId,
    pub(super) places: Vec<(i64, Offset)>,
}

/// A store that is read and not changed. No server has it open meanwhile.
pub(super) struct SqliteStore {
    db: Connection,
    _lock: File,
}

impl SqliteStore {
    pub(super) fn open(directory: &Path) -> Result<Self, EngineError> {
        let file = directory.join(FILE);
        if !file.exists() {
            return Err(EngineError::Unavailable(format!("{}: there is no such store", file.display())));
        }
        let lock = lock(directory)?;
        // Readers of a write-ahead log write to its shared index, hence not SQLITE_OPEN_READ_ONLY.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&file, flags).map_err(told)?;
        let set_up = || -> rusqlite::Result<i64> {
            db.pragma_update(None, "query_only", true)?;
            db.pragma_update(None, "cell_size_check", true)?;
            db.pragma_update(None, "trusted_schema", false)?;
            // Else its end would move what is in the write-ahead log into the database.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            db.query_row("PRAGMA user_version", [], |row| row.get(0))
        };
        match set_up().map_err(told)? {
            SCHEMA => Ok(Self { db, _lock: lock }),
            other => Err(damaged(format!("its schema has version {other}, this program knows {SCHEMA}"))),
        }
    }

    pub(super) fn epoch(&self) -> Result<Epoch, EngineError> {
        let sql = "SELECT value FROM meta WHERE name = 'epoch'";
        let epoch: Option<i64> = self.db.query_row(sql, [], |row| row.get(0)).optional().map_err(told)?;
        epoch.map(|epoch| Epoch(epoch.cast_unsigned())).ok_or_else(|| damaged("the store has no epoch"))
    }

    pub(super) fn logs(&self) -> Result<Vec<OldLog>, EngineError> {
        let sql = "SELECT c.id, c.name, c.head, u.first_seen, u.last_seen, u.handed, u.shown
                   FROM channels c LEFT JOIN users u ON u.channel = c.id ORDER BY c.id";
        self.all(sql, |row| {
            let name: String = column(row, 1)?;
            Ok(OldLog {
                number: column(row, 0)?,
                name: ChannelName::any(&name)
                    .map_err(|error| damaged(format!("a channel's name: {error}")))?,
                head: unsigned(row, 2)?,
                first_seen: time_or_none(row, 3)?,
                last_seen: time_or_none(row, 4)?,
                handed: unsigned_or_none(row, 5)?.unwrap_or_default(),
                shown: unsigned_or_none(row, 6)?.unwrap_or_default(),
            })
        })
    }

    /// The messages of each log by the log's number, each as its offset and the number of its body.
    pub(super) fn places(&self) -> Result<HashMap<i64, Vec<(Offset, i64)>>, EngineError> {
        let sql = "SELECT channel, offset, body FROM messages ORDER BY channel, offset";
        let one = |row: &Row<'_>| Ok((column(row, 0)?, (unsigned(row, 1)?, column(row, 2)?)));
        Ok(by_number(self.all(sql, one)?))
    }

    /// The receipts of each log by the log's number.
    pub(super) fn receipts(&self) -> Result<HashMap<i64, Vec<OldReceipt>>, EngineError> {
        let sql = "SELECT r.channel, r.offset, r.state, r.at, p.until
                   FROM receipts r JOIN pushes p ON p.id = r.push ORDER BY r.channel, r.offset";
        let one = |row: &Row<'_>| {
            let receipt = OldReceipt {
                offset: unsigned(row, 1)?,
                state: state(column(row, 2)?)?,
                at: Time(unsigned(row, 3)?),
                until: Time(unsigned(row, 4)?),
            };
            Ok((column(row, 0)?, receipt))
        };
        Ok(by_number(self.all(sql, one)?))
    }

    /// Hands over every message, and every push that has receipts.
    pub(super) fn messages(
        &self,
        mut each: impl FnMut(OldMessage) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut targets: HashMap<i64, Vec<(i64, Offset)>> = HashMap::new();
        // A push is for those users for whom it has receipts, also where its message was trimmed.
        for sql in [
            "SELECT push, channel, offset FROM receipts ORDER BY push, user",
            "SELECT body, channel, offset FROM messages WHERE body NOT IN (SELECT id FROM pushes)
             ORDER BY body, channel",
        ] {
            self.each(sql, |row| {
                targets.entry(column(row, 0)?).or_default().push((column(row, 1)?, unsigned(row, 2)?));
                Ok(())
            })?;
        }
        for sql in [
            "SELECT b.id, b.message, b.sender, b.time, b.expires, p.until, b.kind, b.body
             FROM bodies b LEFT JOIN pushes p ON p.id = b.id ORDER BY b.id",
            "SELECT id, message, NULL, 0, expires, until, NULL, NULL FROM pushes
             WHERE id NOT IN (SELECT id FROM bodies) ORDER BY id",
        ] {
            self.each(sql, |row| {
                let mut message = message(row)?;
                message.places = targets.remove(&message.number).unwrap_or_default();
                each(message)
            })?;
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> Result<Vec<OldKey>, EngineError> {
        self.all("SELECT key, time, message, places FROM keys ORDER BY time", |row| {
            let places: Vec<u8> = column(row, 3)?;
            Ok(OldKey {
                text: column(row, 0)?,
                stamp: Time(unsigned(row, 1)?),
                id: message_id(row, 2)?,
                places: key_places(&places)?,
            })
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        mut one: impl FnMut(&Row<'_>) -> Result<T, EngineError>,
    ) -> Result<Vec<T>, EngineError> {
        let mut all = Vec::new();
        self.each(sql, |row| {
            all.push(one(row)?);
            Ok(())
        })?;
        Ok(all)
    }

    fn each(
        &self,
        sql: &str,
        mut one: impl FnMut(&Row<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut statement = self.db.prepare(sql).map_err(told)?;
        let mut rows = statement.query([]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            one(row)?;
        }
        Ok(())
    }
}

/// Keeps out a server of a former version, and is kept out by one.
fn lock(directory: &Path) -> Result<File, EngineError> {
    let path = directory.join(LOCK);
    let failed = |error: std::io::Error| EngineError::Unavailable(format!("{}: {error}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::Unavailable(format!(
            "another process has the store in {} open; stop it first",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn damaged(what: impl Into<String>) -> EngineError {
    EngineError::Damaged(what.into())
}

fn told(error: rusqlite::Error) -> EngineError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, PermissionDenied, ReadOnly, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(CannotOpen | DatabaseBusy | PermissionDenied | ReadOnly | SystemIoFailure) => {
            EngineError::Unavailable(error.to_string())
        }
        _ => damaged(error.to_string()),
    }
}

fn by_number<T>(rows: Vec<(i64, T)>) -> HashMap<i64, Vec<T>> {
    let mut all: HashMap<i64, Vec<T>> = HashMap::new();
    for (number, row) in rows {
        all.entry(number).or_default().push(row);
    }
    all
}

fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, number: usize) -> Result<T, EngineError> {
    row.get(number).map_err(told)
}

fn unsigned_or_none(row: &Row<'_>, number: usize) -> Result<Option<u64>, EngineError> {
    let value: Option<i64> = column(row, number)?;
    let negative = |value| damaged(format!("a number is negative: {value}"));
    value.map(|value| u64::try_from(value).map_err(|_| negative(value))).transpose()
}

fn unsigned(row: &Row<'_>, number: usize) -> Result<u64, EngineError> {
    unsigned_or_none(row, number)?.ok_or_else(|| damaged("a number is missing"))
}

fn time_or_none(row: &Row<'_>, number: usize) -> Result<Option<Time>, EngineError> {
    Ok(unsigned_or_none(row, number)?.map(Time))
}

fn message_id(row: &Row<'_>, number: usize) -> Result<MessageId, EngineError> {
    let text: String = column(row, number)?;
    text.parse().map_err(|_| damaged("a message's id is not one"))
}

fn message(row: &Row<'_>) -> Result<OldMessage, EngineError> {
    let from: Option<String> = column(row, 2)?;
    let (kind, text): (Option<i64>, Option<String>) = (column(row, 6)?, column(row, 7)?);
    let user = |text: String| UserId::new(&text).map_err(|error| damaged(format!("a user's id: {error}")));
    Ok(OldMessage {
        number: column(row, 0)?,
        id: message_id(row, 1)?,
        from: from.map(user).transpose()?,
        time: Time(unsigned(row, 3)?),
        expires: time_or_none(row, 4)?,
        until: time_or_none(row, 5)?,
        body: kind.zip(text).map(|(kind, text)| body(kind, text)).transpose()?,
        places: Vec::new(),
    })
}

fn body(kind: i64, text: String) -> Result<Body, EngineError> {
    match kind {
        0 => Ok(Body::Page(text.into())),
        1 => {
            let json = RawValue::from_string(text);
            let json = json.map_err(|error| damaged(format!("a message's data: {error}")))?;
            Ok(Body::Data(json.into()))
        }
        _ => Err(damaged(format!("a message of kind {kind}"))),
    }
}

fn state(value: i64) -> Result<ReceiptState, EngineError> {
    match value {
        0 => Ok(ReceiptState::Queued),
        1 => Ok(ReceiptState::Delivered),
        2 => Ok(ReceiptState::Shown),
        3 => Ok(ReceiptState::Expired),
        _ => Err(damaged(format!("a receipt in state {value}"))),
    }
}

/// The places of a key: the number of each channel, and the offset; each number in groups of seven bits, the
/// lowest first.
fn key_places(bytes: &[u8]) -> Result<Vec<(i64, Offset)>, EngineError> {
    let (mut bytes, mut places) = (bytes.iter(), Vec::new());
    while !bytes.as_slice().is_empty() {
        places.push((key_number(&mut bytes)?.cast_signed(), key_number(&mut bytes)?));
    }
    Ok(places)
}

fn key_number(bytes: &mut std::slice::Iter<'_, u8>) -> Result<u64, EngineError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.next().ok_or_else(|| damaged("a key's places end in the middle"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a key's place is too long"))
}
