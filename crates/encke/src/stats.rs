//! What a node reports of itself to operators: how much there is, how often things happened, and how that
//! went over the last day. It counts nothing: it reads what shards, engine and metrics have counted.

mod history;
mod report;
mod sample;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use encke_engine::Engine;
use encke_hub::Now;
use encke_proto::ErrorCode;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::history::History;
pub use self::{
    history::{HISTORY_MAX_MINUTES, Point, step_s},
    report::{NodeReport, Span},
    sample::{Levels, Sample, Totals},
};
use crate::{
    clock::Clock,
    hooks::{DeliveryStatus, HooksReport, WebhooksReport},
    metrics::Metrics,
    shards::Shards,
};

/// How often it is written down how much there is.
const LOOK: Duration = Duration::from_secs(10);

/// Finds out how the application's endpoint does.
type HooksReader = Box<dyn Fn() -> HooksReport + Send + Sync>;

/// What this node knows of itself. Shared by handlers and the other nodes' questions.
pub struct Stats {
    node: String,
    engine: Arc<dyn Engine>,
    shards: Shards,
    clock: Arc<dyn Clock>,
    began: Now,
    addresses: OnceLock<Vec<String>>,
    hooks: OnceLock<HooksReader>,
    /// The webhooks of dialects, each with whose they are.
    webhooks: Mutex<Vec<(String, DeliveryStatus)>>,
    history: Mutex<History>,
}

impl Stats {
    /// Of this node, which begins now.
    #[must_use]
    pub fn new(node: String, engine: Arc<dyn Engine>, shards: Shards, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (began, addresses, hooks) = (clock.now(), OnceLock::new(), OnceLock::new());
        let history = Mutex::new(History::begun(Sample::at(began)));
        let webhooks = Mutex::default();
        Arc::new(Self { node, engine, shards, clock, began, addresses, hooks, webhooks, history })
    }

    /// Where the node listens; said once, when it does.
    pub fn listens_at(&self, addresses: Vec<String>) {
        self.addresses.get_or_init(|| addresses);
    }

    /// How to find out how the application's endpoint does; said once, if there is one.
    pub fn reads_hooks(&self, read: impl Fn() -> HooksReport + Send + Sync + 'static) {
        self.hooks.get_or_init(|| Box::new(read));
    }

    /// How to find out how the webhooks of a part of a dialect are delivered.
    pub fn reads_webhooks(&self, of: String, status: DeliveryStatus) {
        self.webhooks().push((of, status));
    }

    fn webhooks(&self) -> MutexGuard<'_, Vec<(String, DeliveryStatus)>> {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the application's endpoint does, and how webhooks are delivered.
    fn hooks(&self) -> HooksReport {
        let mut report = self.hooks.get().map_or_else(HooksReport::default, |read| read());
        for (of, status) in self.webhooks().iter() {
            report
                .webhooks
                .extend(status.report().map(|delivery| WebhooksReport { of: of.clone(), delivery }));
        }
        report
    }

    /// Where the node listens.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// For how many seconds the node has been at work.
    #[must_use]
    pub fn uptime_s(&self) -> u64 {
        self.clock.now().mono_ms.saturating_sub(self.began.mono_ms) / 1000
    }

    /// Writes down from time to time how much there is, until the server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopping.wait_for(|stops| *stops) => return,
            }
            // A node with too much to do tells later.
            let _ = self.look().await;
        }
    }

    /// Writes down how much there is now.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn look(&self) -> Result<(), ErrorCode> {
        let sample = self.sample().await?;
        self.history().take(&sample);
        Ok(())
    }

    /// How the node is.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn report(&self) -> Result<NodeReport, ErrorCode> {
        let sample = self.sample().await?;
        let history = self.history();
        Ok(NodeReport {
            node: self.node.clone(),
            id: None,
            version: env!("CARGO_PKG_VERSION").into(),
            engine: self.engine.mode().as_str().into(),
            started: self.began.wall,
            uptime_s: sample.at.mono_ms.saturating_sub(self.began.mono_ms) / 1000,
            addresses: self.addresses().to_vec(),
            levels: sample.levels,
            totals: sample.totals,
            minute: history.last(60, &sample),
            hour: history.last(3600, &sample),
            hooks: self.hooks(),
        })
    }

    /// What happened in each step of the last `minutes`, the oldest first; see [`step_s`].
    #[must_use]
    pub fn points(&self, minutes: u32) -> Vec<Point> {
        self.history().points(minutes)
    }

    async fn sample(&self) -> Result<Sample, ErrorCode> {
        let counts = self.shards.counts().await?;
        Ok(Sample::of(self.clock.now(), &counts, Metrics::global()))
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats").field("node", &self.node).finish_non_exhaustive()
    }
}
