//! Bayeux over WebSocket: every frame is an array of messages, both ways. Messages come at any time, to a
//! client that acknowledges only with the answer to a connect. A connect that is not answered sooner by that
//! is held as long as one by POST, so that its client knows that the server is there.

use std::sync::Arc;

use encke_proto::{
    Close, CloseCode, Entry, Expiring, Gap, Refusal, Time, Unsubscribed,
    codec::{
        bayeux::{self, Message, Reply, array, read},
        ws::{CloseFrame, CloseStatus, Fault, Received, frame},
    },
    limits::BODY_MAX_BYTES,
};

use super::{
    NAME,
    admission::identified,
    batch::{Outcome, Proof, carry_out},
    connect::Asked,
    server::Server,
    session::Session,
};
use crate::{
    admission::{self, Opened, Verdict},
    auth::Authenticated,
    transports::{ConnectionState, Duplex, NextAction, RequestState, Spoken, TransportContext, Ws},
};

/// Opens a connection, which says in its first messages of which session it is.
pub(super) fn open(
    server: &Arc<Server>,
    accept: String,
    identity: Option<Authenticated>,
    request_state: RequestState,
) -> Verdict {
    let compression = None;
    let mut duplex = Duplex::new(None, accept, compression);
    let connection = Connection {
        server: Arc::clone(server),
        identity,
        session: None,
        pending: None,
        has_written: false,
        has_news: false,
    };
    duplex.keep(|kept| kept.state = Some(Box::new(connection)));
    let state = Box::new(ConnectionState::Duplex(duplex));
    Verdict::Opened(Box::new(Opened { transport: &Ws(Socket), request_state, state }))
}

/// What is kept of a connection.
struct Connection {
    server: Arc<Server>,
    /// What its head has proved.
    identity: Option<Authenticated>,
    /// The session whose messages it brings.
    session: Option<Arc<Session>>,
    /// The connect that is not answered yet.
    pending: Option<Pending>,
    /// Whether messages were written that no batch ends yet.
    has_written: bool,
    /// Whether the connect that is there, or the next one, is answered before its time, since its reply has
    /// news: the token ends soon, or a channel is not followed any more.
    has_news: bool,
}

struct Pending {
    asked: Asked,
    /// Whether it is answered as soon as what there is is written.
    is_at_once: bool,
}

/// What was asked in one frame.
struct Asks {
    server: Arc<Server>,
    messages: Vec<Message>,
    identity: Option<Authenticated>,
    session: Option<Arc<Session>>,
    received: Time,
}

/// What is said to it.
struct Said {
    replies: Vec<Vec<u8>>,
    /// The session whose messages come from now on.
    session: Option<Arc<Session>>,
    /// The connect, and for how long it is held, in milliseconds.
    connect: Option<(Asked, u64)>,
    /// Whether the connection is to stand in the session before more is written.
    moves: bool,
}

/// The dialect over WebSocket.
#[derive(Debug)]
struct Socket;

impl Spoken for Socket {
    const NAME: &'static str = "bayeux-websocket";
    const DIALECT: &'static str = NAME;
    const MESSAGE_MAX_BYTES: usize = BODY_MAX_BYTES;
    type Answer = Said;

    fn begin(context: &mut TransportContext<'_>) {
        serve_at_once(context);
    }

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        let Received::Text(text) = said else {
            return Err(Fault { status: CloseStatus::UNSUPPORTED, reason: "messages are text" });
        };
        let malformed = Fault { status: CloseStatus::POLICY, reason: "this is no array of messages" };
        let messages = read(&text).map_err(|_| malformed)?;
        let received = context.now.wall;
        // Some clients send an empty array to keep the connection.
        if let Some(connection) = context.state::<Connection>().filter(|_| !messages.is_empty()) {
            let asks = Asks {
                server: Arc::clone(&connection.server),
                messages,
                identity: connection.identity.clone(),
                session: connection.session.clone(),
                received,
            };
            context.ask(Box::new(asks));
        }
        Ok(())
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        let Some(connection) = context.state::<Connection>() else { return };
        if connection.session.as_ref().is_some_and(|session| session.wants(entry)) {
            connection.has_written = true;
            context.out.extend_from_slice(entry.form("bayeux.frame", |message| {
                let mut out = Vec::new();
                say(&mut out, [bayeux::event(message).as_slice()]);
                out
            }));
        }
    }

    /// To a client that acknowledges nothing is sent that no batch will end.
    fn stands_back(context: &mut TransportContext<'_>) -> bool {
        context.state::<Connection>().is_some_and(|connection| {
            connection.pending.is_none() && connection.session.as_ref().is_some_and(|session| session.acks)
        })
    }

    fn drained(context: &mut TransportContext<'_>) {
        let Some(connection) = context.state::<Connection>() else { return };
        let (has_written, session) = (std::mem::take(&mut connection.has_written), &connection.session);
        let has_news = connection.has_news && connection.pending.is_some();
        let Some(session) = session.as_ref().filter(|_| has_written || has_news) else { return };
        if session.acks || has_news {
            return answer_connect(context);
        }
        let session = Arc::clone(session);
        session.delivered(context.hub.cursor(context.conn));
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// The reply to the connect says so, behind what there is.
    fn expiring(context: &mut TransportContext<'_>, _: Expiring) {
        if let Some(connection) = context.state::<Connection>() {
            connection.has_news = true;
        }
    }

    /// So does it this.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        let Some(connection) = context.state::<Connection>() else { return };
        if let Some(session) = &connection.session {
            connection.server.lose(session, std::slice::from_ref(&told.channel));
            connection.has_news = true;
        }
    }

    /// The time of the connect is over.
    fn wake(context: &mut TransportContext<'_>) {
        answer_connect(context);
    }

    fn answered(context: &mut TransportContext<'_>, answer: Said) -> NextAction {
        let Said { replies, session, connect, moves } = answer;
        if !replies.is_empty() {
            say(context.out, replies.iter().map(Vec::as_slice));
        }
        let now_ms = context.now.mono_ms;
        let Some(connection) = context.state::<Connection>() else { return NextAction::Close };
        if session.is_some() {
            connection.session = session;
        }
        let Some((asked, hold_ms)) = connect else { return NextAction::Wait };
        let is_at_once = hold_ms == 0 || connection.has_news;
        let older = connection.pending.replace(Pending { asked, is_at_once });
        let timeout_ms = connection.server.timeout_ms();
        if let Some(older) = older {
            let reply = older.asked.done(timeout_ms, None, context.now.wall);
            say(context.out, [reply.json().as_bytes()]);
        }
        if let Some(duplex) = context.duplex.as_deref_mut() {
            duplex.keep(|kept| kept.wake_ms = Some(now_ms + hold_ms.max(1)));
        }
        if !moves {
            serve_at_once(context);
        }
        NextAction::Wait
    }

    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        let now = context.now.wall;
        let status = match close.code {
            CloseCode::Shutdown => CloseStatus::GOING_AWAY,
            _ => CloseStatus::NORMAL,
        };
        let Some(connection) = context.state::<Connection>() else {
            return CloseFrame { status, reason: String::new() };
        };
        let (pending, server) = (connection.pending.take(), Arc::clone(&connection.server));
        let last_words = connection.session.as_ref().and_then(|session| {
            if !close.reconnect && close.code != CloseCode::TakenOver {
                server.forget(session);
            }
            session.state().last_words.take()
        });
        if let Some(last_words) = last_words {
            say(context.out, [last_words.as_slice()]);
        }
        if let Some(pending) = pending.filter(|_| close.code != CloseCode::TakenOver) {
            let reply: Reply = pending.asked.closed(close, server.timeout_ms(), now);
            say(context.out, [reply.json().as_bytes()]);
        }
        CloseFrame { status, reason: close.reason.clone() }
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        let (code, now) = (refusal.code, context.now.wall);
        if let Some(connection) = context.state::<Connection>() {
            let (pending, server) = (connection.pending.take(), &connection.server);
            if let Some(reply) = pending.and_then(|pending| pending.asked.unserved(code, server, now)) {
                say(context.out, [reply.json().as_bytes()]);
            }
        }
        let status =
            if refusal.code.status() >= 500 { CloseStatus::TRY_AGAIN_LATER } else { CloseStatus::POLICY };
        CloseFrame { status, reason: refusal.message.clone() }
    }
}

/// Writes one frame.
fn say<'a>(out: &mut Vec<u8>, parts: impl IntoIterator<Item = &'a [u8]>) {
    let json = array(parts);
    frame::write(out, frame::TEXT, &json);
}

/// Writes all that there is, and answers the connect, if it is not to be held.
fn serve_at_once(context: &mut TransportContext<'_>) {
    let is_at_once = context
        .state::<Connection>()
        .and_then(|connection| connection.pending.as_ref())
        .is_some_and(|pending| pending.is_at_once);
    if !is_at_once {
        return;
    }
    let start = context.out.len();
    while !context.full(context.out.len() - start) {
        match context.pull() {
            encke_hub::Pulled::Message(entry) => Socket::message(context, &entry),
            encke_hub::Pulled::Unsubscribed(told) => Socket::unsubscribed(context, &told),
            encke_hub::Pulled::Gap(_) | encke_hub::Pulled::Expiring(_) => {}
            encke_hub::Pulled::Nothing => break,
        }
    }
    answer_connect(context);
}

/// Answers the connect that is held, which ends a batch.
fn answer_connect(context: &mut TransportContext<'_>) {
    let (cursor, now) = (context.hub.cursor(context.conn), context.now.wall);
    let Some(connection) = context.state::<Connection>() else { return };
    connection.has_written = false;
    let (Some(pending), Some(session)) = (connection.pending.take(), &connection.session) else { return };
    connection.has_news = false;
    let batch = if session.acks {
        Some(session.sent(cursor))
    } else {
        session.delivered(cursor);
        None
    };
    let reply = pending.asked.done(connection.server.timeout_ms(), batch, now);
    say(context.out, [reply.json().as_bytes()]);
    if let Some(duplex) = context.duplex.as_deref_mut() {
        duplex.keep(|kept| kept.wake_ms = None);
    }
}

/// Carries out what one frame asks.
pub(super) async fn answer(asked: admission::Asked) -> admission::Reply {
    let Ok(asks) = asked.command.downcast::<Asks>() else { return admission::Reply::new(()) };
    let (from, Asks { server, messages, identity, session: current, received }) = (asked.from, *asks);
    let Outcome { replies, connect, .. } =
        carry_out(&server, &messages, Proof::Connection(identity), from, received).await;
    // A connection is of a session from its first connect on: others may have sent through it before.
    let Some(connect) = connect else {
        let said = Said { replies, session: None, connect: None, moves: false };
        return admission::Reply::new(said);
    };
    let session = connect.session.clone();
    let goes_on = server.connect(&session, connect.acknowledged);
    let hold_ms = connect.hold_ms(goes_on.is_first, server.timeout_ms());
    // What is to be sent again is behind where the connection stands.
    let moves = goes_on.resends || current.is_none_or(|current| !Arc::ptr_eq(&current, &session));
    let identified = moves.then(|| Box::new(identified(&session, goes_on)));
    let said = Said { replies, session: Some(session), connect: Some((connect.asked, hold_ms)), moves };
    admission::Reply { identified, ..admission::Reply::new(said) }
}
