//! The embedded engine: one SQLite database in a directory of its own.
//!
//! One thread writes. It takes whatever waits, up to a bound, does it in one transaction and answers after
//! `COMMIT` has returned, so that a hundred callers share one fsync. A few threads read, each with its own
//! connection: SQLite's write-ahead log lets them see the last commit without holding up the writer.

mod append;
mod append_all;
mod call;
mod connection;
#[cfg(feature = "log")]
pub(crate) mod export;
mod fault;
mod hooks;
mod keys;
mod lock;
mod mark;
mod page;
mod queue;
mod readers;
mod receipts;
mod row;
mod schema;
mod store;
mod summary;
mod sweep;
mod trim;
mod users;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use encke_proto::{ChannelName, Epoch, MessageId, Position, Time, UserId};

#[doc(hidden)]
pub use self::hooks::Hooks;
use self::{lock::Lock, readers::Readers, store::Store, writer::Writer};
use crate::{
    Append, Appended, ChannelSummary, Engine, EngineError, Feed, Mark, Mode, Page, PageLimit, ReadFrom,
    Receipt, RetentionTable, Targets, UserRecord, append::body_bytes,
};

/// The database's name in its directory.
const FILE: &str = "encke.sqlite3";
/// What one target of a push weighs in the writer's queue besides the body, in bytes: its name and what is
/// written for it.
const TARGET_BYTES: usize = 200;
/// The most rounds of one sweep. Each is a transaction of its own, so that appends get between them.
const SWEEP_MAX_ROUNDS: usize = 20;

/// All logs in one SQLite database on this machine's disk.
pub struct SqliteEngine {
    epoch: Epoch,
    /// Before the writer, so that they are gone when it closes the store and lets go of the lock.
    readers: Readers,
    writer: Writer,
    hooks: Arc<Hooks>,
}

impl SqliteEngine {
    /// Opens the store in `dir`, or makes one there with `new_epoch` if there is none. `dir` itself must
    /// exist.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when another process has the store open or the disk refuses,
    /// [`EngineError::Damaged`] when the file is not a store of this version.
    pub fn open(
        dir: &Path,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
        new_epoch: Epoch,
    ) -> Result<Self, EngineError> {
        let lock = Lock::take(dir)?;
        let file = dir.join(FILE);
        let hooks = Arc::new(Hooks::default());
        let store = Store::create_or_open(&file, retention, new_epoch, Arc::clone(&hooks))?;
        lock::make_entries_durable(dir)?;
        let epoch = store.epoch();
        let readers = Readers::start(&file)?;
        let writer = Writer::start(store, feed, lock)?;
        Ok(Self { epoch, readers, writer, hooks })
    }

    /// Waits for so long after a write for others to share its commit. The default is not to wait: what
    /// arrives while a commit is under way shares the next.
    #[must_use]
    pub fn gathering(self, gather: Duration) -> Self {
        self.writer.gather(gather);
        self
    }

    /// For tests: faults that a test can switch on.
    #[doc(hidden)]
    #[must_use]
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    fn mode(&self) -> Mode {
        Mode::Sqlite
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        let targets = match &append.targets {
            Targets::Channels(channels) => channels.len(),
            Targets::Users(users) => users.len(),
            Targets::AllUsers => 0,
        };
        let bytes = usize::try_from(body_bytes(&append.body))
            .unwrap_or(usize::MAX)
            .saturating_add(targets.saturating_mul(TARGET_BYTES));
        // Callers that were there before do not wait for a push to all users.
        let alone = append.targets == Targets::AllUsers;
        self.writer.call(bytes, alone, move |store| store.append(&append)).await
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let (channel, epoch) = (channel.clone(), self.epoch);
        self.readers.call(move |db| page::read(db, epoch, &channel, from, limit)).await
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        let (after, epoch) = (after.cloned(), self.epoch);
        self.readers.call(move |db| summary::channels(db, epoch, after.as_ref(), limit)).await
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        let user = user.clone();
        self.writer.call(TARGET_BYTES, false, move |store| store.seen(&user, at)).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        let user = user.clone();
        self.readers.call(move |db| users::one(db, &user)).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        let after = after.cloned();
        self.readers.call(move |db| users::page(db, after.as_ref(), limit)).await
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        let (user, epoch) = (user.clone(), self.epoch);
        self.readers.call(move |db| users::handed(db, epoch, &user)).await
    }

    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
        let bytes = marks.len().saturating_mul(TARGET_BYTES);
        self.writer.call(bytes, false, move |store| store.mark(&marks)).await
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        let (push, after) = (push.clone(), after.cloned());
        self.readers.call(move |db| receipts::page(db, &push, after.as_ref(), limit, now)).await
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        for _ in 0..SWEEP_MAX_ROUNDS {
            let more = self.writer.call(TARGET_BYTES, false, move |store| store.sweep(now)).await?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.writer.call(TARGET_BYTES, false, |store| store.probe()).await
    }

    async fn stop(&self) {
        self.readers.stop().await;
        self.writer.stop().await;
    }
}
