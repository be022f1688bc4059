//! The protocol over WebSocket: each text frame is an event, both ways.

use std::sync::Arc;

use encke_proto::{
    Close, Entry, Gap, Message, Refusal, Unsubscribed,
    codec::{
        pusher::{self, Incoming},
        ws::{CloseFrame, CloseStatus, Fault, Received, frame},
    },
    limits::BODY_MAX_BYTES,
};

use super::{
    NAME,
    carry_out::{Heard, carry_out, expelled, hear},
    connection::{Asker, Connection},
    followed::Followed,
    said::{PusherClose, Said, close_of, refusal_of},
};
use crate::{
    admission,
    transports::{NextAction, Spoken, Transport, TransportContext, Ws, close_with},
};

/// How it is served.
pub(super) static TRANSPORT: &dyn Transport = &Ws(Socket);

/// What is kept of a WebSocket.
pub(super) enum Held {
    /// It is served.
    Open(Served),
    /// It is told why it is not.
    Refused(Said),
}

/// A WebSocket that is served.
pub(super) struct Served {
    connection: Arc<Connection>,
    /// How far its client is, where that is to be known.
    followed: Followed,
    /// Whether its client does not come back to go on.
    is_done: bool,
}

impl Served {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Arc::new(connection), followed: Followed::default(), is_done: false }
    }

    /// Whether a message is one for the client. What it has sent itself is not, or asked its backend to send
    /// to all others.
    fn lets(&self, message: &Message) -> bool {
        message.from.as_ref() != Some(&self.connection.identity.user) && self.followed.lets(message)
    }
}

/// What was asked in one frame.
struct Asks {
    connection: Arc<Connection>,
    incoming: Incoming,
}

/// The dialect over WebSocket.
#[derive(Debug)]
struct Socket;

impl Spoken for Socket {
    const NAME: &'static str = "pusher-websocket";
    const DIALECT: &'static str = NAME;
    const MESSAGE_MAX_BYTES: usize = 2 * BODY_MAX_BYTES;
    /// Clients pass over what comes in a channel before they are told that they are subscribed to it.
    const ANSWERS_FIRST: bool = true;
    type Answer = Said;

    fn open(context: &mut TransportContext<'_>) -> NextAction {
        let said = match context.state::<Held>() {
            Some(Held::Refused(said)) => std::mem::take(said),
            _ => Said::default(),
        };
        say(context, said)
    }

    fn begin(context: &mut TransportContext<'_>) {
        let Some(Held::Open(Served { connection, .. })) = context.state::<Held>() else { return };
        let timeout_s = connection.application.settings.activity_timeout_s;
        let hello = pusher::connection_established(&connection.socket_id, timeout_s);
        frame::text(context.out, &hello);
    }

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        let Received::Text(text) = said else {
            return Err(Fault { status: CloseStatus::UNSUPPORTED, reason: "events are text" });
        };
        match hear(&text) {
            Heard::Said(said) => {
                if let Some(said) = said {
                    frame::text(context.out, &said);
                }
            }
            Heard::Asks(incoming) => {
                if let Some(Held::Open(Served { connection, .. })) = context.state::<Held>() {
                    let asks = Asks { connection: Arc::clone(connection), incoming };
                    context.ask(Box::new(asks));
                }
            }
        }
        Ok(())
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        let message = entry.message();
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
        let is_looked_after = !served.followed.is_empty();
        if served.lets(message) {
            context.out.extend_from_slice(entry.form("pusher.frame", |message| {
                let mut out = Vec::new();
                if let Some(text) = pusher::frame_text(message) {
                    frame::text(&mut out, &text);
                }
                out
            }));
        }
        if is_looked_after {
            look_after(context, message);
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// New rules forbid the channel.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
        served.followed.unfollow(&told.channel);
        if let Some(text) = expelled(&served.connection, told) {
            frame::text(context.out, &text);
        }
    }

    /// A page that is left, or a client that says that it has finished, does not come back.
    fn closed(context: &mut TransportContext<'_>, said: Option<&CloseFrame>) {
        let is_done =
            said.is_some_and(|close| [CloseStatus::NORMAL, CloseStatus::GOING_AWAY].contains(&close.status));
        if let Some(Held::Open(served)) = context.state::<Held>() {
            served.is_done |= is_done;
        }
    }

    fn left(context: &mut TransportContext<'_>) {
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
        let (mut followed, connection) =
            (std::mem::take(&mut served.followed), Arc::clone(&served.connection));
        if followed.is_empty() || served.is_done {
            return;
        }
        if let Some(up_to) = context.written.acknowledged() {
            followed.acknowledged(up_to);
        }
        let Connection { app, server, application, identity, .. } = &*connection;
        if let Some(runtime) = &server.runtime {
            server.places.leave(runtime, app, application, identity.user.clone(), followed.places());
        }
    }

    fn answered(context: &mut TransportContext<'_>, mut answer: Said) -> NextAction {
        if let Some(Held::Open(served)) = context.state::<Held>() {
            answer.unfollows.take().iter().for_each(|log| served.followed.unfollow(log));
            answer.follows.take().into_iter().for_each(|follows| served.followed.follow(*follows));
        }
        say(context, answer)
    }

    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        let (number, text) = close_of(close);
        if let Some(Held::Open(served)) = context.state::<Held>() {
            served.is_done |= number == PusherClose::Unauthorized;
        }
        frame::text(context.out, &pusher::error(Some(number.number()), text));
        number.frame(text)
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        let close = refusal_of(refusal.code);
        frame::text(context.out, &pusher::error(Some(close.number()), &refusal.message));
        close.frame(refusal.message.clone())
    }
}

/// Takes note that a message was written, or passed over.
fn look_after(context: &mut TransportContext<'_>, message: &Message) {
    let end = context.written.until(context.out.len());
    let Some(Held::Open(served)) = context.state::<Held>() else { return };
    if served.followed.sent(&message.channel, message.position, end)
        && let Some(up_to) = context.written.acknowledged()
        && let Some(Held::Open(served)) = context.state::<Held>()
    {
        served.followed.acknowledged(up_to);
    }
}

fn say(context: &mut TransportContext<'_>, said: Said) -> NextAction {
    said.frames.iter().for_each(|text| frame::text(context.out, text));
    match said.close {
        Some(close) => close_with(context, &close),
        None => NextAction::Wait,
    }
}

/// Carries out what one frame asks.
pub(super) async fn answer(asked: admission::Asked) -> admission::Reply {
    let (Ok(asks), Some(session)) = (asked.command.downcast::<Asks>(), asked.session) else {
        return admission::Reply::new(());
    };
    let Asks { connection, incoming } = *asks;
    let asker = Asker { connection: &connection, session, from: asked.from };
    let said = carry_out(&asker, incoming).await;
    admission::Reply::new(said)
}
