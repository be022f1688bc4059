//! Whether the server stops: said once, seen by all that refuse requests then. Cheap to clone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// Whether the server stops.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    told: Notify,
}

impl Stopping {
    /// It does, from now on.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }

    /// Whether it does.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Waits until it does.
    pub async fn begun(&self) {
        // Made before the look, so that what is told in between is not missed.
        let told = self.0.told.notified();
        if !self.has_begun() {
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_wait_are_told_and_those_that_come_later_do_not_wait() {
        let stopping = Stopping::default();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let stopping = stopping.clone();
                tokio::spawn(async move { stopping.begun().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        stopping.begin();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        stopping.begun().await;
    }
}
