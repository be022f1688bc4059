//! WebSockets (RFC 6455): the handshake, pings, the close from either side, and what is not understood. What
//! is said in messages is a dialect's ([`Spoken`]).

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{
    Close, CloseCode, Entry, ErrorCode, Expiring, Gap, Refusal, Unsubscribed,
    codec::ws::{CloseFrame, CloseStatus, Fault, Received, Rules, frame},
};

use super::{CommandAnswer, HoldKind, NextAction, Transport, TransportContext, duplex::Opening};
use crate::http::refusal::sentence;

/// So many heartbeats a client may leave without sending anything; it is gone then.
const UNANSWERED_MAX: u8 = 2;

/// What is said in messages.
pub trait Spoken: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// The dialect that is spoken.
    const DIALECT: &'static str;
    /// The largest message that a client may send, in bytes.
    const MESSAGE_MAX_BYTES: usize;
    /// Whether messages stand back while something that the client asked is not answered: where what it asked
    /// for must not come before the answer says that it does.
    const ANSWERS_FIRST: bool = false;
    /// What its handler of commands answers.
    type Answer: Send + 'static;

    /// The connection is open and of no user yet: says the first, or that it is not served
    /// ([`close_with`]).
    fn open(_: &mut TransportContext<'_>) -> NextAction {
        NextAction::Wait
    }

    /// The session is known: says the first, or answers who has named its user.
    fn begin(_: &mut TransportContext<'_>) {}

    /// The client has said something: text or bytes.
    ///
    /// # Errors
    /// The client's fault, for which the connection is closed.
    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault>;

    /// Writes a message.
    fn message(context: &mut TransportContext<'_>, entry: &Entry);

    /// Whether messages stand back until the client has asked for them.
    fn stands_back(_: &mut TransportContext<'_>) -> bool {
        false
    }

    /// Everything that there was is written, or enough for one turn.
    fn drained(_: &mut TransportContext<'_>) {}

    /// Says that messages are lost.
    fn gap(context: &mut TransportContext<'_>, gap: &Gap);

    /// Says that a channel is not followed any more, as the token does not grant it. A dialect without a word
    /// for that says nothing.
    fn unsubscribed(_: &mut TransportContext<'_>, _: &Unsubscribed) {}

    /// Says that the token of the session ends soon. A dialect without a word for that says nothing.
    fn expiring(_: &mut TransportContext<'_>, _: Expiring) {}

    /// Breaks a silence.
    fn heartbeat(context: &mut TransportContext<'_>) {
        frame::write(context.out, frame::PING, &[]);
    }

    /// The time has come that [`super::Kept::wake_ms`] named.
    fn wake(_: &mut TransportContext<'_>) {}

    /// The client closes the connection.
    fn closed(_: &mut TransportContext<'_>, _: Option<&CloseFrame>) {}

    /// See [`Transport::left`].
    fn left(_: &mut TransportContext<'_>) {}

    /// What was asked is answered: all of it in one message, or in several.
    fn answered(context: &mut TransportContext<'_>, answer: Self::Answer) -> NextAction;

    /// Says that the session has ended; what the close frame says.
    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame;

    /// Says that the connection is not served; what the close frame says.
    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame;
}

/// A WebSocket on which a dialect is spoken.
#[derive(Debug)]
pub struct Ws<D>(pub D);

impl<D: Spoken> Transport for Ws<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn dialect(&self) -> &'static str {
        D::DIALECT
    }

    fn is_duplex(&self) -> bool {
        true
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Stream
    }

    fn open(&self, context: &mut TransportContext<'_>) -> NextAction {
        switch(context);
        D::open(context)
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        if !context.request_state.began {
            switch(context);
        }
        D::begin(context);
        NextAction::Wait
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let awaits_answer = D::ANSWERS_FIRST && context.duplex.as_ref().is_some_and(|duplex| duplex.asked);
        if awaits_answer || D::stands_back(context) {
            if let Some(duplex) = context.duplex.as_deref_mut() {
                duplex.holds_back = true;
            }
            return NextAction::Wait;
        }
        let start = context.out.len();
        loop {
            match context.pull() {
                Pulled::Message(entry) => D::message(context, &entry),
                Pulled::Gap(gap) => D::gap(context, &gap),
                Pulled::Unsubscribed(told) => D::unsubscribed(context, &told),
                Pulled::Expiring(told) => D::expiring(context, told),
                Pulled::Nothing => {
                    D::drained(context);
                    return NextAction::Wait;
                }
            }
            if context.full(context.out.len() - start) {
                D::drained(context);
                return NextAction::More;
            }
        }
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let Some(duplex) = context.duplex.as_deref_mut() else { return NextAction::Close };
        if duplex.message_due_ms().is_some_and(|due_ms| due_ms <= context.now.mono_ms) {
            return release(context);
        }
        if duplex
            .kept
            .as_mut()
            .is_some_and(|kept| kept.wake_ms.take_if(|wake_ms| *wake_ms <= context.now.mono_ms).is_some())
        {
            D::wake(context);
            return NextAction::Wait;
        }
        // While something that it asked is not answered it is not listened to, so its silence says nothing.
        if !duplex.asked {
            if duplex.unanswered >= UNANSWERED_MAX {
                return NextAction::Close;
            }
            duplex.unanswered += 1;
        }
        D::heartbeat(context);
        NextAction::Wait
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        if !context.request_state.began {
            // Pages are not told the status of a handshake that fails, so it does not fail: they read why in
            // the close.
            switch(context);
        }
        let notice = match ending {
            Ending::Closed(notice) => D::close(context, &notice.close),
            Ending::TakenOver => {
                let reason = sentence(ErrorCode::SessionTakenOver).into();
                D::close(
                    context,
                    &Close { code: CloseCode::TakenOver, reason, reconnect: false, retry_ms: None },
                )
            }
            Ending::Refused(code) => D::refuse(context, &Refusal::new(*code, sentence(*code))),
        };
        close_with(context, &notice)
    }

    fn refused(&self, context: &mut TransportContext<'_>, refusal: &Refusal) -> NextAction {
        if !context.request_state.began {
            return context.refuse_with(refusal);
        }
        let notice = D::refuse(context, refusal);
        close_with(context, &notice)
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
                        D::closed(context, said.as_ref());
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

    fn left(&self, context: &mut TransportContext<'_>) {
        D::left(context);
    }

    fn answered(&self, context: &mut TransportContext<'_>, answer: CommandAnswer) -> NextAction {
        let after = match answer.downcast::<D::Answer>() {
            Ok(answer) => D::answered(context, *answer),
            // Each dialect's commands are answered by its own handler.
            Err(_) => NextAction::Close,
        };
        let holds_back =
            context.duplex.as_deref_mut().is_some_and(|duplex| std::mem::take(&mut duplex.holds_back));
        if holds_back && after == NextAction::Wait { self.ready(context) } else { after }
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
    let Opening { accept, protocol, cookie } = duplex.take_opening();
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
    if let Some(protocol) = protocol {
        push(&["sec-websocket-protocol: ", protocol, "\r\n"]);
    }
    if let Some(cookie) = cookie {
        push(&["set-cookie: ", &cookie, "\r\n"]);
    }
    push(&["date: ", context.date, "\r\n\r\n"]);
}

/// Writes the close frame; what the transport's turn ends with then.
pub fn close_with(context: &mut TransportContext<'_>, notice: &CloseFrame) -> NextAction {
    CloseFrame::write(context.out, notice.status, &notice.reason);
    if let Some(duplex) = context.duplex.as_deref_mut() {
        duplex.parts = true;
    }
    NextAction::Part
}

/// Answers the client's close with the status that it gave (RFC 6455 section 5.5.1).
fn answer_close(context: &mut TransportContext<'_>, said: Option<&CloseFrame>) {
    match said {
        Some(close) => CloseFrame::write(context.out, close.status, ""),
        None => frame::write(context.out, frame::CLOSE, &[]),
    }
}
