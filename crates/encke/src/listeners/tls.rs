//! Connections under TLS: hyper has them to the end, and HTTP/2 with them. Requests that wait are held
//! by the table all the same (see [`HyperBridge`]).

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, BufReader},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    task::Poll,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use super::{
    HyperBridge,
    activity::{Activity, Answered, Asked, Over, Times, Watch, Watched},
    carried::Carried,
    hyper_server::{Scope, answer, times},
    waiting::{decide, endpoint, refuse},
};
use crate::{
    config::Config,
    connection::{Carrier, ConnectionLimit, Given, Permit, bound_silence},
    shards::Timeouts,
};

/// The longest head, in bytes.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// The most requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// How long a client that was told that its connection rested for too long may take to end it.
const PART_MAX: Duration = Duration::from_secs(2);
/// How long a connection that is over is kept until its peer has acknowledged what was pushed on it, and how
/// often that is looked at.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);
const ACKNOWLEDGED_LOOK: Duration = Duration::from_millis(20);
/// How often it is looked whether the certificate's files have changed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// A file cannot be read, or holds something else.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// The key does not belong to the certificate.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// The listener for TLS.
pub struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    /// The handlers.
    pub router: Router,
    /// What holds requests that wait.
    pub hyper_bridge: HyperBridge,
    /// How many sockets may be open.
    pub connection_limit: Arc<ConnectionLimit>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

impl Tls {
    /// Opens the listener that the configuration names, if it names one.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong.
    pub fn open(
        config: &Config,
        router: Router,
        hyper_bridge: HyperBridge,
        connection_limit: Arc<ConnectionLimit>,
        timeouts: Timeouts,
        stopping: watch::Receiver<bool>,
    ) -> Result<Option<Self>, TlsError> {
        let (Some(address), Some(cert), Some(key)) = (config.tls_listen, &config.tls_cert, &config.tls_key)
        else {
            return Ok(None);
        };
        let certificate = Arc::new(Certificate::load(cert.clone(), key.clone())?);
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let heartbeat = Duration::from_millis(timeouts.heartbeat_ms);
        let listener = listen(address, heartbeat).map_err(|error| TlsError::Listen(address, error))?;
        let acceptor = TlsAcceptor::from(Arc::new(server));
        Ok(Some(Self {
            listener,
            acceptor,
            certificate,
            router,
            hyper_bridge,
            connection_limit,
            timeouts,
            stopping,
        }))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves connections until the server stops.
    pub async fn run(self) {
        let (mut connections, mut stopping) = (JoinSet::new(), self.stopping.clone());
        let mut looks = interval(CERTIFICATE_LOOK);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, address)) => {
                        if let Some(permit) = self.connection_limit.enter(address.ip()) {
                            let (router, hyper_bridge) = (self.router.clone(), self.hyper_bridge.clone());
                            let socket = Carried::new(socket);
                            let caller = Caller {
                                router, hyper_bridge, permit: Arc::new(permit),
                                carrier: Arc::clone(socket.carrier())
                            };
                            connections.spawn(serve(
                                socket, caller, self.acceptor.clone(), self.timeouts, self.stopping.clone()
                            ));
                        }
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: some will be back soon.
                        tracing::warn!(%error, "no TLS connection can be accepted now");
                        sleep(Duration::from_millis(200)).await;
                    }
                },
                _ = looks.tick() => self.certificate.look(),
                () = stopped(&mut stopping) => break,
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender is gone only when the server is.
    let _ = stopping.wait_for(|stops| *stops).await;
}

fn listen(address: SocketAddr, heartbeat: Duration) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    // Accepted sockets inherit both: what is written is a whole message, and is to go at once.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    bound_silence(SockRef::from(&listener), heartbeat)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn serve(
    socket: Carried,
    caller: Caller,
    acceptor: TlsAcceptor,
    timeouts: Timeouts,
    stopping: watch::Receiver<bool>,
) {
    let Ok(Ok(socket)) = timeout(times(&timeouts).head, acceptor.accept(socket)).await else { return };
    drive(socket, caller, timeouts, stopping).await;
}

/// Serves a connection after its handshake. The table cannot have it, so it rests here, as long as it might
/// there.
async fn drive<S>(socket: S, caller: Caller, timeouts: Timeouts, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, times) = (Activity::new(), times(&timeouts));
    // A place that is kept for operators is left after each answer.
    let rest = if Scope::of(&caller.permit) == Scope::All { times.rest } else { Duration::ZERO };
    let mut watch = Watch::new(Arc::clone(&activity), Times { rest, ..times });
    let (permit, carrier) = (Arc::clone(&caller.permit), Arc::clone(&caller.carrier));
    let io = TokioIo::new(Watched::new(Bytes::new(), socket, Arc::clone(&activity)));
    let service = service_fn(move |request| caller.clone().answer(Arc::clone(&activity), request));
    let builder = builder(Duration::from_millis(timeouts.heartbeat_ms));
    let connection = builder.serve_connection_with_upgrades(io, service);
    tokio::pin!(connection);
    let (mut told, mut parting) = (false, false);
    let ended_well = loop {
        let next = poll_fn(|cx| {
            carrier.goes_on();
            match connection.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Err(result.is_ok())),
                Poll::Pending => watch.poll(cx).map(Ok),
            }
        });
        tokio::select! {
            over = next => match over {
                Ok(Over::Rest) if !parting => {
                    // The client is told, and has a moment to hear it. What it has asked meanwhile is
                    // answered.
                    parting = true;
                    watch.rests_no_longer_than(PART_MAX);
                    connection.as_mut().graceful_shutdown();
                }
                Ok(_) => break false,
                Err(ended_well) => break ended_well,
            },
            () = stopped(&mut stopping), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if ended_well {
        let all = async {
            while carrier.waits() {
                sleep(ACKNOWLEDGED_LOOK).await;
            }
        };
        // Of a connection that is closed it cannot be said whether its peer got the last that was written.
        let _ = timeout(ACKNOWLEDGED_MAX, all).await;
    }
    drop(permit);
}

fn builder(heartbeat: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Without its timer for heads, which is one for rests as well: how long they may take is watched from
    // here.
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_MAX_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .keep_alive_interval(heartbeat)
        .keep_alive_timeout(heartbeat);
    builder
}

/// Who has a connection, and what serves it.
#[derive(Clone)]
struct Caller {
    router: Router,
    hyper_bridge: HyperBridge,
    permit: Arc<Permit>,
    carrier: Arc<Carrier>,
}

impl Caller {
    async fn answer(
        self,
        activity: Arc<Activity>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answered<Body>>, Infallible> {
        let multiplexed = request.version() == Version::HTTP_2;
        let (unread, under_way) =
            activity.begin(multiplexed, !multiplexed && !request.body().is_end_stream());
        // HTTP/2 says whose request it is in its target; from here on it stands where HTTP/1.1 has it.
        if !request.headers().contains_key(header::HOST)
            && let Some(host) =
                request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let Self { router, hyper_bridge, permit, carrier } = self;
        let given = Given::new(carrier, multiplexed);
        let scope = Scope::of(&permit);
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let waits = if scope == Scope::All { endpoint(&parts, &hyper_bridge.endpoints) } else { None };
        let response = match waits {
            Some((number, address)) => {
                let body = Body::new(Asked { body, unread }.map_err(axum::Error::new));
                let verdict = decide(&hyper_bridge.endpoints, (number, address), &parts, body, || {
                    hyper_bridge.clock.now().wall
                })
                .await;
                let response = match verdict {
                    Ok(verdict) if address.websocket => {
                        hyper_bridge.duplex(verdict, given, upgrade, permit).await
                    }
                    Ok(verdict) => hyper_bridge.hold(verdict, given).await,
                    Err(refused) => refuse(refused, &activity),
                };
                hyper_bridge.open(parts.headers.get(header::ORIGIN).cloned(), response)
            }
            None => answer(router, scope, &activity, Request::from_parts(parts, body), unread).await,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.change();
        }
        Ok(response.map(|body| Answered { body, _under_way: under_way }))
    }
}

/// The certificate as its files have it now.
#[derive(Debug)]
struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    now: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    changed: Option<(SystemTime, SystemTime)>,
}

impl Certificate {
    fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let loaded = read(&cert, &key)?;
        Ok(Self { cert, key, now: RwLock::new(loaded) })
    }

    /// Reads the files again when they have changed. What cannot be used is reported, and the old certificate
    /// stays.
    fn look(&self) {
        let changed = changed(&self.cert, &self.key);
        if self.now.read().unwrap_or_else(PoisonError::into_inner).changed == changed {
            return;
        }
        match read(&self.cert, &self.key) {
            Ok(loaded) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the new certificate cannot be used"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

fn changed(cert: &PathBuf, key: &PathBuf) -> Option<(SystemTime, SystemTime)> {
    let of = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    Some((of(cert)?, of(key)?))
}

fn read(cert: &PathBuf, key: &PathBuf) -> Result<Loaded, TlsError> {
    let changed = changed(cert, key);
    let open = |path: &PathBuf| {
        std::fs::File::open(path)
            .map(BufReader::new)
            .map_err(|error| TlsError::File(path.clone(), error.to_string()))
    };
    let chain = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::File(cert.clone(), error.to_string()))?;
    let private = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|error| TlsError::File(key.clone(), error.to_string()))?;
    let provider = rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let certified = CertifiedKey::from_der(chain, private, &provider)?;
    Ok(Loaded { certified: Arc::new(certified), changed })
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use encke_engine::memory::MemoryEngine;
    use encke_proto::{Epoch, Time};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;
    use crate::{
        admission::Admit,
        app::App,
        clock::TestClock,
        config::Secret,
        shards::{Shards, mailbox},
    };

    const TIMEOUTS: Timeouts =
        Timeouts { head_ms: 10_000, idle_ms: 75_000, stalled_ms: 10_000, heartbeat_ms: 20_000 };
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn caller(connection_limit: &Arc<ConnectionLimit>) -> Caller {
        let config = Config {
            dev: true,
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let poll = mio::Poll::new().unwrap();
        let (mailbox, _) = mailbox(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let shards = Shards::new(vec![mailbox]);
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1)));
        let clock = Arc::new(TestClock::at(Time(1_700_000_000_000)));
        let app = App::new(Arc::new(config), engine, shards.clone(), clock.clone()).unwrap();
        let admit = Admit {
            auth: Arc::clone(&app.auth),
            stopping: app.stopping.clone(),
            origins: Arc::new([]),
            hold_s: 25,
            compression: false,
        };
        let slow = get(async || {
            sleep(Duration::from_secs(100)).await;
            "slow"
        });
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", slow)
            .route("/api/large", get(async || "x".repeat(1 << 20)))
            .route("/unread", post(async || StatusCode::PAYLOAD_TOO_LARGE))
            .layer(axum::middleware::from_fn(crate::http::operation::refuse_when_full));
        let permit = Arc::new(connection_limit.enter([10, 0, 0, 1].into()).unwrap());
        let endpoints = Arc::new(crate::dialects::Registry::built_in().endpoints(&app, &admit));
        Caller {
            router,
            hyper_bridge: HyperBridge::new(admit, endpoints, shards, clock),
            permit,
            carrier: Carrier::of_none(),
        }
    }

    /// A client whose connection is served.
    struct Client {
        socket: DuplexStream,
        began: Instant,
        _stop: watch::Sender<bool>,
    }

    impl Client {
        fn new() -> Self {
            Self::of(caller(&ConnectionLimit::new(0, None)))
        }

        fn of(caller: Caller) -> Self {
            let (socket, server) = duplex(64 * 1024);
            let (stop, stopping) = watch::channel(false);
            tokio::spawn(drive(server, caller, TIMEOUTS, stopping));
            Self { socket, began: Instant::now(), _stop: stop }
        }

        async fn send(&mut self, text: &str) {
            self.socket.write_all(text.as_bytes()).await.unwrap();
        }

        /// An answer whose body ends with this.
        async fn answer(&mut self, end: &str) -> String {
            let mut seen = Vec::new();
            while !seen.ends_with(end.as_bytes()) {
                assert!(
                    self.socket.read_buf(&mut seen).await.unwrap() > 0,
                    "{}",
                    String::from_utf8_lossy(&seen)
                );
            }
            self.began = Instant::now();
            String::from_utf8(seen).unwrap()
        }

        /// What comes until the connection ends, and after how many seconds since the last answer it does.
        async fn rest(&mut self) -> (String, u64) {
            let mut seen = Vec::new();
            let _ = self.socket.read_to_end(&mut seen).await;
            (String::from_utf8(seen).unwrap(), self.began.elapsed().as_secs())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_as_long_as_in_the_table_and_ends_cleanly() {
        let mut client = Client::new();
        for seconds in [9, 1, 10, 11, 30, 60, 74] {
            sleep(Duration::from_secs(seconds)).await;
            client.send(GET).await;
            client.answer("hello").await;
        }
        assert_eq!(client.rest().await, (String::new(), 75));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_whenever_that_comes() {
        // None at all, some of the first, and the beginning of what HTTP/2 begins with.
        for text in ["", "G", "PRI * HTT"] {
            let mut client = Client::new();
            client.send(text).await;
            assert_eq!(client.rest().await.1, 10, "{text:?}");
        }
        let mut client = Client::new();
        client.send(GET).await;
        client.answer("hello").await;
        sleep(Duration::from_secs(70)).await;
        for byte in ["G", "E", "T"] {
            client.send(byte).await;
            sleep(Duration::from_secs(3)).await;
        }
        assert_eq!(client.rest().await.1, 80, "more bytes buy no more time");
        // One that takes 9 seconds is answered.
        let mut client = Client::new();
        client.send("GET / HT").await;
        sleep(Duration::from_secs(9)).await;
        client.send("TP/1.1\r\nHost: a\r\n\r\n").await;
        client.answer("hello").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_no_rest_and_one_that_takes_nothing_is_not_waited_for() {
        let mut client = Client::new();
        client.send(&GET.replace("/ ", "/slow ")).await;
        client.answer("slow").await;
        client.send(&GET.replace("/ ", "/api/large ")).await;
        sleep(Duration::from_secs(11)).await;
        let (seen, _) = client.rest().await;
        assert!(seen.len() < 1 << 20, "{}", seen.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_ends_the_connection_says_so_and_what_still_comes_is_read() {
        let mut client = Client::new();
        client.send("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
        // More than fits into the pipe: it goes only when it is read.
        client.send(&"x".repeat(150_000)).await;
        let (seen, seconds) = client.rest().await;
        assert!(seen.starts_with("HTTP/1.1 413 ") && seen.contains("\r\nconnection: close\r\n"), "{seen}");
        assert!(seconds <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_for_operators_is_for_what_they_need_and_left_after_it() {
        let connection_limit = ConnectionLimit::new(1, None);
        let _full = connection_limit.enter([10, 0, 0, 2].into()).unwrap();
        for (path, status) in [("/", 503), ("/v1/poll", 503), ("/api/nothing", 404)] {
            let mut client = Client::of(caller(&connection_limit));
            client.send(&GET.replace("/ ", &format!("{path} "))).await;
            let (seen, seconds) = client.rest().await;
            assert!(
                seen.starts_with(&format!("HTTP/1.1 {status} "))
                    && seen.contains("\r\nconnection: close\r\n"),
                "{seen}"
            );
            assert_eq!(seen.contains("\r\nretry-after: "), status == 503);
            assert!(seconds <= 1);
        }
    }
}
