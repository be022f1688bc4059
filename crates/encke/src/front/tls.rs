//! Connections under TLS: the library has them to the end, and HTTP/2 with them. Requests that wait are held by the table all the same (see [`Holder`]).

use std::{
    future::{Future, poll_fn},
    io::{self, BufReader},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
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
use tower::ServiceExt;

use super::{Holder, carried::Carried, library::waiting};
use crate::{
    config::Config,
    table::{Carrier, Gate, Given, Pass, bound_silence},
};

/// How long a handshake may take, and after it a request's head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// The longest head, in bytes.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// The most requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
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

/// The door for TLS.
pub struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    /// The handlers.
    pub router: Router,
    /// What holds requests that wait.
    pub holder: Holder,
    /// How many sockets may be open.
    pub gate: Arc<Gate>,
    /// How often an HTTP/2 connection at rest is asked whether anybody is there, and how long it may take to
    /// answer.
    heartbeat: Duration,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

impl Tls {
    /// Opens the door that the configuration names, if it names one.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong.
    pub fn open(
        config: &Config,
        router: Router,
        holder: Holder,
        gate: Arc<Gate>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Option<Self>, TlsError> {
        let (Some(address), Some(cert), Some(key)) = (config.tls_listen, &config.tls_cert, &config.tls_key) else { return Ok(None) };
        let certificate = Arc::new(Certificate::load(cert.clone(), key.clone())?);
        let mut server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let heartbeat = Duration::from_secs(config.heartbeat_s);
        let listener = listen(address, heartbeat).map_err(|error| TlsError::Listen(address, error))?;
        let acceptor = TlsAcceptor::from(Arc::new(server));
        Ok(Some(Self { listener, acceptor, certificate, router, holder, gate, heartbeat, stopping }))
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
        let (mut looks, builder) = (interval(CERTIFICATE_LOOK), builder(self.heartbeat));
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, address)) => {
                        if let Some(pass) = self.gate.enter(address.ip()) {
                            let (acceptor, router, holder) = (self.acceptor.clone(), self.router.clone(), self.holder.clone());
                            connections.spawn(serve(socket, pass, acceptor, router, holder, builder.clone(), self.stopping.clone()));
                        }
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: some will be back soon.
                        tracing::warn!(%error, "no TLS connection can be accepted now");
                        tokio::time::sleep(Duration::from_millis(200)).await;
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
    // Whoever tells is gone only when the server is.
    let _ = stopping.wait_for(|stops| *stops).await;
}

fn listen(address: SocketAddr, heartbeat: Duration) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    bound_silence(SockRef::from(&listener), heartbeat)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn builder(heartbeat: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_MAX_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .keep_alive_interval(heartbeat)
        .keep_alive_timeout(heartbeat);
    builder
}

async fn serve(
    socket: TcpStream,
    pass: Pass,
    acceptor: TlsAcceptor,
    router: Router,
    holder: Holder,
    builder: auto::Builder<TokioExecutor>,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = socket.set_nodelay(true);
    let socket = Carried::new(socket);
    let carrier = Arc::clone(socket.carrier());
    let Ok(Ok(socket)) = timeout(HEAD_MAX, acceptor.accept(socket)).await else { return };
    let pass = Arc::new(pass);
    let kept = (Arc::clone(&pass), Arc::clone(&carrier));
    let service = service_fn(move |request| answer(router.clone(), holder.clone(), kept.clone(), request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let mut told = false;
    let ended_well = loop {
        let goes_on = poll_fn(|cx| {
            carrier.goes_on();
            connection.as_mut().poll(cx)
        });
        tokio::select! {
            result = goes_on => break result.is_ok(),
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
        // Of a connection that is closed nobody can say whether its peer got the last that was written.
        let _ = timeout(ACKNOWLEDGED_MAX, all).await;
    }
    drop(pass);
}

async fn answer(
    router: Router,
    holder: Holder,
    (pass, carrier): (Arc<Pass>, Arc<Carrier>),
    mut request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    // HTTP/2 says whose request it is in its target; from here on it stands where HTTP/1.1 has it.
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let given = Given::new(carrier, request.version() == Version::HTTP_2);
    match waiting(&request).map(|waiting| (waiting.transport.talks(), holder.decide(&waiting))) {
        Some((true, verdict)) => Ok(holder.talk(verdict, given, hyper::upgrade::on(&mut request), pass).await),
        Some((false, verdict)) => Ok(holder.hold(verdict, given).await),
        None => router.oneshot(request.map(|body| Body::new(body.map_err(axum::Error::new)))).await,
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

    /// Reads the files again when they have changed. What cannot be used is reported, and the old certificate stays.
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
    let open =
        |path: &PathBuf| std::fs::File::open(path).map(BufReader::new).map_err(|error| TlsError::File(path.clone(), error.to_string()));
    let chain = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::File(cert.clone(), error.to_string()))?;
    let private = PrivateKeyDer::from_pem_reader(open(key)?).map_err(|error| TlsError::File(key.clone(), error.to_string()))?;
    let provider =
        rustls::crypto::CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let certified = CertifiedKey::from_der(chain, private, &provider)?;
    Ok(Loaded { certified: Arc::new(certified), changed })
}
