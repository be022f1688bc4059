//! From a checked configuration to a server that runs, until it is told to stop.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use encke_engine::BEAT_MS;
use encke_hub::{CloseTarget, ControlRequest};
use encke_proto::{Close, CloseCode};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, interval, sleep, timeout, timeout_at},
};

use crate::{
    app::App,
    config::{self, Config, ConfigError},
    file_thread::FileThread,
    logging::SETTINGS,
    metrics::Metrics,
    reload::{Reload, ReloadError, Reloaded, Reloads},
    service_manager::{ServiceManager, State},
    wire::{Server, WireError, wire},
};

/// How often the engine is asked to forget what is too old.
const SWEEP: Duration = Duration::from_secs(5);
/// How long what is noted of users may take to be written down, while the server stops.
const WRITTEN_MAX: Duration = Duration::from_secs(2);
/// How long the last pushes may take to be noted in the history of pushes.
const NOTE_PUSHES_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether all clients have gone, while the server stops.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It could not be put together.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The operating system refuses.
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
    /// A part of it has failed, and it has stopped in order.
    #[error("a part of the server has failed; it has stopped")]
    Failed,
}

/// Reads the configuration again, from where it came from.
pub type Reread = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Serves until it is told to stop (SIGINT, SIGTERM) or a part of it fails. Both keys in the configuration
/// are there. On SIGHUP `reread` is called, and what can change while it serves is changed: its own parts,
/// and `part`.
///
/// # Errors
/// [`ServeError`] says why it could not start or go on.
pub async fn serve(config: Config, reread: Reread, part: Arc<dyn Reload>) -> Result<(), ServeError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    survive_file_size_limit()?;
    let hangups = Hangups { signal: signal(SignalKind::hangup())?, at_terminal: io::stdin().is_terminal() };
    let drain = Duration::from_secs(config.shutdown_drain_s);
    let mut told = Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    // Files, a disk or other servers may let it wait for long until it is up.
    let server = tokio::select! {
        server = wire(config) => server?,
        () = &mut told => return Ok(()),
    };
    server.app.reloads.register(part);
    // The reference says of each setting whether it reloads.
    debug_assert!(server.app.reloads.keys().into_iter().all(config::reloads), "defined as reloading");
    tell_up(&server);
    announce(&server)?;
    let manager = Arc::new(ServiceManager::of_environment());
    manager.tell(State::Ready);
    watch(&server.app, &manager);
    let reloads = server.app.reloads.clone();
    let told = async move {
        tokio::select! {
            () = told => {}
            () = hangups.reload(&reloads, reread, &manager) => {}
        }
        manager.tell(State::Stopping);
    };
    run(server, drain, told).await
}

/// The signals that say that the configuration is to be read again.
struct Hangups {
    signal: Signal,
    /// Whether the process was started at a terminal.
    at_terminal: bool,
}

impl Hangups {
    /// Reads the configuration again at each, until the terminal is gone at which the process was started:
    /// that is told by the same signal.
    async fn reload(mut self, reloads: &Reloads, reread: Reread, manager: &ServiceManager) {
        let files = FileThread::new();
        while self.signal.recv().await.is_some() {
            if self.at_terminal && !io::stdin().is_terminal() {
                return;
            }
            manager.tell(State::Reloading);
            tell(reload(reloads, &files, Arc::clone(&reread)).await);
            manager.tell(State::Ready);
        }
    }
}

/// Tells the service manager that the server works, as long as all shards turn: each of them answers.
fn watch(app: &Arc<App>, manager: &Arc<ServiceManager>) {
    let Some(pause) = manager.watchdog_interval() else { return };
    let (shards, manager) = (app.shards.clone(), Arc::clone(manager));
    tokio::spawn(async move {
        let mut ticks = interval(pause);
        loop {
            ticks.tick().await;
            if shards.counts().await.is_ok() {
                manager.tell(State::Alive);
            }
        }
    });
}

async fn reload(reloads: &Reloads, files: &FileThread, reread: Reread) -> Result<Reloaded, ReloadError> {
    let config = files.run(move || reread()).await??;
    reloads.take(config).await
}

fn tell(reloaded: Result<Reloaded, ReloadError>) {
    let outcome = if reloaded.is_ok() { "done" } else { "failed" };
    Metrics::global().reloads.of(outcome).inc();
    match reloaded {
        Ok(Reloaded { changed, left }) => {
            tracing::info!(changed = changed.join(", "), "the configuration was read again");
            if !left.is_empty() {
                tracing::warn!(
                    target: SETTINGS, keys = left.join(", "), "these settings change with a restart only"
                );
            }
        }
        Err(error) => {
            tracing::error!(
                target: SETTINGS, %error, "the configuration was read again, and nothing is changed"
            );
        }
    }
}

/// Lets a server work until it is `told` to stop or a part of it fails, and stops it in order within `drain`.
///
/// # Errors
/// [`ServeError::Failed`].
pub async fn run(server: Server, drain: Duration, told: impl Future<Output = ()>) -> Result<(), ServeError> {
    let sweeper = tokio::spawn(sweep(Arc::clone(&server.app)));
    let supervisor = server.app.supervisor.clone();
    tokio::select! {
        () = told => {}
        () = supervisor.failed() => {}
    }
    tracing::info!(drain_s = drain.as_secs(), "the server stops");
    sweeper.abort();
    let (stats, began) = (Arc::clone(server.app.reports.stats()), Instant::now());
    let cut_off = stop(server, drain).await;
    tracing::info!(
        uptime_s = stats.uptime_s(),
        took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        cut_off,
        "the server has stopped"
    );
    if supervisor.has_failed() { Err(ServeError::Failed) } else { Ok(()) }
}

/// A write beyond the limit of a file's size (`ulimit -f`) is to fail like one to a full disk. By itself the
/// signal that comes with it ends the process; a handler that does nothing leaves the error alone.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn survive_file_size_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Says in the log what it is that is up, and which limits are in force.
fn tell_up(server: &Server) {
    let (app, config) = (&server.app, &server.app.config);
    let addresses = app.reports.stats().addresses();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        engine = app.engine.mode().as_str(),
        node = config.node,
        addresses = addresses.join(", "),
        dev = config.dev,
        workers = config.worker_count(),
        max_connections = server.max_connections,
        max_connections_per_address = config.max_connections_per_address,
        max_sessions_per_user = config.max_sessions_per_user,
        max_channels_per_user = config.max_channels_per_user,
        slow_max_messages = config.slow.max_messages,
        push_ttl_s = config.push_ttl_s,
        "the server is up"
    );
    if (server.max_connections as u64) < config.max_connections {
        tracing::warn!(
            max_connections = server.max_connections,
            wanted = config.max_connections,
            "there are file descriptors for fewer connections than `max_connections`"
        );
    }
}

/// Says where it listens, in the one line that scripts wait for.
fn announce(server: &Server) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {}", server.main.address.url())?;
    if let Some(address) = server.tls_address {
        writeln!(out, "listening on https://{address}")?;
    }
    let config = &server.app.config;
    // The console is served where the server API is; a browser opens no unix socket.
    let console = server.admin.as_ref().unwrap_or(&server.main).address.tcp();
    if let Some(admin) = &server.admin {
        writeln!(out, "admin listening on {}", admin.address.url())?;
    }
    if let (true, true, Some(address), Some(key)) = (config.dev, config.console, console, &config.api_key) {
        writeln!(out, "console http://{address}/console#key={}", key.expose())?;
    }
    out.flush()
}

async fn sweep(app: Arc<App>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        if let Err(error) = app.engine.sweep(app.now().wall).await {
            tracing::warn!(%error, "the engine could not forget what is too old");
        }
    }
}

/// Stops in order: no connection is accepted, all clients that wait are told to come back, what was accepted
/// is finished, the store is closed. How many connections were cut off that had not ended within `drain`.
async fn stop(server: Server, drain: Duration) -> usize {
    let Server { app, threads, engine_io, hyper_server, stop, among_nodes, main, admin, .. } = server;
    let ends = Instant::now() + drain;
    app.stop();
    app.shards.drain(app.sessions.nodes().is_some_and(|nodes| nodes.count() > 1));
    // The receiver is gone when hyper has ended already.
    let _ = stop.send(true);
    let close = Close {
        code: CloseCode::Shutdown,
        reason: "the server stops".into(),
        reconnect: true,
        retry_ms: None,
    };
    let request = ControlRequest::Close { target: CloseTarget::Everybody, close };
    if app.shards.request(request).await.is_err() {
        tracing::warn!("not all clients could be told that the server stops");
    }
    let mut left = 0;
    while Instant::now() < ends {
        left = app.shards.counts().await.map_or(0, |counts| counts.sockets);
        if left == 0 {
            break;
        }
        sleep(DRAIN_LOOK).await;
    }
    if let Some(nodes) = app.sessions.nodes() {
        // A user who was here goes to another node, which asks this one for what it knows of the user as long
        // as it counts it as living.
        nodes.resign().await;
        sleep(Duration::from_millis(BEAT_MS)).await;
    }
    app.shards.stop();
    for thread in threads {
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
    let written = Instant::now() + WRITTEN_MAX;
    for task in engine_io {
        if timeout_at(written, task).await.is_err() {
            tracing::warn!("it is not written down how far all users were handed what was pushed");
        }
    }
    // hyper gets its connections from the shards; requests under way are finished, within the same time.
    if timeout(ends.saturating_duration_since(Instant::now()), hyper_server).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    for task in among_nodes {
        task.abort();
    }
    if !app.unfinished.finish().await {
        tracing::warn!("some of what was begun was cut off");
    }
    // What is not noted by then is not in the history; the pushes themselves are safe.
    let _ = timeout(NOTE_PUSHES_MAX, app.push_history.settle()).await;
    app.engine.stop().await;
    // Last of all, as what is finished in the meantime is traced too.
    if let Some(tracer) = app.tracer.get() {
        tracer.stop().await;
    }
    // The files of unix sockets go with them.
    drop((main, admin));
    left
}
