//! The dialect over WebSocket.

use encke::{
    admission::{Address, Admit, Asked, Endpoint, Identified, Method, Opened, Path, Reply, Verdict, Waiting},
    app::App,
    auth::{Authenticated, Identity},
    commands::{follow, publish},
    http::refusal::Refused,
    transports::{ConnectionState, Duplex, NextAction, Spoken, TransportContext, Ws, close_with},
};
use encke_hub::Start;
use encke_proto::{
    ChannelName, Close, CloseCode, Entry, ErrorCode, Gap, Refusal, SessionId, Time,
    codec::ws::{CloseFrame, CloseStatus, Fault, Received, frame},
};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    NAME,
    codec::{self, Command},
    identify,
};

/// The subprotocols that are spoken.
const PROTOCOLS: &[&str] = &["sample.v2", "sample.v1"];

/// Where connections are opened.
#[derive(Debug)]
pub struct SocketEndpoint {
    pub admit: Admit,
}

impl Endpoint for SocketEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Get, path: Path::Is("/sample/socket"), form: None, websocket: true }
    }

    fn decide(&self, waiting: &Waiting<'_>, _: Time) -> Verdict {
        let request_state = self.admit.request_state(waiting);
        let handshake = waiting.handshake.as_deref().unwrap();
        match handshake.check("GET", !waiting.http_10) {
            Err(rejection) => Verdict::Refused(
                Refusal::new(ErrorCode::UpgradeRequired, rejection.to_string()),
                request_state,
            ),
            Ok(opening) => {
                let mut duplex = Duplex::new(None, opening.accept, None);
                duplex.keep(|kept| kept.protocol = handshake.protocol(PROTOCOLS));
                let state = Box::new(ConnectionState::Duplex(duplex));
                Verdict::Opened(Box::new(Opened { transport: &Ws(Socket), request_state, state }))
            }
        }
    }
}

/// The dialect.
#[derive(Debug)]
struct Socket;

/// What was asked, as one frame.
struct Asks(Vec<Command>);

/// What is kept of a connection: the number of the login that is not answered yet.
struct Connection {
    login: u64,
}

/// What is said to a frame.
enum Said {
    Replies(Vec<Value>),
    /// The login of this number is answered when the session is there.
    LoggedIn(u64),
    Refused(Refusal),
}

impl Spoken for Socket {
    const NAME: &'static str = "sample-socket";
    const DIALECT: &'static str = NAME;
    const MESSAGE_MAX_BYTES: usize = 64 * 1024;
    const ANSWERS_FIRST: bool = true;
    type Answer = Said;

    fn open(context: &mut TransportContext<'_>) -> NextAction {
        say(context, vec![json!({ "hello": 1 })]);
        NextAction::Wait
    }

    fn begin(context: &mut TransportContext<'_>) {
        let login = context.state::<Connection>().map(|connection| connection.login);
        let (session, cursor) = (context.session(), context.hub.cursor(context.conn));
        say(
            context,
            vec![json!({ "id": login, "session": session.to_string(), "cursor": cursor.to_string() })],
        );
    }

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        let commands = match &said {
            Received::Text(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        let commands = commands.ok_or(Fault { status: status(4904), reason: "no array of commands" })?;
        context.ask(Box::new(Asks(commands)));
        Ok(())
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        context.out.extend_from_slice(codec::frame_of(entry));
    }

    fn gap(context: &mut TransportContext<'_>, gap: &Gap) {
        say(context, vec![codec::gap(gap)]);
    }

    fn heartbeat(context: &mut TransportContext<'_>) {
        say(context, vec![json!({ "beat": 1 })]);
    }

    fn answered(context: &mut TransportContext<'_>, answer: Said) -> NextAction {
        match answer {
            Said::Replies(replies) => say(context, replies),
            Said::LoggedIn(login) => {
                if let Some(duplex) = context.duplex.as_deref_mut() {
                    duplex.keep(|kept| kept.state = Some(Box::new(Connection { login })));
                }
            }
            Said::Refused(refusal) => {
                let notice = Self::refuse(context, &refusal);
                return close_with(context, &notice);
            }
        }
        NextAction::Wait
    }

    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        say(context, vec![json!({ "bye": close.reason })]);
        let number = if close.code == CloseCode::Operator { 4901 } else { 4900 };
        CloseFrame { status: status(number), reason: "bye".into() }
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        say(context, vec![codec::refusal(None, refusal)]);
        let number = if refusal.code == ErrorCode::RequestTimeout { 4902 } else { 4903 };
        CloseFrame { status: status(number), reason: "no".into() }
    }
}

fn status(number: u16) -> CloseStatus {
    CloseStatus::new(number).unwrap()
}

fn say(context: &mut TransportContext<'_>, what: Vec<Value>) {
    frame::text(context.out, &Value::from(what).to_string());
}

/// Carries out what one frame asks.
pub async fn answer(app: &App, asked: Asked) -> Reply {
    let Ok(asks) = asked.command.downcast::<Asks>() else { return Reply::new(()) };
    let Asks(commands) = *asks;
    if let Some(Command::Login { id, token, channels }) = commands.first() {
        return match log_in(app, token, channels) {
            Ok(identified) => {
                Reply { identified: Some(Box::new(identified)), ..Reply::new(Said::LoggedIn(*id)) }
            }
            Err(refusal) => Reply::new(Said::Refused(refusal)),
        };
    }
    let (Some(identity), Some(session)) = (asked.identity, asked.session) else {
        return Reply::new(Said::Refused(Refusal::new(ErrorCode::Unauthorized, "log in first")));
    };
    let mut replies = Vec::new();
    for command in &commands {
        let reply = carry_out(app, &identity, session, command).await;
        replies.push(reply.unwrap_or_else(|Refused(refusal)| codec::refusal(Some(command.id()), &refusal)));
    }
    Reply::new(Said::Replies(replies))
}

fn log_in(app: &App, token: &str, channels: &[String]) -> Result<Identified, Refusal> {
    let Authenticated { identity, token } = identify(app, token)?;
    let channels = channels.iter().map(|name| ChannelName::public(name).unwrap()).collect();
    Ok(Identified {
        user: identity.user.clone(),
        token_ends: identity.expires,
        token: Some(token),
        granted: identity.grants.channels.clone(),
        identity: Some(identity),
        session: None,
        fresh: None,
        lasting: true,
        start: Start::Absent,
        channels,
        ticket: None,
    })
}

async fn carry_out(
    app: &App,
    identity: &Identity,
    session: SessionId,
    command: &Command,
) -> Result<Value, Refused> {
    match command {
        Command::Login { .. } => Err(Refused::bad("a login comes first in its frame")),
        Command::Subscribe { id, channels, from } => {
            let names: Vec<ChannelName> =
                channels.iter().map(|name| ChannelName::public(name).unwrap()).collect();
            let from = codec::cursor(from).ok_or_else(|| Refused::bad("no cursor"))?;
            let following = follow(app, identity, session, names, &from).await?;
            Ok(json!({ "id": id, "follows": following.channels.len() }))
        }
        Command::Publish { id, channel, data } => {
            let appended = publish(app, identity, channel, Some(&to_raw_value(data).unwrap()), None).await?;
            Ok(json!({ "id": id, "at": appended.positions[0].1.offset }))
        }
    }
}
