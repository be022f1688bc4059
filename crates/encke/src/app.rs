//! What every handler needs.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use encke_engine::Engine;
use encke_hub::Now;
use tokio::sync::Semaphore;

use crate::{
    access_log::AccessLog,
    auth::{Authenticator, KeysError},
    clock::Clock,
    cluster::{NodeReports, Nodes, Sessions},
    config::Config,
    copies::Copies,
    dialect_states::DialectStates,
    hook_events::{EventWriter, Lives},
    hooks::{ClientError, Decisions, HooksReport},
    looks::Looks,
    metrics::Metrics,
    new_channels::NewChannels,
    push_history::PushHistory,
    push_totals::PushTotals,
    random::NoRandomness,
    rate_limits::RateLimits,
    reload::Reloads,
    revocation_log::RevocationLog,
    shards::Shards,
    stats::Stats,
    stopping::Stopping,
    supervisor::Supervisor,
    traces::Tracer,
    unfinished::Unfinished,
    url_checks::UrlChecks,
};

/// How many requests may look through all users or channels at a time on this node; others wait.
const SEARCHES_MAX: usize = 2;

/// Why it cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The keys are not there, or one cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The application cannot be asked.
    #[error("`hooks`: {0}")]
    Hooks(#[from] ClientError),
    /// No page can be asked for.
    #[error("`url_checks`: {0}")]
    UrlChecks(#[from] reqwest::Error),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

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
    /// What the application decides, if it decides anything.
    pub decisions: Option<Arc<Decisions>>,
    /// What happens to sessions, as it is written down for the application, if it is told anything.
    pub events: Option<Arc<EventWriter>>,
    /// What is taken back of tokens, as this node follows it.
    pub revocations: Arc<RevocationLog>,
    /// How often clients may ask.
    pub rate_limits: Arc<RateLimits>,
    /// How many channels each user may make.
    pub new_channels: Arc<NewChannels>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where a line goes for each request; off unless it was said otherwise.
    pub access_log: OnceLock<AccessLog>,
    /// What records traces; said once, before the first request, if they are recorded.
    pub tracer: OnceLock<Arc<Tracer>>,
    /// How this node is, and all others.
    pub reports: NodeReports,
    /// Room for those who look through all users or channels.
    pub searches: Semaphore,
    /// Which pushes were accepted.
    pub push_history: Arc<PushHistory>,
    /// How far pushes have come, counted.
    pub push_totals: PushTotals,
    /// How pages answer, for those who push them, if that is allowed.
    pub url_checks: Option<UrlChecks>,
    /// What is counted.
    pub metrics: &'static Metrics,
    /// Whether all parts are at work.
    pub supervisor: Supervisor,
    /// Whether the server stops.
    pub stopping: Stopping,
    /// The parts that take new settings while the server runs; others register themselves.
    pub reloads: Reloads,
    /// What dialects copy of what is published; said once, before the first request.
    pub copies: OnceLock<Vec<&'static dyn Copies>>,
    /// Operators who look on at users, on this node.
    pub looks: Looks,
    /// What dialects keep for the whole server.
    pub dialect_states: DialectStates,
    /// What is to be done before the server stops.
    pub unfinished: Unfinished,
}

/// Lets it be told how the application's endpoint does.
fn report_hooks(stats: &Stats, decisions: Option<Arc<Decisions>>, events: Option<Arc<EventWriter>>) {
    stats.reads_hooks(move || HooksReport {
        decisions: decisions.as_ref().map(|decisions| decisions.report()),
        delivery: events.as_ref().and_then(|events| events.status().report()),
        webhooks: Vec::new(),
    });
}

impl App {
    /// Puts it together, for a node that is alone.
    ///
    /// # Errors
    /// [`AppError`], when [`Config::complete_keys`] was not called before, a key cannot be used, or there can
    /// be no client for hooks.
    pub fn new(
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        shards: Shards,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, AppError> {
        Self::among(config, engine, shards, clock, None)
    }

    /// Puts it together, for a node among others if there are any.
    ///
    /// # Errors
    /// [`AppError`], when [`Config::complete_keys`] was not called before, a key cannot be used, or there can
    /// be no client for hooks.
    pub fn among(
        config: Arc<Config>,
        engine: Arc<dyn Engine>,
        shards: Shards,
        clock: Arc<dyn Clock>,
        nodes: Option<Arc<Nodes>>,
    ) -> Result<Arc<Self>, AppError> {
        let auth =
            if nodes.is_some() { Authenticator::among_nodes(&config) } else { Authenticator::new(&config) }?;
        let revocations = match &nodes {
            Some(nodes) => Arc::clone(nodes.revocations()),
            None => RevocationLog::new(Arc::clone(&engine), shards.clone(), Arc::clone(&clock)),
        };
        let decisions = Decisions::of(&config.hooks, Arc::clone(&clock))?;
        let auth = auth.observing(Arc::clone(revocations.revocations())).asking(decisions.as_ref());
        let (auth, stopping) = (Arc::new(auth), Stopping::default());
        let events = match config.hooks.events.is_empty() {
            true => None,
            false => Some(EventWriter::new(
                &config.hooks,
                Arc::clone(&engine),
                Arc::clone(&clock),
                Lives::of(nodes.as_ref())?,
                stopping.clone(),
            )),
        };
        let stats = nodes.as_ref().map_or_else(
            || {
                let (engine, clock) = (Arc::clone(&engine), Arc::clone(&clock));
                Stats::new(config.node.clone(), engine, shards.clone(), clock)
            },
            |nodes| Arc::clone(nodes.stats()),
        );
        report_hooks(&stats, decisions.clone(), events.clone());
        let reports = NodeReports::new(stats, nodes.clone());
        let sessions = Sessions::new(shards.clone(), nodes, config.node.clone());
        let push_history = PushHistory::new(Arc::clone(&engine), Arc::clone(&clock));
        let (metrics, reloads) = (Metrics::global(), Reloads::new(&config));
        let rate_limits = Arc::new(RateLimits::new(&config.limits));
        let new_channels = Arc::new(NewChannels::new(config.max_new_channels_per_hour));
        let url_checks = UrlChecks::of(config.url_checks)?;
        Ok(Arc::new(Self {
            url_checks,
            looks: Looks::new(Arc::clone(auth.api_keys()), Arc::clone(&clock), shards.clone()),
            rate_limits,
            config,
            engine,
            shards,
            sessions,
            auth,
            decisions,
            events,
            revocations,
            new_channels,
            reports,
            searches: Semaphore::new(SEARCHES_MAX),
            push_history,
            push_totals: PushTotals::default(),
            access_log: OnceLock::new(),
            tracer: OnceLock::new(),
            clock,
            metrics,
            supervisor: Supervisor::new(stopping.clone()),
            stopping,
            reloads,
            copies: OnceLock::new(),
            dialect_states: DialectStates::default(),
            unfinished: Unfinished::default(),
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
