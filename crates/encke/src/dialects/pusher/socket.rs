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
    said::{PusherClose, Said, close_of, refusal_of},
};
use crate::{
    admission,
    transports::{NextAction, Spoken, Transport, TransportContext, Ws, close_with},
};

/// How long after a message it is looked whether it is acknowledged, and how often, until it is, in
/// milliseconds.
const LOOK_AFTER_MS: u64 = 100;
const LOOK_EVERY_MS: u64 = 500;

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
    /// Whether its client does not come back to go on.
    is_done: bool,
    /// When it was looked last what is acknowledged, in milliseconds of the clock that never goes back.
    looked_ms: u64,
}

impl Served {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Arc::new(connection), is_done: false, looked_ms: 0 }
    }
}

/// One whose client took nothing any more is freed without a word.
impl Drop for Served {
    fn drop(&mut self) {
        self.connection.ends(self.is_done);
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
        let (message, start) = (entry.message(), context.out.len());
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
        let is_looked_after = served.connection.tracked().is_some();
        if served.connection.lets(message) {
            context.out.extend_from_slice(entry.form("pusher.frame", |message| {
                let mut out = Vec::new();
                if let Some(text) = pusher::frame_text(message) {
                    frame::text(&mut out, &text);
                }
                out
            }));
        }
        if is_looked_after {
            let is_written = context.out.len() > start;
            look_after(context, message, is_written);
        }
    }

    /// There is no word for it in this dialect; what is kept still comes.
    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    /// New rules forbid the channel.
    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
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
        look(context);
        if let Some(Held::Open(served)) = context.state::<Held>() {
            served.connection.ends(served.is_done);
        }
    }

    fn wake(context: &mut TransportContext<'_>) {
        look(context);
        let now_ms = context.now.mono_ms;
        let Some(Held::Open(served)) = context.state::<Held>() else { return };
        if served.connection.tracked().is_some_and(|tracked| tracked.followed().is_behind()) {
            wake_at(context, now_ms + LOOK_EVERY_MS);
        }
    }

    /// With each it is looked as well what is acknowledged, for those who are slow to do that.
    fn heartbeat(context: &mut TransportContext<'_>) {
        look(context);
        frame::write(context.out, frame::PING, &[]);
    }

    fn answered(context: &mut TransportContext<'_>, answer: Said) -> NextAction {
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
fn look_after(context: &mut TransportContext<'_>, message: &Message, is_written: bool) {
    let (end, now_ms) = (context.written.until(context.out.len()), context.now.mono_ms);
    let Some(Held::Open(served)) = context.state::<Held>() else { return };
    let next_ms = (now_ms + LOOK_AFTER_MS).max(served.looked_ms + LOOK_EVERY_MS);
    let Some(tracked) = served.connection.tracked() else { return };
    let is_due = if is_written {
        tracked.followed().sent(&message.channel, message.position, end)
    } else {
        tracked.followed().passed_over(&message.channel, message.position, end);
        false
    };
    if is_due {
        look(context);
    }
    wake_at(context, next_ms);
}

/// Asks how much of what was written is acknowledged.
fn look(context: &mut TransportContext<'_>) {
    let now_ms = context.now.mono_ms;
    let Some(Held::Open(served)) = context.state::<Held>() else { return };
    if served.connection.tracked().is_none() {
        return;
    }
    let Some(up_to) = context.written.acknowledged() else { return };
    if let Some(Held::Open(served)) = context.state::<Held>() {
        served.looked_ms = now_ms;
        served.connection.acknowledged(up_to);
    }
}

/// Has it looked again then, if not before.
fn wake_at(context: &mut TransportContext<'_>, at_ms: u64) {
    if let Some(kept) = context.duplex.as_deref_mut().and_then(|duplex| duplex.kept.as_deref_mut()) {
        kept.wake_ms = Some(kept.wake_ms.map_or(at_ms, |before_ms| before_ms.min(at_ms)));
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
