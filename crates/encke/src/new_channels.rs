//! How many channels each user may make by publishing to them. A channel stays for good once something was
//! published to it, so a client that may publish to a pattern could fill the store with names.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use encke_proto::UserId;

/// The time in which a user may make as many as are allowed, in milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// Of how many users it is known that they made some. Beyond that the one is forgotten who has the most left.
const USERS_MAX: usize = 10_000;

/// What each user of a node has made lately. All that are allowed in an hour may be made at once; what was
/// used comes back evenly over an hour.
#[derive(Debug)]
pub struct NewChannels {
    max_per_hour: AtomicU64,
    /// When each user has all of them again, in milliseconds of the clock that never goes back.
    whole_at: Mutex<HashMap<UserId, u64>>,
}

impl NewChannels {
    /// So many an hour for each user; 0 is none at all.
    #[must_use]
    pub fn new(max_per_hour: u64) -> Self {
        Self { max_per_hour: AtomicU64::new(max_per_hour), whole_at: Mutex::default() }
    }

    /// So many from now on. What was used of the hour stays used.
    pub fn set_max_per_hour(&self, max_per_hour: u64) {
        self.max_per_hour.store(max_per_hour, Ordering::Relaxed);
    }

    /// Whether a user may make no further one now.
    #[must_use]
    pub fn is_spent(&self, user: &UserId, now_ms: u64) -> bool {
        let Some(cost_ms) = self.cost_ms() else { return true };
        let whole_at = self.lock().get(user).copied().unwrap_or(0).max(now_ms);
        whole_at - now_ms + cost_ms > HOUR_MS
    }

    /// A user has made one.
    pub fn count(&self, user: &UserId, now_ms: u64) {
        let Some(cost_ms) = self.cost_ms() else { return };
        let mut users = self.lock();
        if users.len() >= USERS_MAX && !users.contains_key(user) {
            users.retain(|_, whole_at| *whole_at > now_ms);
            let first = users.iter().min_by_key(|(_, whole_at)| **whole_at).map(|(user, _)| user.clone());
            if let Some(first) = first.filter(|_| users.len() >= USERS_MAX) {
                users.remove(&first);
            }
        }
        let whole_at = users.entry(user.clone()).or_default();
        *whole_at = (*whole_at).max(now_ms) + cost_ms;
    }

    /// How much of the hour one takes.
    fn cost_ms(&self) -> Option<u64> {
        HOUR_MS.checked_div(self.max_per_hour.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, u64>> {
        self.whole_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn makes(channels: &NewChannels, name: &str, now_ms: u64) -> usize {
        let made = |_: &usize| {
            let may = !channels.is_spent(&user(name), now_ms);
            if may {
                channels.count(&user(name), now_ms);
            }
            may
        };
        (0..10_000).take_while(made).count()
    }

    #[test]
    fn an_hour_has_so_many_and_they_come_back_evenly() {
        let channels = NewChannels::new(60);
        assert_eq!(makes(&channels, "alice", 5), 60);
        assert_eq!(makes(&channels, "bob", 5), 60, "each user has as many");
        assert_eq!(makes(&channels, "alice", 5 + 59_999), 0);
        assert_eq!(makes(&channels, "alice", 5 + 60_000), 1);
        assert_eq!(makes(&channels, "alice", 5 + 10 * 60_000), 9);
        assert_eq!(makes(&channels, "alice", 5 + 3 * HOUR_MS), 60, "and no more than that");
        assert_eq!(makes(&NewChannels::new(0), "alice", 5), 0);
    }

    #[test]
    fn what_is_known_of_users_is_bounded_and_those_that_made_the_most_are_known_longest() {
        let channels = NewChannels::new(60);
        assert_eq!(makes(&channels, "mallory", 1), 60);
        for number in 0..USERS_MAX + 100 {
            channels.count(&user(&format!("user {number}")), 2);
        }
        assert!(channels.lock().len() <= USERS_MAX);
        assert!(channels.is_spent(&user("mallory"), 3));
        // Who has all of them again is not kept.
        channels.count(&user("carol"), HOUR_MS + 10);
        assert_eq!(channels.lock().len(), 1);
    }
}
