//! The engine in memory: it keeps its promises for as long as its process lives, and begins with a new epoch
//! each time.

mod keys;
mod log;
mod logs;
mod open_receipts;
mod pushes;
mod state;

use std::{hint::spin_loop, sync::Arc};

use async_trait::async_trait;
use encke_proto::{ChannelName, Entry, Epoch, MessageId, NameFilter, Position, Time, UserId};
use tokio::sync::{Mutex, MutexGuard};

use self::state::State;
use crate::{
    Append, AppendNow, Appended, ChannelSummary, Engine, EngineError, EngineStats, Feed, LogStatus,
    LogUpdate, LogUpdated, Mark, Mode, Page, PageLimit, ReadFrom, Receipt, RetentionTable, UserRecord,
};

/// How often a lock that is taken is tried again before its holder is waited for: some microseconds, in which
/// most calls are done.
const SPINS_MAX: usize = 200;

/// All logs in the memory of this process, behind one lock. A caller that finds it taken (by a push to all
/// users, for instance) waits without holding up its thread.
pub struct MemoryEngine(Mutex<Inner>);

/// What is behind the lock.
struct Inner {
    /// None once the engine was stopped.
    state: Option<State>,
    /// Told before the lock is given back, so that it sees the order of the log.
    feed: Arc<dyn Feed>,
    /// What was appended and it is still to be told: scratch, so that an append needs none of its own.
    entries: Vec<Arc<Entry>>,
}

/// For how many entries room is kept between appends.
const ENTRIES_KEPT: usize = 64;

impl Inner {
    fn state(&mut self) -> Result<&mut State, EngineError> {
        self.state.as_mut().ok_or_else(stopped)
    }

    /// Appends, by a function that adds what it has appended to the entries, and tells the feed of them.
    fn append<T>(
        &mut self,
        append: impl FnOnce(&mut State, &mut Vec<Arc<Entry>>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let Self { state, feed, entries } = self;
        // Nothing is left of one that panicked.
        entries.clear();
        let appended = append(state.as_mut().ok_or_else(stopped)?, entries)?;
        if !entries.is_empty() {
            feed.appended(entries);
            entries.clear();
            entries.shrink_to(ENTRIES_KEPT);
        }
        Ok(appended)
    }
}

impl MemoryEngine {
    /// An engine with empty logs. `epoch` must be another one each time, as nothing is left of the logs
    /// before.
    #[must_use]
    pub fn new(feed: Arc<dyn Feed>, retention: RetentionTable, epoch: Epoch) -> Self {
        let state = Some(State::new(retention, epoch));
        Self(Mutex::new(Inner { state, feed, entries: Vec::new() }))
    }

    async fn with<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        act(lock(&self.0).await.state()?)
    }
}

fn stopped() -> EngineError {
    EngineError::Unavailable("the engine was stopped".into())
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
        lock(&self.0).await.append(|state, entries| state.append(append, entries))
    }

    fn append_now(&self, append: Append) -> AppendNow {
        match self.0.try_lock() {
            Ok(mut inner) => AppendNow::Done(inner.append(|state, entries| state.append(append, entries))),
            Err(_) => AppendNow::Waits(append),
        }
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

    async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        self.with(|state| Ok(state.channel_names(filter, after, limit))).await
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

    async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        self.with(|state| Ok(state.user_ids(filter, after, limit))).await
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
        let mut inner = lock(&self.0).await;
        let deleted = inner.state()?.delete(channel);
        if deleted {
            inner.feed.retracted(std::slice::from_ref(channel));
        }
        Ok(deleted)
    }

    async fn update_log(&self, update: LogUpdate) -> Result<LogUpdated, EngineError> {
        update.check_channel()?;
        let channel = update.close.then(|| update.channel.clone());
        let mut inner = lock(&self.0).await;
        let updated = inner.append(|state, entries| state.update_log(update, entries))?;
        if let Some(channel) = channel {
            inner.feed.behind(&[channel]);
        }
        Ok(updated)
    }

    async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        self.with(|state| Ok(state.log_status(channel))).await
    }

    async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        let mut inner = lock(&self.0).await;
        let cancelled = inner.state()?.cancel(push, at);
        if let Some(channels) = cancelled.as_ref().filter(|channels| !channels.is_empty()) {
            inner.feed.retracted(channels);
        }
        Ok(cancelled.map(|channels| channels.len()))
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        let mut inner = lock(&self.0).await;
        let ended = inner.state()?.sweep(now);
        if !ended.is_empty() {
            inner.feed.behind(&ended);
        }
        Ok(())
    }

    async fn set_retention(&self, table: RetentionTable) -> Result<(), EngineError> {
        self.with(|state| {
            state.set_retention(table);
            Ok(())
        })
        .await
    }

    async fn stats(&self) -> EngineStats {
        self.with(|state| Ok(state.stats())).await.unwrap_or_default()
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.with(|_| Ok(())).await
    }

    async fn stop(&self) {
        let state = self.0.lock().await.state.take();
        // Large logs take a while to be freed; no caller needs to wait for that under the lock.
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::Body;

    use super::*;
    use crate::{RECEIPTS_KEPT_S, ReceiptState, Targets};

    /// Remembers the offsets that it is told of.
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<u64>>);

    impl Feed for Heard {
        fn appended(&self, entries: &[Arc<Entry>]) {
            let offsets = entries.iter().map(|entry| entry.message().position.offset);
            self.0.lock().unwrap().extend(offsets);
        }

        fn behind(&self, _: &[ChannelName]) {}

        fn retracted(&self, _: &[ChannelName]) {}
    }

    fn push(number: u128, key: Option<&str>, users: &[&str]) -> Append {
        Append {
            id: MessageId::from_bits(number),
            key: key.map(crate::Key::new),
            targets: Targets::Users(users.iter().map(|user| UserId::new(user).unwrap()).collect()),
            body: Body::Page("http://x/".into()),
            from: None,
            time: Time(1_000 + number as u64),
            expires: None,
            trace: None,
        }
    }

    #[tokio::test]
    async fn what_is_appended_at_once_stands_among_what_is_waited_for() {
        let heard = Arc::new(Heard::default());
        let feed: Arc<dyn Feed> = Arc::<Heard>::clone(&heard);
        let engine = MemoryEngine::new(feed, RetentionTable::default(), Epoch(1));
        let now = |append| match engine.append_now(append) {
            AppendNow::Done(appended) => appended.unwrap(),
            AppendNow::Waits(_) => panic!("no other has a lock"),
        };
        let first = now(push(1, Some("k"), &["alice"]));
        let second = engine.append(push(2, None, &["alice"])).await.unwrap();
        let again = now(push(3, Some("k"), &["alice"]));
        let third = now(push(4, None, &["alice"]));
        let offset = |appended: &Appended| appended.positions[0].1.offset;
        assert_eq!([&first, &second, &again, &third].map(offset), [1, 2, 1, 3]);
        assert!(again.repeated && again.id == first.id);
        assert_eq!(*heard.0.lock().unwrap(), [1, 2, 3], "told once each, in their order");
        let receipts = engine.receipts(&third.id, None, 9, Time(2_000)).await.unwrap().unwrap();
        assert_eq!(receipts.len(), 1);
        engine.stop().await;
        assert!(matches!(engine.append_now(push(5, None, &["bob"])), AppendNow::Done(Err(_))));
    }

    #[tokio::test]
    async fn what_would_wait_for_a_lock_is_given_back_with_nothing_done() {
        let engine = MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1));
        let inner = engine.0.lock().await;
        let AppendNow::Waits(back) = engine.append_now(push(7, Some("k"), &["alice"])) else {
            panic!("the lock is taken")
        };
        assert_eq!((back.id, back.key), (MessageId::from_bits(7), Some(crate::Key::new("k"))));
        drop(inner);
        let appended = engine.append(push(7, Some("k"), &["alice"])).await.unwrap();
        assert!(!appended.repeated);
    }

    /// Receipts are found from their users' logs, and forgotten from there too.
    #[tokio::test]
    async fn receipts_go_with_their_push_and_leave_others_of_the_same_users() {
        let engine = MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1));
        let (first, second) = (push(1, None, &["bob", "alice", "carol"]), push(2, None, &["alice"]));
        let first = Append { expires: Some(Time(5_000)), ..first };
        let ids = [first.id.clone(), second.id.clone()];
        engine.append(first).await.unwrap();
        let appended = engine.append(second).await.unwrap();
        let alice = UserId::new("alice").unwrap();
        let mark = |state, at| Mark { user: alice.clone(), position: appended.positions[0].1, state, at };
        engine.mark(vec![mark(ReceiptState::Delivered, Time(2_000))]).await.unwrap();
        let states = async |push: usize, now| {
            let receipts = engine.receipts(&ids[push], None, 9, Time(now)).await.unwrap();
            receipts.map(|list| list.into_iter().map(|receipt| receipt.state).collect::<Vec<_>>())
        };
        let (queued, delivered) = (ReceiptState::Queued, ReceiptState::Delivered);
        assert_eq!(states(0, 3_000).await, Some(vec![delivered, queued, queued]), "by id: alice, bob, carol");
        assert_eq!(states(1, 3_000).await, Some(vec![delivered]));
        let forgotten = Time(5_000).plus_seconds(crate::RECEIPTS_KEPT_S);
        engine.sweep(forgotten).await.unwrap();
        assert_eq!(states(0, forgotten.0).await, None);
        engine.mark(vec![mark(ReceiptState::Shown, forgotten)]).await.unwrap();
        assert_eq!(states(1, forgotten.0).await, Some(vec![ReceiptState::Shown]));
    }
    /// Where the receipts of a push were that is forgotten, those of another may be next.
    #[tokio::test]
    async fn receipts_of_pushes_stay_apart_when_others_are_forgotten_between() {
        let engine = MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1));
        let kept_ms = RECEIPTS_KEPT_S * 1000;
        let mut expected = Vec::new();
        for number in 1..60_u64 {
            // Each third waits much longer than those around it.
            let expires = if number % 3 == 0 { 90_000 } else { 1_001 + number * 1_000 };
            let name = format!("user{}", number % 7);
            let push = Append { expires: Some(Time(expires)), ..push(number.into(), None, &[&name]) };
            expected.push((push.id.clone(), name, expires + kept_ms));
            engine.append(push).await.unwrap();
            let now = Time(number * 1_000 + kept_ms);
            engine.sweep(now).await.unwrap();
            for (id, name, until) in &expected {
                let receipts = engine.receipts(id, None, 9, Time(0)).await.unwrap();
                let users = receipts.map(|all| all.into_iter().map(|one| one.user.to_string()).collect());
                assert_eq!(users, (*until > now.0).then(|| vec![name.clone()]), "{number}: {id} of {name}");
            }
        }
    }
}
