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
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    app::App,
    config::{Config, ConfigError, ListenAddress},
    file_thread::FileThread,
    logging::SETTINGS,
    reload::{Reload, ReloadError, Reloaded, Reloads},
    wire::{Server, WireError, wire},
};

/// How often the engine is asked to forget what is too old.
const SWEEP: Duration = Duration::from_secs(5);
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
    tracing::info!(address = %server.address, "the server is up");
    announce(&server)?;
    let reloads = server.app.reloads.clone();
    let told = async move {
        tokio::select! {
            () = told => {}
            () = hangups.reload(&reloads, reread) => {}
        }
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
    async fn reload(mut self, reloads: &Reloads, reread: Reread) {
        let files = FileThread::new();
        while self.signal.recv().await.is_some() {
            if self.at_terminal && !io::stdin().is_terminal() {
                return;
            }
            tell(reload(reloads, &files, Arc::clone(&reread)).await);
        }
    }
}

async fn reload(reloads: &Reloads, files: &FileThread, reread: Reread) -> Result<Reloaded, ReloadError> {
    let config = files.run(move || reread()).await??;
    reloads.take(config).await
}

fn tell(reloaded: Result<Reloaded, ReloadError>) {
    let outcome = if reloaded.is_ok() { "done" } else { "failed" };
    metrics::counter!("encke_reloads_total", "outcome" => outcome).increment(1);
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
    tracing::info!("the server stops");
    sweeper.abort();
    stop(server, drain).await;
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

/// Says where it listens, in the one line that scripts wait for.
fn announce(server: &Server) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{}", server.address)?;
    if let Some(address) = server.tls_address {
        writeln!(out, "listening on https://{address}")?;
    }
    let config = &server.app.config;
    // The console is served where the server API is; a browser opens no unix socket.
    let console = match server.admin.as_ref().map(|admin| &admin.address) {
        None => Some(server.address),
        Some(address) => address.tcp(),
    };
    match server.admin.as_ref().map(|admin| &admin.address) {
        Some(address @ ListenAddress::Unix(_)) => writeln!(out, "admin listening on {address}")?,
        Some(address @ ListenAddress::Tcp(_)) => writeln!(out, "admin listening on http://{address}")?,
        None => {}
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
/// is finished, the store is closed.
async fn stop(server: Server, drain: Duration) {
    let Server { app, threads, hyper_server, stop, among_nodes, admin, .. } = server;
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
    while Instant::now() < ends {
        match app.shards.counts().await {
            Ok(counts) if counts.sockets > 0 => sleep(DRAIN_LOOK).await,
            _ => break,
        }
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
    // hyper gets its connections from the shards; requests under way are finished, within the same time.
    if timeout(ends.saturating_duration_since(Instant::now()), hyper_server).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    for task in among_nodes {
        task.abort();
    }
    app.engine.stop().await;
    // The file of a unix socket goes with it.
    drop(admin);
}
