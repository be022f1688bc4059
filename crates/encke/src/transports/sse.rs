//! Server-sent events: one event a message, its `id:` the cursor behind it.

use encke_proto::{Entry, Event, codec::sse, limits::CURSOR_INLINE_MAX_BYTES};

use super::{Exchange, stream::Form};
use crate::http::response::EVENT_STREAM;

/// A cursor that is too long to go with each event goes once in so many times its own length of other bytes.
const ID_SHARE: usize = 8;

#[derive(Debug)]
pub(super) struct Sse;

impl Form for Sse {
    const NAME: &'static str = "sse";
    const PATH: &'static str = "/v1/sse";
    const AS: Option<&'static str> = None;
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn message(exchange: &mut Exchange<'_>, entry: &Entry) {
        sse::message(exchange.out, entry);
    }

    fn event(exchange: &mut Exchange<'_>, event: &Event) {
        sse::event(exchange.out, event);
        if matches!(event, Event::Open(_)) {
            // Whoever is cut off before the first message must go on from here, however long the cursor is.
            exchange.held.tally = u32::MAX;
        }
    }

    fn end_event(exchange: &mut Exchange<'_>, begins: usize) {
        exchange.take_cursor();
        let length = exchange.cursor.len();
        let event = u32::try_from(exchange.out.len() - begins).unwrap_or(u32::MAX);
        let since = exchange.held.tally.saturating_add(event);
        if length <= CURSOR_INLINE_MAX_BYTES || since as usize >= length * ID_SHARE {
            sse::id(exchange.out, exchange.cursor);
            exchange.held.tally = 0;
        } else {
            sse::end(exchange.out);
            exchange.held.tally = since;
        }
    }

    fn end_close(exchange: &mut Exchange<'_>, cursor: &str, stays_away: bool) {
        // A browser's EventSource comes back whatever it is told, with its last event id; this one says that
        // it should not have.
        let mark = if stays_away { "~closed" } else { "" };
        sse::id(exchange.out, &format!("{cursor}{mark}"));
    }

    fn rest(exchange: &mut Exchange<'_>) {
        if exchange.held.tally > 0 {
            // At rest is the time to bring the receiver's last event id up to date.
            exchange.take_cursor();
            sse::id(exchange.out, exchange.cursor);
            exchange.held.tally = 0;
        } else {
            exchange.out.extend_from_slice(sse::HEARTBEAT);
        }
    }
}
