//! What all streams have in common: one HTTP response that goes on, something small in a silence, and an end.

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{Close, CloseCode, Entry, ErrorCode, Expiring, Gap, Unsubscribed};

use super::{HoldKind, NextAction, Transport, TransportContext};
use crate::http::response::{Body, Chunk};

/// What is said in a stream.
pub trait Form: Sync + fmt::Debug + 'static {
    /// What the transport is called.
    const NAME: &'static str;
    /// The dialect that is spoken.
    const DIALECT: &'static str;
    /// The type of its body.
    const CONTENT_TYPE: &'static str;
    /// Whether the connection is for another request when the stream has ended and its client keeps it.
    const GOES_ON: bool = false;

    /// A field that the head has besides.
    fn field(_: &mut TransportContext<'_>) -> Option<(&'static str, String)> {
        None
    }

    /// Writes what stands before the first message.
    fn open(context: &mut TransportContext<'_>);

    /// What comes next. A dialect may have all but one channel stand back.
    fn next(context: &mut TransportContext<'_>) -> Pulled {
        context.pull()
    }

    /// Writes a message.
    fn message(context: &mut TransportContext<'_>, entry: &Entry);

    /// Says that messages are lost.
    fn gap(context: &mut TransportContext<'_>, gap: &Gap);

    /// Says that a channel is not followed any more, as the token does not grant it. A dialect without a word
    /// for that says nothing.
    fn unsubscribed(_: &mut TransportContext<'_>, _: &Unsubscribed) {}

    /// Says that the token of the session ends soon. A dialect without a word for that says nothing.
    fn expiring(_: &mut TransportContext<'_>, _: Expiring) {}

    /// Ends what began at `_begins` in the output, with the session's cursor standing behind it.
    fn end_event(_: &mut TransportContext<'_>, _begins: usize) {}

    /// Says that the session is closed, at the end of the stream.
    fn close(context: &mut TransportContext<'_>, close: Close, cursor: &str);

    /// The hub does not serve the stream: whether it is answered with one that has ended, since its client is
    /// to open another, and not with the error.
    fn refused(_: &mut TransportContext<'_>, _: ErrorCode) -> bool {
        false
    }

    /// Breaks a silence.
    fn rest(context: &mut TransportContext<'_>);

    /// Whether the response is complete, or has grown so large that the client should begin another.
    fn spent(_: &TransportContext<'_>) -> bool {
        false
    }

    /// Whether nothing more is said in this response, as its client begins another by itself: what came
    /// behind would be lost with it.
    fn is_full(_: &mut TransportContext<'_>) -> bool {
        false
    }
}

/// A stream of some form.
#[derive(Debug)]
pub struct Stream<F>(pub F);

impl<F: Form> Transport for Stream<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn dialect(&self) -> &'static str {
        F::DIALECT
    }

    fn hold_kind(&self) -> HoldKind {
        HoldKind::Stream
    }

    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction {
        let plain = context.request_state.plain;
        let body = if plain { Body::UntilClose } else { Body::Chunked };
        let keep_alive = context.request_state.keep_alive && !plain;
        let field = F::field(context);
        let field = field.as_ref().map(|(name, value)| (*name, value.as_str()));
        context.head(200, F::CONTENT_TYPE, body, keep_alive, field.as_slice());
        let chunk = Chunk::begin(context.out, plain);
        F::open(context);
        chunk.end(context.out);
        NextAction::Wait
    }

    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction {
        let start = context.out.len();
        let chunk = Chunk::begin(context.out, context.request_state.plain);
        let mut after = NextAction::Wait;
        while !F::is_full(context) {
            let begins = context.out.len();
            match F::next(context) {
                Pulled::Message(entry) => F::message(context, &entry),
                Pulled::Gap(gap) => F::gap(context, &gap),
                Pulled::Unsubscribed(told) => F::unsubscribed(context, &told),
                Pulled::Expiring(told) => F::expiring(context, told),
                Pulled::Nothing => break,
            }
            F::end_event(context, begins);
            if F::spent(context) {
                break;
            }
            if context.full(context.out.len() - start) {
                after = NextAction::More;
                break;
            }
        }
        if F::spent(context) {
            context.take_cursor();
            let cursor = context.cursor.clone();
            F::close(context, recycle(), &cursor);
            chunk.end(context.out);
            return end::<F>(context);
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
                Ending::Refused(code) if F::refused(context, *code) => {
                    self.begin(context);
                    end::<F>(context)
                }
                Ending::Refused(code) => context.refuse(*code),
            };
        }
        let (why, cursor) = match ending {
            Ending::Closed(close_notice) => (close_notice.close.clone(), close_notice.cursor.as_str()),
            Ending::TakenOver => (taken_over(), "1~0"),
            // A stream that has begun cannot be refused any more; it ends, and its client comes back.
            Ending::Refused(_) => return end::<F>(context),
        };
        let chunk = Chunk::begin(context.out, context.request_state.plain);
        F::close(context, why, cursor);
        chunk.end(context.out);
        end::<F>(context)
    }
}

/// Ends the response, and the socket with it unless the form goes on: a stream that ended on purpose leaves
/// nothing behind.
fn end<F: Form>(context: &mut TransportContext<'_>) -> NextAction {
    if context.request_state.plain {
        return NextAction::Close;
    }
    context.out.extend_from_slice(b"0\r\n\r\n");
    if F::GOES_ON && context.request_state.keep_alive { NextAction::Done } else { NextAction::Close }
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
