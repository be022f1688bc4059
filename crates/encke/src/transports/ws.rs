//! WebSockets (RFC 6455): the handshake, pings, the close from either side, and what is not understood. What
//! is said besides is a [`Dialect`]'s.

#[cfg(feature = "conformance")]
mod echo;
mod events;

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{
    Close, CloseCode, Entry, ErrorCode, Event,
    codec::ws::{CloseFrame, CloseStatus, Fault, Received, Rules, frame},
    json,
};
use serde::Serialize;

use super::{HoldKind, NextAction, Transport, TransportContext};
use crate::http::refusal::sentence;

#[cfg(feature = "conformance")]
pub(super) use echo::Echo;
pub(super) use events::Events;

/// So many heartbeats a client may leave without sending anything; it is gone then.
const UNANSWERED_MAX: u8 = 2;

/// What is said in messages.
pub(super) trait Dialect: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// Where it is asked for.
    const PATH: &'static str;
    /// The largest message that a client may send, in bytes.
    const MESSAGE_MAX_BYTES: usize;

    /// Says the first.
    fn begin(_: &mut TransportContext<'_>) {}

    /// The client has said something: text or bytes.
    ///
    /// # Errors
    /// The client's fault, for which the connection is closed.
    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault>;
}

/// A WebSocket on which a dialect is spoken.
#[derive(Debug)]
pub(super) struct Ws<D>(pub(super) D);

impl<D: Dialect> Transport for Ws<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn path(&self) -> &'static str {
        D::PATH
    }

    fn is_duplex(&self) -> bool {
        true
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Stream
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        switch(context);
        D::begin(context);
        NextAction::Wait
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let start = context.out.len();
        loop {
            match context.pull() {
                Pulled::Message(entry) => message(context, &entry),
                Pulled::Gap(gap) => frame::text(context.out, &Event::Gap(gap).json()),
                Pulled::Nothing => return NextAction::Wait,
            }
            if context.full(context.out.len() - start) {
                return NextAction::More;
            }
        }
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let Some(duplex) = context.duplex.as_deref_mut() else { return NextAction::Close };
        if duplex.message_due_ms().is_some_and(|due_ms| due_ms <= context.now.mono_ms) {
            return release(context);
        }
        // While something that it asked is not answered it is not listened to, so its silence says nothing.
        if !duplex.asked {
            if duplex.unanswered >= UNANSWERED_MAX {
                return NextAction::Close;
            }
            duplex.unanswered += 1;
        }
        frame::write(context.out, frame::PING, &[]);
        NextAction::Wait
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        if !context.request_state.began {
            // Pages are not told the status of a handshake that fails, so it does not fail: they read why in
            // the close.
            switch(context);
        }
        match ending {
            Ending::Closed(close_notice) => close(context, &close_notice.close),
            Ending::TakenOver => {
                let reason = sentence(ErrorCode::SessionTakenOver).into();
                close(
                    context,
                    &Close { code: CloseCode::TakenOver, reason, reconnect: false, retry_ms: None },
                );
            }
            Ending::Refused(code) => refuse(context, *code),
        }
        NextAction::Part
    }

    fn on_bytes(&self, context: &mut TransportContext<'_>, bytes: &mut &[u8]) -> NextAction {
        loop {
            let Some(duplex) = context.duplex.as_deref_mut() else { return NextAction::Close };
            duplex.unanswered = 0;
            let rules = Rules {
                message_max_bytes: D::MESSAGE_MAX_BYTES,
                compression: duplex.compression.is_some(),
                masked: true,
            };
            let fault = match duplex.reader.next(&rules, bytes) {
                Ok(None) => {
                    duplex.reader.wait_from(context.now.mono_ms);
                    let overdue = duplex.message_due_ms().is_some_and(|due_ms| due_ms <= context.now.mono_ms);
                    return if overdue { release(context) } else { NextAction::Wait };
                }
                Ok(Some(Received::Close(said))) => {
                    if !duplex.parts {
                        answer_close(context, said.as_ref());
                    }
                    return NextAction::HangUp;
                }
                Err(_) if duplex.parts => return NextAction::HangUp,
                Err(fault) => fault,
                // It was under way when the close was written.
                Ok(Some(_)) if duplex.parts => continue,
                Ok(Some(Received::Ping(payload))) => {
                    frame::write(context.out, frame::PONG, &payload);
                    continue;
                }
                Ok(Some(Received::Pong(_))) => continue,
                Ok(Some(said)) => match D::on_message(context, said) {
                    Ok(()) if context.asked.is_some() => return NextAction::Wait,
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
            };
            CloseFrame::write(context.out, fault.status, fault.reason);
            return NextAction::HangUp;
        }
    }

    fn answered(&self, context: &mut TransportContext<'_>, answer: &str) -> NextAction {
        frame::text(context.out, answer);
        NextAction::Wait
    }
}

/// Closes a connection whose client began a message and does not end it: what has come of it is kept
/// meanwhile.
fn release(context: &mut TransportContext<'_>) -> NextAction {
    CloseFrame::write(context.out, CloseStatus::POLICY, "the message took too long to come");
    NextAction::HangUp
}

/// Writes the head that changes the protocol (RFC 6455 section 4.2.2).
fn switch(context: &mut TransportContext<'_>) {
    context.request_state.began = true;
    let Some(duplex) = context.duplex.as_deref_mut() else { return };
    let accept = duplex.accept.take().map(|accept| accept.0).unwrap_or_default();
    let mut push =
        |parts: &[&str]| parts.iter().for_each(|part| context.out.extend_from_slice(part.as_bytes()));
    push(&[
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        &accept,
        "\r\n",
    ]);
    if let Some(compression) = duplex.compression {
        push(&["sec-websocket-extensions: ", &compression.response(), "\r\n"]);
    }
    push(&["date: ", context.date, "\r\n\r\n"]);
}

/// Writes a message in the form that all receivers of its kind share.
fn message(context: &mut TransportContext<'_>, entry: &Entry) {
    let compression = context.duplex.as_ref().and_then(|duplex| duplex.compression);
    let fits = compression.is_some_and(|compression| compression.fits(entry.event_json().len()));
    let compressed = if fits { entry.ws_frame_compressed() } else { None };
    context.out.extend_from_slice(compressed.unwrap_or_else(|| entry.ws_frame()));
}

/// Says that the session has ended, as an event for clients that read events, and in the close frame.
fn close(context: &mut TransportContext<'_>, close: &Close) {
    frame::text(context.out, &Event::Close(close.clone()).json());
    part(context, status(close.code), &close.reason);
}

/// Says that the session cannot be served.
fn refuse(context: &mut TransportContext<'_>, code: ErrorCode) {
    #[derive(Serialize)]
    struct Refusal<'a> {
        event: &'a str,
        code: &'a str,
        reason: &'a str,
        reconnect: bool,
    }
    let reason = sentence(code);
    let refusal = Refusal { event: "close", code: code.as_str(), reason, reconnect: code.status() == 503 };
    frame::text(context.out, &json::write(&refusal));
    part(context, CloseStatus::of_application(code.status()), reason);
}

fn part(context: &mut TransportContext<'_>, status: CloseStatus, reason: &str) {
    CloseFrame::write(context.out, status, reason);
    if let Some(duplex) = context.duplex.as_deref_mut() {
        duplex.parts = true;
    }
}

/// Answers the client's close with the status that it gave (RFC 6455 section 5.5.1).
fn answer_close(context: &mut TransportContext<'_>, said: Option<&CloseFrame>) {
    match said {
        Some(close) => CloseFrame::write(context.out, close.status, ""),
        None => frame::write(context.out, frame::CLOSE, &[]),
    }
}

/// The status that fits: where there is none of the protocol's own, 4000 and the HTTP status that says the
/// same.
fn status(code: CloseCode) -> CloseStatus {
    match code {
        CloseCode::Client | CloseCode::Recycle => CloseStatus::NORMAL,
        CloseCode::Shutdown => CloseStatus::GOING_AWAY,
        CloseCode::Operator => CloseStatus::of_application(410),
        CloseCode::TokenExpired => CloseStatus::of_application(401),
        CloseCode::Slow => CloseStatus::of_application(408),
        CloseCode::TakenOver => CloseStatus::of_application(409),
        CloseCode::TooManySessions => CloseStatus::of_application(429),
    }
}
