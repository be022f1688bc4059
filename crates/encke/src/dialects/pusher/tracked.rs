//! A client that may be known again, as long as its connection is here and until its places are written: how
//! far it has come. The shard of its connection says that, and others look at it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use encke_proto::UserId;

use super::followed::Followed;

/// A client.
#[derive(Debug)]
pub(super) struct Tracked {
    /// What it is called here.
    pub(super) client: UserId,
    followed: Mutex<Followed>,
    is_leaving: AtomicBool,
    is_asked_for: AtomicBool,
}

impl Tracked {
    pub(super) fn new(client: UserId) -> Self {
        Self {
            client,
            followed: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            is_asked_for: AtomicBool::new(false),
        }
    }

    /// What it follows, and how far it is in that.
    pub(super) fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its connection is over, and its places are about to be written. False when that was so already.
    pub(super) fn leave(&self) -> bool {
        !self.is_leaving.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// One who comes wants to know how far it is.
    pub(super) fn ask(&self) {
        self.is_asked_for.store(true, Ordering::Relaxed);
    }

    /// Whether one does; it is answered now.
    pub(super) fn take_asked(&self) -> bool {
        self.is_asked_for.load(Ordering::Relaxed) && self.is_asked_for.swap(false, Ordering::Relaxed)
    }
}
