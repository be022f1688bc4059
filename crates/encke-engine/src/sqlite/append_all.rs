//! A push to every known user, done by a few statements over whole tables. It is apart from `append.rs`
//! because one statement for each user would hold the writer for too long.

use encke_proto::{ChannelName, Offset, Position};
use rusqlite::params;

use super::{
    append::insert_body,
    fault::Fault,
    keys::Places,
    row,
    store::{Store, find_channel, write_channel},
    trim,
};
use crate::{Append, append::body_bytes};

impl Store {
    /// Appends a message to the own channel of every user. Whole tables are changed by one statement each,
    /// which takes a fraction of what as many single ones would.
    pub(super) fn append_all(
        &mut self,
        append: &Append,
        places: &mut Places,
    ) -> Result<Vec<(ChannelName, Position)>, Fault> {
        // What is remembered of users' own channels is about to become wrong.
        self.channels.retain(|channel, _| !channel.is_own());
        let body = self.new_body();
        self.insert_push(body, append)?;
        let users: i64 = self.db.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
        insert_body(&self.db, body, append, usize::try_from(users).unwrap_or(usize::MAX))?;

        let due = self.retention.own.due(append.time, append.expires);
        self.db
            .prepare_cached(
                "UPDATE channels SET due = ?1 WHERE tail > head AND id IN (SELECT channel FROM users)",
            )?
            .execute([row::number(due.0)])?;
        self.db
            .prepare_cached("UPDATE channels SET head = head + 1, bytes = bytes + ?1 WHERE id IN (SELECT channel FROM users)")?
            .execute([row::number(body_bytes(&append.body))])?;
        self.db
            .prepare_cached(
                "INSERT INTO messages (channel, offset, body)
                 SELECT c.id, c.head, ?1 FROM users u JOIN channels c ON c.id = u.channel ORDER BY c.id",
            )?
            .execute([body])?;
        self.db
            .prepare_cached(
                "INSERT INTO receipts (push, user, channel, offset, state, at)
                 SELECT ?1, substr(c.name, 2), c.id, c.head, 0, ?2
                 FROM channels c JOIN users u ON u.channel = c.id
                 WHERE c.name >= '@' AND c.name < 'A' ORDER BY c.name",
            )?
            .execute(params![body, row::number(append.time.0)])?;
        self.trim_all(append)?;

        let mut positions = Vec::with_capacity(usize::try_from(users).unwrap_or(0));
        for (id, name, head) in self.heads()? {
            let name = row::channel(&name)?;
            let position = Position { epoch: self.epoch, offset: head };
            places.add(id, head);
            self.add(append, name.clone(), position);
            positions.push((name, position));
        }
        Ok(positions)
    }

    /// The users' own channels and the newest offset of each, by name.
    fn heads(&self) -> Result<Vec<(i64, String, Offset)>, Fault> {
        let mut statement = self.db.prepare_cached(
            "SELECT c.id, c.name, c.head FROM channels c JOIN users u ON u.channel = c.id
             WHERE c.name >= '@' AND c.name < 'A' ORDER BY c.name",
        )?;
        let mut rows = statement.query([])?;
        let mut heads = Vec::new();
        while let Some(row) = rows.next()? {
            heads.push((row.get(0)?, row.get(1)?, row::unsigned(row.get(2)?)?));
        }
        Ok(heads)
    }

    /// Trims those that now hold too much.
    fn trim_all(&self, append: &Append) -> Result<(), Fault> {
        let own = self.retention.own;
        let (messages, bytes) = (row::number(own.max_messages), row::number(own.max_bytes));
        let names: Vec<String> = self
            .db
            .prepare_cached(
                "SELECT c.name FROM users u JOIN channels c ON c.id = u.channel
                 WHERE c.head > c.tail AND (c.head - c.tail >= ?1 OR c.bytes > ?2)",
            )?
            .query_map(params![messages, bytes], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in names {
            let Some(mut channel) = find_channel(&self.db, &row::channel(&name)?, own)? else { continue };
            let known_due = channel.due;
            trim::over(&self.db, &mut channel, append.time)?;
            write_channel(&self.db, &channel, channel.due != known_due)?;
        }
        Ok(())
    }
}
