//! Server-sent events: one response that goes on, one event a message, its `id:` the cursor behind it.

use encke_hub::{Ending, Pulled};
use encke_proto::{Close, CloseCode, ErrorCode, Event, Open, codec::sse, limits::CURSOR_INLINE_MAX_BYTES};

use super::{After, Exchange, Pace, Transport};
use crate::table::response::{Body, Chunk, EVENT_STREAM};

/// A cursor that is too long to go with each event goes once in so many times its own length of other bytes.
const ID_SHARE: usize = 8;

#[derive(Debug)]
pub(super) struct Sse;

impl Transport for Sse {
    fn name(&self) -> &'static str {
        "sse"
    }

    fn path(&self) -> &'static str {
        "/v1/sse"
    }

    fn pace(&self) -> Pace {
        Pace::Stream
    }

    fn begin(&self, exchange: &mut Exchange<'_>) -> After {
        let http_10 = exchange.held.http_10;
        let body = if http_10 { Body::UntilClose } else { Body::Chunked };
        let keep_alive = exchange.held.keep_alive && !http_10;
        exchange.head(200, EVENT_STREAM, body, keep_alive);
        exchange.take_cursor();
        let open = Open { session: exchange.session(), cursor: exchange.hub.cursor(exchange.conn), heartbeat_s: exchange.heartbeat_s };
        let chunk = Chunk::begin(exchange.out, http_10);
        sse::event(exchange.out, &Event::Open(open));
        sse::id(exchange.out, exchange.cursor);
        chunk.end(exchange.out);
        After::Wait
    }

    fn ready(&self, exchange: &mut Exchange<'_>) -> After {
        let start = exchange.out.len();
        let chunk = Chunk::begin(exchange.out, exchange.held.http_10);
        loop {
            let before = exchange.out.len();
            match exchange.pull() {
                Pulled::Message(entry) => sse::message(exchange.out, &entry),
                Pulled::Gap(gap) => sse::event(exchange.out, &Event::Gap(gap)),
                Pulled::Nothing => break,
            }
            end_event(exchange, before);
            if exchange.full(exchange.out.len() - start) {
                chunk.end(exchange.out);
                return After::More;
            }
        }
        chunk.end(exchange.out);
        After::Wait
    }

    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After {
        let chunk = Chunk::begin(exchange.out, exchange.held.http_10);
        if exchange.held.since_id > 0 {
            // At rest is the time to bring the receiver's last event id up to date.
            exchange.take_cursor();
            sse::id(exchange.out, exchange.cursor);
            exchange.held.since_id = 0;
        } else {
            exchange.out.extend_from_slice(sse::HEARTBEAT);
        }
        chunk.end(exchange.out);
        After::Wait
    }

    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After {
        if !exchange.held.began {
            return match ending {
                Ending::Closed(farewell) if farewell.close.reconnect => exchange.refuse(ErrorCode::ShuttingDown),
                Ending::Closed(_) => exchange.refuse(ErrorCode::SessionClosed),
                Ending::TakenOver => exchange.refuse(ErrorCode::SessionTakenOver),
                Ending::Refused(code) => exchange.refuse(*code),
            };
        }
        let (close, cursor) = match ending {
            Ending::Closed(farewell) => (farewell.close.clone(), farewell.cursor.as_str()),
            Ending::TakenOver => (taken_over(), "1~0"),
            // A stream that has begun cannot be refused any more; it ends, and its client comes back.
            Ending::Refused(_) => return end(exchange),
        };
        let chunk = Chunk::begin(exchange.out, exchange.held.http_10);
        let stays_away = !close.reconnect;
        sse::event(exchange.out, &Event::Close(close));
        // A browser's EventSource comes back whatever it is told, with its last event id; this one says that it should not have.
        let mark = if stays_away { "~closed" } else { "" };
        sse::id(exchange.out, &format!("{cursor}{mark}"));
        chunk.end(exchange.out);
        end(exchange)
    }
}

fn taken_over() -> Close {
    Close { code: CloseCode::TakenOver, reason: "a newer connection of this session took over".into(), reconnect: false }
}

/// Ends the response, and the socket with it: a stream that ended on purpose leaves nothing behind.
fn end(exchange: &mut Exchange<'_>) -> After {
    if !exchange.held.http_10 {
        exchange.out.extend_from_slice(b"0\r\n\r\n");
    }
    After::Close
}

/// Ends an event with its cursor; a long one is left out unless enough other bytes have gone since the last.
fn end_event(exchange: &mut Exchange<'_>, event_at: usize) {
    exchange.take_cursor();
    let length = exchange.cursor.len();
    let event = u32::try_from(exchange.out.len() - event_at).unwrap_or(u32::MAX);
    let since = exchange.held.since_id.saturating_add(event);
    if length <= CURSOR_INLINE_MAX_BYTES || since as usize >= length * ID_SHARE {
        sse::id(exchange.out, exchange.cursor);
        exchange.held.since_id = 0;
    } else {
        sse::end(exchange.out);
        exchange.held.since_id = since;
    }
}
