//! What the messages of one request ask for, one after the other, and their replies in the same order. The
//! reply to a connect is left to the transport, which may hold it, and comes last.

use std::{net::IpAddr, sync::Arc};

use encke_proto::{
    ErrorCode, Time,
    codec::bayeux::{self, Advice, Channel, Message, Reconnect, Reply, ReplyExt},
};

use super::{
    NAME,
    connect::{self, Connect},
    elsewhere::{Reached, find, reach},
    server::Server,
    session::Session,
    subscriptions::{subscribe, unsubscribe},
    timesync,
};
use crate::{
    auth::{Authenticated, Credentials},
    commands,
    http::refusal::Refused,
};

const HANDSHAKE: &str = "/meta/handshake";
/// The transports that are spoken, the best first (specification section 6).
const CONNECTION_TYPES: &[&str] =
    &["websocket", "eventsource", "long-polling", "cross-origin-long-polling", "callback-polling"];
/// A transport that only Faye's clients know, which send again what was not answered.
const OF_FAYE: [&str; 2] = ["cross-origin-long-polling", "in-process"];
/// When a client whose handshake was refused for a while tries again, in milliseconds.
const LATER_MS: u64 = 5_000;

/// What proves who begins a session, besides the token in its handshake.
#[derive(Debug)]
pub(super) enum Proof<'a> {
    /// The head of the request.
    Head(Credentials<'a>),
    /// What the head of the connection has proved, if anything.
    Connection(Option<Authenticated>),
}

/// What came of a request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The replies, as JSON, but for that to a connect.
    pub(super) replies: Vec<Vec<u8>>,
    /// The session that began.
    pub(super) begun: Option<Arc<Session>>,
    /// The connect that is to be answered.
    pub(super) connect: Option<Connect>,
}

impl Outcome {
    fn reply(&mut self, reply: &Reply) {
        self.replies.push(reply.json().into_bytes());
    }
}

/// Carries a request out, which came from this address, where that is known.
pub(super) async fn carry_out(
    server: &Server,
    messages: &[Message],
    proof: Proof<'_>,
    from: Option<IpAddr>,
    received: Time,
) -> Outcome {
    let mut outcome = Outcome::default();
    // A handshake stands alone; what comes with it is ignored (specification section 4.1.1).
    if let Some(message) = messages.iter().find(|message| message.channel == HANDSHAKE) {
        if message.has_valid_id() {
            handshake(server, message, (proof, from), received, &mut outcome).await;
        } else {
            outcome.reply(&Reply::failed(HANDSHAKE, None, "405::message_id_invalid"));
        }
        return outcome;
    }
    let is_alone = messages.len() == 1;
    for message in messages {
        if message.channel.is_empty() {
            outcome.reply(&Reply::failed("", message.id.clone(), "400::channel_missing"));
        } else if !message.has_valid_id() {
            outcome.reply(&Reply::failed(&message.channel, None, "405::message_id_invalid"));
        } else if let Ok(channel) = Channel::parse(&message.channel) {
            let asks = Asks { server, message, from, received, is_alone };
            asks.carry_out(channel, &mut outcome).await;
        } else {
            let error = "405::channel_invalid";
            outcome.reply(&Reply::failed(&message.channel, message.id.clone(), error));
        }
    }
    outcome
}

/// Carries a message of a session out that came to another node: the replies.
pub(super) async fn carry_out_of(
    server: &Server,
    session: &Arc<Session>,
    message: &Message,
    from: Option<IpAddr>,
) -> Vec<Vec<u8>> {
    let mut outcome = Outcome::default();
    let Ok(channel) = Channel::parse(&message.channel) else { return Vec::new() };
    let asks = Asks { server, message, from, received: server.app.now().wall, is_alone: false };
    asks.of_session(Arc::clone(session), channel, &mut outcome).await;
    if let Some(connect) = &outcome.connect {
        outcome.reply(&connect::beside_stream(server, connect));
    }
    outcome.replies
}

async fn handshake(
    server: &Server,
    message: &Message,
    (proof, from): (Proof<'_>, Option<IpAddr>),
    received: Time,
    outcome: &mut Outcome,
) {
    let ext = message.ext();
    let offered = message.supported_connection_types.as_deref().unwrap_or_default();
    let refused = |error: String, advice| {
        Reply::failed(HANDSHAKE, message.id.clone(), error).shaken(CONNECTION_TYPES, None).advised(advice)
    };
    let away = Advice::to(Reconnect::None, server.timeout_ms());
    if !offered.is_empty() && !offered.iter().any(|kind| CONNECTION_TYPES.contains(&kind.as_str())) {
        return outcome.reply(&refused("301::connection types not supported".into(), away));
    }
    let retries = offered.iter().any(|kind| OF_FAYE.contains(&kind.as_str()));
    let token = ext.token.as_deref();
    let (identity, brings_token) = match &proof {
        Proof::Connection(Some(identity)) if token.is_none() => (Ok(identity.clone()), false),
        Proof::Connection(_) => (server.identify(&Credentials::default(), token).await, token.is_some()),
        Proof::Head(credentials) => {
            let brings = token.is_some() || credentials.brings_token();
            (server.identify(credentials, token).await, brings)
        }
    };
    let identity = identity.map_err(|refusal| match brings_token {
        true => commands::token_refused(&server.app, from, NAME, refusal),
        false => refusal,
    });
    let session = identity.map_err(Refused).and_then(|owner| {
        server.app.rate_limits.user_connect(&owner.identity.user, server.app.now().wall)?;
        server.begin(owner, &ext, retries)
    });
    match session {
        Ok(session) => {
            let id = session.id.to_string();
            let now = server.app.now().wall;
            let timesync = ext.timesync.map(|asked| timesync::reply(asked, received, now));
            let told = ReplyExt { ack: session.acks.then(|| true.into()), timesync, ..ReplyExt::default() };
            let reply = Reply::done(HANDSHAKE, message.id.clone())
                .shaken(CONNECTION_TYPES, Some(&id))
                .advised(Advice::retry(server.timeout_ms()))
                .extended(told);
            outcome.reply(&reply);
            outcome.begun = Some(session);
        }
        Err(Refused(refusal)) if refusal.code.status() >= 500 || refusal.code == ErrorCode::RateLimited => {
            let again =
                Advice { interval: LATER_MS, ..Advice::to(Reconnect::Handshake, server.timeout_ms()) };
            outcome.reply(&refused(format!("{}::{}", refusal.code.status(), refusal.code.as_str()), again));
        }
        Err(Refused(refusal)) => {
            outcome.reply(&refused(format!("403:{}:handshake_denied", refusal.code.as_str()), away));
        }
    }
}

/// One message of a session.
struct Asks<'a> {
    server: &'a Server,
    message: &'a Message,
    /// The address that it came from, where that is known.
    from: Option<IpAddr>,
    received: Time,
    is_alone: bool,
}

impl Asks<'_> {
    async fn carry_out(&self, channel: Channel<'_>, outcome: &mut Outcome) {
        let Self { server, message, from, .. } = *self;
        let refused = if connect::is_for_here(message) {
            let (client, acknowledged) = (message.client_id.as_deref(), message.ext().batch());
            match find(server, client, acknowledged, from).await {
                Ok(Some(session)) => return self.of_session(session, channel, outcome).await,
                Ok(None) => None,
                Err(refused) => Some(refused),
            }
        } else {
            match reach(server, message, from).await {
                Ok(Reached::Here(changing)) => {
                    return self.of_session(Arc::clone(&changing.0), channel, outcome).await;
                }
                Ok(Reached::Answered(replies)) => return outcome.replies.extend(replies),
                Ok(Reached::Nowhere) => None,
                Err(refused) => Some(refused),
            }
        };
        let reply = match refused {
            None => self.unknown(channel),
            Some(Refused(refusal)) if message.channel == connect::CHANNEL => {
                connect::later(message, refusal.code, server.timeout_ms())
            }
            Some(Refused(refusal)) => {
                self.failed(format!("{}::{}", refusal.code.status(), refusal.code.as_str()))
            }
        };
        outcome.reply(&reply);
    }

    /// Carries it out, with the session that it is of.
    async fn of_session(&self, session: Arc<Session>, channel: Channel<'_>, outcome: &mut Outcome) {
        let Self { server, message, .. } = *self;
        server.touch(&session);
        let reply = match channel {
            Channel::Meta(connect::CHANNEL) if outcome.connect.is_none() => {
                return self.connect(session, outcome).await;
            }
            Channel::Meta("/meta/subscribe") => self.timed(subscribe(server, &session, message).await),
            Channel::Meta("/meta/unsubscribe") => self.timed(unsubscribe(server, &session, message).await),
            Channel::Meta("/meta/disconnect") => self.disconnect(&session).await,
            Channel::Meta(name) => self.failed(format!("403:{name}:Forbidden channel")),
            Channel::Broadcast(name) | Channel::Service(name) => self.publish(&session, channel, name).await,
        };
        outcome.reply(&reply);
    }

    /// A connect, with which a fresh token may come.
    async fn connect(&self, session: Arc<Session>, outcome: &mut Outcome) {
        let Self { server, message, .. } = *self;
        let connect = Connect::of(message, session, self.is_alone, self.received);
        if let Some(token) = &connect.token {
            let Some(_changing) = connect.session.change() else {
                let code = ErrorCode::EngineUnavailable;
                return outcome.reply(&connect::later(message, code, server.timeout_ms()));
            };
            let refreshed = match server.app.auth.know_fetching(token, server.app.now().wall).await {
                Ok(fresh) => server.refresh(&connect.session, fresh).await,
                Err(refusal) => Err(commands::token_refused(&server.app, self.from, NAME, refusal).into()),
            };
            if let Err(Refused(refusal)) = refreshed {
                return outcome.reply(&connect::later(message, refusal.code, server.timeout_ms()));
            }
        }
        outcome.connect = Some(connect);
    }

    async fn disconnect(&self, session: &Session) -> Reply {
        let reply = || self.timed(Reply::done(&self.message.channel, self.message.id.clone()));
        match self.server.end(session, &reply()).await {
            Ok(()) => reply(),
            Err(code) => self.failed(format!("{}::{}", code.status(), code.as_str())),
        }
    }

    async fn publish(&self, session: &Session, channel: Channel<'_>, name: &str) -> Reply {
        let Self { server, message, .. } = *self;
        let Some(data) = message.data.as_deref() else {
            return self.failed(format!("400:{name}:data_missing"));
        };
        if let Err(Refused(refusal)) = commands::publishes_from(&server.app, self.from, Some(data)) {
            return self.failed(format!("{}:{name}:{}", refusal.code.status(), refusal.code.as_str()));
        }
        let wrapped = match channel {
            Channel::Service(_) => bayeux::service(message.id.as_deref(), data),
            _ => None,
        };
        let id = message.id.as_ref().filter(|_| session.retries);
        let key = id.map(|id| format!("{}{}", session.id, id.get()));
        let data = wrapped.as_deref().unwrap_or(data);
        match commands::publish(&server.app, &session.owner().identity, name, Some(data), key.as_deref())
            .await
        {
            Ok(_) => Reply::done(name, message.id.clone()),
            Err(Refused(refusal)) if refusal.code == ErrorCode::ChannelForbidden => {
                self.failed(format!("403:{name}:publish_denied"))
            }
            Err(Refused(refusal)) => {
                self.failed(format!("{}:{name}:{}", refusal.code.status(), refusal.code.as_str()))
            }
        }
    }

    fn failed(&self, error: String) -> Reply {
        Reply::failed(&self.message.channel, self.message.id.clone(), error)
            .of_subscription(self.message.subscription.clone())
    }

    /// A publish is told no advice: its client learns what to do from its next connect.
    fn unknown(&self, channel: Channel<'_>) -> Reply {
        let reply = self.failed("402::session_unknown".into());
        match channel {
            Channel::Meta(_) => reply.advised(Advice::to(Reconnect::Handshake, self.server.timeout_ms())),
            _ => reply,
        }
    }

    fn timed(&self, reply: Reply) -> Reply {
        let now = self.server.app.now().wall;
        match self.message.ext().timesync {
            Some(asked) => {
                let timesync = Some(timesync::reply(asked, self.received, now));
                reply.extended(ReplyExt { timesync, ..ReplyExt::default() })
            }
            None => reply,
        }
    }
}
