//! Requests that do not wait, served by hyper. One that turns out to wait, on a connection that
//! hyper has, is taken from it and goes to the connection table; so does a
//! connection that rests, since the table alone lets connections rest.
//!
//! hyper's connection is driven by hand for that. A request that waits is noticed when hyper
//! hands it over; its service never answers, so no response byte is written, and hyper's parts (the
//! socket, and what it read ahead) are taken out. ADR 0006 has the reasons.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch};
use tower::ServiceExt;

use super::{
    activity::{Activity, Answered, Asked, LongHead, Over, Times, Unread, Watch, Watched},
    client,
    https::Https,
    hyper_socket::HyperSocket,
    long_head,
    routers::Routers,
    waiting::{decide, endpoint},
};
use crate::{
    admission::{Admit, Endpoints, Verdict},
    clock::Clock,
    connection::{ListenerRole, Permit},
    http::{
        operation::{Full, is_operation},
        readable,
        refusal::Refused,
    },
    shards::{Arrival, Handoff, Resting, ShardCommand, Shards, Sink, Timeouts},
};

/// How long a connection may rest here until it goes back to the table. A client that sends one request after
/// the other is not worth the way.
const REST: Duration = Duration::from_millis(200);
/// The longest head.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// The most header fields.
const FIELDS_MAX: usize = 100;
/// How many connections may wait to be taken by it.
pub const HANDOFFS_MAX: usize = 4_096;
/// The most connections by the listener of operators; its connections have a limit of their own, which is
/// this one.
pub const ADMIN_CONNECTIONS_MAX: usize = 1_024;

/// What serves requests that do not wait.
#[derive(Clone)]
pub struct HyperServer {
    /// The handlers.
    pub routers: Routers,
    /// Whose pages may read answers.
    pub admit: Admit,
    /// Where requests come in that may wait, and what decides on them.
    pub endpoints: Arc<Endpoints>,
    /// Where requests that wait are served.
    pub shards: Shards,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What makes browsers use https.
    pub https: Https,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// What a connection may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Anything.
    All,
    /// It has one of the places that are kept for operators: what they need, once.
    Operation,
    /// It came in by the listener of operators: what does not wait.
    Admin,
}

impl Scope {
    /// What a connection with this permit may ask for, in this place if it needs one.
    pub(super) fn of(permit: &Permit, place: Option<&Permit>) -> Self {
        match permit.role() {
            _ if permit.is_reserved() || place.is_some_and(Permit::is_reserved) => Self::Operation,
            ListenerRole::Admin => Self::Admin,
            ListenerRole::Combined | ListenerRole::Public => Self::All,
        }
    }

    /// Whether a request may wait that came in by a listener of this role, and is of the server API or not.
    pub(super) fn lets_wait(self, role: ListenerRole, for_operators: bool) -> bool {
        match self {
            Self::All => role.serves_operators() || !for_operators,
            Self::Admin => for_operators,
            Self::Operation => false,
        }
    }

    /// Whether it may ask for this.
    pub(super) fn has(self, path: &str) -> bool {
        self != Self::Operation || is_operation(path)
    }
}

/// How hyper's part in a connection ends.
enum End {
    /// A request came that waits.
    Waits(Verdict),
    /// The connection rests.
    Rests,
    /// The connection is over.
    Over,
}

impl HyperServer {
    /// Serves a connection until it goes to the table or is over. It has this place among those with
    /// requests that do not wait, but on the listener of operators.
    pub(super) async fn serve(self, handoff: Handoff, place: Option<Permit>) {
        let scope = Scope::of(&handoff.permit, place.as_ref());
        let Handoff { socket, tls, bytes, permit, shard, .. } = handoff;
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let peer = client::peer_address(&socket, &permit);
        let socket = HyperSocket::new(socket, tls);
        let is_tls = socket.is_tls();
        let (activity, taken) = (Activity::new(), Arc::<Mutex<Option<Verdict>>>::default());
        let service = service_fn(|mut request: Request<Incoming>| {
            let (from, counted) =
                client::receive(&self.admit, (&permit, place.as_ref()), peer, is_tls, &mut request);
            let (unread, under_way) = activity.begin(false, !request.body().is_end_stream());
            let role = permit.role();
            let (hyper_server, activity, taken) = (self.clone(), Arc::clone(&activity), Arc::clone(&taken));
            // Boxed, because the connection is polled by hand, from wherever it stands.
            Box::pin(async move {
                let led_away = !is_tls && role != ListenerRole::Admin;
                let response = match hyper_server.stop_short(&request, counted, led_away) {
                    Some(response) => hyper_server.instead(request.headers(), &activity, response),
                    None => {
                        hyper_server
                            .clone()
                            .respond(request, (scope, role, from), (&activity, unread), &taken)
                            .await
                    }
                };
                let response = hyper_server.finish(response, from, is_tls);
                Ok::<_, Infallible>(response.map(|body| Answered::new(body, under_way)))
            })
        });
        let io = Watched::http_1(bytes.into(), socket, Arc::clone(&activity), scope != Scope::Operation);
        // Without a timer: how long it may take is watched from here.
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(FIELDS_MAX)
            .serve_connection(TokioIo::new(io), service);
        let mut watch = Watch::new(Arc::clone(&activity), Times { rest: REST, ..times(&self.timeouts) });
        let (mut stopping, mut told) = (self.stopping.clone(), false);
        let end = loop {
            let next = poll_fn(|cx| {
                // With the shutdown, since without it a connection counts as done before its last answer is
                // flushed.
                let done = Pin::new(&mut connection).poll(cx);
                // Only when all answers before it are with the kernel: what hyper still has to write would be
                // lost with it. Until then the verdict waits, and the client has the time of any that takes
                // nothing.
                if !activity.is_blocked()
                    && let Some(verdict) = taken.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    return Poll::Ready(End::Waits(verdict));
                }
                if done.is_ready() {
                    return Poll::Ready(End::Over);
                }
                watch.poll(cx).map(|over| if over == Over::Rest { End::Rests } else { End::Over })
            });
            tokio::select! {
                end = next => break end,
                _ = stopping.wait_for(|stops| *stops), if !told => {
                    // A request under way is finished; a connection between two requests is not kept.
                    told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        drop(place);
        self.leave(end, io.into_inner(), &read_buf, (permit, shard)).await;
    }

    /// What is answered to a request before any handler sees it, if anything: that there are too many
    /// connections of its client, or where it is led to.
    fn stop_short<B>(
        &self,
        request: &Request<B>,
        counted: Result<(), Refused>,
        led_away: bool,
    ) -> Option<Response<Body>> {
        let redirect = self.https.redirect.as_ref().filter(|_| led_away);
        let redirected = || redirect.and_then(|redirect| redirect.answer(request));
        counted.err().map(Refused::into_response).or_else(redirected)
    }

    /// What becomes of an answer before it is written.
    fn finish(&self, response: Response<Body>, from: (IpAddr, bool), is_tls: bool) -> Response<Body> {
        let mut response = client::count_failure(&self.admit, from, self.clock.now().wall, response);
        if is_tls {
            self.https.say(&mut response);
        }
        response
    }

    /// Answers a request. One that waits goes into `taken` instead, and this never ends: the connection is
    /// taken from hyper then.
    async fn respond(
        self,
        request: Request<Incoming>,
        (scope, role, from): (Scope, ListenerRole, (IpAddr, bool)),
        (activity, unread): (&Activity, Unread),
        taken: &Mutex<Option<Verdict>>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let may_wait = |for_operators| scope.lets_wait(role, for_operators);
        let Some(endpoint) = endpoint(&parts, &self.endpoints, may_wait) else {
            if let Err(refused) = client::may_ask(&self.admit, &parts, self.clock.now().wall) {
                return self.refuse(&parts.headers, activity, refused);
            }
            let router = self.routers.of(role);
            return answer(router, scope, activity, Request::from_parts(parts, body), unread).await;
        };
        if let Some(problem) = malformed(&parts.headers, parts.version) {
            return self.refuse(&parts.headers, activity, Refused::bad(problem));
        }
        let body = Body::new(Asked { body, unread }.map_err(axum::Error::new));
        match decide(&self.endpoints, endpoint, &parts, body, || self.clock.now().wall).await {
            Ok(verdict) => {
                let verdict = client::count_refused(&self.admit, from, self.clock.now().wall, verdict);
                *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
                std::future::pending().await
            }
            Err(refused) => self.refuse(&parts.headers, activity, refused),
        }
    }

    /// Refuses a request that may have waited, had it come whole.
    fn refuse(&self, headers: &HeaderMap, activity: &Activity, refused: Refused) -> Response<Body> {
        self.instead(headers, activity, refused.into_response())
    }

    /// Answers with what does not come from a handler. What was not read of a body would be the next request.
    fn instead(
        &self,
        headers: &HeaderMap,
        activity: &Activity,
        mut response: Response<Body>,
    ) -> Response<Body> {
        if activity.has_unread() {
            response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let origin = headers
            .get(header::ORIGIN)
            .filter(|origin| self.admit.readable_by(origin.to_str().ok()).is_some());
        if let Some(origin) = origin {
            readable::open(response.headers_mut(), origin.clone());
        }
        response
    }

    /// Gives the connection to where it goes on, or ends it. `ahead` is what hyper has read and not
    /// taken.
    async fn leave(
        &self,
        end: End,
        mut io: Watched<HyperSocket>,
        ahead: &[u8],
        (permit, shard): (Permit, usize),
    ) {
        if matches!(end, End::Over) {
            if io.long_head == LongHead::Refused {
                io.long_head = LongHead::PassedOn;
                // A client that does not take it is refused all the same.
                let _ = long_head::refuse(&mut io, ahead, &self.admit, self.clock.now().wall).await;
            }
            return drop(permit);
        }
        let Some((sink, opened)) = io.socket.into_sink(permit) else { return };
        let inbound = [ahead, &io.before[..], &opened[..]].concat();
        match end {
            End::Waits(verdict) => self.hand_over(verdict, sink, inbound),
            End::Rests => self.give_to(shard, Resting { sink, inbound, is_new: false }),
            End::Over => {}
        }
    }

    /// Gives a connection whose request waits to the table.
    fn hand_over(&self, verdict: Verdict, sink: Sink, inbound: Vec<u8>) {
        let home = match &verdict {
            Verdict::Admitted(admission) => self.shards.home(&admission.user),
            _ => self.shards.any(),
        };
        let arrival = Arrival { sink, inbound, verdict, unsent: None };
        if home.post(ShardCommand::Arrived(Box::new(arrival))).is_err() {
            tracing::warn!("a shard has too much to do to take a connection");
        }
    }

    /// Gives a connection to the shard that it came from, with what came of its next request.
    pub(super) fn give_to(&self, shard: usize, resting: Resting) {
        if self.shards.at(shard).post(ShardCommand::Rests(Box::new(resting))).is_err() {
            tracing::warn!("a shard has too much to do to take a connection");
        }
    }
}

/// How long hyper's connections may take.
pub(super) fn times(timeouts: &Timeouts) -> Times {
    Times {
        head: Duration::from_millis(timeouts.head_ms),
        rest: Duration::from_millis(timeouts.idle_ms),
        stalled: Duration::from_millis(timeouts.stalled_ms),
    }
}

/// Answers a request, and says so if the connection ends with the answer.
pub(super) async fn answer(
    router: Router,
    scope: Scope,
    activity: &Activity,
    request: Request<Incoming>,
    unread: Unread,
) -> Response<Body> {
    let version = request.version();
    let ends = scope == Scope::Operation || (version < Version::HTTP_11 && !keeps_alive(&request));
    let malformed = malformed(request.headers(), version);
    let mut response = if let Some(problem) = malformed {
        Refused::bad(problem).into_response()
    } else {
        let belongs = scope.has(request.uri().path());
        let mut request = request.map(|body| Body::new(Asked { body, unread }.map_err(axum::Error::new)));
        if !belongs {
            request.extensions_mut().insert(Full);
        }
        router.oneshot(request).await.unwrap_or_else(|never| match never {})
    };
    // What was not read of a body would be the next request.
    if version <= Version::HTTP_11 && (malformed.is_some() || ends || activity.has_unread()) {
        response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Why two servers may disagree on what a request is, where hyper leaves that to its user.
pub(super) fn malformed(headers: &HeaderMap, version: Version) -> Option<&'static str> {
    let hosts = headers.get_all(header::HOST).iter().count();
    // RFC 9112 section 3.2.
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Some("a request names its host once");
    }
    // Of two, one server may look at the first and another at the last.
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Some("a request has one Authorization");
    }
    // What is encoded besides would be read as it came (RFC 9112 section 6.1).
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Some("a body may be chunked, and encoded for its transfer in no other way");
    }
    None
}

fn keeps_alive<B>(request: &Request<B>) -> bool {
    let options =
        request.headers().get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("keep-alive"))
}
