//! Notices when a part without which the server cannot serve ends before its time, by an error or a panic.
//!
//! Such a server would look healthy and serve only some of its clients. It is not ready any more, and stops
//! in order: clients come back by their cursors, here once it is started again, or at another node.

use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt;
use tokio::{sync::watch, task::JoinHandle};

use crate::{metrics::Metrics, stopping::Stopping};

/// Runs parts, and tells when one has failed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    failed: watch::Sender<bool>,
    stopping: Stopping,
}

impl Supervisor {
    /// All is well. Once the server is `stopping`, its parts may end.
    #[must_use]
    pub fn new(stopping: Stopping) -> Self {
        Self { failed: watch::Sender::new(false), stopping }
    }

    /// Runs a part in this thread, to its end.
    pub fn run<E: Display>(&self, part: &'static str, work: impl FnOnce() -> Result<(), E>) {
        // What the part left half done goes with it: nothing looks at it any more.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => self.ended(part),
            Ok(Err(error)) => self.fail(part, &error),
            Err(_) => self.fail(part, &"it has panicked"),
        }
    }

    /// Runs a part as a task, to its end.
    pub fn spawn(
        &self,
        part: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let supervisor = self.clone();
        tokio::spawn(async move {
            match AssertUnwindSafe(work).catch_unwind().await {
                Ok(()) => supervisor.ended(part),
                Err(_) => supervisor.fail(part, &"it has panicked"),
            }
        })
    }

    /// Whether a part has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        *self.failed.borrow()
    }

    /// Waits until a part has failed.
    pub async fn failed(&self) {
        // The sender is this one's own, so it is there.
        let _ = self.failed.subscribe().wait_for(|failed| *failed).await;
    }

    fn ended(&self, part: &'static str) {
        if !self.stopping.has_begun() {
            self.fail(part, &"it has ended");
        }
    }

    fn fail(&self, part: &'static str, why: &dyn Display) {
        tracing::error!(part, %why, "a part of the server has failed; the server stops");
        Metrics::global().part_failures.of(part).inc();
        self.failed.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn t31_a_part_that_fails_is_told_and_one_that_ends_is_not() {
        let stopping = Stopping::default();
        let supervisor = Supervisor::new(stopping.clone());
        stopping.begin();
        supervisor.run("well", || Ok::<(), String>(()));
        supervisor.spawn("well", async {}).await.unwrap();
        assert!(!supervisor.has_failed());
        type Failing = fn(&Supervisor);
        let failing: [Failing; 5] = [
            |supervisor| supervisor.run("ended", || Ok::<(), String>(())),
            |supervisor| drop(supervisor.spawn("ended", async {})),
            |supervisor| supervisor.run("error", || Err("no poll")),
            |supervisor| supervisor.run("panic", || -> Result<(), String> { panic!("on purpose") }),
            |supervisor| drop(supervisor.spawn("task", async { panic!("on purpose") })),
        ];
        for fail in failing {
            let supervisor = Supervisor::new(Stopping::default());
            fail(&supervisor);
            supervisor.failed().await;
            assert!(supervisor.has_failed());
        }
    }
}
