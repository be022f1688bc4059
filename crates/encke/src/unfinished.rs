//! What was begun beside all requests and has to be done before the server stops.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, watch},
    time::timeout,
};

/// How long a server that stops waits for it.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// All that is not done yet.
#[derive(Debug, Default)]
pub struct Unfinished {
    begun: Arc<RwLock<()>>,
    ending: watch::Sender<bool>,
}

/// One thing that is not done yet, until this is dropped.
#[derive(Debug)]
pub struct Begun {
    _lock: Option<OwnedRwLockReadGuard<()>>,
}

impl Unfinished {
    /// Begins something. The server that has stopped waits for nothing more.
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun { _lock: Arc::clone(&self.begun).try_read_owned().ok() }
    }

    /// Waits until all connections are over and their last is written, so that what was begun may end.
    pub async fn ending(&self) {
        // It fails when there is no sender any more, which is this.
        let _ = self.ending.subscribe().wait_for(|ends| *ends).await;
    }

    /// Waits until all is done that was begun, for a while. False when something is not.
    pub async fn finish(&self) -> bool {
        self.ending.send_replace(true);
        timeout(FINISH_WITHIN, self.begun.write()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_what_was_begun_and_not_for_ever() {
        let unfinished = Unfinished::default();
        assert!(unfinished.finish().await);
        let (one, other) = (unfinished.begin(), unfinished.begin());
        drop(one);
        assert!(!unfinished.finish().await);
        drop(other);
        unfinished.ending().await;
        assert!(unfinished.finish().await);
    }
}
