//! The HTTP transports of pusher-js, for networks that let no WebSocket through: a stream, or one answer
//! after the other, and what clients send in requests of its own. The framing is that of SockJS.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use encke_hub::{CloseTarget, Ending, Pulled, Start};
use encke_proto::{
    ChannelName, Close, CloseCode, Entry, ErrorCode, Gap, Refusal, SessionId, Time, Unsubscribed,
    codec::pusher::{
        self, FRAMES, FallbackAction, FallbackPath, HEARTBEAT, Incoming, OPEN, close_line, fallback_path,
        line_of, quoted, read_sent,
    },
};
use futures_util::{StreamExt, stream};
use serde_json::value::to_raw_value;
use tokio::runtime::Handle;

use super::{
    FALLBACKS, NAME,
    carry_out::{Heard, carry_out, expelled, hear},
    connection::{Asker, Connection},
    fallback_sessions::{FallbackSession, FallbackSessions, Receiver},
    opening::connection,
    said::{PusherClose, Said, close_of, refusal_of},
    server::Server,
};
use crate::{
    admission::{Address, Admission, Admit, Answer, Endpoint, Later, Method, Path, Verdict, Waiting},
    app::App,
    http::{refusal::Refused, response::Body},
    publishing::publish_to,
    random,
    rate_limits::network,
    transports::{
        AnswerForm, ConnectionState, Form, NextAction, OneAnswer, RequestState, Stream, Transport,
        TransportContext,
    },
};

/// How often it is looked for connections whose clients do not come back.
const SWEEP: Duration = Duration::from_secs(1);
/// The most connections that are forgotten at a time when the server stops.
const FORGOTTEN_MAX: usize = 64;
/// How much of one response a client keeps, in UTF-16 code units.
const CLIENT_KEEPS: usize = 256 * 1024;
/// The type of what clients receive.
const LINES: &str = "text/plain; charset=utf-8";

/// Where the HTTP transports are.
pub(super) struct FallbackEndpoint {
    pub(super) app: Arc<App>,
    pub(super) server: Arc<Server>,
    pub(super) sessions: Arc<FallbackSessions>,
    pub(super) admit: Admit,
}

impl std::fmt::Debug for FallbackEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FallbackEndpoint")
    }
}

impl Endpoint for FallbackEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Post, path: Path::Under(FALLBACKS), form: None, websocket: false }
    }

    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        let Some(path) = waiting.path.strip_prefix(FALLBACKS).and_then(fallback_path) else {
            return Verdict::Refused(
                Refusal::new(ErrorCode::NotFound, "there is nothing at this address"),
                request_state,
            );
        };
        let decided = match path.action {
            FallbackAction::Send => self.send(path, waiting, now, request_state),
            FallbackAction::Stream | FallbackAction::Poll => self.receive(path, waiting, now, request_state),
        };
        decided.unwrap_or_else(|Refused(refusal)| Verdict::Refused(refusal, request_state))
    }
}

impl FallbackEndpoint {
    /// What a client sends is carried out before it is answered, one request after the other. Each frame may
    /// append to the log of the connection, so that each is counted, before any is carried out.
    fn send(
        &self,
        path: FallbackPath<'_>,
        waiting: &Waiting<'_>,
        now: Time,
        request_state: RequestState,
    ) -> Result<Verdict, Refused> {
        let Some(session) = self.sessions.get(path.session) else {
            return Err(Refused::new(ErrorCode::SessionUnknown, "there is no such session"));
        };
        let text = std::str::from_utf8(waiting.body).map_err(|_| Refused::bad("the body is not UTF-8"))?;
        let frames = read_sent(text).map_err(|malformed| Refused::bad(malformed.to_string()))?;
        let (from, rate_limits) = (waiting.from, &self.admit.rate_limits);
        for _ in &frames {
            from.map_or(Ok(()), |address| rate_limits.request(address, now))?;
            rate_limits.user_request(&session.connection.identity.user, now)?;
        }
        Ok(Verdict::Later(Later::new(async move {
            let asking = session.ask().await;
            for frame in frames {
                match hear(&frame) {
                    Heard::Said(Some(said)) => tell(&session, &said).await,
                    Heard::Said(None) => {}
                    Heard::Asks(incoming) => {
                        let asker = Asker { connection: &session.connection, session: session.id, from };
                        // Only what is answered in any case is waited for.
                        let is_awaited = matches!(incoming, Incoming::Subscribe(_) | Incoming::SignIn(_));
                        asking.holds(is_awaited);
                        let said = carry_out(&asker, incoming).await;
                        asking.holds_behind(said.frames.last().filter(|_| is_awaited));
                        say(&session, said).await;
                    }
                }
            }
            let answer = Answer { status: 200, content_type: LINES, fields: Vec::new(), body: Vec::new() };
            Verdict::Answered(Box::new(answer), request_state)
        })))
    }

    /// Lets a client receive, which opens a connection with its first request.
    fn receive(
        &self,
        path: FallbackPath<'_>,
        waiting: &Waiting<'_>,
        now: Time,
        mut request_state: RequestState,
    ) -> Result<Verdict, Refused> {
        let session = match self.sessions.get(path.session) {
            Some(session) => session,
            None => match self.begin(path, waiting, now)? {
                Ok(session) => session,
                Err(said) => return Ok(refused(&said, request_state)),
            },
        };
        let opens = session.opens();
        let is_poll = path.action == FallbackAction::Poll;
        if is_poll && opens {
            // Its client comes back at once, and is served then.
            return Ok(lines(OPEN.to_owned(), request_state));
        }
        let greets = session.greets();
        if is_poll && greets {
            request_state.hold_s = 0;
        }
        let transport: &'static dyn Transport = if is_poll { &OneAnswer(Polled) } else { &Stream(Streamed) };
        let (id, identity) = (session.id, session.connection.identity.clone());
        let channels = vec![session.frames.clone()];
        let held = Held { receiver: Receiver::new(session), opens, greets, length: 0 };
        Ok(Verdict::Admitted(Box::new(Admission {
            transport,
            request_state,
            user: identity.user,
            token_ends: Time(0),
            token: None,
            granted: identity.grants.channels.clone(),
            session: Some(id),
            fresh: Some(id),
            lasting: true,
            start: Start::Absent,
            device: None,
            channels,
            state: Some(Box::new(ConnectionState::Request(Box::new(held)))),
            ticket: None,
            looks_on: None,
        })))
    }

    /// Begins a connection, or says why not. Many may come over one socket, so that each counts as a
    /// connection of its address.
    fn begin(
        &self,
        path: FallbackPath<'_>,
        waiting: &Waiting<'_>,
        now: Time,
    ) -> Result<Result<Arc<FallbackSession>, Said>, Refused> {
        waiting.from.map_or(Ok(()), |address| self.admit.rate_limits.connect(address, now))?;
        let mut connection = match connection(&self.app, &self.server, path.key, waiting.query)? {
            Ok(connection) => connection,
            Err(said) => return Ok(Err(said)),
        };
        connection.recovers = connection.application.settings.recovery;
        let id = SessionId::from_bits(random::bits()?);
        let frames = connection.application.log(&format!("{FRAMES}{}", connection.socket_id))?;
        let now_ms = self.app.now().mono_ms;
        let session = FallbackSession::new(path.session, connection, id, frames, now_ms);
        Ok(self.sessions.insert(session, waiting.from.and_then(counted)).ok_or_else(|| {
            Said::closing(PusherClose::OverCapacity, "there are too many connections of this kind")
        }))
    }
}

/// By which address its connections are counted; this machine is not bounded.
fn counted(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| network(address))
}

/// Says what came of a frame.
async fn say(session: &FallbackSession, said: Said) {
    for frame in said.frames {
        tell(session, &frame).await;
    }
    if let Some(close) = said.close {
        let close = Close {
            code: CloseCode::Operator,
            reason: close.reason,
            reconnect: close.status.number() >= 4100,
            retry_ms: None,
        };
        let target = CloseTarget::SessionOf(session.id, session.connection.identity.user.clone());
        if let Err(code) = session.connection.app.sessions.close(&target, &close).await {
            tracing::warn!(code = code.as_str(), "a connection cannot be closed");
        }
    }
}

/// Sends one frame to a client alone.
async fn tell(session: &FallbackSession, frame: &str) {
    let (app, frames) = (&session.connection.app, session.frames.clone());
    let Ok(data) = to_raw_value(frame) else { return };
    if let Err(Refused(refusal)) = publish_to(app, vec![frames], data.into(), None, None).await {
        tracing::warn!(error = %refusal.message, "a client cannot be told");
        session.wrote_frame(frame);
    }
}

fn lines(text: String, request_state: RequestState) -> Verdict {
    let answer = Answer { status: 200, content_type: LINES, fields: Vec::new(), body: text.into_bytes() };
    Verdict::Answered(Box::new(answer), request_state)
}

/// Opens a connection to say why it is not served.
fn refused(said: &Said, request_state: RequestState) -> Verdict {
    let close = said.close.as_ref().map(|close| close_line(close.status.number(), &close.reason));
    lines(format!("{OPEN}{}", close.unwrap_or_default()), request_state)
}

/// What is kept of a request by which a client receives.
struct Held {
    receiver: Receiver,
    /// Whether it is told that the connection is open.
    opens: bool,
    /// Whether it is told the id of its socket.
    greets: bool,
    /// How long the text of the response is, in UTF-16 code units, as its client counts.
    length: usize,
}

impl Held {
    fn connection(&self) -> &Connection {
        &self.receiver.0.connection
    }

    /// The first of all, as it stands in a line.
    fn hello(&self) -> Vec<u8> {
        let connection = self.connection();
        let timeout_s = connection.application.settings.activity_timeout_s;
        quoted(&pusher::connection_established(&connection.socket_id, timeout_s))
    }

    /// The session is over; the line that says so, if its client is to be told.
    fn ended(&self, close: &Close) -> Option<String> {
        if close.code == CloseCode::TakenOver {
            return None;
        }
        let (number, text) = close_of(close);
        self.receiver.0.end(number == PusherClose::Unauthorized);
        Some(close_line(number.number(), text))
    }
}

/// The length of UTF-8 text in UTF-16 code units.
fn utf16_length(text: &[u8]) -> usize {
    let begins = text.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    begins + text.iter().filter(|byte| **byte >= 0xF0).count()
}

/// What comes next: what the client follows stands back while something that it asked is not answered.
fn next(context: &mut TransportContext<'_>) -> Pulled {
    let session = context.state::<Held>().map(|held| Arc::clone(&held.receiver.0));
    let Some(session) = session.filter(|session| session.holds_back()) else { return context.pull() };
    let pulled = context.pull_of(&session.frames);
    if matches!(pulled, Pulled::Gap(_)) {
        // What it stands back behind may be lost.
        session.goes_on();
    }
    pulled
}

/// A message as it stands in a line, if it is for this client.
fn written<'a>(context: &mut TransportContext<'_>, entry: &'a Entry, is_stream: bool) -> Option<&'a [u8]> {
    let held = context.state::<Held>()?;
    let is_let = held.connection().lets(entry.message());
    let session = &held.receiver.0;
    session.wrote(entry.message(), is_stream);
    if entry.message().channel == session.frames
        && let Some(text) = pusher::frame_text(entry.message())
    {
        session.wrote_frame(&text);
    }
    if !is_let {
        return None;
    }
    let bytes = entry.form("pusher.quoted", |message| {
        pusher::frame_text(message).map(|text| quoted(&text)).unwrap_or_default()
    });
    (!bytes.is_empty()).then_some(bytes)
}

/// Lines in a response that goes on.
#[derive(Debug)]
struct Streamed;

impl Streamed {
    /// Writes lines, and counts them.
    fn write(context: &mut TransportContext<'_>, lines: &[u8]) {
        context.out.extend_from_slice(lines);
        if let Some(held) = context.state::<Held>() {
            held.length += utf16_length(lines);
        }
    }
}

impl Form for Streamed {
    const NAME: &'static str = "pusher-xhr-streaming";
    const DIALECT: &'static str = NAME;
    const CONTENT_TYPE: &'static str = LINES;

    fn open(context: &mut TransportContext<'_>) {
        let Some(held) = context.state::<Held>() else { return };
        let (opens, hello) = (held.opens, held.greets.then(|| held.hello()));
        // Behind one that has grown too large for its client the next one is silent at first.
        Self::write(context, if opens { OPEN } else { HEARTBEAT }.as_bytes());
        if let Some(hello) = hello {
            Self::write(context, &line_of(&hello));
        }
    }

    fn next(context: &mut TransportContext<'_>) -> Pulled {
        next(context)
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        if let Some(bytes) = written(context, entry, true) {
            Self::write(context, &line_of(bytes));
        }
    }

    /// At the end of the line that makes the response too long for it, the client drops it and asks for
    /// another.
    fn is_full(context: &mut TransportContext<'_>) -> bool {
        context.state::<Held>().is_some_and(|held| held.length > CLIENT_KEEPS)
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// New rules forbid the channel.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        let text = context.state::<Held>().and_then(|held| expelled(held.connection(), told));
        if let Some(text) = text {
            Self::write(context, &line_of(&quoted(&text)));
        }
    }

    fn close(context: &mut TransportContext<'_>, close: Close, _: &str) {
        let line = context.state::<Held>().and_then(|held| held.ended(&close));
        if let Some(line) = line {
            context.out.extend_from_slice(line.as_bytes());
        }
    }

    fn rest(context: &mut TransportContext<'_>) {
        Self::write(context, HEARTBEAT.as_bytes());
    }
}

/// A line, or a heartbeat.
#[derive(Debug)]
struct Polled;

/// What is gathered for one line.
#[derive(Debug, Default)]
struct Gathered {
    /// Messages as they stand in it, with commas between.
    line: Vec<u8>,
    /// The channels that new rules forbid.
    forbidden: Vec<Unsubscribed>,
}

impl Gathered {
    fn add(&mut self, quoted: &[u8]) {
        if !self.line.is_empty() {
            self.line.push(b',');
        }
        self.line.extend_from_slice(quoted);
    }
}

impl AnswerForm for Polled {
    const NAME: &'static str = "pusher-xhr-polling";
    const DIALECT: &'static str = NAME;
    type Gathered = Gathered;

    fn next(context: &mut TransportContext<'_>) -> Pulled {
        next(context)
    }

    fn message(context: &mut TransportContext<'_>, gathered: &mut Gathered, entry: &Entry) {
        if let Some(bytes) = written(context, entry, false) {
            gathered.add(bytes);
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut Gathered, _: &Gap) {}

    /// New rules forbid the channel.
    fn unsubscribed(gathered: &mut Gathered, told: &Unsubscribed) {
        gathered.forbidden.push(told.clone());
    }

    fn is_empty(gathered: &Gathered) -> bool {
        gathered.line.is_empty() && gathered.forbidden.is_empty()
    }

    fn is_full(context: &TransportContext<'_>, gathered: &Gathered) -> bool {
        context.full(gathered.line.len())
    }

    fn finish(context: &mut TransportContext<'_>, mut gathered: Gathered) -> NextAction {
        let mut hello = None;
        if let Some(held) = context.state::<Held>() {
            hello = held.greets.then(|| held.hello());
            for told in std::mem::take(&mut gathered.forbidden) {
                expelled(held.connection(), &told).iter().for_each(|text| gathered.add(&quoted(text)));
            }
        }
        let all = match hello {
            Some(hello) if gathered.line.is_empty() => hello,
            Some(hello) => [hello, gathered.line].join(&b","[..]),
            None => gathered.line,
        };
        let body = if all.is_empty() { HEARTBEAT.as_bytes().to_vec() } else { line_of(&all) };
        write(context, &body)
    }

    fn ended(context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        let line = match ending {
            Ending::Closed(notice) => {
                context.state::<Held>().and_then(|held| held.ended(&notice.close)).unwrap_or_default()
            }
            Ending::TakenOver => HEARTBEAT.to_owned(),
            Ending::Refused(code) => {
                let close = refusal_of(*code);
                if let Some(held) = context.state::<Held>() {
                    held.receiver.0.end(close == PusherClose::Unauthorized);
                }
                close_line(close.number(), "the connection is not served any more")
            }
        };
        write(context, line.as_bytes())
    }
}

fn write(context: &mut TransportContext<'_>, body: &[u8]) -> NextAction {
    let keep_alive = context.request_state.keep_alive;
    context.head(200, LINES, Body::Length(body.len()), keep_alive, &[]);
    context.out.extend_from_slice(body);
    if keep_alive { NextAction::Done } else { NextAction::Close }
}

/// Forgets connections whose clients do not come back, as long as the server runs, and all at its end.
pub(super) fn start(app: &Arc<App>, sessions: &Arc<FallbackSessions>) {
    if Handle::try_current().is_err() {
        return;
    }
    let work = sweep(Arc::downgrade(app), Arc::downgrade(sessions));
    let (app, sessions) = (Arc::downgrade(app), Arc::downgrade(sessions));
    let Some(strong) = app.upgrade() else { return };
    let (stopping, supervisor) = (strong.stopping.clone(), strong.supervisor.clone());
    supervisor.spawn("pusher HTTP transports", async move {
        tokio::select! {
            () = work => {}
            () = stopping.begun() => {}
        }
        if let (Some(app), Some(sessions)) = (app.upgrade(), sessions.upgrade()) {
            forget_all(&app, &sessions).await;
        }
    });
}

/// Forgets all connections once the server has served its last.
async fn forget_all(app: &App, sessions: &FallbackSessions) {
    let unfinished = app.unfinished.begin();
    app.unfinished.ending().await;
    let all = stream::iter(sessions.take_all());
    all.for_each_concurrent(FORGOTTEN_MAX, |session| async move {
        let Connection { server, application, .. } = &session.connection;
        if let Some(tracked) = session.connection.tracked().filter(|tracked| tracked.leave()) {
            server.places.write_left(app, application, tracked, app.now().wall.0).await;
        }
        for log in logs_of(&session) {
            delete(app, &log).await;
        }
    })
    .await;
    drop(unfinished);
}

async fn sweep(app: Weak<App>, sessions: Weak<FallbackSessions>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let (Some(app), Some(sessions)) = (app.upgrade(), sessions.upgrade()) else { return };
        for session in sessions.take_over(app.now().mono_ms) {
            forget(&app, &session).await;
        }
    }
}

/// What there is of a connection: what was said to it, and also that there was such a user, who does not come
/// again.
fn logs_of(session: &FallbackSession) -> [ChannelName; 2] {
    [session.frames.clone(), session.connection.identity.user.channel()]
}

async fn delete(app: &App, log: &ChannelName) {
    if let Err(error) = app.engine.delete(log).await {
        tracing::debug!(%error, %log, "a log of a connection stays until its time is over");
    }
}

/// Ends the session of a connection that is over, and deletes what was said to it.
async fn forget(app: &App, session: &FallbackSession) {
    session.connection.ends(false);
    let close = Close { code: CloseCode::Client, reason: String::new(), reconnect: false, retry_ms: None };
    let target = CloseTarget::SessionOf(session.id, session.connection.identity.user.clone());
    let closed = app.sessions.close(&target, &close).await.map(drop);
    for log in logs_of(session) {
        delete(app, &log).await;
    }
    if let Err(code) = closed {
        tracing::debug!(code = code.as_str(), "a session of a connection stays until its time is over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_long_as_scripts_say() {
        for text in ["", "abc", "äß", "中文", "𝄞a🙂"] {
            assert_eq!(utf16_length(text.as_bytes()), text.encode_utf16().count(), "{text}");
        }
    }
}
