//! What all streams have in common: one HTTP response that goes on, an event each for what happens, something
//! small in a silence, and an end that says why.

use std::fmt;

use encke_hub::{Ending, Pulled};
use encke_proto::{Close, CloseCode, Entry, ErrorCode, Event, Open};

use super::{After, Exchange, Pace, Transport};
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
    fn prelude(_: &mut Exchange<'_>) {}

    /// The policy of the response, if it is a document.
    fn policy(_: &Exchange<'_>) -> Option<String> {
        None
    }

    /// Writes a message.
    fn message(exchange: &mut Exchange<'_>, entry: &Entry);

    /// Writes any other event.
    fn event(exchange: &mut Exchange<'_>, event: &Event);

    /// Ends an event that began at `_begins` in the output, with the session's cursor standing behind it.
    fn end_event(_: &mut Exchange<'_>, _begins: usize) {}

    /// Ends the event that says that the session is closed.
    fn end_close(_: &mut Exchange<'_>, _cursor: &str, _stays_away: bool) {}

    /// Breaks a silence.
    fn rest(exchange: &mut Exchange<'_>);

    /// Whether the response has grown so large that the client should begin another.
    fn spent(_: &Exchange<'_>) -> bool {
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

    fn pace(&self) -> Pace {
        Pace::Stream
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        let plain = exchange.held.plain;
        let body = if plain { Body::UntilClose } else { Body::Chunked };
        let keep_alive = exchange.held.keep_alive && !plain;
        let policy = F::policy(exchange);
        let field = policy.as_deref().map(|policy| ("content-security-policy", policy));
        exchange.head(200, F::CONTENT_TYPE, body, keep_alive, field);
        let chunk = Chunk::begin(exchange.out, plain);
        F::prelude(exchange);
        let begins = exchange.out.len();
        let open = Open {
            session: exchange.session(),
            cursor: exchange.hub.cursor(exchange.conn),
            heartbeat_s: exchange.heartbeat_s,
        };
        F::event(exchange, &Event::Open(open));
        F::end_event(exchange, begins);
        chunk.end(exchange.out);
        After::Wait
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        let start = exchange.out.len();
        let chunk = Chunk::begin(exchange.out, exchange.held.plain);
        let mut after = After::Wait;
        loop {
            let begins = exchange.out.len();
            match exchange.pull() {
                Pulled::Message(entry) => F::message(exchange, &entry),
                Pulled::Gap(gap) => F::event(exchange, &Event::Gap(gap)),
                Pulled::Nothing => break,
            }
            F::end_event(exchange, begins);
            if exchange.full(exchange.out.len() - start) {
                after = After::More;
                break;
            }
        }
        if F::spent(exchange) {
            exchange.take_cursor();
            let cursor = exchange.cursor.clone();
            close::<F>(exchange, recycle(), &cursor);
            chunk.end(exchange.out);
            return end(exchange);
        }
        chunk.end(exchange.out);
        after
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        let chunk = Chunk::begin(exchange.out, exchange.held.plain);
        F::rest(exchange);
        chunk.end(exchange.out);
        After::Wait
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        if !exchange.held.began {
            return match ending {
                Ending::Closed(farewell) if farewell.close.reconnect => {
                    exchange.refuse(ErrorCode::ShuttingDown)
                }
                Ending::Closed(_) => exchange.refuse(ErrorCode::SessionClosed),
                Ending::TakenOver => exchange.refuse(ErrorCode::SessionTakenOver),
                Ending::Refused(code) => exchange.refuse(*code),
            };
        }
        let (why, cursor) = match ending {
            Ending::Closed(farewell) => (farewell.close.clone(), farewell.cursor.as_str()),
            Ending::TakenOver => (taken_over(), "1~0"),
            // A stream that has begun cannot be refused any more; it ends, and its client comes back.
            Ending::Refused(_) => return end(exchange),
        };
        let chunk = Chunk::begin(exchange.out, exchange.held.plain);
        close::<F>(exchange, why, cursor);
        chunk.end(exchange.out);
        end(exchange)
    }
}

fn close<F: Form>(exchange: &mut Exchange<'_>, why: Close, cursor: &str) {
    let stays_away = !why.reconnect;
    F::event(exchange, &Event::Close(why));
    F::end_close(exchange, cursor, stays_away);
}

/// Ends the response, and the socket with it: a stream that ended on purpose leaves nothing behind.
fn end(exchange: &mut Exchange<'_>) -> After {
    if !exchange.held.plain {
        exchange.out.extend_from_slice(b"0\r\n\r\n");
    }
    After::Close
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
