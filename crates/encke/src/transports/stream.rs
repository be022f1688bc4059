//! What all streams have in common: one HTTP response that goes on, an event each for what happens, something
//! small in a silence, and an end that says why.

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{Close, CloseCode, Entry, ErrorCode, Event, Open};

use super::{HoldKind, NextAction, Transport, TransportContext};
use crate::http::response::{Body, Chunk};

/// What differs: how an event looks.
pub(super) trait Form: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// Where it is asked for.
    const PATH: &'static str;
    /// The `as` parameter that it is asked for with.
    const AS: Option<&'static str>;
    /// The type of its body.
    const CONTENT_TYPE: &'static str;

    /// Writes what stands before the first event.
    fn prelude(_: &mut TransportContext<'_>) {}

    /// The policy of the response, if it is a document.
    fn policy(_: &TransportContext<'_>) -> Option<String> {
        None
    }

    /// Writes a message.
    fn message(context: &mut TransportContext<'_>, entry: &Entry);

    /// Writes any other event.
    fn event(context: &mut TransportContext<'_>, event: &Event);

    /// Ends an event that began at `_begins` in the output, with the session's cursor standing behind it.
    fn end_event(_: &mut TransportContext<'_>, _begins: usize) {}

    /// Ends the event that says that the session is closed.
    fn end_close(_: &mut TransportContext<'_>, _cursor: &str, _stays_away: bool) {}

    /// Breaks a silence.
    fn rest(context: &mut TransportContext<'_>);

    /// Whether the response has grown so large that the client should begin another.
    fn spent(_: &TransportContext<'_>) -> bool {
        false
    }
}

/// A stream of some form.
#[derive(Debug)]
pub(super) struct Stream<F>(pub(super) F);

impl<F: Form> Transport for Stream<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn path(&self) -> &'static str {
        F::PATH
    }

    fn form(&self) -> Option<&'static str> {
        F::AS
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Stream
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        let plain = context.request_state.plain;
        let body = if plain { Body::UntilClose } else { Body::Chunked };
        let keep_alive = context.request_state.keep_alive && !plain;
        let policy = F::policy(context);
        let field = policy.as_deref().map(|policy| ("content-security-policy", policy));
        context.head(200, F::CONTENT_TYPE, body, keep_alive, field);
        let chunk = Chunk::begin(context.out, plain);
        F::prelude(context);
        let begins = context.out.len();
        let open = Open {
            session: context.session(),
            cursor: context.hub.cursor(context.conn),
            heartbeat_s: context.heartbeat_s,
        };
        F::event(context, &Event::Open(open));
        F::end_event(context, begins);
        chunk.end(context.out);
        NextAction::Wait
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let start = context.out.len();
        let chunk = Chunk::begin(context.out, context.request_state.plain);
        let mut after = NextAction::Wait;
        loop {
            let begins = context.out.len();
            match context.pull() {
                Pulled::Message(entry) => F::message(context, &entry),
                Pulled::Gap(gap) => F::event(context, &Event::Gap(gap)),
                Pulled::Nothing => break,
            }
            F::end_event(context, begins);
            if context.full(context.out.len() - start) {
                after = NextAction::More;
                break;
            }
        }
        if F::spent(context) {
            context.take_cursor();
            let cursor = context.cursor.clone();
            close::<F>(context, recycle(), &cursor);
            chunk.end(context.out);
            return end(context);
        }
        chunk.end(context.out);
        after
    }

    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction {
        let chunk = Chunk::begin(context.out, context.request_state.plain);
        F::rest(context);
        chunk.end(context.out);
        NextAction::Wait
    }

    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction {
        if !context.request_state.began {
            return match ending {
                Ending::Closed(close_notice) if close_notice.close.reconnect => {
                    context.refuse(ErrorCode::ShuttingDown)
                }
                Ending::Closed(_) => context.refuse(ErrorCode::SessionClosed),
                Ending::TakenOver => context.refuse(ErrorCode::SessionTakenOver),
                Ending::Refused(code) => context.refuse(*code),
            };
        }
        let (why, cursor) = match ending {
            Ending::Closed(close_notice) => (close_notice.close.clone(), close_notice.cursor.as_str()),
            Ending::TakenOver => (taken_over(), "1~0"),
            // A stream that has begun cannot be refused any more; it ends, and its client comes back.
            Ending::Refused(_) => return end(context),
        };
        let chunk = Chunk::begin(context.out, context.request_state.plain);
        close::<F>(context, why, cursor);
        chunk.end(context.out);
        end(context)
    }
}

fn close<F: Form>(context: &mut TransportContext<'_>, why: Close, cursor: &str) {
    let stays_away = !why.reconnect;
    F::event(context, &Event::Close(why));
    F::end_close(context, cursor, stays_away);
}

/// Ends the response, and the socket with it: a stream that ended on purpose leaves nothing behind.
fn end(context: &mut TransportContext<'_>) -> NextAction {
    if !context.request_state.plain {
        context.out.extend_from_slice(b"0\r\n\r\n");
    }
    NextAction::Close
}

fn taken_over() -> Close {
    Close {
        code: CloseCode::TakenOver,
        reason: "a newer connection of this session took over".into(),
        reconnect: false,
        retry_ms: None,
    }
}

fn recycle() -> Close {
    Close {
        code: CloseCode::Recycle,
        reason: "the stream has become long; go on with another".into(),
        reconnect: true,
        retry_ms: None,
    }
}
