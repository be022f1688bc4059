//! What every handler needs.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use encke_engine::Engine;
use encke_hub::Now;

use crate::{
    auth::{Authenticator, KeysError},
    clock::Clock,
    cluster::{Nodes, Sessions},
    config::Config,
    copies::Copies,
    metrics::Metrics,
    new_channels::NewChannels,
    rate_limits::RateLimits,
    reload::Reloads,
    revocation_log::RevocationLog,
    shards::Shards,
    stopping::Stopping,
    supervisor::Supervisor,
};

/// The server as its handlers see it. Made once, shared by all.
pub struct App {
    /// The settings, with both keys in them.
    pub config: Arc<Config>,
    /// Where the logs are.
    pub engine: Arc<dyn Engine>,
    /// This node's shards.
    pub shards: Shards,
    /// All sessions, on whatever node.
    pub sessions: Sessions,
    /// Who may do what.
    pub auth: Arc<Authenticator>,
    /// What is taken back of tokens, as this node follows it.
    pub revocations: Arc<RevocationLog>,
    /// How often clients may ask.
    pub rate_limits: Arc<RateLimits>,
    /// How many channels each user may make.
    pub new_channels: NewChannels,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether all parts are at work.
    pub supervisor: Supervisor,
    /// Whether the server stops.
    pub stopping: Stopping,
    /// The parts that take new settings while the server runs; others register themselves.
    pub reloads: Reloads,
    /// What dialects copy of what is published; said once, before the first request.
    pub copies: OnceLock<Vec<&'static dyn Copies>>,
}

impl App {
    /// Puts it together, for a node that is alone.
    ///
    /// # Errors
    /// [`KeysError`], when [`Config::complete_keys`] was not called before or a key cannot be used.
    pub fn new(
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        shards: Shards,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, KeysError> {
        Self::among(config, engine, shards, clock, None)
    }

    /// Puts it together, for a node among others if there are any.
    ///
    /// # Errors
    /// [`KeysError`], when [`Config::complete_keys`] was not called before or a key cannot be used.
    pub fn among(
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        shards: Shards,
        clock: Arc<dyn Clock>,
        nodes: Option<Arc<Nodes>>,
    ) -> Result<Arc<Self>, KeysError> {
        let auth =
            if nodes.is_some() { Authenticator::among_nodes(&config) } else { Authenticator::new(&config) }?;
        let revocations = match &nodes {
            Some(nodes) => Arc::clone(nodes.revocations()),
            None => RevocationLog::new(Arc::clone(&engine), shards.clone(), Arc::clone(&clock)),
        };
        let auth = auth.observing(Arc::clone(revocations.revocations()));
        let (auth, stopping) = (Arc::new(auth), Stopping::default());
        let sessions = Sessions::new(shards.clone(), nodes, config.node.clone());
        // The recorder comes first: what is counted before it is there is counted nowhere.
        let metrics = Metrics::global();
        let reloads = Reloads::new(&config);
        let rate_limits = Arc::new(RateLimits::new(&config.limits));
        let new_channels = NewChannels::new(config.max_new_channels_per_hour);
        Ok(Arc::new(Self {
            rate_limits,
            config,
            engine,
            shards,
            sessions,
            auth,
            revocations,
            new_channels,
            clock,
            metrics,
            supervisor: Supervisor::new(stopping.clone()),
            stopping,
            reloads,
            copies: OnceLock::new(),
        }))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// From now on requests are refused as `shutting_down`, and the server is not ready any more.
    pub fn stop(&self) {
        self.stopping.begin();
    }

    /// Whether [`App::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.has_begun()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .field("stopping", &self.is_stopping())
            .finish_non_exhaustive()
    }
}
