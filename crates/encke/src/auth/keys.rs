//! The keys that tokens are verified with now: those of the configuration, and others that are put beside
//! them. They change while the server runs.

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::{Notify, watch};

use super::{KeySet, verifying_key::VerifyingKey};

/// The keys, and how often they have changed.
#[derive(Debug)]
pub struct Keys {
    sources: Mutex<Sources>,
    current: RwLock<Arc<KeySet>>,
    generation: AtomicU64,
    fetching: Fetching,
}

/// What is between those who verify tokens and what fetches keys.
#[derive(Debug)]
struct Fetching {
    /// Whether a token may bring about a fetch; never where none are fetched.
    is_allowed: AtomicBool,
    /// Whether one did.
    is_wanted: AtomicBool,
    wanted: Notify,
    /// How many attempts are over.
    attempts: watch::Sender<u64>,
}

/// A fetch that a token has brought about.
#[derive(Debug)]
pub struct PendingFetch(watch::Receiver<u64>);

impl PendingFetch {
    /// Waits until it is over, however it ends. Its time is bounded by what fetches.
    pub async fn over(mut self) {
        // The sender is gone only when the server is.
        let _ = self.0.changed().await;
    }
}

#[derive(Debug)]
struct Sources {
    configured: KeySet,
    fetched: KeySet,
}

impl Keys {
    /// Those of the configuration.
    pub(super) fn new(configured: KeySet) -> Self {
        let current = RwLock::new(Arc::new(configured.clone()));
        let sources = Mutex::new(Sources { configured, fetched: KeySet::default() });
        let fetching = Fetching {
            is_allowed: AtomicBool::new(false),
            is_wanted: AtomicBool::new(false),
            wanted: Notify::new(),
            attempts: watch::Sender::new(0),
        };
        Self { sources, current, generation: AtomicU64::new(0), fetching }
    }

    /// Puts others in the place of those of the configuration.
    pub fn set_configured(&self, keys: KeySet) {
        self.change(|sources| sources.configured = keys);
    }

    /// Puts others in the place of those that were fetched.
    pub fn set_fetched(&self, keys: KeySet) {
        let is_same = |sources: &Sources| sources.fetched == keys;
        if !is_same(&self.sources.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.change(|sources| sources.fetched = keys);
        }
    }

    /// An attempt to fetch keys is over. The next for a token has to be allowed again.
    pub fn fetched(&self) {
        self.fetching.is_allowed.store(false, Ordering::Release);
        self.fetching.is_wanted.store(false, Ordering::Release);
        self.fetching.attempts.send_modify(|attempts| *attempts += 1);
    }

    /// From now on a token with an unknown `kid` brings about a fetch.
    pub fn allow_fetch(&self) {
        self.fetching.is_allowed.store(true, Ordering::Release);
    }

    /// Whether a token has brought about a fetch that is not over.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.fetching.is_wanted.load(Ordering::Acquire)
    }

    /// Waits until a token brings about a fetch.
    pub async fn wanted(&self) {
        self.fetching.wanted.notified().await;
    }

    /// A token has named a key that is not there.
    pub(super) fn miss(&self) {
        if self.fetching.is_allowed.swap(false, Ordering::AcqRel) {
            self.fetching.is_wanted.store(true, Ordering::Release);
            self.fetching.wanted.notify_one();
        }
    }

    /// How many attempts to fetch keys are over.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        *self.fetching.attempts.borrow()
    }

    /// The fetch that is under way for a token, or was over since there were so many attempts: what was
    /// refused meanwhile may be good after it.
    pub(super) fn fetch_since(&self, attempts: u64) -> Option<PendingFetch> {
        let mut receiver = self.fetching.attempts.subscribe();
        let is_pending = self.are_wanted();
        if *receiver.borrow() != attempts {
            receiver.mark_changed();
            return Some(PendingFetch(receiver));
        }
        is_pending.then_some(PendingFetch(receiver))
    }

    /// The keys now.
    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often the keys have changed. What was found out about a token after this was read, by the keys
    /// that were read after it, holds as long as it stays the same.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        let keys = Arc::new(sources.configured.and(&sources.fetched));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys;
        // Behind the keys: what is remembered under the new number was verified with them.
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl KeySet {
    /// These keys, and behind them others.
    fn and(&self, others: &Self) -> Self {
        let keys: Vec<VerifyingKey> = self.iter().chain(others.iter()).cloned().collect();
        Self::of(keys)
    }
}
