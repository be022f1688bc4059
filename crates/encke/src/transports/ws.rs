//! WebSockets (RFC 6455): the handshake, pings, the close from either side, and what is not understood. What
//! is said besides is a [`Dialect`]'s.

#[cfg(feature = "conformance")]
mod echo;
mod events;

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{
    Close, CloseCode, Entry, ErrorCode, Event,
    codec::ws::{CloseFrame, CloseStatus, Fault, Heard, Rules, frame},
    json,
};
use serde::Serialize;

use super::{After, Exchange, Pace, Transport};
use crate::http::refusal::sentence;

#[cfg(feature = "conformance")]
pub(super) use echo::Echo;
pub(super) use events::Events;

/// So many heartbeats a client may leave without any sign of life; it is gone then.
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
    fn begin(_: &mut Exchange<'_>) {}

    /// The client has said something: text or bytes.
    ///
    /// # Errors
    /// The client's fault, for which the connection is closed.
    fn said(exchange: &mut Exchange<'_>, said: Heard) -> Result<(), Fault>;
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

    fn talks(&self) -> bool {
        true
    }

    fn pace(&self) -> Pace {
        Pace::Stream
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        switch(exchange);
        D::begin(exchange);
        After::Wait
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        let start = exchange.out.len();
        loop {
            match exchange.pull() {
                Pulled::Message(entry) => message(exchange, &entry),
                Pulled::Gap(gap) => frame::text(exchange.out, &Event::Gap(gap).json()),
                Pulled::Nothing => return After::Wait,
            }
            if exchange.full(exchange.out.len() - start) {
                return After::More;
            }
        }
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        let Some(talk) = exchange.talk.as_deref_mut() else { return After::Close };
        if talk.message_due_ms().is_some_and(|due_ms| due_ms <= exchange.now.mono_ms) {
            return give_up(exchange);
        }
        // While something that it asked is not answered it is not listened to, so its silence says nothing.
        if !talk.asked {
            if talk.unanswered >= UNANSWERED_MAX {
                return After::Close;
            }
            talk.unanswered += 1;
        }
        frame::write(exchange.out, frame::PING, &[]);
        After::Wait
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        if !exchange.held.began {
            // Pages are not told the status of a handshake that fails, so it does not fail: they read why in
            // the close.
            switch(exchange);
        }
        match ending {
            Ending::Closed(farewell) => close(exchange, &farewell.close),
            Ending::TakenOver => {
                let reason = sentence(ErrorCode::SessionTakenOver).into();
                close(
                    exchange,
                    &Close { code: CloseCode::TakenOver, reason, reconnect: false, retry_ms: None },
                );
            }
            Ending::Refused(code) => refuse(exchange, *code),
        }
        After::Part
    }

    fn heard(&self, exchange: &mut Exchange<'_>, bytes: &mut &[u8]) -> After {
        loop {
            let Some(talk) = exchange.talk.as_deref_mut() else { return After::Close };
            talk.unanswered = 0;
            let rules = Rules {
                message_max_bytes: D::MESSAGE_MAX_BYTES,
                compression: talk.compression.is_some(),
                masked: true,
            };
            let fault = match talk.reader.next(&rules, bytes) {
                Ok(None) => {
                    talk.reader.wait_from(exchange.now.mono_ms);
                    let overdue = talk.message_due_ms().is_some_and(|due_ms| due_ms <= exchange.now.mono_ms);
                    return if overdue { give_up(exchange) } else { After::Wait };
                }
                Ok(Some(Heard::Close(said))) => {
                    if !talk.parts {
                        answer_close(exchange, said.as_ref());
                    }
                    return After::HangUp;
                }
                Err(_) if talk.parts => return After::HangUp,
                Err(fault) => fault,
                // It was under way when the close was written.
                Ok(Some(_)) if talk.parts => continue,
                Ok(Some(Heard::Ping(payload))) => {
                    frame::write(exchange.out, frame::PONG, &payload);
                    continue;
                }
                Ok(Some(Heard::Pong(_))) => continue,
                Ok(Some(said)) => match D::said(exchange, said) {
                    Ok(()) if exchange.asked.is_some() => return After::Wait,
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
            };
            CloseFrame::write(exchange.out, fault.status, fault.reason);
            return After::HangUp;
        }
    }

    fn answered(&self, exchange: &mut Exchange<'_>, answer: &str) -> After {
        frame::text(exchange.out, answer);
        After::Wait
    }
}

/// Closes a connection whose client began a message and does not end it: what has come of it is kept
/// meanwhile.
fn give_up(exchange: &mut Exchange<'_>) -> After {
    CloseFrame::write(exchange.out, CloseStatus::POLICY, "the message took too long to come");
    After::HangUp
}

/// Writes the head that changes the protocol (RFC 6455 section 4.2.2).
fn switch(exchange: &mut Exchange<'_>) {
    exchange.held.began = true;
    let Some(talk) = exchange.talk.as_deref_mut() else { return };
    let accept = talk.accept.take().map(|accept| accept.0).unwrap_or_default();
    let mut push =
        |parts: &[&str]| parts.iter().for_each(|part| exchange.out.extend_from_slice(part.as_bytes()));
    push(&[
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        &accept,
        "\r\n",
    ]);
    if let Some(compression) = talk.compression {
        push(&["sec-websocket-extensions: ", &compression.response(), "\r\n"]);
    }
    push(&["date: ", exchange.date, "\r\n\r\n"]);
}

/// Writes a message in the form that all receivers of its kind share.
fn message(exchange: &mut Exchange<'_>, entry: &Entry) {
    let compression = exchange.talk.as_ref().and_then(|talk| talk.compression);
    let fits = compression.is_some_and(|compression| compression.fits(entry.event_json().len()));
    let compressed = if fits { entry.ws_frame_compressed() } else { None };
    exchange.out.extend_from_slice(compressed.unwrap_or_else(|| entry.ws_frame()));
}

/// Says that the session has ended, as an event for those who read events, and in the close frame.
fn close(exchange: &mut Exchange<'_>, close: &Close) {
    frame::text(exchange.out, &Event::Close(close.clone()).json());
    part(exchange, status(close.code), &close.reason);
}

/// Says that the session cannot be served.
fn refuse(exchange: &mut Exchange<'_>, code: ErrorCode) {
    #[derive(Serialize)]
    struct Refusal<'a> {
        event: &'a str,
        code: &'a str,
        reason: &'a str,
        reconnect: bool,
    }
    let reason = sentence(code);
    let refusal = Refusal { event: "close", code: code.as_str(), reason, reconnect: code.status() == 503 };
    frame::text(exchange.out, &json::write(&refusal));
    part(exchange, CloseStatus::of_application(code.status()), reason);
}

fn part(exchange: &mut Exchange<'_>, status: CloseStatus, reason: &str) {
    CloseFrame::write(exchange.out, status, reason);
    if let Some(talk) = exchange.talk.as_deref_mut() {
        talk.parts = true;
    }
}

/// Answers the client's close with the status that it gave (RFC 6455 section 5.5.1).
fn answer_close(exchange: &mut Exchange<'_>, said: Option<&CloseFrame>) {
    match said {
        Some(close) => CloseFrame::write(exchange.out, close.status, ""),
        None => frame::write(exchange.out, frame::CLOSE, &[]),
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
