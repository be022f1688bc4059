//! Removes the oldest messages of one log, with their bodies, and expires the receipts of those that were
//! never delivered. Called by appends for count and bytes, and by the sweep for age.

use encke_proto::{Offset, Time};
use rusqlite::{Connection, OptionalExtension, params};

use super::{fault::Fault, row, store::Channel};

/// The oldest message of a log.
struct Oldest {
    body: i64,
    size: u64,
    due: Time,
    shared: bool,
}

/// Trims what is too much, the oldest first. The caller writes the channel's row.
pub(super) fn over(db: &Connection, channel: &mut Channel, now: Time) -> Result<(), Fault> {
    let tail = channel.tail;
    while channel.retention.is_over(channel.messages(), channel.bytes) {
        let oldest = oldest(db, channel)?;
        remove(db, channel, &oldest, now)?;
    }
    if channel.tail != tail {
        // A due time that is too early only makes the sweep look in vain; so it is moved in one direction,
        // and an index spared.
        let next = oldest(db, channel)?.due;
        if channel.due.is_none_or(|due| next < due) {
            channel.due = Some(next);
        }
    }
    Ok(())
}

/// Trims what is too old or past its expiry, and what is too much, but at most `budget` messages. Says how
/// many it trimmed.
pub(super) fn due(db: &Connection, channel: &mut Channel, now: Time, budget: usize) -> Result<usize, Fault> {
    for trimmed in 0..budget {
        if channel.messages() == 0 {
            channel.due = None;
            return Ok(trimmed);
        }
        let oldest = oldest(db, channel)?;
        if oldest.due > now && !channel.retention.is_over(channel.messages(), channel.bytes) {
            channel.due = Some(oldest.due);
            return Ok(trimmed);
        }
        remove(db, channel, &oldest, now)?;
    }
    if channel.messages() == 0 {
        channel.due = None;
    }
    Ok(budget)
}

fn oldest(db: &Connection, channel: &Channel) -> Result<Oldest, Fault> {
    type Row = (i64, i64, i64, Option<i64>, bool);
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let found: Option<Row> = db
        .prepare_cached(
            "SELECT b.id, b.size, b.time, b.expires, b.shared FROM messages m JOIN bodies b ON b.id = m.body
             WHERE m.channel = ?1 AND m.offset = ?2",
        )?
        .query_row(params![channel.id, row::number(channel.tail)], read)
        .optional()?;
    let Some((body, size, time, expires, shared)) = found else { return Err(missing(channel.tail)) };
    let due = channel.retention.due(row::time(time)?, row::optional_time(expires)?);
    Ok(Oldest { body, size: row::unsigned(size)?, due, shared })
}

fn remove(db: &Connection, channel: &mut Channel, oldest: &Oldest, now: Time) -> Result<(), Fault> {
    let place = params![channel.id, row::number(channel.tail)];
    db.prepare_cached("DELETE FROM messages WHERE channel = ?1 AND offset = ?2")?.execute(place)?;
    let last = !oldest.shared || release_share(db, oldest.body)?;
    if last {
        db.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute([oldest.body])?;
    }
    if channel.own {
        expire_receipt(db, channel, now)?;
    }
    channel.tail += 1;
    channel.bytes = channel.bytes.saturating_sub(oldest.size);
    Ok(())
}

/// The oldest message of a user's own channel is gone: who was not handed it will never be.
fn expire_receipt(db: &Connection, channel: &Channel, now: Time) -> Result<(), Fault> {
    db.prepare_cached(
        "UPDATE receipts SET state = 3, at = min(?3, coalesce((SELECT p.expires FROM pushes p WHERE p.id = push), ?3))
         WHERE channel = ?1 AND offset = ?2 AND state < 2 AND state = 0",
    )?
    .execute(params![channel.id, row::number(channel.tail), row::number(now.0)])?;
    Ok(())
}

/// One log less holds the body. Says whether it was the last one.
fn release_share(db: &Connection, body: i64) -> Result<bool, Fault> {
    let left: Option<i64> = db
        .prepare_cached("UPDATE shares SET logs = logs - 1 WHERE body = ?1 RETURNING logs")?
        .query_row([body], |row| row.get(0))
        .optional()?;
    let left = left.ok_or_else(|| Fault::damaged("a shared message does not know its logs"))?;
    if left <= 0 {
        db.prepare_cached("DELETE FROM shares WHERE body = ?1")?.execute([body])?;
    }
    Ok(left <= 0)
}

fn missing(offset: Offset) -> Fault {
    Fault::damaged(format!("the message at offset {offset} is missing"))
}
