//! Where requests come in: messages by POST, or by GET from pages that load the answer as a script; streams
//! of events, and WebSockets.

use std::{borrow::Cow, sync::Arc};

use encke_proto::{
    ErrorCode, Refusal, SessionId, Time,
    codec::{
        bayeux::{BATCH_MAX_MESSAGES, DEFAULT_CALLBACK, Malformed, Message, is_callback, read},
        ws::Rejection,
    },
};

use super::{
    NAME,
    batch::{Outcome, Proof, carry_out},
    browsers,
    connect::{self, Connect},
    event_source,
    long_polling::{Wrapping, answered, hold},
    server::Server,
    socket,
};
use crate::{
    admission::{Address, Endpoint, Later, Method, Path, Verdict, Waiting},
    auth::{Credentials, Returns},
    commands::token_refused,
    transports::RequestState,
};

/// The field of a form, and of a query, that holds messages.
const MESSAGE: &str = "message";
/// The parameter that names the function of a script.
const CALLBACK: &str = "jsonp";

/// Messages by POST.
#[derive(Debug)]
pub(super) struct PostEndpoint {
    pub(super) path: Path,
    pub(super) server: Arc<Server>,
}

impl Endpoint for PostEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Post, path: self.path, form: None, websocket: false }
    }

    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let request_state = self.server.admit.request_state(waiting);
        match body(waiting.body) {
            Ok(messages) => decide(&self.server, waiting, messages, None, now),
            Err(refusal) => Verdict::Refused(refusal, request_state),
        }
    }
}

/// Everything by GET.
#[derive(Debug)]
pub(super) struct GetEndpoint {
    pub(super) path: Path,
    pub(super) server: Arc<Server>,
}

impl Endpoint for GetEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Get, path: self.path, form: None, websocket: true }
    }

    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let request_state = self.server.admit.request_state(waiting);
        if waiting.handshake.as_ref().is_some_and(|handshake| handshake.is_asked_for()) {
            return self
                .open(waiting, now)
                .unwrap_or_else(|refusal| Verdict::Refused(refusal, request_state));
        }
        match script(waiting.query) {
            Ok(Some(Scripted { callback, messages })) => {
                decide(&self.server, waiting, messages, Some(callback), now)
            }
            Ok(None) => match client(self.path, waiting.path) {
                Some(id) => event_source::open(&self.server, id, waiting.from, request_state),
                None => {
                    let text = "Bayeux is spoken by POST, by GET with `message`, and over WebSocket";
                    Verdict::Refused(Refusal::new(ErrorCode::UpgradeRequired, text), request_state)
                }
            },
            Err(refusal) => Verdict::Refused(refusal, request_state),
        }
    }
}

impl GetEndpoint {
    fn open(&self, waiting: &Waiting<'_>, now: Time) -> Result<Verdict, Refusal> {
        let rejected = |rejection: Rejection| {
            let code =
                if rejection.status() == 426 { ErrorCode::UpgradeRequired } else { ErrorCode::BadRequest };
            Refusal::new(code, rejection.to_string())
        };
        let handshake = waiting.handshake.as_ref().map(|handshake| handshake.check("GET", !waiting.http_10));
        let Some(opening) = handshake.transpose().map_err(rejected)? else {
            return Err(Refusal::new(ErrorCode::UpgradeRequired, "this is no WebSocket"));
        };
        let credentials = Credentials { sec_fetch_site: None, ..credentials(waiting) };
        if !self.server.app.auth.own_or_allowed(&credentials) {
            let text = "pages of this origin may not open a WebSocket here";
            return Err(Refusal::new(ErrorCode::OriginForbidden, text));
        }
        // Without a token in its head it says who it is in its handshake.
        let identity = match self.server.app.auth.identify(&credentials, now) {
            Ok(identity) => Some(identity),
            Err(refusal) if credentials.brings_token() => {
                let told = token_refused(&self.server.app, waiting.from, NAME, refusal);
                if told.code == ErrorCode::RateLimited {
                    return Err(told);
                }
                None
            }
            Err(_) => None,
        };
        let request_state = self.server.admit.request_state(waiting);
        Ok(socket::open(&self.server, opening.accept, identity, request_state))
    }
}

/// What the head of a request brings to prove who sends it. Every request of this dialect may change
/// something, those by GET too.
fn credentials<'a>(waiting: &'a Waiting<'_>) -> Credentials<'a> {
    Credentials {
        authorization: waiting.authorization,
        cookie: waiting.cookie.as_deref().map(Cow::Borrowed),
        ticket: None,
        query_token: false,
        origin: waiting.origin,
        sec_fetch_site: waiting.sec_fetch_site,
        host: waiting.host,
        forwarded_proto: waiting.forwarded_proto,
        changes: true,
        chosen: waiting.chosen.clone(),
        lasts: false,
        returns: Returns::Never,
    }
}

/// Decides on messages: a connect of a known session at once, everything else beside the shard.
fn decide(
    server: &Arc<Server>,
    waiting: &Waiting<'_>,
    messages: Vec<Message>,
    callback: Option<Box<str>>,
    now: Time,
) -> Verdict {
    let request_state = server.admit.request_state(waiting);
    let browser = browsers::of(waiting.cookie.as_deref());
    let wrapping = Wrapping { callback, browser };
    if let [message] = messages.as_slice()
        && let Some(connect) = known_connect(server, message, now)
    {
        return hold(server, connect, Vec::new(), wrapping, request_state);
    }
    let (server, kept) = (Arc::clone(server), waiting.to_kept());
    Verdict::Later(Later::new(async move {
        let waiting = kept.waiting();
        let credentials = credentials(&waiting);
        let is_https = credentials.is_https();
        let proof = Proof::Head(credentials);
        let outcome = carry_out(&server, &messages, proof, waiting.from, now).await;
        finish(&server, outcome, wrapping, is_https, request_state)
    }))
}

fn known_connect(server: &Server, message: &Message, now: Time) -> Option<Connect> {
    if message.channel != connect::CHANNEL || !message.has_valid_id() {
        return None;
    }
    let session = server.known(message.client_id.as_deref())?;
    let connect = Connect::of(message, session, true, now);
    // A token takes a while to be looked at.
    (connect.token.is_none() && !connect.session.is_stale(connect.acknowledged)).then_some(connect)
}

fn finish(
    server: &Arc<Server>,
    outcome: Outcome,
    wrapping: Wrapping,
    is_https: bool,
    request_state: RequestState,
) -> Verdict {
    let Outcome { replies, begun, connect } = outcome;
    match connect {
        Some(connect) => hold(server, connect, replies, wrapping, request_state),
        None => {
            // Its first session gives a browser its name.
            let new = begun.filter(|_| wrapping.browser.is_none());
            let fields = new.and_then(|_| browser_field(is_https)).into_iter().collect();
            answered(replies, wrapping.callback.as_deref(), request_state, fields)
        }
    }
}

fn browser_field(is_https: bool) -> Option<(&'static str, String)> {
    let browser = SessionId::from_bits(crate::random::bits().ok()?);
    Some(("set-cookie", browsers::cookie(browser, is_https)))
}

/// The messages in a body: JSON, or a form with one or more fields of them, whatever its type is said to be.
/// Faye's clients send forms as text.
fn body(bytes: &[u8]) -> Result<Vec<Message>, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad("the body is not UTF-8"))?;
    let messages = if text.trim_ascii_start().starts_with(['[', '{']) {
        read(text).map_err(malformed)?
    } else {
        fields(text)?
    };
    if messages.is_empty() {
        return Err(bad("there is no message"));
    }
    Ok(messages)
}

fn fields(form: &str) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    for (_, value) in form_urlencoded::parse(form.as_bytes()).filter(|(name, _)| name == MESSAGE) {
        messages.extend(read(&value).map_err(malformed)?);
        if messages.len() > BATCH_MAX_MESSAGES {
            return Err(malformed(Malformed::TooMany));
        }
    }
    Ok(messages)
}

/// What a page asks that loads the answer as a script.
struct Scripted {
    callback: Box<str>,
    messages: Vec<Message>,
}

/// The function and the messages of a query, if it holds some.
fn script(query: &str) -> Result<Option<Scripted>, Refusal> {
    let messages = fields(query)?;
    if messages.is_empty() {
        return Ok(None);
    }
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let callback = parameters.find(|(name, _)| name == CALLBACK).map(|(_, value)| value);
    let callback = callback.unwrap_or(Cow::Borrowed(DEFAULT_CALLBACK));
    if !is_callback(&callback) {
        return Err(bad("`jsonp` is not the name of a function"));
    }
    Ok(Some(Scripted { callback: callback.into(), messages }))
}

/// The session whose stream of events is asked for: the last segment of the path.
fn client(mount: Path, path: &str) -> Option<SessionId> {
    match mount {
        Path::Under(mount) => path.strip_prefix(mount)?.parse().ok(),
        Path::Is(_) | Path::Around(..) => None,
    }
}

fn bad(text: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, text)
}

fn malformed(error: Malformed) -> Refusal {
    let code = if error == Malformed::TooDeep { ErrorCode::TooDeep } else { ErrorCode::BadRequest };
    Refusal::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_or_a_form() {
        let channels = |bytes: &[u8]| -> Vec<String> {
            body(bytes).unwrap().into_iter().map(|message| message.channel).collect()
        };
        assert_eq!(channels(b" [{\"channel\":\"/a\"},{\"channel\":\"/b\"}]"), ["/a", "/b"]);
        assert_eq!(channels(b"{\"channel\":\"/a\"}"), ["/a"]);
        let one = "message=%5B%7B%22channel%22%3A%22%2Fa%22%7D%5D";
        assert_eq!(channels(one.as_bytes()), ["/a"]);
        assert_eq!(channels(format!("x=1&{one}&message=%7B%7D").as_bytes()), ["/a", ""]);
        let many = ["message={}"; BATCH_MAX_MESSAGES + 1].join("&");
        let deep = format!("[{{\"data\":{}", "[".repeat(100));
        for (bytes, code) in [
            (&b""[..], ErrorCode::BadRequest),
            (b"[]", ErrorCode::BadRequest),
            (b"x=1", ErrorCode::BadRequest),
            (b"[1]", ErrorCode::BadRequest),
            (b"message=1", ErrorCode::BadRequest),
            (b"\xff", ErrorCode::BadRequest),
            (many.as_bytes(), ErrorCode::BadRequest),
            (deep.as_bytes(), ErrorCode::TooDeep),
        ] {
            assert_eq!(body(bytes).unwrap_err().code, code, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_script_calls_a_function_and_nothing_else() {
        let called = |query: &str| script(query).map(|found| found.map(|found| found.callback.to_string()));
        assert_eq!(called("message={}&jsonp=_cometd_jsonp_3"), Ok(Some("_cometd_jsonp_3".into())));
        assert_eq!(called("message={}"), Ok(Some(DEFAULT_CALLBACK.into())));
        assert_eq!(called("jsonp=f"), Ok(None));
        for query in ["message={}&jsonp=alert(1)", "message={}&jsonp=", "message={}&jsonp=a%0a"] {
            assert_eq!(called(query).unwrap_err().code, ErrorCode::BadRequest, "{query}");
        }
    }
}
