//! The keys that tokens are verified with now: those of the configuration, and others that are put beside
//! them. They change while the server runs.

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use super::{KeySet, verifying_key::VerifyingKey};

/// The keys, and how often they have changed.
#[derive(Debug)]
pub struct Keys {
    sources: Mutex<Sources>,
    current: RwLock<Arc<KeySet>>,
    generation: AtomicU64,
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
        Self { sources, current, generation: AtomicU64::new(0) }
    }

    /// Puts others in the place of those of the configuration.
    pub fn set_configured(&self, keys: KeySet) {
        self.change(|sources| sources.configured = keys);
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
