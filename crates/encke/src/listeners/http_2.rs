//! Connections with HTTP/2, which hyper has to the end. Requests that wait are held by the table all the same
//! (see [`HyperBridge`]).

use std::{convert::Infallible, future::poll_fn, net::IpAddr, sync::Arc, task::Poll, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    HyperBridge,
    activity::{Activity, Answered, Asked, Over, Times, Unread, Watch, Watched},
    carried::Carried,
    client,
    https::Https,
    hyper_server::{Scope, answer, malformed, times},
    tls_stream::TlsStream,
    waiting::{decide, endpoint, refuse},
};
use crate::{
    connection::{Carrier, Given, Permit, tls::TlsState},
    http::refusal::Refused,
    shards::Timeouts,
};

/// The longest head, in bytes.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// The most requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// How much of the heads of former requests is kept, in bytes, so that they are shorter when they come again.
const HEADER_TABLE_BYTES: u32 = 1024;
/// How much of a request's body may come before it is read: a body as long as it may be.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of all requests on one connection.
const WINDOW_BYTES: u32 = 128 * 1024;
/// How much of an answer is kept until the client lets it come: one piece of it, as the table gives them.
const SEND_BYTES: usize = 8 * 1024;
/// How many requests may be taken back by a client before they are looked at (CVE-2023-44487); more ends the
/// connection.
const RESETS_MAX: usize = 20;
/// How long a client that was told that its connection rested for too long, or that it lets no answer come,
/// may take to end it.
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
    /// What makes browsers use https.
    pub(super) https: Https,
    /// Turns true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Http2 {
    /// Serves a connection until it is over. `before` is what was read and opened of it.
    pub(super) async fn serve(self, socket: TcpStream, tls: Box<TlsState>, before: Vec<u8>, permit: Permit) {
        let peer = client::peer_address(&socket, &permit);
        let socket = Carried::new(socket);
        let caller = Caller {
            peer,
            router: self.router,
            hyper_bridge: self.hyper_bridge,
            permit: Arc::new(permit),
            carrier: Arc::clone(socket.carrier()),
            https: self.https,
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
    let rest = if Scope::of(&caller.permit, None) == Scope::All { times.rest } else { Duration::ZERO };
    let mut watch = Watch::new(Arc::clone(&activity), Times { rest, ..times });
    let (permit, carrier) = (Arc::clone(&caller.permit), Arc::clone(&caller.carrier));
    let io = TokioIo::new(Watched::new(before, socket, Arc::clone(&activity)));
    // What becomes of a request is on the heap only until its answer has begun. hyper would keep as much room
    // for it as long as the answer goes on.
    let service = service_fn(move |request| Box::pin(caller.clone().answer(Arc::clone(&activity), request)));
    let builder = builder(Duration::from_millis(timeouts.heartbeat_ms));
    let connection = builder.serve_connection(io, service);
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
                Ok(Over::Rest | Over::HeldBack) if !parting => {
                    // The client is told, and has a moment to hear it. What it has asked meanwhile is
                    // answered.
                    parting = true;
                    watch.ends_within(PART_MAX);
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
        // Of a connection that is closed it cannot be known whether its peer got the last that was written.
        let _ = timeout(ACKNOWLEDGED_MAX, all).await;
    }
    drop(permit);
}

fn builder(heartbeat: Duration) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .header_table_size(HEADER_TABLE_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(heartbeat)
        .keep_alive_timeout(heartbeat);
    builder
}

/// Who has a connection, and what serves it.
#[derive(Clone)]
struct Caller {
    router: Router,
    hyper_bridge: HyperBridge,
    /// The address of the connection.
    peer: IpAddr,
    permit: Arc<Permit>,
    carrier: Arc<Carrier>,
    https: Https,
}

impl Caller {
    async fn answer(
        self,
        activity: Arc<Activity>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answered<Body>>, Infallible> {
        let (unread, mut under_way) = activity.begin(true, false);
        // HTTP/2 says whose request it is in its target; from here on it stands where HTTP/1.1 has it.
        if !request.headers().contains_key(header::HOST)
            && let Some(host) =
                request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        let client = client::identify(&self.permit, self.peer, &mut request);
        let from = (client, client::brings_credentials(&self.hyper_bridge.admit, &request));
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let https = self.https.clone();
        let (admit, clock) = (self.hyper_bridge.admit.clone(), Arc::clone(&self.hyper_bridge.clock));
        let mut response = match client::beside(&self.permit, client) {
            Ok(beside) => {
                // It is counted as long as its answer is under way.
                under_way.keep(beside);
                self.respond(&activity, request, unread).await
            }
            Err(refused) => refuse(refused, &activity),
        };
        response = client::count_failure(&admit, from, clock.now().wall, response);
        https.say(&mut response);
        Ok(response.map(|body| Answered::new(body, under_way)))
    }

    async fn respond(
        self,
        activity: &Activity,
        request: Request<Incoming>,
        unread: Unread,
    ) -> Response<Body> {
        let Self { router, hyper_bridge, permit, carrier, .. } = self;
        let given = Given::new(carrier, true);
        let scope = Scope::of(&permit, None);
        let (parts, body) = request.into_parts();
        let may_wait = |for_operators| scope.lets_wait(permit.role(), for_operators);
        match endpoint(&parts, &hyper_bridge.endpoints, may_wait) {
            Some(found) => {
                if let Some(problem) = malformed(&parts.headers, parts.version) {
                    let response = refuse(Refused::bad(problem), activity);
                    return hyper_bridge.open(parts.headers.get(header::ORIGIN).cloned(), response);
                }
                let body = Body::new(Asked { body, unread }.map_err(axum::Error::new));
                let now = || hyper_bridge.clock.now().wall;
                let response = match decide(&hyper_bridge.endpoints, found, &parts, body, now).await {
                    Ok(verdict) => hyper_bridge.hold(verdict, given).await,
                    Err(refused) => refuse(refused, activity),
                };
                hyper_bridge.open(parts.headers.get(header::ORIGIN).cloned(), response)
            }
            None => match client::may_ask(&hyper_bridge.admit, &parts, hyper_bridge.clock.now().wall) {
                Ok(()) => answer(router, scope, activity, Request::from_parts(parts, body), unread).await,
                Err(refused) => {
                    let response = refuse(refused, activity);
                    hyper_bridge.open(parts.headers.get(header::ORIGIN).cloned(), response)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use encke_engine::memory::MemoryEngine;
    use encke_proto::{Epoch, Time};
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2::SendRequest;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
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
        transports::CompressionPolicy,
    };

    const TIMEOUT: Timeouts =
        Timeouts { head_ms: 10_000, idle_ms: 75_000, stalled_ms: 10_000, heartbeat_ms: 20_000 };

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
            hold_s: 25,
            rate_limits: Arc::default(),
            compression: CompressionPolicy::default(),
            decisions: None,
        };
        let slow = get(async || {
            sleep(Duration::from_secs(100)).await;
            "slow"
        });
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", slow)
            .route("/api/large", get(async || "x".repeat(1 << 20)))
            .layer(axum::middleware::from_fn(crate::http::operation::refuse_when_full));
        let permit = Arc::new(connection_limit.enter([10, 0, 0, 1].into()).unwrap());
        let endpoints = Arc::new(crate::dialects::Registry::built_in().endpoints(&app, &admit));
        Caller {
            router,
            hyper_bridge: HyperBridge::new(admit, endpoints, shards, clock),
            peer: [10, 0, 0, 1].into(),
            permit,
            carrier: Carrier::of_none(),
            https: Https::default(),
        }
    }

    /// Serves the other end of what is returned.
    fn served(caller: Caller) -> (DuplexStream, watch::Sender<bool>) {
        let (socket, server) = duplex(64 * 1024);
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(drive(Bytes::new(), server, caller, TIMEOUT, stopping));
        (socket, stop)
    }

    /// A client whose connection is served.
    struct Client {
        sender: SendRequest<Empty<Bytes>>,
        ends: JoinHandle<()>,
        answered: Instant,
        _stop: watch::Sender<bool>,
    }

    impl Client {
        async fn of(caller: Caller) -> Self {
            let (socket, stop) = served(caller);
            let io = TokioIo::new(socket);
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let ends = tokio::spawn(async move { drop(connection.await) });
            Self { sender, ends, answered: Instant::now(), _stop: stop }
        }

        async fn get(&mut self, path: &str) -> (Response<()>, String) {
            let request = Request::get(format!("https://a{path}")).body(Empty::new()).unwrap();
            let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            self.answered = Instant::now();
            (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
        }

        /// After how many seconds since the last answer the connection ends.
        async fn end(self) -> u64 {
            self.ends.await.unwrap();
            self.answered.elapsed().as_secs()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_as_long_as_in_the_table_and_ends_cleanly() {
        let mut client = Client::of(caller(&ConnectionLimit::new(0, None))).await;
        for seconds in [9, 1, 10, 11, 30, 60, 74] {
            sleep(Duration::from_secs(seconds)).await;
            assert_eq!(client.get("/").await.1, "hello");
        }
        assert_eq!(client.end().await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn t23_pings_are_no_requests_and_put_off_no_end() {
        let (mut socket, _stop) = served(caller(&ConnectionLimit::new(0, None)));
        let fields = b"\x82\x87\x04\x01/\x41\x01a";
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        socket.write_all(&[0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]).await.unwrap();
        socket.write_all(fields).await.unwrap();
        let (began, mut seen, mut pings, mut next) = (Instant::now(), Vec::new(), 0, 0);
        loop {
            let _ = socket.write_all(&acknowledged(&seen, &mut next)).await;
            let mut buffer = [0; 4096];
            match timeout(Duration::from_secs(1), socket.read(&mut buffer)).await {
                Ok(Ok(count)) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                Ok(_) => break,
                Err(_) => {
                    pings += 1;
                    assert!(pings < 1_000, "it would go on like this for ever");
                    socket.write_all(b"\0\0\x08\x06\0\0\0\0\0a client").await.unwrap();
                }
            }
        }
        assert!(seen.windows(5).any(|bytes| bytes == b"hello"));
        assert!(seen.windows(8).filter(|bytes| *bytes == b"a client").count() > 70);
        // GOAWAY without an error (RFC 9113 section 6.8).
        assert!(seen.windows(5).any(|head| head == [0, 0, 8, 7, 0]));
        assert!((75..=77).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn t6_a_client_that_does_not_begin_has_the_time_of_a_head() {
        // Nothing at all, and the beginning of what HTTP/2 begins with.
        for text in ["", "PRI * HTT"] {
            let (mut socket, _stop) = served(caller(&ConnectionLimit::new(0, None)));
            let began = Instant::now();
            socket.write_all(text.as_bytes()).await.unwrap();
            let _ = socket.read_to_end(&mut Vec::new()).await;
            assert_eq!(began.elapsed().as_secs(), 10, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_no_rest_and_one_that_takes_nothing_is_not_waited_for() {
        let mut client = Client::of(caller(&ConnectionLimit::new(0, None))).await;
        assert_eq!(client.get("/slow").await.1, "slow");
        let (mut socket, _stop) = served(caller(&ConnectionLimit::new(0, None)));
        let began = Instant::now();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS and WINDOW_UPDATE let the server send all of it, HEADERS ask for it (RFC 9113 section 6).
        socket.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x40\0\0\0").await.unwrap();
        socket.write_all(b"\0\0\x04\x08\0\0\0\0\0\x40\0\0\0").await.unwrap();
        let fields = b"\x82\x87\x04\x0a/api/large\x41\x01a";
        socket.write_all(&[0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]).await.unwrap();
        socket.write_all(fields).await.unwrap();
        sleep(Duration::from_secs(11)).await;
        let mut seen = Vec::new();
        let _ = socket.read_to_end(&mut seen).await;
        assert!((10_000..1 << 20).contains(&seen.len()), "{}", seen.len());
        assert!(began.elapsed().as_secs() < 15);
    }

    /// A client of HTTP/2 that lets so much of each answer come, with as many requests as it may have.
    async fn held_back(window: u32) -> (Vec<u8>, Duration) {
        let (mut socket, _stop) = served(caller(&ConnectionLimit::new(0, None)));
        let began = Instant::now();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04").await.unwrap();
        socket.write_all(&window.to_be_bytes()).await.unwrap();
        let fields = b"\x82\x87\x04\x0a/api/large\x41\x01a";
        for stream in (1..2 * STREAMS_MAX).step_by(2) {
            socket.write_all(&[0, 0, fields.len() as u8, 1, 5]).await.unwrap();
            socket.write_all(&stream.to_be_bytes()).await.unwrap();
            socket.write_all(fields).await.unwrap();
        }
        // It answers pings, and takes whatever the server sends.
        let mut seen = Vec::new();
        let mut next = 0;
        loop {
            let mut buffer = [0; 4096];
            match socket.read(&mut buffer).await {
                // It would go on like this for ever.
                _ if began.elapsed() > Duration::from_secs(100) => return (seen, began.elapsed()),
                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                _ => return (seen, began.elapsed()),
            }
            let _ = socket.write_all(&acknowledged(&seen, &mut next)).await;
        }
    }

    /// What a client says to the server's pings among these frames, from `next` on.
    fn acknowledged(seen: &[u8], next: &mut usize) -> Vec<u8> {
        let mut said = Vec::new();
        while let Some(frame) = seen.get(*next..).filter(|rest| rest.len() >= 9) {
            let length = 9 + usize::from(frame[1]) * 256 + usize::from(frame[2]);
            if frame.len() < length {
                break;
            }
            if frame[3] == 6 && frame[4] == 0 {
                let mut ping = frame[..length].to_vec();
                ping[4] = 1;
                said.append(&mut ping);
            }
            *next += length;
        }
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_lets_no_answer_come_is_told_and_ended() {
        for window in [0, 1, 20_000] {
            let (seen, took) = held_back(window).await;
            assert!((10..=13).contains(&took.as_secs()), "{window}: {took:?}");
            let bodies = seen.len().saturating_sub(128 * 100);
            assert!(bodies <= 128 * (window as usize + 100), "{window}: {}", seen.len());
            // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 6.5.2).
            assert!(seen.windows(6).any(|setting| setting == [0, 3, 0, 0, 0, 128]), "{window}");
            // GOAWAY without an error (RFC 9113 section 6.8).
            assert!(seen.windows(5).any(|head| head == [0, 0, 8, 7, 0]), "{window}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_for_operators_is_for_what_they_need_and_left_after_it() {
        let connection_limit = ConnectionLimit::new(1, None);
        let _full = connection_limit.enter([10, 0, 0, 2].into()).unwrap();
        for (path, status) in [("/", 503), ("/v1/poll", 503), ("/api/nothing", 404)] {
            let mut client = Client::of(caller(&connection_limit)).await;
            let (head, _) = client.get(path).await;
            assert_eq!(head.status(), status, "{path}");
            assert_eq!(head.headers().contains_key(header::RETRY_AFTER), status == 503);
            assert!(client.end().await <= 2);
        }
    }
}
