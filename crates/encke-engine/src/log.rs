//! The log engine: an embedded store made for logs, in a directory of its own.
//!
//! One file is written, at its end. One thread takes whatever waits, writes it as one frame, syncs once and
//! answers all; what comes meanwhile forms the next group. A push to many users is one record, with its body
//! once. In memory is where each message lies, which is made again at an opening by a replay from the newest
//! checkpoint on. `docs/adr/0022` says why.

mod appender;
mod backup;
mod backup_list;
mod checkpoint;
mod codec;
mod compaction;
mod draft;
mod end_mark;
mod expiry;
mod fault;
mod file_name;
mod frame;
#[cfg(feature = "sqlite-import")]
mod import;
mod inspect;
mod keys;
mod log_state;
mod maintenance;
mod manifest;
mod metadata_table;
mod opening;
mod options;
mod page;
mod partial;
mod queue;
mod readers;
mod receipt_page;
mod receipts;
mod record;
mod request;
mod sealed_file;
mod segment;
mod segment_index;
mod snapshot;
mod state;
mod stored;
mod usage;
#[doc(hidden)]
pub mod volume;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use encke_proto::{ChannelName, Epoch, MessageId, NameFilter, Position, Time, UserId};
use tokio::sync::oneshot;

#[cfg(feature = "sqlite-import")]
pub use self::import::{ImportReport, import_sqlite};
pub use self::{
    backup::{Copied, Damaged, backup, restore},
    inspect::{CheckReport, check, dump},
    options::LogOptions,
    sealed_file::OPEN_SEGMENTS_MAX,
};
use self::{
    maintenance::Maintenance,
    page::PagePlan,
    queue::Queue,
    readers::{Access, Readers},
    request::{Answer, Request},
    state::{State, user_record},
    volume::{DiskVolume, Volume},
    writer::Writer,
};
use crate::{
    Append, Appended, ChannelSummary, Commits, Engine, EngineError, EngineStats, Feed, LogStatus, LogUpdate,
    LogUpdated, Mark, Mode, Page, PageLimit, ReadFrom, Receipt, RetentionTable, UserRecord, threads::Threads,
};

/// The most rounds of one sweep. Appends get between them.
const SWEEP_MAX_ROUNDS: usize = 20;

/// All logs in one log store on this machine's disk.
pub struct LogEngine {
    state: Arc<RwLock<State>>,
    /// Before the writer, so that they are gone when it lets go of the directory.
    readers: Readers,
    queue: Arc<Queue>,
    /// As the writer counts them.
    commits: Arc<Mutex<Commits>>,
    writer: Threads,
    stopped: AtomicBool,
}

impl LogEngine {
    /// Opens the store in `directory`, or makes one there with `new_epoch` if there is none. A copy that was
    /// made by a backup begins `new_epoch`, too.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when another process has the store open or the disk refuses,
    /// [`EngineError::Damaged`] when what is there is no store of this version, or is damaged.
    pub fn open(
        directory: &Path,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
        new_epoch: Epoch,
    ) -> Result<Self, EngineError> {
        Self::open_with(directory, feed, retention, new_epoch, LogOptions::default())
    }

    /// The same with other sizes.
    ///
    /// # Errors
    /// As [`LogEngine::open`].
    pub fn open_with(
        directory: &Path,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
        new_epoch: Epoch,
        options: LogOptions,
    ) -> Result<Self, EngineError> {
        Self::open_on(Arc::new(DiskVolume::open(directory)?), feed, retention, new_epoch, options)
    }

    /// For tests: on files that are not those of a disk.
    ///
    /// # Errors
    /// As [`LogEngine::open`].
    #[doc(hidden)]
    pub fn open_on(
        volume: Arc<dyn Volume>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
        new_epoch: Epoch,
        options: LogOptions,
    ) -> Result<Self, EngineError> {
        let opened = opening::open(&volume, retention, new_epoch, options)?;
        let state = Arc::new(RwLock::new(opened.state));
        let readers = Readers::start(Access { state: Arc::clone(&state), volume: Arc::clone(&volume) })?;
        let maintenance = Maintenance::new(
            volume,
            opened.segments,
            Arc::clone(&state),
            opened.manifest,
            options,
            opened.replayed,
        );
        let queue = Arc::new(Queue::default());
        let commits = Arc::default();
        let writer = Writer::new(
            Arc::clone(&queue),
            Arc::clone(&state),
            opened.appender,
            maintenance,
            feed,
            Arc::clone(&commits),
        );
        let mut threads = Threads::default();
        threads.start("encke-writer", move || writer.work())?;
        let (writer, stopped) = (threads.complete(), AtomicBool::new(false));
        Ok(Self { state, readers, queue, commits, writer, stopped })
    }

    /// What is in memory, as long as the engine was not stopped.
    fn state(&self) -> Result<RwLockReadGuard<'_, State>, EngineError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(EngineError::Unavailable("the engine was stopped".into()));
        }
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the writer for something, and waits until it is on the disk.
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, EngineError> {
        let (answer, awaited) = oneshot::channel();
        self.queue.put(request(answer))?;
        let ended = |_| EngineError::Unavailable("the engine ended before it answered".into());
        awaited.await.map_err(ended)?
    }
}

#[async_trait]
impl Engine for LogEngine {
    fn mode(&self) -> Mode {
        Mode::Log
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        self.ask(|answer| Request::Append(Box::new(append), answer)).await
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let plan = PagePlan::new(&*self.state()?, channel, from, limit)?;
        if plan.is_ready() {
            return Ok(plan.read()?);
        }
        self.readers.call(move |_| plan.read()).await
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        Ok(self.state()?.channels(after, limit))
    }

    async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        Ok(self.state()?.channel_names(filter, after, limit))
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        self.ask(|answer| Request::Seen(user.clone(), at, answer)).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        Ok(self.state()?.named(&user.channel()).and_then(user_record))
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        let after = after.map(UserId::channel);
        Ok(self.state()?.users(after.as_ref(), limit))
    }

    async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        let after = after.map(UserId::channel);
        Ok(self.state()?.user_ids(filter, after.as_ref(), limit))
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        let state = self.state()?;
        let own = user.channel();
        let offset = state.named(&own).map_or_else(|| state.floors.of(&own), |log| log.handed());
        Ok(Position { epoch: state.epoch, offset })
    }

    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
        self.ask(|answer| Request::Mark(marks, answer)).await
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        let (push, after) = (push.clone(), after.cloned());
        let read = move |access: &Access| {
            receipt_page::receipts(&access.state, &*access.volume, &push, after.as_ref(), limit, now)
        };
        self.readers.call(read).await
    }

    // The record of a push has all its users, and is read for each page.
    fn receipts_at_a_time(&self) -> usize {
        usize::MAX
    }

    async fn delete(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        self.ask(|answer| Request::Delete(channel.clone(), answer)).await
    }

    async fn update_log(&self, update: LogUpdate) -> Result<LogUpdated, EngineError> {
        update.check_channel()?;
        self.ask(|answer| Request::Update(Box::new(update), answer)).await
    }

    async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        Ok(self.state()?.status(channel))
    }

    async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        let push = push.clone();
        let find = move |access: &Access| receipt_page::find_told(&access.state, &*access.volume, &push);
        match self.readers.call(find).await? {
            Some(push) => self.ask(|answer| Request::Cancel(Box::new(push), at, answer)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        for _ in 0..SWEEP_MAX_ROUNDS {
            let swept = self.ask(|answer| Request::Sweep(now, answer)).await?;
            if !swept.ended.is_empty() {
                // By themselves: nothing of the same frame may be about a log that is deleted in it.
                self.ask(|answer| Request::End(swept.ended, now, answer)).await?;
            }
            if !swept.more {
                break;
            }
        }
        Ok(())
    }

    async fn set_retention(&self, table: RetentionTable) -> Result<(), EngineError> {
        self.ask(|answer| Request::Retain(Box::new(table), answer)).await
    }

    async fn stats(&self) -> EngineStats {
        let Ok(state) = self.state() else { return EngineStats::default() };
        let commits = *self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        EngineStats { commits: Some(commits), ..state.stats() }
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.ask(Request::Ready).await
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.readers.stop().await;
        self.queue.close();
        self.writer.ended().await;
    }
}

impl Drop for LogEngine {
    fn drop(&mut self) {
        self.queue.close();
        self.writer.join();
    }
}
