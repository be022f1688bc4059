//! The writer's side of the database: transactions, savepoints, recovery after a failed fsync, and a cache of
//! channel rows. What a call does inside a transaction is in the files named for it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use encke_proto::{ChannelName, Entry, Epoch, Offset, Time};
use rusqlite::{Connection, OptionalExtension, params};

use super::{connection, fault::Fault, hooks::Hooks, keys::Keys, row, schema};
use crate::{EngineError, Retention, RetentionTable};

/// The most channels that are remembered between transactions. When there are more, all are forgotten, and
/// read again as they are needed.
const CACHE_MAX_CHANNELS: usize = 100_000;
/// How much space a store needs to be ready, in bytes: one message of the largest size.
const PROBE_BYTES: i64 = 64 * 1024;

/// A channel's row, as the last statement left it.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) id: i64,
    pub(super) head: Offset,
    pub(super) tail: Offset,
    pub(super) bytes: u64,
    pub(super) due: Option<Time>,
    /// Which retention holds for it.
    pub(super) retention: Retention,
    /// Whether it is a user's own, whose messages have receipts.
    pub(super) own: bool,
    /// What is known of its owner's row in `users`, if it is a user's own.
    pub(super) user: Option<OwnerRow>,
}

/// A user's row, as the last statement left it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerRow {
    pub(super) handed: Offset,
    pub(super) shown: Offset,
}

impl Channel {
    pub(super) fn messages(&self) -> u64 {
        (self.head + 1).saturating_sub(self.tail)
    }
}

/// The writer's side of the database: the connection, and what need not be asked again.
pub(super) struct Store {
    pub(super) db: Connection,
    pub(super) epoch: Epoch,
    pub(super) retention: RetentionTable,
    pub(super) channels: HashMap<ChannelName, Channel>,
    /// Never given twice, not even after the body is gone: receipts know their push by it.
    pub(super) next_body: i64,
    pub(super) keys: Keys,
    /// What this transaction adds, for the feed.
    pub(super) added: Vec<Arc<Entry>>,
    /// Whether something failed since the last probe that was committed, so that the next one has to write.
    failed: bool,
    /// Whether this transaction holds such a probe.
    probed: bool,
    file: PathBuf,
    hooks: Arc<Hooks>,
    max_pages: u32,
}

impl Store {
    pub(super) fn create_or_open(
        file: &Path,
        retention: RetentionTable,
        new_epoch: Epoch,
        hooks: Arc<Hooks>,
    ) -> Result<Self, EngineError> {
        let mut db = connection::writer(file)?;
        let epoch = schema::prepare(&mut db, new_epoch)?;
        schema::apply_retention(&mut db, &retention)?;
        let next_body = next_body(&db)?;
        let keys = Keys::open(&db)?;
        Ok(Self {
            db,
            epoch,
            retention,
            channels: HashMap::new(),
            next_body,
            keys,
            added: Vec::new(),
            failed: false,
            probed: false,
            file: file.to_owned(),
            hooks,
            max_pages: 0,
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.apply_hooks()?;
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Returns only after the disk has everything.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        self.hooks.before_commit()?;
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.hooks.after_commit()?;
        if std::mem::take(&mut self.probed) {
            self.failed = false;
        }
        if self.channels.len() > CACHE_MAX_CHANNELS {
            self.channels.clear();
        }
        Ok(())
    }

    /// Marks the place to which [`Store::back_to_savepoint`] goes back.
    pub(super) fn savepoint(&self) -> Result<(), Fault> {
        self.db.prepare_cached("SAVEPOINT job")?.execute([])?;
        Ok(())
    }

    pub(super) fn release_savepoint(&self) -> Result<(), Fault> {
        self.db.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }

    /// Undoes everything since the savepoint, because of `fault`.
    pub(super) fn back_to_savepoint(&mut self, fault: Fault) -> Result<(), Fault> {
        self.forget();
        self.failed |= matches!(fault, Fault::Full(_));
        // On some errors SQLite itself rolls the whole transaction back, and the savepoint is gone with it.
        if self.db.is_autocommit() {
            return Err(fault);
        }
        self.db.prepare_cached("ROLLBACK TO job")?.execute([])?;
        self.release_savepoint()
    }

    /// Undoes the transaction. An error means that the connection is of no use any more.
    pub(super) fn roll_back(&mut self) -> Result<(), Fault> {
        self.forget();
        self.failed = true;
        if !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Opens the database anew after something could not be trusted any more.
    ///
    /// After a failed fsync it is not known which of the last pages are on the disk, and asking again does
    /// not help: the kernel says each failure once. So everything in the write-ahead log is written again,
    /// into the database, with an fsync that must succeed, before anything new is accepted on top of it.
    pub(super) fn reopen(&mut self) -> Result<(), Fault> {
        self.forget();
        self.failed = true;
        // The old connection is closed first, as it may still hold a lock; until the new one is open, an
        // empty database stands in its place.
        self.db = Connection::open_in_memory()?;
        let db = connection::writer(&self.file)?;
        let epoch = schema::epoch(&db)?;
        if epoch != self.epoch {
            return Err(Fault::Broken("another store is in the place of this one".into()));
        }
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(Fault::Broken("the write-ahead log is being read".into()));
        }
        self.next_body = next_body(&db)?;
        self.db = db;
        self.max_pages = 0;
        Ok(())
    }

    /// Whether an append would find space. Costs nothing unless something failed before.
    pub(super) fn probe(&mut self) -> Result<(), Fault> {
        if self.failed {
            self.db.execute("INSERT INTO probe (filler) VALUES (zeroblob(?1))", [PROBE_BYTES])?;
            self.db.execute("DELETE FROM probe", [])?;
            self.probed = true;
        }
        Ok(())
    }

    /// The channel's row, made if there is none, out of the cache if it is there.
    pub(super) fn channel(&mut self, name: &ChannelName) -> Result<&mut Channel, Fault> {
        if !self.channels.contains_key(name) {
            let channel = match find_channel(&self.db, name, self.retention.of(name))? {
                Some(channel) => channel,
                None => make_channel(&self.db, name, self.retention.of(name))?,
            };
            self.channels.insert(name.clone(), channel);
        }
        // It was just put there.
        self.channels.get_mut(name).ok_or_else(|| Fault::Broken("a channel vanished".into()))
    }

    /// The channel's row if there is one, out of the cache if it is there.
    pub(super) fn known_channel(&mut self, name: &ChannelName) -> Result<Option<&mut Channel>, Fault> {
        if !self.channels.contains_key(name) {
            let Some(channel) = find_channel(&self.db, name, self.retention.of(name))? else {
                return Ok(None);
            };
            self.channels.insert(name.clone(), channel);
        }
        Ok(self.channels.get_mut(name))
    }

    /// Nothing that was remembered counts any more.
    fn forget(&mut self) {
        self.channels.clear();
        self.keys.forget_count();
        self.probed = false;
    }

    fn apply_hooks(&mut self) -> Result<(), Fault> {
        let wanted = self.hooks.max_pages();
        if wanted != self.max_pages {
            let pages = if wanted == 0 { i64::from(u32::MAX) - 1 } else { i64::from(wanted) };
            self.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            self.max_pages = wanted;
        }
        Ok(())
    }
}

/// Writes a channel's row. `due` is left alone when it did not change, since that spares an index.
pub(super) fn write_channel(db: &Connection, channel: &Channel, due_changed: bool) -> Result<(), Fault> {
    let (head, tail, bytes) =
        (row::number(channel.head), row::number(channel.tail), row::number(channel.bytes));
    if due_changed {
        let due = channel.due.map(|due| row::number(due.0));
        db.prepare_cached("UPDATE channels SET head = ?2, tail = ?3, bytes = ?4, due = ?5 WHERE id = ?1")?
            .execute(params![channel.id, head, tail, bytes, due])?;
    } else {
        db.prepare_cached("UPDATE channels SET head = ?2, tail = ?3, bytes = ?4 WHERE id = ?1")?
            .execute(params![channel.id, head, tail, bytes])?;
    }
    Ok(())
}

/// Names its index, since SQLite would otherwise ask of each new name whether it makes the partial index on
/// `due` usable, and compile the statement again for that.
const FIND_CHANNEL: &str =
    "SELECT id, head, tail, bytes, due FROM channels INDEXED BY sqlite_autoindex_channels_1 WHERE name = ?1";

pub(super) fn find_channel(
    db: &Connection,
    name: &ChannelName,
    retention: Retention,
) -> Result<Option<Channel>, Fault> {
    type Row = (i64, i64, i64, i64, Option<i64>);
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let found: Option<Row> = db.prepare_cached(FIND_CHANNEL)?.query_row([name.as_str()], read).optional()?;
    let Some((id, head, tail, bytes, due)) = found else { return Ok(None) };
    let channel = Channel {
        id,
        head: row::unsigned(head)?,
        tail: row::unsigned(tail)?,
        bytes: row::unsigned(bytes)?,
        due: row::optional_time(due)?,
        retention,
        own: name.is_own(),
        user: None,
    };
    Ok(Some(channel))
}

fn make_channel(db: &Connection, name: &ChannelName, retention: Retention) -> Result<Channel, Fault> {
    db.prepare_cached("INSERT INTO channels (name, head, tail, bytes) VALUES (?1, 0, 1, 0)")?
        .execute([name.as_str()])?;
    Ok(Channel {
        id: db.last_insert_rowid(),
        head: 0,
        tail: 1,
        bytes: 0,
        due: None,
        retention,
        own: name.is_own(),
        user: None,
    })
}

fn next_body(db: &Connection) -> Result<i64, Fault> {
    let highest =
        "SELECT max(coalesce((SELECT max(id) FROM bodies), 0), coalesce((SELECT max(id) FROM pushes), 0))";
    let highest: i64 = db.query_row(highest, [], |row| row.get(0))?;
    Ok(highest.saturating_add(1))
}
