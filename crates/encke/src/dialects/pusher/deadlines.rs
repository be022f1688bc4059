//! How long a client that comes waits for what others of its browser or user may still say: once, and not
//! again for each channel that it subscribes to.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::cluster::DIALECT_ANSWER_MAX;

/// How long it waits for those that are here, or are about to leave.
const WAIT: Duration = Duration::from_secs(2);
/// How long it waits for the answer of a node once one was silent for as long as nodes are waited for.
const HURRY: Duration = Duration::from_millis(250);
/// After how long it waits anew: what it subscribes to then is no part of its coming.
const AGAIN: Duration = Duration::from_secs(10);

/// How long one client has waited.
#[derive(Debug, Default)]
pub(super) struct Deadlines(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    /// Until when it waits for clients, since it began to.
    until: Option<Instant>,
    /// When a node was silent last.
    silence: Option<Instant>,
}

impl Deadlines {
    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it waits now; the first that does begins the time.
    pub(super) fn waits(&self) -> bool {
        let (mut waited, now) = (self.waited(), Instant::now());
        let until = waited.until.filter(|until| now < *until + AGAIN).unwrap_or(now + WAIT);
        waited.until = Some(until);
        now < until
    }

    /// How long it waits for the answers of nodes.
    pub(super) fn for_nodes(&self) -> Duration {
        let was_silent = self.waited().silence.is_some_and(|silence| silence.elapsed() < AGAIN);
        if was_silent { HURRY } else { DIALECT_ANSWER_MAX }
    }

    /// A node has not answered.
    pub(super) fn was_silent(&self) {
        self.waited().silence = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_waits_once_for_all_channels_that_it_comes_for_and_anew_later() {
        let deadlines = Deadlines::default();
        advance(AGAIN).await;
        assert!(deadlines.waits(), "what it did not wait for before is no part of it");
        advance(WAIT - Duration::from_millis(1)).await;
        assert!(deadlines.waits());
        advance(Duration::from_millis(1)).await;
        for _ in 0..100 {
            assert!(!deadlines.waits(), "another channel");
        }
        advance(AGAIN).await;
        assert!(deadlines.waits());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_silent_is_waited_for_shortly_by_the_next_channels() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.for_nodes(), DIALECT_ANSWER_MAX);
        deadlines.was_silent();
        advance(AGAIN - Duration::from_millis(1)).await;
        assert_eq!(deadlines.for_nodes(), HURRY);
        advance(Duration::from_millis(1)).await;
        assert_eq!(deadlines.for_nodes(), DIALECT_ANSWER_MAX);
    }
}
