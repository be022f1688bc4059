//! Listening: one data connection after the other, each going on where the last one ended.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use encke_proto::ErrorCode;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::{Backoff, jittered, jittered_over, random};
use crate::event::WireEvent;
use crate::http::{MAX_ANSWER_BYTES, Query, read_at_most, refused, segment};
use crate::lines::LineReader;
use crate::listen_options::{Listen, Transport};
use crate::session::{Late, SessionHandle, Shared};
use crate::short::Told;
use crate::socket::{Handshake, Socket};
use crate::sse::{SseParser, TooLong};
use crate::{Client, Close, Error, Event, Expiring, Gap, Lost, Message, Open, Unsubscribed};

/// How long the head of an answer that is not held may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The silence that is borne on a stream which has not told its heartbeat: two and a half times the
/// protocol's default of 20 s.
const DEFAULT_SILENCE: Duration = Duration::from_secs(50);
/// The protocol's default for how long a poll is held, in seconds.
const DEFAULT_HOLD_S: u64 = 25;
/// A connection that lived this long has proved itself: losing it is no reason to wait before the next.
const PROVED_AFTER: Duration = Duration::from_secs(5);
/// The longest pause that `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long the `close` event may take after the session was closed through a handle.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// A held poll that is answered sooner than this with nothing is followed by a pause, or a confused server
/// would be asked without end.
const HASTY: Duration = Duration::from_millis(100);
/// The most to wait before the first attempt when the server said that it stops.
const SHUTDOWN_PAUSE: Duration = Duration::from_secs(2);
/// A listener that was taken over comes back if it was not taken over for this long before.
const TAKEN_OVER_AGAIN: Duration = Duration::from_secs(60);
const HASTY_PAUSE: Duration = Duration::from_millis(500);

/// A stream of [`Event`]s that goes on over any number of connections.
///
/// It ends with `None` after a close without reconnect. An `Err` is its last item: the server refuses for
/// good (the token is wrong, a channel is forbidden, another connection took over), and the caller has to do
/// something. Everything else it mends itself and tells as [`Event::Lost`].
///
/// Dropping it cuts the connection; the session then lives for its grace time. To end it on purpose use
/// [`SessionHandle::close`].
pub struct Listener {
    events: Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>,
    handle: SessionHandle,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("session", &self.handle.session()).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins to listen. Nothing is sent before the listener is polled.
    #[must_use]
    pub fn listen(&self, options: Listen) -> Listener {
        Listener::new(self.clone(), options)
    }
}

impl Listener {
    fn new(client: Client, options: Listen) -> Self {
        let shared = Arc::new(Shared::new(options.session, options.cursor, options.channels));
        let driver = Driver {
            client: client.clone(),
            shared: Arc::clone(&shared),
            transport: match (&options.looks_at, options.transport) {
                (Some(_), Transport::Poll | Transport::Ws) => Transport::Sse,
                (_, transport) => transport,
            },
            looks_at: options.looks_at,
            device: options.device,
            hold_s: options.hold_s,
            whole: options.whole,
            items: VecDeque::new(),
            state: State::Idle(Duration::ZERO),
            backoff: Backoff::default(),
            ever_open: false,
            taken_over: None,
            renewal: Renewal::default(),
        };
        let events = futures_util::stream::unfold(driver, |mut driver| async move {
            driver.next().await.map(|event| (event, driver))
        });
        Self { events: Box::pin(events.fuse()), handle: SessionHandle::new(client, shared) }
    }

    /// The next event. Nothing is lost when the returned future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.next().await
    }

    /// A way to steer the session while listening.
    #[must_use]
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }
}

impl Stream for Listener {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

/// What came in and has not been handed over yet. Positions move only when it is, so that the cursor never
/// covers what the caller did not get.
enum Item {
    Open {
        open: Open,
        /// Whether the cursor in it is one to go on from: the one in a poll's answer is behind messages that
        /// are still to be handed over.
        adopt: bool,
    },
    Message(Message),
    Gap(Gap),
    Unsubscribed(Unsubscribed),
    Expiring(Expiring),
    Cursor(String),
    Close(Close),
}

enum State {
    /// No connection; the next attempt comes after this pause.
    Idle(Duration),
    Streaming(Box<Streaming>),
    Polling(Polling),
    Done,
}

struct Streaming {
    wire: Wire,
    /// What its messages leave out.
    told: Told,
    /// The silence after which the connection counts as dead.
    silence: Duration,
    since: Instant,
}

/// Where a stream's events come from.
enum Wire {
    Sse(Response, SseParser),
    Ndjson(Response, LineReader),
    Ws {
        socket: Socket,
        /// What ends before it has opened was refused.
        opened: bool,
    },
}

#[derive(Clone, Copy)]
struct Polling {
    /// The connection has not been told as open yet; its first poll is not held, so that the session is known
    /// at once.
    first: bool,
}

/// The answer to a poll.
#[derive(Deserialize)]
struct PollAnswer<'a> {
    /// Absent from the short form when the session goes on.
    session: Option<String>,
    cursor: String,
    /// What messages in the short form leave out.
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    close_key: Option<String>,
    #[serde(default, borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(default)]
    gaps: Vec<Gap>,
    #[serde(default)]
    unsubscribed: Vec<Unsubscribed>,
    #[serde(default)]
    expiring: Option<Expiring>,
    #[serde(default)]
    close: Option<Close>,
}

struct Driver {
    client: Client,
    shared: Arc<Shared>,
    transport: Transport,
    device: Option<String>,
    hold_s: Option<u64>,
    whole: bool,
    /// At whom an operator looks on.
    looks_at: Option<String>,
    items: VecDeque<Item>,
    state: State,
    backoff: Backoff,
    ever_open: bool,
    /// When another connection last took over the session.
    taken_over: Option<Instant>,
    renewal: Renewal,
}

/// What is to be done about a token that was refused.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Renewal {
    /// Nothing.
    #[default]
    None,
    /// A fresh one is taken before the next connection.
    Due,
    /// It was taken, and no connection has opened since: if it is refused too, there is none better.
    Done,
}

impl Driver {
    /// The next event, or `None` at the end.
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                if let Some(event) = self.hand_over(item) {
                    return Some(Ok(event));
                }
                continue;
            }
            let step = match &mut self.state {
                State::Done => return None,
                State::Idle(pause) => {
                    let pause = *pause;
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.shared.closing() => {}
                    }
                    if self.shared.is_closing() {
                        return Some(Ok(self.closed_by_handle()));
                    }
                    match self.renew().await {
                        Ok(()) => self.connect().await,
                        Err(error) => Err(error),
                    }
                }
                State::Streaming(streaming) => {
                    tokio::select! {
                        read = streaming.read(&mut self.items) => read,
                        () = closed_for_long(&self.shared) => return Some(Ok(self.closed_by_handle())),
                    }
                }
                State::Polling(polling) => {
                    let polling = *polling;
                    let shared = Arc::clone(&self.shared);
                    tokio::select! {
                        answer = self.poll(polling) => answer,
                        () = closed_for_long(&shared) => return Some(Ok(self.closed_by_handle())),
                    }
                }
            };
            if let Err(error) = step
                && let Some(last) = self.lose(error)
            {
                return Some(last);
            }
        }
    }

    /// Turns what came in into an event, if it is one, and moves the positions.
    fn hand_over(&mut self, item: Item) -> Option<Event> {
        match item {
            Item::Open { open, adopt } => {
                self.ever_open = true;
                self.renewal = Renewal::None;
                self.shared.open(&open.session);
                if adopt {
                    self.shared.adopt(&open.cursor);
                    self.ask_late();
                }
                if let (State::Streaming(streaming), Some(heartbeat_s)) = (&mut self.state, open.heartbeat_s)
                {
                    streaming.silence = silence(heartbeat_s);
                }
                Some(Event::Open(open))
            }
            Item::Message(message) => {
                // A repeat proves nothing: a server that sends one and fails would be asked without end.
                let is_new = self.shared.accept(&message);
                if is_new {
                    self.backoff.reset();
                }
                is_new.then_some(Event::Message(message))
            }
            Item::Gap(gap) => self.shared.skip(&gap).then_some(Event::Gap(gap)),
            Item::Unsubscribed(told) => {
                self.shared.lose(&told.channel);
                Some(Event::Unsubscribed(told))
            }
            Item::Expiring(told) => {
                self.refresh();
                Some(Event::Expiring(told))
            }
            Item::Cursor(cursor) => {
                self.shared.adopt(&cursor);
                None
            }
            Item::Close(close) => {
                self.items.clear();
                if close.code == "taken_over" && !self.shared.is_closing() && self.may_come_back() {
                    let retry_in = self.backoff.next_pause(random());
                    self.state = State::Idle(retry_in);
                    return Some(Event::Lost(Lost { cause: Error::TakenOver, retry_in }));
                }
                if close.reconnect && !self.shared.is_closing() {
                    if close.code == ErrorCode::TokenExpired.as_str() && self.client.has_token_source() {
                        self.renewal = Renewal::Due;
                    }
                    // The session is gone; its cursor alone is enough to go on.
                    self.shared.drop_session();
                    let pause = self.backoff.next_pause(random());
                    // A server that stops is not back at once, and all of its clients know the moment; it
                    // spreads them itself, unless it is an older one.
                    let least = match close.retry_ms {
                        Some(ms) => jittered_over(Duration::from_millis(ms).min(MAX_RETRY_AFTER), random()),
                        None if close.code == "shutdown" => jittered(SHUTDOWN_PAUSE, random()),
                        None => Duration::ZERO,
                    };
                    self.state = State::Idle(pause.max(least));
                } else {
                    self.state = State::Done;
                }
                Some(Event::Close(close))
            }
        }
    }

    /// Asks a stream that has opened for what changed while it was on its way. Polls need that not: each asks
    /// for all.
    fn ask_late(&self) {
        if self.looks_at.is_some() {
            // It has no channels of its own.
            return;
        }
        let Late { wanted, left } = self.shared.late();
        if wanted.is_empty() && left.is_empty() {
            return;
        }
        let handle = SessionHandle::new(self.client.clone(), Arc::clone(&self.shared));
        // Beside the stream, which goes on meanwhile. The requests give up by themselves.
        tokio::spawn(async move {
            if !wanted.is_empty()
                && let Err(error) = handle.subscribe(&wanted).await
            {
                tracing::warn!(%error, "channels that were noted before the connection opened are not subscribed");
            }
            if !left.is_empty()
                && let Err(error) = handle.unsubscribe(&left).await
            {
                tracing::warn!(%error, "channels that were left before the connection opened are not unsubscribed");
            }
        });
    }

    /// Lets the session go on with a fresh token, if there is a source of such.
    fn refresh(&self) {
        let (client, shared) = (self.client.clone(), Arc::clone(&self.shared));
        if !client.has_token_source() {
            return;
        }
        // Beside the connection, which goes on meanwhile. If it fails the session ends with its token, and
        // the listener connects again with a fresh one.
        tokio::spawn(async move {
            let refreshed = async {
                let Some(token) = client.renew_token().await? else { return Ok(None) };
                SessionHandle::new(client, shared).refresh(&token).await
            };
            if let Err(error) = refreshed.await {
                tracing::warn!(%error, "the session does not have a fresh token yet");
            }
        });
    }

    /// Takes a fresh token before the next connection, if the one that there is was refused.
    async fn renew(&mut self) -> Result<(), Error> {
        if self.renewal == Renewal::Due {
            self.client.renew_token().await?;
            self.renewal = Renewal::Done;
        }
        Ok(())
    }

    /// Another connection took over the session: whether to come back. On a slow network that may have been
    /// an earlier request of our own, which arrived behind its successor. A client that shares the session
    /// with another is taken over again, and then it is not ours any more.
    fn may_come_back(&mut self) -> bool {
        let now = Instant::now();
        self.taken_over.replace(now).is_none_or(|last| now.duration_since(last) >= TAKEN_OVER_AGAIN)
    }

    /// The session was closed through a handle, and no `close` event came over the connection.
    fn closed_by_handle(&mut self) -> Event {
        self.state = State::Done;
        Event::Close(Close {
            code: "client".to_owned(),
            reason: String::new(),
            reconnect: false,
            retry_ms: None,
        })
    }

    async fn connect(&mut self) -> Result<(), Error> {
        self.state = match self.transport {
            Transport::Poll => State::Polling(Polling { first: true }),
            Transport::Sse => {
                let path = self.path("/v1/sse")?;
                let response = stream(&self.client, &path, self.query(), "text/event-stream").await?;
                streaming(Wire::Sse(response, SseParser::new()))
            }
            Transport::Ndjson => {
                let mut query = self.query();
                query.add("as", "ndjson");
                let path = self.path("/v1/stream")?;
                let response = stream(&self.client, &path, query, "application/x-ndjson").await?;
                streaming(Wire::Ndjson(response, LineReader::default()))
            }
            Transport::Ws => {
                let handshake = Handshake::new()?;
                let query = self.query();
                let head = self.client.http.upgrade("/v1/ws", &query, handshake.fields());
                let response =
                    timeout(HEAD_TIMEOUT, head).await.map_err(|_| Error::Silent(HEAD_TIMEOUT))??;
                handshake.check(&response)?;
                streaming(Wire::Ws { socket: Socket::new(response.upgrade().await?), opened: false })
            }
        };
        Ok(())
    }

    /// Where a stream is asked for, which is `own` for the user's clients.
    fn path(&self, own: &str) -> Result<String, Error> {
        let Some(user) = &self.looks_at else { return Ok(own.to_owned()) };
        Ok(format!("/api/users/{}/messages", segment(user)?))
    }

    /// What a data connection is asked for with.
    fn query(&self) -> Query {
        let mut query = match &self.looks_at {
            None => {
                let mut query = self.shared.query();
                query.add_some("device", self.device.as_deref());
                query
            }
            Some(_) => {
                let mut query = Query::default();
                query.add_some("cursor", self.shared.cursor().as_deref());
                query
            }
        };
        if !self.whole {
            query.add("form", "short");
        }
        query
    }

    /// One poll, from the request to the items of its answer.
    async fn poll(&mut self, polling: Polling) -> Result<(), Error> {
        let mut query = self.query();
        let hold_s = if polling.first { Some(0) } else { self.hold_s };
        if let Some(hold_s) = hold_s {
            query.add("hold_s", &hold_s.to_string());
        }
        let silence_max = silence(hold_s.unwrap_or(DEFAULT_HOLD_S)).max(HEAD_TIMEOUT);
        let exchange = async {
            let response = self.client.http.send(Method::GET, "/v1/poll", &query, None).await?;
            read_at_most(response, MAX_ANSWER_BYTES).await
        };
        let asked = Instant::now();
        let body = timeout(silence_max, exchange).await.map_err(|_| Error::Silent(silence_max))??;
        let bad = |error: serde_json::Error| Error::BadAnswer(format!("/v1/poll: {error}"));
        let answer: PollAnswer<'_> = serde_json::from_slice(&body).map_err(bad)?;
        let told = Told { user: answer.user, epoch: answer.epoch };
        let read = |json: &&RawValue| match json.get() {
            short if short.starts_with('[') => told.read(short),
            long => serde_json::from_str(long).map_err(bad),
        };
        let messages: Vec<Message> = answer.messages.iter().map(read).collect::<Result<_, _>>()?;
        if !polling.first {
            self.backoff.reset();
        }
        let empty = messages.is_empty()
            && answer.gaps.is_empty()
            && answer.unsubscribed.is_empty()
            && answer.expiring.is_none()
            && answer.close.is_none();
        let hasty = empty && hold_s != Some(0) && asked.elapsed() < HASTY;
        self.state = State::Polling(Polling { first: false });
        let session = answer.session.or_else(|| self.shared.session());
        let session = session.ok_or_else(|| Error::BadAnswer("/v1/poll: it names no session".to_owned()))?;
        if polling.first || self.shared.is_new(&session) {
            // What this connection goes on from is the cursor that the poll was sent with, if it was sent
            // with one.
            let cursor = self.shared.cursor().filter(|_| !empty).unwrap_or_else(|| answer.cursor.clone());
            self.items.push_back(Item::Open {
                open: Open {
                    session,
                    cursor,
                    heartbeat_s: None,
                    close_key: answer.close_key,
                    user: told.user,
                    epoch: told.epoch,
                },
                adopt: false,
            });
        }
        self.items.extend(answer.unsubscribed.into_iter().map(Item::Unsubscribed));
        self.items.extend(answer.expiring.map(Item::Expiring));
        self.items.extend(answer.gaps.into_iter().map(Item::Gap));
        self.items.extend(messages.into_iter().map(Item::Message));
        self.items.push_back(Item::Cursor(answer.cursor));
        self.items.extend(answer.close.map(Item::Close));
        if hasty {
            sleep(jittered(HASTY_PAUSE, random())).await;
        }
        Ok(())
    }

    /// The connection is gone. What to tell, if anything: that it goes on after a pause, or the end.
    fn lose(&mut self, error: Error) -> Option<Result<Event, Error>> {
        if let State::Streaming(streaming) = &self.state
            && streaming.since.elapsed() >= PROVED_AFTER
        {
            self.backoff.reset();
        }
        match error {
            _ if self.shared.is_closing() => return Some(Ok(self.closed_by_handle())),
            Error::SessionClosed { message, reconnect: false } => {
                self.state = State::Done;
                let close = Close {
                    code: "session_closed".to_owned(),
                    reason: message,
                    reconnect: false,
                    retry_ms: None,
                };
                return Some(Ok(Event::Close(close)));
            }
            Error::SessionClosed { reconnect: true, .. } => self.shared.drop_session(),
            // Something in between may answer in the server's place for a while; before the first success it
            // is rather the wrong address.
            Error::BadAnswer(_) if self.ever_open => {}
            Error::TakenOver if self.may_come_back() => {}
            Error::Unauthorized { .. } if self.client.has_token_source() && self.renewal == Renewal::None => {
                self.renewal = Renewal::Due;
            }
            ref error if error.is_temporary() => {}
            error => {
                self.state = State::Done;
                return Some(Err(error));
            }
        }
        let mut retry_in = self.backoff.next_pause(random());
        if let Some(asked) = error.retry_after() {
            // A little later than asked for, and not all at the same time.
            retry_in = retry_in.max(asked.min(MAX_RETRY_AFTER) + jittered(Duration::from_secs(1), random()));
        }
        self.state = State::Idle(retry_in);
        Some(Ok(Event::Lost(Lost { cause: error, retry_in })))
    }
}

impl Streaming {
    /// Waits for bytes and takes the events out of them.
    async fn read(&mut self, items: &mut VecDeque<Item>) -> Result<(), Error> {
        let silent = |_| Error::Silent(self.silence);
        let broken = |error: reqwest::Error| Error::broken(&error);
        let too_long = |error: TooLong| Error::BadAnswer(error.to_string());
        match &mut self.wire {
            Wire::Sse(response, parser) => {
                let read = timeout(self.silence, response.chunk()).await.map_err(silent)?;
                let bytes = read.map_err(broken)?.ok_or(Error::Ended)?;
                parser.push(&bytes).map_err(too_long)?;
                while let Some(event) = parser.next_event() {
                    if let Some(data) = &event.data {
                        take_in(items, &mut self.told, data)?;
                    }
                    items.extend(event.id.filter(|id| !id.is_empty()).map(Item::Cursor));
                }
            }
            Wire::Ndjson(response, lines) => {
                let read = timeout(self.silence, response.chunk()).await.map_err(silent)?;
                let bytes = read.map_err(broken)?.ok_or(Error::Ended)?;
                lines.push(&bytes).map_err(too_long)?;
                while let Some(line) = lines.next_line() {
                    take_in(items, &mut self.told, &line)?;
                }
            }
            Wire::Ws { socket, opened } => {
                // The server's pings are heard here as well, so a silence is one.
                for text in timeout(self.silence, socket.read()).await.map_err(silent)?? {
                    take_in(items, &mut self.told, &text)?;
                }
                *opened |= items.iter().any(|item| matches!(item, Item::Open { .. }));
                if let Some(Item::Close(close)) = items.back() {
                    socket.part().await;
                    if !*opened {
                        let error = refusal(close);
                        items.clear();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes in an event as all streams write it.
fn take_in(items: &mut VecDeque<Item>, told: &mut Told, json: &str) -> Result<(), Error> {
    match WireEvent::parse(json, told)? {
        WireEvent::Open(open) => {
            *told = Told { user: open.user.clone(), epoch: open.epoch.clone() };
            items.push_back(Item::Open { open, adopt: true });
        }
        WireEvent::Message(message) => items.push_back(Item::Message(message)),
        WireEvent::Gap(gap) => items.push_back(Item::Gap(gap)),
        WireEvent::Unsubscribed(told) => items.push_back(Item::Unsubscribed(told)),
        WireEvent::Expiring(told) => items.push_back(Item::Expiring(told)),
        WireEvent::Close(close) => items.push_back(Item::Close(close)),
        WireEvent::Unknown => {}
    }
    Ok(())
}

/// What a close means that comes before the connection has opened: a refusal which, over HTTP, would have
/// been a status.
fn refusal(close: &Close) -> Error {
    let status = match close.code.as_str() {
        "taken_over" => 409,
        code => match ErrorCode::ALL.iter().find(|known| known.as_str() == code) {
            Some(known) => known.status(),
            // The session ended on purpose while the connection was on its way to it.
            None if close.reconnect => 503,
            None => 410,
        },
    };
    refused(status, close.code.clone(), close.reason.clone(), false, None)
}

/// The head of a long answer, which must be of this type.
async fn stream(client: &Client, path: &str, query: Query, expected: &str) -> Result<Response, Error> {
    let head = client.http.send(Method::GET, path, &query, None);
    let response = timeout(HEAD_TIMEOUT, head).await.map_err(|_| Error::Silent(HEAD_TIMEOUT))??;
    if response.status() == StatusCode::NO_CONTENT {
        return Err(Error::SessionClosed {
            message: "it was closed on purpose".to_owned(),
            reconnect: false,
        });
    }
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    if !content_type.is_some_and(|value| value.as_bytes().starts_with(expected.as_bytes())) {
        return Err(Error::BadAnswer(format!("{path}: it is not {expected}")));
    }
    Ok(response)
}

/// A stream that begins.
fn streaming(wire: Wire) -> State {
    let told = Told::default();
    State::Streaming(Box::new(Streaming { wire, told, silence: DEFAULT_SILENCE, since: Instant::now() }))
}

/// Two and a half heartbeats.
fn silence(heartbeat_s: u64) -> Duration {
    // A server that says 0 or a week is bounded to something that still finds dead connections.
    Duration::from_millis(heartbeat_s.clamp(1, 3600) * 2500)
}

/// Returns when the session was closed through a handle and the `close` event has had its time to come.
async fn closed_for_long(shared: &Shared) {
    shared.closing().await;
    sleep(CLOSE_GRACE).await;
}
