//! Requests that do not wait, served by the HTTP library. One that turns out to wait, on a connection that the library has, is taken from it and goes to the connection table.
//!
//! The library's connection is driven by hand for that. A request that waits is noticed when the library hands it over; its service never answers, so no response byte is written, and
//! the library's parts (the socket, and what it read ahead) are taken out. ADR 0006 has the reasons.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse};
use encke_proto::ErrorCode;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{Admit, Verdict, long_head, rewind::Rewind};
use crate::{
    clock::Clock,
    refusal::Refused,
    shards::{Arrival, Letter, Shards, Stray},
    table::{Line, head::Waiting},
    transports::asked_for,
};

/// How long a request's head may take, and how long a connection may rest between two requests.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// The longest head.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How long a client may go on sending after its answer, in how large pieces that is read, and how many of them.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_READ_BYTES: usize = 16 * 1024;
const LINGER_READS_MAX: usize = 64;
/// The most header fields.
const FIELDS_MAX: usize = 100;
/// The most connections that the library serves at a time.
pub const CONNECTIONS_MAX: usize = 4_096;

/// What serves requests that do not wait.
#[derive(Clone)]
pub struct Library {
    /// The handlers.
    pub router: Router,
    /// Who may wait.
    pub admit: Admit,
    /// Where requests that wait are served.
    pub shards: Shards,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

impl Library {
    /// Serves connections until their senders are gone and they are done.
    pub async fn run(self, mut strays: mpsc::Receiver<Stray>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                stray = strays.recv() => match stray {
                    Some(stray) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(self.clone().serve(stray));
                    }
                    // Dropping it frees the socket; under such a load there is no better answer.
                    Some(_) => tracing::warn!("too many connections for requests that do not wait"),
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self, stray: Stray) {
        let Stray { socket, bytes, pass } = stray;
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let taken: Arc<Mutex<Option<Verdict>>> = Arc::default();
        let service = service_fn(|request: Request<Incoming>| {
            let waits = waiting(&request).map(|waiting| self.admit.decide(&waiting, self.clock.now().wall));
            let (taken, router) = (Arc::clone(&taken), self.router.clone());
            // Boxed, because the connection is polled by hand, from wherever it stands.
            Box::pin(async move {
                if let Some(verdict) = waits {
                    *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
                    return std::future::pending().await;
                }
                answer(router, request).await
            })
        });
        let io = TokioIo::new(Rewind { before: bytes.into(), socket, refused: false });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(FIELDS_MAX)
            .serve_connection(io, service);
        let mut stopping = self.stopping.clone();
        let mut told = false;
        let verdict = loop {
            let next = poll_fn(|cx| {
                // With the shutdown, since without it a connection counts as done before its last answer is flushed.
                let done = Pin::new(&mut connection).poll(cx);
                if let Some(verdict) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    return Poll::Ready(Some(verdict));
                }
                done.map(|_| None)
            });
            tokio::select! {
                verdict = next => break verdict,
                _ = stopping.wait_for(|stops| *stops), if !told => {
                    // A request under way is finished; a connection between two requests is not kept.
                    told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let Some(verdict) = verdict else {
            if !told {
                let parts = connection.into_parts();
                let Rewind { mut socket, refused, .. } = parts.io.into_inner();
                if refused && long_head::refuse(&mut socket, &parts.read_buf, &self.admit).await.is_err() {
                    return drop(pass);
                }
                linger(socket).await;
            }
            return drop(pass);
        };
        let parts = connection.into_parts();
        let Rewind { before, socket, .. } = parts.io.into_inner();
        let inbound = [&parts.read_buf[..], &before[..]].concat();
        self.hand_over(verdict, socket, inbound, pass);
    }

    /// Gives a connection whose request waits to the table.
    fn hand_over(&self, verdict: Verdict, socket: TcpStream, inbound: Vec<u8>, pass: crate::table::Pass) {
        let home = match &verdict {
            Verdict::Admitted(admission) => self.shards.home(&admission.user),
            Verdict::Refused(..) | Verdict::StayAway(_) => self.shards.any(),
        };
        let Ok(socket) = socket.into_std() else { return };
        let line = Line::Socket(mio::net::TcpStream::from_std(socket), pass);
        let arrival = Arrival { line, inbound, verdict };
        if home.post(Letter::Arrived(Box::new(arrival))).is_err() {
            tracing::warn!("a shard has too much to do to take a connection");
        }
    }
}

/// Reads and forgets what a client still sends after its answer. A socket that is closed with bytes unread is reset, and a reset overtakes the answer: whoever sent too large a
/// body would never hear so.
async fn linger(mut socket: TcpStream) {
    let read = async {
        let mut unread = vec![0; LINGER_READ_BYTES];
        for _ in 0..LINGER_READS_MAX {
            match socket.read(&mut unread).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    // Whoever goes on sending for longer does not read answers.
    let _ = tokio::time::timeout(LINGER_MAX, read).await;
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    // The library leaves this to its user: a request names its host once (RFC 9112 section 3.2), or two servers may disagree on whose it is.
    let hosts = request.headers().get_all(http::header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let mut response = Refused::new(ErrorCode::BadRequest, "a request names its host once").into_response();
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        return Ok(response);
    }
    router.oneshot(request.map(|body| Body::new(body.map_err(axum::Error::new)))).await
}

/// The request as the table sees it, when it is one that waits.
pub(super) fn waiting(request: &Request<Incoming>) -> Option<Waiting<'_>> {
    let query = request.uri().query().unwrap_or_default();
    let transport = asked_for(request.uri().path(), query)?;
    if request.method() != Method::GET || request.version() > Version::HTTP_2 {
        return None;
    }
    // A request that does not name its host is refused where all such are.
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(http::header::HOST) {
        return None;
    }
    let mut waiting = Waiting::new(transport, query);
    for (name, value) in request.headers() {
        if !waiting.take(name.as_str(), value.to_str().ok()?) {
            return None;
        }
    }
    if request.version() < Version::HTTP_11 {
        waiting.http_10 = true;
        waiting.keep_alive = false;
    }
    Some(waiting)
}
