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
    /// Which one it is of those that have come to this server.
    pub(super) number: u64,
    /// What it is called here.
    pub(super) client: UserId,
    followed: Mutex<Followed>,
    is_leaving: AtomicBool,
}

impl Tracked {
    pub(super) fn new(number: u64, client: UserId) -> Self {
        Self { number, client, followed: Mutex::default(), is_leaving: AtomicBool::new(false) }
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
}
