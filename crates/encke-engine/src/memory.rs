//! The engine in memory: it keeps its promises for as long as its process lives, and begins with a new epoch
//! each time.

mod keys;
mod log;
mod pushes;
mod state;

use std::{hint::spin_loop, sync::Arc};

use async_trait::async_trait;
use encke_proto::{ChannelName, Entry, Epoch, MessageId, Position, Time, UserId};
use tokio::sync::{Mutex, MutexGuard};

use self::state::State;
use crate::{
    Append, Appended, ChannelSummary, Engine, EngineError, Feed, Mark, Mode, Page, PageLimit, ReadFrom,
    Receipt, RetentionTable, UserRecord,
};

/// How often a lock that is taken is tried again before its holder is waited for: some microseconds, in which
/// most calls are done.
const SPINS_MAX: usize = 200;

/// All logs in the memory of this process, behind one lock. A caller that finds it taken (by a push to all
/// users, for instance) waits without holding up its thread.
pub struct MemoryEngine {
    /// None once the engine was stopped.
    state: Mutex<Option<State>>,
    /// Taken before the state and held until the feed has returned: so the feed sees the order of the log,
    /// and readers need not wait for it.
    feed: Mutex<Arc<dyn Feed>>,
}

impl MemoryEngine {
    /// An engine with empty logs. `epoch` must be another one each time, as nothing is left of the logs
    /// before.
    #[must_use]
    pub fn new(feed: Arc<dyn Feed>, retention: RetentionTable, epoch: Epoch) -> Self {
        Self { state: Mutex::new(Some(State::new(retention, epoch))), feed: Mutex::new(feed) }
    }

    async fn with<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match lock(&self.state).await.as_mut() {
            Some(state) => act(state),
            None => Err(EngineError::Unavailable("the engine was stopped".into())),
        }
    }

    async fn append_and_feed(&self, append: Append) -> Result<Appended, EngineError> {
        // The caller may go away at any wait, so there is none between the append and its being told.
        let feed = lock(&self.feed).await;
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let appended = self.with(|state| state.append(append, &mut entries)).await?;
        if !entries.is_empty() {
            feed.appended(&entries);
        }
        Ok(appended)
    }
}

/// Takes a lock. One that is held for a moment, as by another append, is tried again and again: to wait for
/// it would be to have another thread wake this one for every append that comes meanwhile.
async fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    for _ in 0..SPINS_MAX {
        if let Ok(guard) = lock.try_lock() {
            return guard;
        }
        spin_loop();
    }
    lock.lock().await
}

#[async_trait]
impl Engine for MemoryEngine {
    fn mode(&self) -> Mode {
        Mode::Memory
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        self.append_and_feed(append).await
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        self.with(|state| Ok(state.read(channel, from, limit))).await
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        self.with(|state| Ok(state.channels(after, limit))).await
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        self.with(|state| state.seen(user, at)).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        self.with(|state| Ok(state.user(user))).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        self.with(|state| Ok(state.users(after, limit))).await
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        self.with(|state| Ok(state.handed(user))).await
    }

    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
        self.with(|state| {
            for mark in &marks {
                state.mark(mark);
            }
            Ok(())
        })
        .await
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        self.with(|state| Ok(state.receipts(push, after, limit, now))).await
    }

    async fn delete(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        let feed = lock(&self.feed).await;
        let deleted = self.with(|state| Ok(state.delete(channel))).await?;
        if deleted {
            feed.behind(std::slice::from_ref(channel));
        }
        Ok(deleted)
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        self.with(|state| {
            state.sweep(now);
            Ok(())
        })
        .await
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.with(|_| Ok(())).await
    }

    async fn stop(&self) {
        let state = self.state.lock().await.take();
        // Large logs take a while to be freed; no caller needs to wait for that under the lock.
        drop(state);
    }
}
