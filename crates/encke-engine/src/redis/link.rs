//! A connection to one Redis, made again whenever it breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisConnectionInfo, TlsCertificates, Value, aio::MultiplexedConnection, aio::SendError,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    options::{Address, Login, RedisOptions, Topology},
    reply, script,
};
use crate::EngineError;

/// How long a command may take before it counts as unanswered, in milliseconds. Whatever else is on the
/// connection then is not trusted to be answered either.
pub(super) const DEADLINE: Duration = Duration::from_millis(2_000);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(2_000);
/// How long a sentinel may take to answer.
const SENTINEL: Duration = Duration::from_millis(500);
/// How often sentinels are asked whether the master is still the same: for that long an old one that was cut
/// off is written to at most.
const SENTINEL_AGAIN: Duration = Duration::from_millis(1_000);
/// How long to wait after a failed try to connect, at first and at most. Up to half of it is chance, so that
/// nodes do not come back all at once.
const BACKOFF_MIN_MS: u64 = 50;
const BACKOFF_MAX_MS: u64 = 2_000;
/// The most pipelines of one link that are under way.
const IN_FLIGHT_MAX: usize = 1_024;
/// How many commands a connection takes before their senders wait.
const SEND_BUFFER: usize = 1_024;

static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// A number that no connection had before.
pub(super) fn next_generation() -> u64 {
    NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// A connection that is up.
#[derive(Clone)]
struct Up {
    connection: MultiplexedConnection,
    generation: u64,
    address: Address,
}

#[derive(Clone)]
enum State {
    /// For the first time, or after a break.
    Connecting,
    Up(Up),
    /// The last try failed, and why.
    Down(String),
}

struct Inner {
    options: Arc<RedisOptions>,
    /// None when sentinels know it.
    address: Option<Address>,
    state: watch::Sender<State>,
    /// The youngest connection that is known to be of no use any more.
    broken: watch::Sender<u64>,
    in_flight: Semaphore,
}

/// Keeps a connection to one Redis for as long as it is held.
pub(super) struct Link {
    inner: Arc<Inner>,
    keeping: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

fn unavailable(why: impl Into<String>) -> EngineError {
    EngineError::Unavailable(why.into())
}

impl Link {
    /// To a server at `address`, or to the master that sentinels name.
    pub(super) fn new(options: Arc<RedisOptions>, address: Option<Address>) -> Self {
        let inner = Arc::new(Inner {
            options,
            address,
            state: watch::Sender::new(State::Connecting),
            broken: watch::Sender::new(0),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        });
        Self { keeping: tokio::spawn(Arc::clone(&inner).keep()), inner }
    }

    /// Sends commands, and returns what was answered to each.
    pub(super) async fn run(&self, commands: &Pipeline) -> Result<Vec<Value>, EngineError> {
        match timeout(DEADLINE, self.inner.send(commands)).await {
            Ok(answered) => answered,
            Err(_) => Err(unavailable("Redis could not be reached in time")),
        }
    }

    /// Loads the scripts again, after a `SCRIPT FLUSH` or a restart made the server forget them.
    pub(super) async fn load_scripts(&self) -> Result<(), EngineError> {
        self.run(&loading()).await.map(drop)
    }

    /// This connection is of no use any more: its server is not the master.
    pub(super) fn fail_pending(&self) {
        if let State::Up(up) = &*self.inner.state.borrow() {
            self.inner.fail_pending(up.generation);
        }
    }

    /// Another connection to the same server, for what is told without being asked for.
    pub(super) async fn listen(
        &self,
        heard: impl Fn(PushInfo) -> Result<(), SendError> + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, String> {
        let address = self.inner.up().await.map_err(|error| error.to_string())?.address;
        connect(&self.inner.options, &address, &self.inner.options.login, heard).await
    }

    /// Why it is not up.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*self.inner.state.borrow() {
            State::Up(_) => None,
            State::Connecting => Some("Redis is being connected to".to_owned()),
            State::Down(why) => Some(why.clone()),
        }
    }
}

impl Inner {
    async fn up(&self) -> Result<Up, EngineError> {
        let mut state = self.state.subscribe();
        let settled = state
            .wait_for(|state| !matches!(state, State::Connecting))
            .await
            .map_err(|_| unavailable("the engine was stopped"))?;
        match &*settled {
            State::Up(up) => Ok(up.clone()),
            State::Down(why) => Err(unavailable(why.clone())),
            State::Connecting => Err(unavailable("Redis is being connected to")),
        }
    }

    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, EngineError> {
        let _permit = self.in_flight.acquire().await.map_err(|_| unavailable("the engine was stopped"))?;
        let Up { mut connection, generation, .. } = self.up().await?;
        match timeout(DEADLINE / 2, connection.send_packed_commands(commands, 0, commands.len())).await {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.fail_pending(generation);
                }
                Err(unavailable(format!("Redis: {error}")))
            }
            Err(_) => {
                self.fail_pending(generation);
                Err(unavailable("Redis did not answer in time"))
            }
        }
    }

    fn fail_pending(&self, generation: u64) {
        self.broken.send_if_modified(|broken| {
            let news = *broken < generation;
            *broken = generation.max(*broken);
            news
        });
    }

    async fn keep(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            match self.connect().await {
                Ok(up) => {
                    failures = 0;
                    let (generation, address) = (up.generation, up.address.clone());
                    tracing::info!(%address, "connected to Redis");
                    self.state.send_replace(State::Up(up));
                    self.while_up(generation, &address).await;
                    tracing::warn!(%address, "the connection to Redis is lost");
                    self.state.send_replace(State::Connecting);
                }
                Err(why) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(why, "Redis cannot be connected to");
                    }
                    self.state.send_replace(State::Down(why));
                    sleep(backoff(failures)).await;
                }
            }
        }
    }

    async fn while_up(&self, generation: u64, address: &Address) {
        let mut broken = self.broken.subscribe();
        let lost = async { drop(broken.wait_for(|broken| *broken >= generation).await) };
        tokio::pin!(lost);
        loop {
            tokio::select! {
                () = &mut lost => return,
                () = sleep(SENTINEL_AGAIN), if self.address.is_none() => {
                    // Sentinels that are away say nothing about the master.
                    if self.ask_sentinels().await.is_ok_and(|master| master != *address) {
                        return;
                    }
                }
            }
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<Up, String> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => self.ask_sentinels().await?,
        };
        let generation = next_generation();
        let inner = Arc::downgrade(self);
        let heard = move |told: PushInfo| {
            if matches!(told.kind, PushKind::Disconnection)
                && let Some(inner) = inner.upgrade()
            {
                inner.fail_pending(generation);
            }
            Ok::<(), SendError>(())
        };
        let mut connection = connect(&self.options, &address, &self.options.login, heard).await?;
        let check = async {
            check_server(&mut connection, &address).await?;
            let scripts = loading();
            let loaded = connection
                .send_packed_commands(&scripts, 0, scripts.len())
                .await
                .map_err(|error| format!("{address}: {error}"))?;
            for value in loaded {
                if let Value::ServerError(error) = value {
                    return Err(format!("{address} takes no scripts: {error:?}"));
                }
            }
            Ok(())
        };
        timeout(CONNECT, check).await.map_err(|_| format!("{address} does not answer"))??;
        Ok(Up { connection, generation, address })
    }

    async fn ask_sentinels(&self) -> Result<Address, String> {
        let Topology::Sentinel(name) = &self.options.topology else {
            return Err("there are no sentinels".to_owned());
        };
        let mut why = String::new();
        for sentinel in &self.options.hosts {
            match timeout(SENTINEL, self.ask_sentinel(sentinel, name)).await {
                Ok(Ok(master)) => return Ok(master),
                Ok(Err(error)) => why = error,
                Err(_) => why = format!("the sentinel {sentinel} does not answer"),
            }
        }
        Err(why)
    }

    async fn ask_sentinel(&self, sentinel: &Address, name: &str) -> Result<Address, String> {
        let mut connection = connect(
            &RedisOptions { database: 0, ..(*self.options).clone() },
            sentinel,
            &self.options.sentinel_login,
            |_| Ok(()),
        )
        .await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(name);
        let answer = connection
            .send_packed_command(&command)
            .await
            .map_err(|error| format!("the sentinel {sentinel}: {error}"))?;
        let parsed = reply::Fields::of(answer).and_then(|mut fields| Ok((fields.text()?, fields.number()?)));
        match parsed {
            Ok((host, port)) => Ok(Address { host, port: u16::try_from(port).unwrap_or_default() }),
            Err(_) => Err(format!("the sentinel {sentinel} knows no master `{name}`")),
        }
    }
}

fn loading() -> Pipeline {
    let mut scripts = redis::pipe();
    for script in script::all() {
        scripts.add_command(script.load());
    }
    scripts
}

/// Whether this is the right kind of server: a master, that has sharded pub/sub, and that evicts no logs.
async fn check_server(connection: &mut MultiplexedConnection, address: &Address) -> Result<(), String> {
    let mut command = redis::cmd("INFO");
    command.arg("server").arg("replication").arg("memory");
    let info =
        connection.send_packed_command(&command).await.map_err(|error| format!("{address}: {error}"))?;
    let info = match info {
        Value::ServerError(error) => {
            return Err(format!("{address}: {error:?}; INFO of several sections needs Redis 7 or Valkey"));
        }
        info => reply::text(info).map_err(|error| format!("{address}: {error}"))?,
    };
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    if field("role") != "master" {
        return Err(format!("{address} is not a master, but `{}`", field("role")));
    }
    if field("maxmemory_policy").starts_with("allkeys") {
        return Err(format!(
            "{address} would evict logs: its maxmemory-policy is {}, it must be noeviction",
            field("maxmemory_policy")
        ));
    }
    Ok(())
}

/// Makes a connection.
async fn connect(
    options: &RedisOptions,
    address: &Address,
    login: &Login,
    heard: impl Fn(PushInfo) -> Result<(), SendError> + Send + Sync + 'static,
) -> Result<MultiplexedConnection, String> {
    let describe = |error: redis::RedisError| format!("{address}: {error}");
    let place = if options.tls {
        ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(address.host.clone(), address.port)
    };
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(i64::from(options.database))
        .set_skip_set_lib_name();
    if let Some(user) = &login.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password);
    }
    let info = place.into_connection_info().map_err(describe)?.set_redis_settings(settings);
    let client = if options.tls {
        let root_cert = match &options.tls_ca {
            Some(file) => {
                Some(std::fs::read(file).map_err(|error| format!("tls_ca {}: {error}", file.display()))?)
            }
            None => None,
        };
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert }).map_err(describe)?
    } else {
        Client::open(info).map_err(describe)?
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(SEND_BUFFER)
        .set_push_sender(heard);
    // The time that the library allows is for connecting; the greeting that follows has none.
    let connected = async {
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(describe)?;
        // For the server's list of clients. A user who may not do this is not refused for it.
        let mut command = redis::cmd("CLIENT");
        command.arg("SETNAME").arg(format!("encke:{}", options.prefix));
        connection.send_packed_command(&command).await.map_err(describe)?;
        Ok(connection)
    };
    timeout(CONNECT, connected).await.map_err(|_| format!("{address} does not answer"))?
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    let most = BACKOFF_MIN_MS.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX_MS);
    let chance = super::chance() % (most / 2 + 1);
    Duration::from_millis(most / 2 + chance)
}
