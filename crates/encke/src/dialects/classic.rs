//! The dialect of the long-polling scripts of Comet's first years, which ask for one message at a time.
//! `docs/DIALECTS.md` describes it. A client proves no identity here, and a GET changes something, which is
//! why the dialect has to be asked for. A browser is told apart by a random id in a cookie; its user is
//! `classic-` and that id. Where the client stands is with the client (in the script, or in the cookie), so
//! its session ends with each request.

mod browser;
mod by_cookie;
mod by_timestamp;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json as Answer, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use encke_engine::{PageLimit, ReadFrom};
use encke_hub::{CloseTarget, Ending, Start};
use encke_proto::{
    Action, ChannelName, Close, CloseCode, Cursor, ErrorCode, Offset, Position, codec::classic::Timestamp,
};
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::Dialect;
use crate::{
    admission::{self, Admit, Endpoint, Verdict},
    app::App,
    auth::{Credentials, cookies},
    commands::{may_come, publishes_from},
    config::Config,
    http::{body, client_address::ClientAddress, refusal::Refused, response::JSON},
    publishing::publish_to,
    transports::{RequestState, TransportContext},
};
use browser::Browser;

const NAME: &str = "classic";
/// The one channel that there is.
const CHANNEL: &str = "classic";
/// Where both kinds of scripts ask, each with its method.
const PATH: &str = "/classic/backend";

/// The dialect.
#[derive(Debug)]
pub(super) struct Classic;

impl Dialect for Classic {
    fn name(&self) -> &'static str {
        NAME
    }

    /// In dev mode too, unless that says otherwise.
    fn is_on(&self, config: &Config) -> bool {
        config.dialects.says(NAME).unwrap_or(config.dev)
    }

    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        vec![
            Arc::new(by_timestamp::ByTimestamp { app: Arc::clone(app), admit: admit.clone() }),
            Arc::new(by_cookie::ByCookie { admit: admit.clone() }),
        ]
    }

    fn routes(&self) -> Router<Arc<App>> {
        Router::new()
            .route(PATH, any(get_or_post).get(not_to_be_held).post(not_to_be_held).head(get_or_post))
            .route("/classic/writedata", post(write))
            .route("/classic/stop", post(stop))
    }
}

/// The router would take HEAD for a GET whose body is not wanted, but a message would be published all the
/// same, or a request held.
async fn get_or_post() -> Response {
    Refused::only("GET, POST")
}

/// Why a request that may wait got here at all.
async fn not_to_be_held() -> Refused {
    Refused::bad("a request that waits says nothing twice")
}

/// Publishes the form field `msg`.
async fn write(
    State(app): State<Arc<App>>,
    from: Option<Extension<ClientAddress>>,
    request: Request,
) -> Result<Response, Refused> {
    let from = from.map(|Extension(ClientAddress(address))| address);
    body::require_type(request.headers(), "application/x-www-form-urlencoded")?;
    let form = body::read(request).await?;
    let form = std::str::from_utf8(&form).map_err(|_| Refused::bad("the form is not UTF-8"))?;
    let msg = field(form, "msg")?.filter(|msg| !msg.is_empty());
    publish(&app, from, &msg.ok_or_else(|| Refused::bad("missing field `msg`"))?).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], "{}").into_response())
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
    let Some(mut browser) = cookies(&headers).and_then(|cookies| Browser::of(&cookies)) else {
        return Ok(Answer(Stopped { closed: false }).into_response());
    };
    let close = Close { code: CloseCode::Client, reason: "stopped".into(), reconnect: false, retry_ms: None };
    let count = app.sessions.close(&CloseTarget::User(browser.user()?), &close).await?;
    let mut response = Answer(Stopped { closed: count > 0 }).into_response();
    browser.at = None;
    let cookie = browser.cookie(is_https(&headers));
    let cookie = HeaderValue::from_str(&cookie).map_err(|_| Refused::from(ErrorCode::Internal))?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

fn is_https(headers: &HeaderMap) -> bool {
    Credentials::of(&Method::POST, headers, None).is_https()
}

/// Publishes what a script has said from an address, where that is known.
async fn publish(app: &App, from: Option<IpAddr>, msg: &str) -> Result<(), Refused> {
    let data = serde_json::value::to_raw_value(msg).map_err(|_| Refused::from(ErrorCode::Internal))?;
    let (access, channel) = (app.auth.access(), channel()?);
    access.check_anonymous(Action::Publish, &channel)?;
    access.check_size(&channel, data.get().len())?;
    publishes_from(app, from, Some(&data))?;
    may_come(app, &channel)?;
    // A string is compact as it is written. Who wrote it is not said: a browser's id is what entitles it to
    // stop.
    publish_to(app, vec![channel], data.into(), None, None).await?;
    Ok(())
}

/// The answer to a message that was published, as a verdict.
async fn published(app: &App, from: Option<IpAddr>, msg: &str, request_state: RequestState) -> Verdict {
    match publish(app, from, msg).await {
        Ok(()) => Verdict::Answered(
            Box::new(admission::Answer {
                status: 200,
                content_type: JSON,
                fields: Vec::new(),
                body: b"{}".into(),
            }),
            request_state,
        ),
        Err(Refused(refusal)) => Verdict::Refused(refusal, request_state),
    }
}

/// Where a session begins whose script knows.
fn start_at(timestamp: Timestamp) -> Result<Start, Refused> {
    let Timestamp::At(at) = timestamp else { return Ok(Start::Absent) };
    let mut cursor = Cursor::default();
    cursor.set(&channel()?, at);
    Ok(Start::Cursor(cursor))
}

/// Where a session begins whose script names a number.
async fn start(app: &App, offset: Offset) -> Result<Start, Refused> {
    let page = app.engine.read(&channel()?, ReadFrom::Head, PageLimit { messages: 1, bytes: 1 }).await?;
    // A number from elsewhere, the time of a file for instance, is beyond everything: then from now on.
    start_at(Timestamp::At(Position { epoch: page.epoch, offset: offset.min(page.head) }))
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

/// Where the session stands in the channel.
fn position(context: &TransportContext<'_>) -> Option<Position> {
    context.hub.cursor(context.conn).position(&channel().ok()?)
}

fn refusal(ending: &Ending) -> ErrorCode {
    match ending {
        Ending::Closed(notice) if notice.close.reconnect => ErrorCode::ShuttingDown,
        Ending::Closed(_) => ErrorCode::SessionClosed,
        Ending::TakenOver => ErrorCode::SessionTakenOver,
        Ending::Refused(code) => *code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_with_dev_mode_unless_told_otherwise() {
        let mut config = Config::default();
        assert!(!Classic.is_on(&config));
        config.dev = true;
        assert!(Classic.is_on(&config));
        config.dialects.set(NAME, false);
        assert!(!Classic.is_on(&config));
    }

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let text = "a=1&msg=first&timestamp=&msg=7%3Ahttp%3A%2F%2Fx%2F%3Fq%3D1+%C3%BC&flag";
        assert_eq!(field(text, "msg"), Ok(Some("7:http://x/?q=1 ü".into())), "the last one counts");
        assert_eq!(field(text, "timestamp"), Ok(Some(String::new())));
        assert_eq!(field(text, "flag"), Ok(Some(String::new())));
        assert_eq!(field(text, "other"), Ok(None));
        assert_eq!(field("msg=%ff", "msg").unwrap_err().0.code, ErrorCode::BadRequest);
    }
}
