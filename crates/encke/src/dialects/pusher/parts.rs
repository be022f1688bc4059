//! Locks for logs: what is done to one log is done one after the other, and what is done to several beside
//! each other, but for those that have a lock in common.

use std::hash::{BuildHasher, RandomState};

use encke_proto::ChannelName;
use tokio::sync::Mutex;

/// How many locks there are.
const PARTS: usize = 256;

/// The locks.
#[derive(Debug)]
pub(super) struct Parts {
    locks: [Mutex<()>; PARTS],
    hasher: RandomState,
}

impl Default for Parts {
    fn default() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Parts {
    /// The one of a log.
    pub(super) fn of(&self, log: &ChannelName) -> &Mutex<()> {
        let part = usize::try_from(self.hasher.hash_one(log.as_str()) % PARTS as u64).unwrap_or(0);
        &self.locks[part]
    }
}
