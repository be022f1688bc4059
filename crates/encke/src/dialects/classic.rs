//! The dialect of the long-polling scripts of Comet's first years, which ask for one message at a time.
//! `docs/DIALECTS.md` describes it. A client proves no identity here, and a GET changes something, which is
//! why the dialect has to be asked for. A browser is told apart by a random id in a cookie; its user is
//! `classic-` and that id. Where the client stands is with the client (in the script, or in the cookie), so
//! its session ends with each request.

mod answers;

use std::sync::Arc;

use axum::{
    Json as Answer, Router,
    body::Body,
    extract::{RawQuery, Request, State},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use encke_engine::{PageLimit, ReadFrom};
use encke_hub::{CloseTarget, Start};
use encke_proto::{
    ChannelName, Close, CloseCode, Cursor, ErrorCode, Position, SessionId, Time, UserId,
    codec::classic::{Timestamp, Written},
};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::{
    admission::{Admission, Verdict},
    app::App,
    auth::{Credentials, cookies, values},
    http::{body, refusal::Refused, response::JSON},
    listeners::hold,
    publishing::publish_to,
    random,
    transports::{RequestState, Transport},
};
use answers::{ByCookie, ByTimestamp};

/// The one channel that there is.
const CHANNEL: &str = "classic";
/// The cookie: `ID`, or `ID.TIMESTAMP` once the browser has a position.
const COOKIE: &str = "encke_classic";
/// How the table tells the handler where the browser stands after an answer. It goes into the cookie, and not
/// further.
const POSITION: &str = "encke-position";
/// How long a browser without a position is held at most, in seconds. Only an answer gives it one, and until
/// then a broken connection would lose what comes before the next request.
const FIRST_HOLD_S: u64 = 5;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/classic/backend", any(get_or_post).get(by_timestamp).post(by_cookie).head(get_or_post))
        .route("/classic/writedata", post(write))
        .route("/classic/stop", post(stop))
}

/// The router would take HEAD for a GET whose body is not wanted, but a message would be published all the
/// same, or a request held.
async fn get_or_post() -> Response {
    Refused::only("GET, POST")
}

/// Publishes `msg`; without one, waits for the message behind `timestamp`.
async fn by_timestamp(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = query.unwrap_or_default();
    if let Some(msg) = field(&query, "msg")?.filter(|msg| !msg.is_empty()) {
        return publish(&app, &msg).await;
    }
    let timestamp = Timestamp::parse(&field(&query, "timestamp")?.unwrap_or_default())
        .map_err(|error| Refused::new(ErrorCode::BadCursor, error.to_string()))?;
    let known = Browser::of(&headers);
    let browser = known.map_or_else(Browser::new, Ok)?;
    let start = start(&app, timestamp).await?;
    // Each page of a browser has a timestamp of its own, so none takes over from another.
    let admission = browser.admission(&ByTimestamp, start, app.config.hold_s, None)?;
    let mut response = hold(&app.shards, Verdict::Admitted(Box::new(admission))).await;
    if known.is_none() && response.status().is_success() {
        browser.remember(&headers, &mut response)?;
    }
    Ok(response)
}

/// Waits for the next message that this browser was not given.
async fn by_cookie(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    // Scripts may send whatever they like; it has to be out of the way for hyper to notice when they
    // leave.
    body::read(request).await?;
    let mut browser = Browser::of(&headers).map_or_else(Browser::new, Ok)?;
    let start = start(&app, browser.at.map_or(Timestamp::Now, Timestamp::At)).await?;
    let hold_s = if browser.at.is_some() { app.config.hold_s } else { app.config.hold_s.min(FIRST_HOLD_S) };
    // One cookie, one position, one receiver: the newest request takes over.
    let admission = browser.admission(&ByCookie, start, hold_s, Some(browser.id))?;
    let mut response = whole(hold(&app.shards, Verdict::Admitted(Box::new(admission))).await).await?;
    let position = response.headers_mut().remove(POSITION);
    if let Some(Ok(Timestamp::At(at))) =
        position.as_ref().and_then(|at| at.to_str().ok()).map(Timestamp::parse)
    {
        browser.at = Some(at);
        browser.remember(&headers, &mut response)?;
    }
    Ok(response)
}

/// The response with its body at hand, so that both go out together: a browser takes a cookie from the head,
/// even if the message never comes.
async fn whole(response: Response) -> Result<Response, Refused> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Refused::from(ErrorCode::Internal))?.to_bytes();
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Publishes the form field `msg`.
async fn write(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    body::require_type(request.headers(), "application/x-www-form-urlencoded")?;
    let form = body::read(request).await?;
    let form = std::str::from_utf8(&form).map_err(|_| Refused::bad("the form is not UTF-8"))?;
    let msg = field(form, "msg")?.filter(|msg| !msg.is_empty());
    publish(&app, &msg.ok_or_else(|| Refused::bad("missing field `msg`"))?).await
}

/// Whether there was something to stop.
#[derive(Serialize)]
struct Stopped {
    closed: bool,
}

/// Ends what this browser waits for. Everything of it is freed before this is answered.
async fn stop(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    body::read(request).await?;
    let Some(mut browser) = Browser::of(&headers) else {
        return Ok(Answer(Stopped { closed: false }).into_response());
    };
    let close = Close { code: CloseCode::Client, reason: "stopped".into(), reconnect: false, retry_ms: None };
    let count = app.sessions.close(&CloseTarget::User(browser.user()?), &close).await?;
    let mut response = Answer(Stopped { closed: count > 0 }).into_response();
    browser.at = None;
    browser.remember(&headers, &mut response)?;
    Ok(response)
}

async fn publish(app: &App, msg: &str) -> Result<Response, Refused> {
    let data = serde_json::value::to_raw_value(msg).map_err(|_| Refused::from(ErrorCode::Internal))?;
    // A string is compact as it is written. Who wrote it is not said: a browser's id is what entitles it to
    // stop.
    publish_to(app, vec![channel()?], data.into(), None, None).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], "{}").into_response())
}

/// Where a session begins.
async fn start(app: &App, timestamp: Timestamp) -> Result<Start, Refused> {
    let channel = channel()?;
    let at = match timestamp {
        Timestamp::Now => return Ok(Start::Absent),
        Timestamp::At(at) => at,
        Timestamp::Offset(offset) => {
            let page = app.engine.read(&channel, ReadFrom::Head, PageLimit { messages: 1, bytes: 1 }).await?;
            // A number from elsewhere, the time of a file for instance, is beyond everything: then from now
            // on.
            Position { epoch: page.epoch, offset: offset.min(page.head) }
        }
    };
    let mut cursor = Cursor::default();
    cursor.set(&channel, at);
    Ok(Start::Cursor(cursor))
}

fn channel() -> Result<ChannelName, Refused> {
    Ok(ChannelName::public(CHANNEL)?)
}

/// The last field of this name in a query or a form, as the servers of these scripts took it.
fn field(text: &str, name: &str) -> Result<Option<String>, Refused> {
    let mut fields = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = fields.rfind(|(found, _)| *found == name) else { return Ok(None) };
    let spaced = value.replace('+', " ");
    let value = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Refused::bad(format!("`{name}` is not UTF-8")))?;
    Ok(Some(value.into_owned()))
}

/// What the cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Browser {
    id: SessionId,
    /// Up to where it was given everything, where the script keeps no timestamp.
    at: Option<Position>,
}

impl Browser {
    fn new() -> Result<Self, Refused> {
        Ok(Self { id: SessionId::from_bits(random::bits()?), at: None })
    }

    /// The browser that a request comes from. A cookie that cannot be read is none, since its script could do
    /// nothing about it.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies = cookies(headers)?;
        values(&cookies, COOKIE).find_map(Self::read)
    }

    fn read(value: &str) -> Option<Self> {
        let (id, at) = value.split_once('.').unwrap_or((value, ""));
        let at = match Timestamp::parse(at) {
            Ok(Timestamp::At(at)) => Some(at),
            _ => None,
        };
        Some(Self { id: id.parse().ok()?, at })
    }

    fn user(&self) -> Result<UserId, Refused> {
        Ok(UserId::new(&format!("classic-{}", self.id))?)
    }

    /// What the table needs to hold its request. Requests with the same `session` take over from one another.
    fn admission(
        &self,
        transport: &'static dyn Transport,
        start: Start,
        hold_s: u64,
        session: Option<SessionId>,
    ) -> Result<Admission, Refused> {
        let request_state = RequestState {
            hold_s: u32::try_from(hold_s).unwrap_or(u32::MAX),
            origin: None,
            keep_alive: true,
            plain: true,
            began: false,
            tally: 0,
            nonce: [0; 8],
            embedder: None,
        };
        let (user, channels) = (self.user()?, vec![channel()?]);
        Ok(Admission {
            transport,
            request_state,
            user,
            token_ends: Time(0),
            session,
            fresh: session,
            lasting: false,
            start,
            channels,
            duplex: None,
            ticket: None,
        })
    }

    /// Lets the browser keep this.
    fn remember(&self, headers: &HeaderMap, response: &mut Response) -> Result<(), Refused> {
        let at = self.at.map_or(String::new(), |at| format!(".{}", Written(at)));
        let secure = if Credentials::of(&Method::POST, headers, None).is_https() { "; Secure" } else { "" };
        // Without a path it is good for the directory that the script asked in (RFC 6265 section 5.1.4),
        // behind whatever prefix a proxy puts that.
        let cookie = format!("{COOKIE}={}{at}; HttpOnly; SameSite=Lax{secure}", self.id);
        let cookie = HeaderValue::from_str(&cookie).map_err(|_| Refused::from(ErrorCode::Internal))?;
        response.headers_mut().append(header::SET_COOKIE, cookie);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let text = "a=1&msg=first&timestamp=&msg=7%3Ahttp%3A%2F%2Fx%2F%3Fq%3D1+%C3%BC&flag";
        assert_eq!(field(text, "msg"), Ok(Some("7:http://x/?q=1 ü".into())), "the last one counts");
        assert_eq!(field(text, "timestamp"), Ok(Some(String::new())));
        assert_eq!(field(text, "flag"), Ok(Some(String::new())));
        assert_eq!(field(text, "other"), Ok(None));
        assert_eq!(field("msg=%ff", "msg").unwrap_err().0.code, ErrorCode::BadRequest);
    }

    #[test]
    fn a_cookie_is_a_browser_or_nothing() {
        let of = |text: &str| {
            Browser::of(&HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(text).unwrap())]))
        };
        let browser = Browser { id: SessionId::from_bits(7), at: None };
        let id = browser.id.to_string();
        let at = Some(Position { epoch: encke_proto::Epoch(36), offset: 3 });
        assert_eq!(of(&format!("theme=dark; encke_classic={id}")), Some(browser));
        assert_eq!(of(&format!("encke_classic={id}.3-10; b=1")), Some(Browser { at, ..browser }));
        assert_eq!(of(&format!("encke_classic=\"{id}.3-10\"")), Some(Browser { at, ..browser }));
        assert_eq!(
            of(&format!("encke_classic=old; encke_classic={id}.3-10")),
            Some(Browser { at, ..browser })
        );
        for position in ["", ".", ".x", ".0", ".12", ".3-10.4"] {
            assert_eq!(of(&format!("encke_classic={id}{position}")), Some(browser), "{position}");
        }
        for text in ["", "encke_classic=", "encke_classic=short.3-10", "my_encke_classic=x"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
