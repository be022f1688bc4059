//! The protocol over WebSocket: each text frame is an event, both ways.

use std::sync::Arc;

use encke_proto::{
    Close, Entry, Gap, Refusal, Unsubscribed,
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
    said::{Said, close_of, refusal_of},
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
    Open(Arc<Connection>),
    /// It is told why it is not.
    Refused(Said),
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
        let Some(Held::Open(connection)) = context.state::<Held>() else { return };
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
                if let Some(Held::Open(connection)) = context.state::<Held>() {
                    let asks = Asks { connection: Arc::clone(connection), incoming };
                    context.ask(Box::new(asks));
                }
            }
        }
        Ok(())
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        let message = entry.message();
        let Some(Held::Open(connection)) = context.state::<Held>() else { return };
        // What it has sent itself, or asked its backend to send to all others.
        if message.from.as_ref() == Some(&connection.identity.user) {
            return;
        }
        context.out.extend_from_slice(entry.form("pusher.frame", |message| {
            let mut out = Vec::new();
            if let Some(text) = pusher::frame_text(message) {
                frame::text(&mut out, &text);
            }
            out
        }));
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// New rules forbid the channel.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        let Some(Held::Open(connection)) = context.state::<Held>() else { return };
        if let Some(text) = expelled(connection, told) {
            frame::text(context.out, &text);
        }
    }

    fn answered(context: &mut TransportContext<'_>, answer: Said) -> NextAction {
        say(context, answer)
    }

    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        let (number, text) = close_of(close);
        frame::text(context.out, &pusher::error(Some(number.number()), text));
        number.frame(text)
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        let close = refusal_of(refusal.code);
        frame::text(context.out, &pusher::error(Some(close.number()), &refusal.message));
        close.frame(refusal.message.clone())
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
