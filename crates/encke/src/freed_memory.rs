//! When memory that was freed is given back to the system. The allocator keeps it for those who come next,
//! which is right while as many come as go; after a crowd has gone it would stay for good.

use std::{sync::Arc, time::Duration};

use encke_batch::give_back_freed_memory;
use tokio::{sync::watch, task::spawn_blocking, time::interval};

use crate::{connection::ConnectionLimit, metrics::Metrics};

/// How often it is looked whether many have gone.
const LOOK: Duration = Duration::from_secs(5);
/// Fewer connections than this are not worth it, nor fewer receivers that were closed because they were slow,
/// for each of whom up to 0.1 MB was kept.
const GONE_MIN: usize = 64;

/// Gives memory back whenever many connections have gone, until the server stops.
pub async fn give_back_after_crowds(connections: Arc<ConnectionLimit>, mut stopping: watch::Receiver<bool>) {
    let (mut crowd, mut looks) = (Crowd::default(), interval(LOOK));
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopping.wait_for(|stops| *stops) => return,
        }
        if crowd.has_gone(connections.open(), Metrics::global().slow_closed.get()) {
            // It takes some milliseconds, and a thread that holds nothing up.
            let given = spawn_blocking(give_back_freed_memory).await;
            tracing::debug!(given = given.unwrap_or(false), "freed memory was given back");
        }
    }
}

/// How many connections there were, since memory was last given back.
#[derive(Debug, Default)]
struct Crowd {
    /// The most that were open at a look.
    most: usize,
    /// How many receivers had been closed as slow then.
    slow: u64,
}

impl Crowd {
    /// Whether so many have gone that their memory is given back, with so many open, and so many closed as
    /// slow in all. What goes and is replaced does not count.
    fn has_gone(&mut self, open: usize, slow: u64) -> bool {
        self.most = self.most.max(open);
        let has_gone = (self.most - open >= GONE_MIN && open <= self.most / 2)
            || slow.saturating_sub(self.slow) >= GONE_MIN as u64;
        if has_gone {
            *self = Self { most: open, slow };
        }
        has_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_gone_once_when_half_of_it_has() {
        let mut crowd = Crowd::default();
        for (open, has_gone) in
            [(1_000, false), (501, false), (500, true), (500, false), (250, true), (3, true)]
        {
            assert_eq!(crowd.has_gone(open, 0), has_gone, "{open}");
        }
        assert!(!crowd.has_gone(0, 0), "few are not worth it");
        // As many come as go.
        assert!([900, 1_000, 800, 900].into_iter().all(|open| !crowd.has_gone(open, 0)));
    }

    #[test]
    fn slow_receivers_count_though_all_others_stay() {
        let mut crowd = Crowd::default();
        for (slow, has_gone) in [(63, false), (64, true), (127, false), (128, true), (128, false)] {
            assert_eq!(crowd.has_gone(10_000, slow), has_gone, "{slow}");
        }
    }
}
