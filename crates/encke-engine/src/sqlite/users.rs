//! The table of users: first and last seen, and the position up to which each was handed messages.

use encke_proto::{Epoch, Position, Time, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    fault::Fault,
    row,
    store::{OwnerRow, Store},
};
use crate::UserRecord;

impl Store {
    /// Makes the user known, and moves `last_seen` forward.
    pub(super) fn seen(&mut self, user: &UserId, at: Time) -> Result<(), Fault> {
        let channel = self.channel(&user.channel())?;
        let id = channel.id;
        self.db
            .prepare_cached(
                "INSERT INTO users (channel, first_seen, last_seen) VALUES (?1, ?2, ?2)
                 ON CONFLICT (channel) DO UPDATE SET last_seen = max(coalesce(last_seen, 0), ?2)",
            )?
            .execute(params![id, row::number(at.0)])?;
        Ok(())
    }
}

/// A user's row for the writer, by the user's own channel.
pub(super) fn owner_row(db: &Connection, channel: i64) -> Result<Option<OwnerRow>, Fault> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = db
        .prepare_cached("SELECT handed, shown FROM users WHERE channel = ?1")?
        .query_row([channel], read)
        .optional()?;
    let Some((handed, shown)) = found else { return Ok(None) };
    Ok(Some(OwnerRow { handed: row::unsigned(handed)?, shown: row::unsigned(shown)? }))
}

/// One known user.
pub(super) fn one(db: &Connection, user: &UserId) -> Result<Option<UserRecord>, Fault> {
    let mut statement =
        db.prepare_cached("SELECT c.name, u.first_seen, u.last_seen FROM channels c INDEXED BY sqlite_autoindex_channels_1 JOIN users u ON u.channel = c.id WHERE c.name = ?1")?;
    let mut rows = statement.query([user.channel().as_str()])?;
    rows.next()?.map(record).transpose()
}

/// The known users, by id, behind `after`.
pub(super) fn page(db: &Connection, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, Fault> {
    let after = after.map_or_else(|| "@".to_owned(), |user| format!("@{user}"));
    let mut statement = db.prepare_cached(
        "SELECT c.name, u.first_seen, u.last_seen FROM channels c JOIN users u ON u.channel = c.id
         WHERE c.name > ?1 AND c.name < 'A' ORDER BY c.name LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, row::limit(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(row)?);
    }
    Ok(found)
}

/// Where a session of the user without a cursor begins.
pub(super) fn handed(db: &Connection, epoch: Epoch, user: &UserId) -> Result<Position, Fault> {
    let handed: Option<i64> = db
        .prepare_cached(
            "SELECT u.handed FROM channels c INDEXED BY sqlite_autoindex_channels_1 JOIN users u ON u.channel = c.id WHERE c.name = ?1",
        )?
        .query_row([user.channel().as_str()], |row| row.get(0))
        .optional()?;
    Ok(Position { epoch, offset: row::unsigned(handed.unwrap_or(0))? })
}

fn record(row: &Row<'_>) -> Result<UserRecord, Fault> {
    let name: String = row.get(0)?;
    let user = row::channel(&name)?.owner().ok_or_else(|| Fault::damaged("a user's channel is not one"))?;
    Ok(UserRecord { user, first_seen: row::time(row.get(1)?)?, last_seen: row::optional_time(row.get(2)?)? })
}
