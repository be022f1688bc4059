//! Whether things go wrong now. Each task that injects faults of its own looks here, and stops when told to.

use tokio::sync::watch;

/// What the run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Things go wrong.
    Storm,
    /// The network is good and no client misbehaves, but publishers go on: nodes are restarted one after the
    /// other.
    Breeze,
    /// Nothing goes wrong any more; publishers finish what they began, clients catch up and stay.
    Calm,
    /// The first half of the clients go without a word.
    HalfGone,
    /// All are gone.
    Over,
    /// Later than anything: who leaves then stays.
    Never,
}

/// The run's stage, for the one who sets it.
#[derive(Debug)]
pub struct PhaseSender(watch::Sender<Stage>);

/// The run's stage, for all others.
#[derive(Clone, Debug)]
pub struct Look(watch::Receiver<Stage>);

impl PhaseSender {
    /// A storm.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Stage::Storm))
    }

    /// For others to look at.
    #[must_use]
    pub fn look(&self) -> Look {
        Look(self.0.subscribe())
    }

    /// The next stage begins.
    pub fn turn(&self, stage: Stage) {
        self.0.send_replace(stage);
    }
}

impl Look {
    /// What it is now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Whether things go wrong.
    #[must_use]
    pub fn is_storm(&self) -> bool {
        self.stage() == Stage::Storm
    }

    /// Whether publishers publish.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.stage() < Stage::Calm
    }

    /// Returns when it is this stage or a later one.
    pub async fn reached(&mut self, stage: Stage) {
        // When no phase can come any more, the run is over.
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}
