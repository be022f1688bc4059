//! Connections with HTTP/2, which hyper has to the end. Requests that wait are held by the table all the same
//! (see [`HyperBridge`]).

use std::{convert::Infallible, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    HyperBridge,
    activity::{Activity, Answered, Over, Times, Watch, Watched},
    carried::Carried,
    hyper_server::{Scope, answer, times, waiting},
    tls_stream::TlsStream,
};
use crate::{
    connection::{Carrier, Given, Permit, tls::TlsState},
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

/// What serves connections with HTTP/2. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http2 {
    /// The handlers.
    pub(super) router: Router,
    /// What holds requests that wait.
    pub(super) hyper_bridge: HyperBridge,
    /// How long things may take.
    pub(super) timeouts: Timeouts,
    /// Turns true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Http2 {
    /// Serves a connection until it is over. `before` is what was read and opened of it.
    pub(super) async fn serve(self, socket: TcpStream, tls: Box<TlsState>, before: Vec<u8>, permit: Permit) {
        let socket = Carried::new(socket);
        let caller = Caller {
            router: self.router,
            hyper_bridge: self.hyper_bridge,
            permit: Arc::new(permit),
            carrier: Arc::clone(socket.carrier()),
        };
        drive(before.into(), TlsStream::new(socket, tls), caller, self.timeouts, self.stopping).await;
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender is gone only when the server is.
    let _ = stopping.wait_for(|stops| *stops).await;
}

/// Serves a connection after its handshake. The table cannot have it, so it rests here, as long as it might
/// there.
async fn drive<S>(
    before: Bytes,
    socket: S,
    caller: Caller,
    timeouts: Timeouts,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, times) = (Activity::new(), times(&timeouts));
    // A place that is kept for operators is left after each answer.
    let rest = if Scope::of(&caller.permit) == Scope::All { times.rest } else { Duration::ZERO };
    let mut watch = Watch::new(Arc::clone(&activity), Times { rest, ..times });
    let (permit, carrier) = (Arc::clone(&caller.permit), Arc::clone(&caller.carrier));
    let io = TokioIo::new(Watched::new(before, socket, Arc::clone(&activity)));
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
        // Of a connection that is closed nobody can say whether its peer got the last that was written.
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
        let origin = request.headers().get(header::ORIGIN).cloned();
        let waits = if scope == Scope::All { waiting(&request) } else { None };
        let response =
            match waits.map(|waiting| (waiting.transport.is_duplex(), hyper_bridge.decide(&waiting))) {
                Some((true, verdict)) => hyper_bridge.open(
                    origin,
                    hyper_bridge.duplex(verdict, given, hyper::upgrade::on(&mut request), permit).await,
                ),
                Some((false, verdict)) => hyper_bridge.open(origin, hyper_bridge.hold(verdict, given).await),
                None => answer(router, scope, &activity, request, unread).await,
            };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.change();
        }
        Ok(response.map(|body| Answered { body, _under_way: under_way }))
    }
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
        config::{Config, Secret},
        connection::ConnectionLimit,
        shards::{Shards, mailbox},
    };

    const PATIENCE: Timeouts =
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
        Caller {
            router,
            hyper_bridge: HyperBridge::new(admit, shards, clock),
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
            tokio::spawn(drive(Bytes::new(), server, caller, PATIENCE, stopping));
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
