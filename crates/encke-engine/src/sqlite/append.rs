//! Appending to named channels or users inside the writer's transaction: body, log rows, receipts and the
//! idempotency key. A push to all users is in `append_all.rs`.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry, Message, Position, UserId};
use rusqlite::{Connection, params};

use super::{
    fault::Fault,
    keys::{self, Places},
    row,
    store::{Channel, Store, write_channel},
    trim, users,
};
use crate::{
    Append, Appended, RECEIPTS_KEPT_S, Targets,
    append::{body_bytes, each_once},
};

impl Store {
    /// Appends a message to the logs of its targets, in the transaction that is open.
    pub(super) fn append(&mut self, append: &Append) -> Result<Appended, Fault> {
        if let Some(key) = &append.key {
            if let Some(first) = keys::find(&self.db, key, self.epoch)? {
                return Ok(first);
            }
            self.keys.make_room(&self.db, append.time)?;
        }
        let mut places = Places::default();
        let positions = match &append.targets {
            Targets::Channels(channels) => {
                self.append_each(append, each_once(channels.iter().cloned()), false, &mut places)?
            }
            Targets::Users(users) => {
                self.append_each(append, each_once(users.iter().map(UserId::channel)), true, &mut places)?
            }
            Targets::AllUsers => self.append_all(append, &mut places)?,
        };
        if let Some(key) = &append.key {
            self.keys.remember(&self.db, key, append, &places)?;
        }
        Ok(Appended { id: append.id.clone(), positions, repeated: false })
    }

    fn append_each(
        &mut self,
        append: &Append,
        channels: Vec<ChannelName>,
        is_push: bool,
        places: &mut Places,
    ) -> Result<Vec<(ChannelName, Position)>, Fault> {
        let body = self.new_body();
        insert_body(&self.db, body, append, channels.len())?;
        if is_push {
            self.insert_push(body, append)?;
        }
        let mut positions = Vec::with_capacity(channels.len());
        for channel in channels {
            let position = self.append_one(append, body, &channel, is_push)?;
            places.add(self.channel(&channel)?.id, position.offset);
            positions.push((channel, position));
        }
        Ok(positions)
    }

    fn append_one(
        &mut self,
        append: &Append,
        body: i64,
        name: &ChannelName,
        is_push: bool,
    ) -> Result<Position, Fault> {
        self.channel(name)?;
        let Self { db, channels, .. } = self;
        let Some(channel) = channels.get_mut(name) else {
            return Err(Fault::Broken("a channel vanished".into()));
        };
        let offset = channel.head + 1;
        db.prepare_cached("INSERT INTO messages (channel, offset, body) VALUES (?1, ?2, ?3)")?
            .execute(params![channel.id, row::number(offset), body])?;
        channel.head = offset;
        channel.bytes += body_bytes(&append.body);
        let known_due = channel.due;
        if channel.messages() == 1 {
            channel.due = Some(channel.retention.due(append.time, append.expires));
        }
        trim::over(db, channel, append.time)?;
        write_channel(db, channel, channel.due != known_due)?;
        if is_push && let Some(user) = name.owner() {
            queue_receipt(db, channel, &user, body, append)?;
        }
        let position = Position { epoch: self.epoch, offset };
        self.add(append, name.clone(), position);
        Ok(position)
    }

    /// Keeps the message for the feed.
    pub(super) fn add(&mut self, append: &Append, channel: ChannelName, position: Position) {
        self.added.push(Arc::new(Entry::new(Message {
            id: append.id.clone(),
            channel,
            position,
            time: append.time,
            body: append.body.clone(),
            from: append.from.clone(),
            expires: append.expires,
        })));
    }

    pub(super) fn new_body(&mut self) -> i64 {
        let body = self.next_body;
        self.next_body += 1;
        body
    }

    pub(super) fn insert_push(&self, body: i64, append: &Append) -> Result<(), Fault> {
        let end = append.expires.unwrap_or_else(|| append.time.plus_seconds(self.retention.own.max_age_s));
        let until = end.plus_seconds(RECEIPTS_KEPT_S);
        let expires = append.expires.map(|end| row::number(end.0));
        self.db
            .prepare_cached("INSERT INTO pushes (id, message, expires, until) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![body, append.id.as_str(), expires, row::number(until.0)])?;
        Ok(())
    }
}

/// Writes what a message says, once for `logs` logs.
pub(super) fn insert_body(db: &Connection, body: i64, append: &Append, logs: usize) -> Result<(), Fault> {
    if logs == 0 {
        return Ok(());
    }
    let (kind, text) = row::of_body(&append.body);
    let shared = logs > 1;
    db.prepare_cached(
        "INSERT INTO bodies (id, message, kind, sender, time, expires, size, shared, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        body,
        append.id.as_str(),
        kind,
        append.from.as_ref().map(UserId::as_str),
        row::number(append.time.0),
        append.expires.map(|end| row::number(end.0)),
        row::number(body_bytes(&append.body)),
        shared,
        text,
    ])?;
    if shared {
        db.prepare_cached("INSERT INTO shares (body, logs) VALUES (?1, ?2)")?
            .execute(params![body, row::limit(logs)])?;
    }
    Ok(())
}

fn queue_receipt(
    db: &Connection,
    channel: &mut Channel,
    user: &UserId,
    body: i64,
    append: &Append,
) -> Result<(), Fault> {
    let time = row::number(append.time.0);
    if channel.user.is_none() {
        db.prepare_cached("INSERT OR IGNORE INTO users (channel, first_seen) VALUES (?1, ?2)")?
            .execute(params![channel.id, time])?;
        channel.user = users::owner_row(db, channel.id)?;
    }
    db.prepare_cached(
        "INSERT INTO receipts (push, user, channel, offset, state, at) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
    )?
    .execute(params![body, user.as_str(), channel.id, row::number(channel.head), time])?;
    Ok(())
}
