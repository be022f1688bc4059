//! Reads a page of a log, on a reader's connection. A hole in the log is an error here, never skipped.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry, Epoch, Lineage, Message, Offset, Position};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{fault::Fault, row};
use crate::{Page, PageLimit, ReadFrom};

const MESSAGES: &str = "SELECT m.offset, b.message, b.kind, b.body, b.sender, b.time, b.expires, b.size
     FROM messages m LEFT JOIN bodies b ON b.id = m.body";

/// Reads a page of a log, in the transaction that is open.
pub(super) fn read(
    db: &Connection,
    epoch: Epoch,
    channel: &ChannelName,
    from: ReadFrom,
    limit: PageLimit,
) -> Result<Page, Fault> {
    let extent: Option<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT id, tail, head FROM channels INDEXED BY sqlite_autoindex_channels_1 WHERE name = ?1",
        )?
        .query_row([channel.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, tail, head)) = extent else {
        return Ok(Page { epoch, lineage: Lineage::default(), tail: 1, head: 0, entries: Vec::new() });
    };
    let (tail, head) = (row::unsigned(tail)?, row::unsigned(head)?);
    let log = Log { db, id, epoch, channel };
    let entries = match from {
        ReadFrom::Head => Vec::new(),
        ReadFrom::After(offset) => {
            let first = offset.saturating_add(1).max(tail);
            log.read(
                &format!("{MESSAGES} WHERE m.channel = ?1 AND m.offset BETWEEN ?2 AND ?3 ORDER BY m.offset"),
                first,
                head,
                limit,
            )?
        }
        ReadFrom::Before(offset) => {
            let last = offset.saturating_sub(1).min(head);
            let order = format!(
                "{MESSAGES} WHERE m.channel = ?1 AND m.offset BETWEEN ?2 AND ?3 ORDER BY m.offset DESC"
            );
            let mut entries = log.read(&order, tail, last, limit)?;
            entries.reverse();
            entries
        }
    };
    Ok(Page { epoch, lineage: Lineage::default(), tail, head, entries })
}

struct Log<'a> {
    db: &'a Connection,
    id: i64,
    epoch: Epoch,
    channel: &'a ChannelName,
}

impl Log<'_> {
    /// What `query` finds between two offsets, as far as it fits into `limit`, and at least one message.
    fn read(
        &self,
        query: &str,
        first: Offset,
        last: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Arc<Entry>>, Fault> {
        let forwards = !query.ends_with("DESC");
        let mut next = if forwards { first } else { last };
        let mut statement = self.db.prepare_cached(query)?;
        let mut rows = statement.query(params![self.id, row::number(first), row::number(last)])?;
        let (mut entries, mut bytes): (Vec<Arc<Entry>>, u64) = (Vec::new(), 0);
        let wanted = usize::try_from((last + 1).saturating_sub(first))
            .unwrap_or(usize::MAX)
            .min(limit.messages.max(1));
        while entries.len() < wanted {
            let missing =
                || Fault::damaged(format!("the message at offset {next} of {} is missing", self.channel));
            let row = rows.next()?.ok_or_else(missing)?;
            if row::unsigned(row.get(0)?)? != next {
                return Err(missing());
            }
            bytes = bytes.saturating_add(row::unsigned(row.get::<_, Option<i64>>(7)?.ok_or_else(missing)?)?);
            if bytes > limit.bytes as u64 && !entries.is_empty() {
                break;
            }
            entries.push(Arc::new(Entry::new(self.message(row, next)?)));
            next = if forwards { next + 1 } else { next.saturating_sub(1) };
        }
        Ok(entries)
    }

    fn message(&self, row: &Row<'_>, offset: Offset) -> Result<Message, Fault> {
        let sender: Option<String> = row.get(4)?;
        Ok(Message {
            id: row::message_id(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            channel: self.channel.clone(),
            position: Position { epoch: self.epoch, offset },
            time: row::time(row.get(5)?)?,
            body: row::body(row.get(2)?, row.get(3)?)?,
            from: sender.map(|user| row::user(&user)).transpose()?,
            expires: row::optional_time(row.get(6)?)?,
        })
    }
}
