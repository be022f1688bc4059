//! Puts the server together. Which engine it stands on, the table of engines knows.

use std::{io, net::SocketAddr, sync::Arc, thread};

use axum::Router;
use encke_engine::{Cluster, Engine, EngineError, EngineEvents};
use encke_hub::HubConfig;
use encke_proto::Epoch;
use mio::{Poll, Token, Waker};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
};

use crate::{
    access_log::AccessLog,
    admission::{Admit, CommandHandler, Endpoints},
    app::{App, AppError},
    bounds_reload::{RetentionReload, UserBoundsReload},
    clock::{Clock, SystemClock},
    cluster::{Bounds, Inbox, Nodes, node_inbox},
    config::{Config, WebsocketCompression},
    connection::{ConnectionLimit, ConnectionLimits, ListenerRole, RESERVED_MAX, TrustedProxies},
    dialects::Registry,
    engines::{self, OpenError, Opening},
    freed_memory::give_back_after_crowds,
    hook_events::Deliverer,
    key_sources::{ConfiguredKeys, Jwks},
    listeners::{
        Handoffs, RequestLimit, Routers,
        hyper_server::{ADMIN_CONNECTIONS_MAX, HANDOFFS_MAX, HyperServer},
        tls_config::TlsConfig,
    },
    panics,
    publishing::publish_record,
    random,
    reload::Reload,
    revocation_log::{RevocationFeed, RevocationLog},
    router::router_of,
    server_api::inline,
    shards::{
        AdminListener, Commands, Handoff, Mailbox, Parts, Peers, RulesReload, SessionObserver, Shard,
        ShardCommand, Shards, StreamListener, Timeouts, TlsListener, mailbox, open_engine_io, together,
    },
    stats::Stats,
    traces::Tracer,
    transports::CompressionPolicy,
};

mod addresses;
mod error;
mod listen_sockets;
mod socket_file;
mod sockets;

use self::addresses::{Addresses, Reserved};
pub use self::{error::WireError, listen_sockets::Listening};
pub use crate::engines::Backing;

/// How long a request's head may take, in milliseconds.
const HEAD_MS: u64 = 10_000;
/// File descriptors that are not for connections: the store (36 at most of the engine `log`, see
/// `OPEN_SEGMENTS_MAX` there), listeners, and connections that are being told that there are no more.
const DESCRIPTORS_KEPT: usize = 128;
/// How long a connection may rest between two requests, in milliseconds: longer than proxies do, so that it
/// is they who close.
const IDLE_MS: u64 = 75_000;

impl From<OpenError> for WireError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Address(error) => Self::EngineAddress(error),
            OpenError::Engine(error) => Self::Engine(error),
            OpenError::OldStore { .. } => Self::OldStore(error),
        }
    }
}

/// A server that is put together and at work.
#[derive(Debug)]
pub struct Server {
    /// The listener of `listen`.
    pub main: Listening,
    /// Where it listens for TLS.
    pub tls_address: Option<SocketAddr>,
    /// The listener for operators, if they have one of their own.
    pub admin: Option<Listening>,
    /// How many connections it takes at most: as configured, or as there are file descriptors for.
    pub max_connections: usize,
    /// What its handlers see.
    pub app: Arc<App>,
    /// Its shards' threads.
    pub threads: Vec<thread::JoinHandle<()>>,
    /// Its shards' engine I/O tasks, which end behind them.
    pub engine_io: Vec<tokio::task::JoinHandle<()>>,
    /// The task that serves requests that do not wait; it ends when the shards have.
    pub hyper_server: tokio::task::JoinHandle<()>,
    /// Tells hyper that the server stops.
    pub stop: watch::Sender<bool>,
    /// What it does for being one node of several.
    pub among_nodes: Vec<tokio::task::JoinHandle<()>>,
}

/// Puts a server together on the engine that its configuration names, and lets it work.
///
/// # Errors
/// [`WireError`] says what is missing; nothing is at work then.
pub async fn wire(config: Config) -> Result<Server, WireError> {
    let config = Arc::new(config);
    let named = Arc::clone(&config);
    wire_on(config, Arc::new(SystemClock::new()), async move |events| backing(&named, events).await).await
}

/// The same, by another clock, and on whatever `open` makes of the receivers of engine events.
///
/// # Errors
/// [`WireError`] says what is missing; nothing is at work then.
pub async fn wire_on(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    open: impl AsyncFnOnce(EngineEvents) -> Result<Backing, WireError>,
) -> Result<Server, WireError> {
    wire_speaking(config, Registry::built_in(), clock, open).await
}

/// The same, with these dialects, by another clock, and on whatever `open` makes of the receivers of engine
/// events.
///
/// # Errors
/// [`WireError`] says what is missing; nothing is at work then.
pub async fn wire_speaking(
    config: Arc<Config>,
    dialects: Registry,
    clock: Arc<dyn Clock>,
    open: impl AsyncFnOnce(EngineEvents) -> Result<Backing, WireError>,
) -> Result<Server, WireError> {
    panics::watch();
    let reserved = Reserved::of(&config).await?;
    let rooms = (0..config.worker_count()).map(|_| room()).collect::<io::Result<Vec<_>>>()?;
    let shards = Shards::new(rooms.iter().map(|room| room.mailbox.clone()).collect());
    let (commands, inbox) = node_inbox();
    let feed = Arc::new(RevocationFeed::new(shards.clone()));
    let (told, messages) = (Arc::clone(&feed.told), Arc::new(commands));
    let Backing { engine, cluster } = open(EngineEvents { feed, messages }).await?;
    let nodes = cluster.map(|cluster| nodes(&config, &engine, cluster, &shards, &clock));
    let app = App::among(Arc::clone(&config), engine, shards.clone(), Arc::clone(&clock), nodes.clone())?;
    let among_nodes = join(nodes, inbox).await?;
    let admit = admit(&app, &config);
    let (timeouts, max_connections) = (timeouts(&config), max_connections(&config));
    let connection_limit = connection_limit(&config, max_connections);
    let (handoffs, handoff_connections) = mpsc::channel(HANDOFFS_MAX);
    let (stop, stopping) = watch::channel(false);
    app.copies.get_or_init(|| dialects.copies(&config));
    follow_changes(&app, &shards, told, &stopping).await?;
    let endpoints = Arc::new(dialects.endpoints(&app, &admit));
    let routers = routers(&app, &dialects, |main| follow_certificates(&app, reserved.tls(), &stopping, main));
    let https = reserved.https(&config);
    let redirects = https.redirect.is_some();
    let hyper_server = HyperServer {
        routers,
        admit: admit.clone(),
        endpoints: Arc::clone(&endpoints),
        shards,
        clock,
        timeouts,
        https,
        stopping,
    };
    let hyper_server = serve_requests(&app, hyper_server, handoff_connections);
    // Not sooner: the kernel would accept clients that wait for an engine that is not there yet, while other
    // nodes could serve them.
    let addresses = reserved.listen(&config)?;
    look_after(&app, &addresses, Arc::clone(&connection_limit), &stop);
    let workers = Workers {
        app: Arc::clone(&app),
        handoffs,
        admit,
        endpoints,
        command_handler: dialects.command_handler(&app),
        observer: observe(&app, &dialects, &stop)?,
        connection_limit,
        timeouts,
        redirects,
        hub: hub_config(&app),
    };
    let Addresses { main, admin, tls: tls_address, listeners, admin_listeners, tls_listeners } = addresses;
    let (threads, engine_io) = workers.start_all(rooms, listeners, tls_listeners, admin_listeners)?;
    Ok(Server {
        main,
        tls_address,
        admin,
        max_connections,
        app,
        threads,
        engine_io,
        hyper_server,
        stop,
        among_nodes,
    })
}

/// Starts what serves the requests that the shards do not.
fn serve_requests(
    app: &App,
    hyper_server: HyperServer,
    connections: mpsc::Receiver<Handoff>,
) -> tokio::task::JoinHandle<()> {
    let handoffs = Handoffs::new(hyper_server, request_limit(&app.config));
    app.supervisor.spawn("hyper", handoffs.run(connections))
}

/// Starts what looks at the server while it works: for its operators, and for memory to give back.
fn look_after(
    app: &App,
    addresses: &Addresses,
    connections: Arc<ConnectionLimit>,
    stop: &watch::Sender<bool>,
) {
    app.reports.stats().listens_at(addresses.urls());
    app.supervisor.spawn("push history", Arc::clone(&app.push_history).run(stop.subscribe()));
    app.supervisor.spawn("stats", Arc::clone(app.reports.stats()).run(stop.subscribe()));
    app.supervisor.spawn("freed memory", give_back_after_crowds(connections, stop.subscribe()));
}

/// This node among the others.
fn nodes(
    config: &Config,
    engine: &Arc<dyn Engine>,
    cluster: Arc<dyn Cluster>,
    shards: &Shards,
    clock: &Arc<dyn Clock>,
) -> Arc<Nodes> {
    let name = config.node.clone();
    let revocations = RevocationLog::new(Arc::clone(engine), shards.clone(), Arc::clone(clock));
    let stats = Stats::new(name.clone(), Arc::clone(engine), shards.clone(), Arc::clone(clock));
    Nodes::new(Arc::clone(engine), cluster, shards.clone(), revocations, stats, name, bounds(config))
}

/// What holds for users and sessions on all nodes alike.
fn bounds(config: &Config) -> Bounds {
    Bounds {
        grace_ms: config.session_grace_s * 1000,
        max_sessions_per_user: bound(config.max_sessions_per_user).max(1),
    }
}

/// Joins the other nodes, if there are any.
async fn join(
    nodes: Option<Arc<Nodes>>,
    inbox: Inbox,
) -> Result<Vec<tokio::task::JoinHandle<()>>, WireError> {
    match nodes {
        Some(nodes) => Ok(nodes.join(inbox).await?),
        None => Ok(Vec::new()),
    }
}

/// Takes what changes while the server runs: settings, keys, and what is revoked.
async fn follow_changes(
    app: &Arc<App>,
    shards: &Shards,
    told: Arc<Notify>,
    stopping: &watch::Receiver<bool>,
) -> Result<(), WireError> {
    let access_log = AccessLog::open(&app.config).map_err(WireError::AccessLog)?;
    app.reloads.register(Arc::new(app.access_log.get_or_init(|| access_log).clone()));
    trace(app)?;
    follow_settings(app, shards).await;
    follow_keys(app, stopping).await?;
    follow_revocations(app, told, stopping).await?;
    publish_audit(app);
    deliver_events(app, stopping)?;
    Ok(())
}

/// Records traces and sends them, if there is a collector.
fn trace(app: &App) -> Result<(), WireError> {
    let Some((tracer, exporter)) = Tracer::of(&app.config.traces, &app.config.node)? else { return Ok(()) };
    app.tracer.get_or_init(|| tracer);
    app.supervisor.spawn("traces", exporter.run());
    Ok(())
}

/// Writes down what happens to sessions and delivers it, if the application is told anything.
fn deliver_events(app: &App, stopping: &watch::Receiver<bool>) -> Result<(), WireError> {
    let Some(writer) = &app.events else { return Ok(()) };
    let (engine, clock) = (Arc::clone(&app.engine), Arc::clone(&app.clock));
    let deliverer = Deliverer::new(&app.config, engine, clock, Arc::clone(writer)).map_err(AppError::from)?;
    app.supervisor.spawn("hook events", Arc::clone(writer).run(stopping.clone()));
    app.supervisor.spawn("hook deliveries", deliverer.run(stopping.clone()));
    Ok(())
}

/// Lets dialects tell their applications what happens. Gives who is told of sessions.
fn observe(
    app: &Arc<App>,
    dialects: &Registry,
    stop: &watch::Sender<bool>,
) -> Result<Option<Arc<dyn SessionObserver>>, WireError> {
    let mut observers: Vec<_> =
        app.events.clone().map(|own| own as Arc<dyn SessionObserver>).into_iter().collect();
    for telling in dialects.tellings(app).map_err(AppError::from)? {
        observers.extend(telling.observer);
        for writer in telling.writers {
            app.supervisor.spawn("webhook events", writer.run(stop.subscribe()));
        }
        for deliverer in telling.deliverers {
            app.supervisor.spawn("webhook deliveries", deliverer.run(stop.subscribe()));
        }
    }
    Ok(together(observers))
}

/// What `listen` and `tls_listen` serve.
fn main_role(config: &Config) -> ListenerRole {
    if config.admin_listen.is_some() { ListenerRole::Public } else { ListenerRole::Combined }
}

/// The handlers behind each kind of listener; those of clients as `around` makes them.
fn routers(app: &Arc<App>, dialects: &Registry, around: impl FnOnce(Router) -> Router) -> Routers {
    let of = |role| router_of(Arc::clone(app), dialects, role);
    let admin = app.config.admin_listen.as_ref().map(|_| of(ListenerRole::Admin));
    Routers { main: around(of(main_role(&app.config))), admin }
}

/// Takes certificates as they change or are got, and lets `routes` answer what proves that a name is this
/// server's.
fn follow_certificates(
    app: &App,
    tls: Option<&TlsConfig>,
    stopping: &watch::Receiver<bool>,
    routes: Router,
) -> Router {
    let Some(tls) = tls else { return routes };
    app.reloads.register(tls.reload());
    app.supervisor.spawn("certificates", tls.clone().watch(stopping.clone()));
    let Some(acme) = &tls.acme else { return routes };
    app.supervisor.spawn("acme", acme.clone().run(Arc::clone(&app.clock), stopping.clone()));
    acme.answer_first(routes)
}

/// Knows what was revoked before the first client comes, and what is from then on.
async fn follow_revocations(
    app: &App,
    told: Arc<Notify>,
    stopping: &watch::Receiver<bool>,
) -> Result<(), EngineError> {
    app.revocations.load().await?;
    let work = Arc::clone(&app.revocations).follow(told, stopping.clone());
    app.supervisor.spawn("revocations", work);
    Ok(())
}

/// Takes keys of the server API, rules for channels, limits, bounds and retention as the configuration
/// changes.
async fn follow_settings(app: &App, shards: &Shards) {
    app.reloads.register(Arc::new(Arc::clone(app.auth.api_keys())));
    // Behind the keys that they depend on.
    app.reloads.register(Arc::new(app.looks.clone()));
    let (access, new_channels) = (Arc::clone(app.auth.access()), Arc::clone(&app.new_channels));
    app.reloads.register(Arc::new(RulesReload { access, shards: shards.clone() }));
    let (shards, nodes) = (shards.clone(), app.sessions.nodes().cloned());
    app.reloads.register(Arc::new(UserBoundsReload { shards, new_channels, nodes }));
    app.reloads.register(Arc::clone(&app.rate_limits) as Arc<dyn Reload>);
    if let Some(retention) = RetentionReload::of(&app.engine, &app.config).await {
        app.reloads.register(Arc::new(retention));
    }
}

/// Publishes audit records to their channel, if there is one. What it does not take the log has.
fn publish_audit(app: &Arc<App>) {
    let Some(channel) = app.config.audit_channel.clone() else { return };
    let (app, mut records) = (Arc::clone(app), app.auth.audit().records());
    let (supervisor, work) = (app.supervisor.clone(), async move {
        while let Some(record) = records.recv().await {
            if publish_record(&app, &channel, &record).await.is_err() {
                app.auth.audit().lose();
            }
        }
    });
    supervisor.spawn("audit", work);
}

/// Takes keys that tokens are verified with as they change: in files, and at their issuer.
async fn follow_keys(app: &App, stopping: &watch::Receiver<bool>) -> Result<(), WireError> {
    let keys = ConfiguredKeys::new(Arc::clone(&app.auth), Arc::clone(&app.config));
    app.reloads.register(Arc::new(keys.clone()));
    app.supervisor.spawn("token keys", keys.watch(stopping.clone()));
    if let Some(url) = &app.config.auth.jwks_url {
        let mut jwks = Jwks::new(url.clone(), Arc::clone(&app.auth), Arc::clone(&app.clock))?;
        // Clients come as soon as there is a listener, and their keys should be there.
        jwks.fetch().await;
        app.supervisor.spawn("key set", jwks.watch(stopping.clone()));
    }
    Ok(())
}

fn admit(app: &App, config: &Config) -> Admit {
    Admit {
        auth: Arc::clone(&app.auth),
        rate_limits: Arc::clone(&app.rate_limits),
        stopping: app.stopping.clone(),
        hold_s: config.hold_s,
        compression: CompressionPolicy {
            is_offered: config.websocket_compression != WebsocketCompression::Off,
            shared_only: config.websocket_compression == WebsocketCompression::Shared,
            min_bytes: bound(config.websocket_compression_min_bytes),
        },
        decisions: app.decisions.clone(),
    }
}

/// What browsers are told, by the port that the sockets for TLS have.
/// How many connections there may be: no more than there are file descriptors for.
fn max_connections(config: &Config) -> usize {
    let of_operators = if config.admin_listen.is_some() { ADMIN_CONNECTIONS_MAX + RESERVED_MAX } else { 0 };
    let kept = DESCRIPTORS_KEPT + RESERVED_MAX + of_operators;
    bound(config.max_connections).min(descriptors().saturating_sub(kept)).max(1)
}

fn connection_limit(config: &Config, max_connections: usize) -> Arc<ConnectionLimit> {
    let max_per_address = config.max_connections_per_address.map(bound);
    let (role, proxies) = (main_role(config), TrustedProxies::new(&config.trusted_proxies));
    ConnectionLimit::of(ConnectionLimits {
        max: max_connections,
        max_per_address,
        role,
        proxies,
        ..ConnectionLimits::default()
    })
}

/// The limit of connections with requests that do not wait.
fn request_limit(config: &Config) -> RequestLimit {
    let max_per_address = config.max_request_connections_per_address.map(bound);
    RequestLimit::new(bound(config.max_request_connections), max_per_address)
}

/// What the threads of all shards are started with.
struct Workers {
    app: Arc<App>,
    handoffs: mpsc::Sender<Handoff>,
    admit: Admit,
    endpoints: Arc<Endpoints>,
    command_handler: CommandHandler,
    /// Is told of sessions, if any part is.
    observer: Option<Arc<dyn SessionObserver>>,
    connection_limit: Arc<ConnectionLimit>,
    timeouts: Timeouts,
    redirects: bool,
    hub: HubConfig,
}

/// The shards' threads, and their engine I/O tasks.
type Started = (Vec<thread::JoinHandle<()>>, Vec<tokio::task::JoinHandle<()>>);

impl Workers {
    /// Starts a thread for each room, with the listeners of the same number.
    fn start_all(
        &self,
        rooms: Vec<Room>,
        listeners: Vec<StreamListener>,
        tls_listeners: Vec<TlsListener>,
        admin_listeners: Vec<AdminListener>,
    ) -> io::Result<Started> {
        let mut tls_listeners = tls_listeners.into_iter();
        let mut admin_listeners = admin_listeners.into_iter();
        let parts = rooms.into_iter().zip(listeners).enumerate();
        parts
            .map(|(index, (room, listener))| {
                self.start(index, room, (listener, tls_listeners.next(), admin_listeners.next()))
            })
            .collect()
    }

    fn start(
        &self,
        index: usize,
        room: Room,
        (listener, tls, admin): (StreamListener, Option<TlsListener>, Option<AdminListener>),
    ) -> io::Result<(thread::JoinHandle<()>, tokio::task::JoinHandle<()>)> {
        let (app, config) = (&self.app, &self.app.config);
        let Room { poll, mailbox, commands } = room;
        let observer = self.observer.clone();
        let (engine, clock) = (Arc::clone(&app.engine), Arc::clone(&app.clock));
        let (engine_io, work) = open_engine_io(engine, clock, mailbox, observer.clone());
        let engine_io_task = app.supervisor.spawn("engine-io", work);
        let shard = Shard::new(Parts {
            poll,
            listener,
            tls,
            admin,
            commands,
            shards: app.shards.clone(),
            proxy_protocol: config.proxy_protocol,
            index,
            engine_io,
            inline: inline::routes(app),
            runtime: Handle::current(),
            handoffs: self.handoffs.clone(),
            admit: self.admit.clone(),
            endpoints: Arc::clone(&self.endpoints),
            peers: app.sessions.nodes().map(|nodes| Arc::clone(nodes) as Arc<dyn Peers>),
            observer,
            tracer: app.tracer.get().cloned(),
            command_handler: self.command_handler.clone(),
            connection_limit: Arc::clone(&self.connection_limit),
            clock: Arc::clone(&app.clock),
            hub: self.hub.clone(),
            access_log: app.access_log.get().cloned(),
            timeouts: self.timeouts,
            redirects: self.redirects,
            slow: config.slow,
            linger_ms: config.linger_ms,
            batched_sends: config.batched_sends,
            spread_ms: config.shutdown_spread_s * 1000,
        })?;
        let supervisor = app.supervisor.clone();
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || supervisor.run("shard", || shard.run()))?;
        Ok((thread, engine_io_task))
    }
}

fn timeouts(config: &Config) -> Timeouts {
    let (stalled_ms, heartbeat_ms) = (config.slow.deadline_s * 1000, config.heartbeat_s * 1000);
    Timeouts { head_ms: HEAD_MS, idle_ms: IDLE_MS, stalled_ms, heartbeat_ms }
}

/// Of all hubs: they share what is counted for the whole node.
fn hub_config(app: &App) -> HubConfig {
    let config = &app.config;
    HubConfig {
        rules: app.auth.access().rules(),
        grace_ms: config.session_grace_s * 1000,
        max_sessions_per_user: bound(config.max_sessions_per_user).max(1),
        max_channels_per_user: bound(config.max_channels_per_user),
        broadcast_members: if config.linger_ms > 0 { 1 } else { HubConfig::default().broadcast_members },
        ..HubConfig::default()
    }
}

/// Where a shard's commands come in.
struct Room {
    poll: Poll,
    mailbox: Mailbox<ShardCommand>,
    commands: Commands<ShardCommand>,
}

fn room() -> io::Result<Room> {
    let poll = Poll::new()?;
    let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0))?);
    Ok(Room { poll, mailbox, commands })
}

/// Opens the engine that the configuration names.
async fn backing(config: &Config, events: EngineEvents) -> Result<Backing, WireError> {
    let opening = Opening {
        events,
        retention: config.retention_table(),
        // 40 bits make an epoch of eight characters, and a second one alike unlikely enough.
        epoch: Epoch(u64::try_from(random::bits()? & 0xff_ffff_ffff).unwrap_or(1)),
        data: config.data.clone(),
        node: config.node.clone(),
    };
    Ok(engines::open(config.engine.expose(), opening).await?)
}

/// How many files this process may have open; as many as it may ask for.
pub(crate) fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.map_or(usize::MAX, bound)
}

fn bound(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
