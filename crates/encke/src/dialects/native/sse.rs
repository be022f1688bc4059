//! Server-sent events: one event a message, its `id:` the cursor behind it.

use encke_proto::{
    Entry, Event,
    codec::{MessageForm, sse},
    limits::CURSOR_INLINE_MAX_BYTES,
};

use super::{form::Messages, stream::EventForm};
use crate::{http::response::EVENT_STREAM, transports::TransportContext};

/// A cursor that is too long to go with each event goes once in so many times its own length of other bytes.
const ID_SHARE: usize = 8;
/// To clients that keep their cursor from the messages it goes once in so many bytes of them.
const KEPT_ID_EVERY_BYTES: u32 = 4 * 1024;

#[derive(Debug)]
pub(super) struct Sse;

impl EventForm for Sse {
    const NAME: &'static str = "sse";
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn message(context: &mut TransportContext<'_>, entry: &Entry, form: MessageForm) {
        sse::message(context.out, entry, form);
    }

    fn event(context: &mut TransportContext<'_>, event: &Event) {
        sse::event(context.out, event);
        // A client that is cut off before the first message must go on from here, however long the cursor is;
        // and what else is told is not in the messages.
        context.request_state.tally = u32::MAX;
    }

    fn end_event<M: Messages>(context: &mut TransportContext<'_>, begins: usize) {
        let event = u32::try_from(context.out.len() - begins).unwrap_or(u32::MAX);
        let since = context.request_state.tally.saturating_add(event);
        if M::KEEP_CURSOR && since < KEPT_ID_EVERY_BYTES {
            sse::end(context.out);
            context.request_state.tally = since;
            return;
        }
        context.take_cursor();
        let length = context.cursor.len();
        if length <= CURSOR_INLINE_MAX_BYTES || since as usize >= length * ID_SHARE {
            sse::id(context.out, context.cursor);
            context.request_state.tally = 0;
        } else {
            sse::end(context.out);
            context.request_state.tally = since;
        }
    }

    fn end_close(context: &mut TransportContext<'_>, cursor: &str, stays_away: bool) {
        // A browser's EventSource comes back whatever it is told, with its last event id; this one says that
        // it should not have.
        let mark = if stays_away { "~closed" } else { "" };
        sse::id(context.out, &format!("{cursor}{mark}"));
    }

    fn rest(context: &mut TransportContext<'_>) {
        if context.request_state.tally > 0 {
            // At rest is the time to bring the receiver's last event id up to date.
            context.take_cursor();
            sse::id(context.out, context.cursor);
            context.request_state.tally = 0;
        } else {
            context.out.extend_from_slice(sse::HEARTBEAT);
        }
    }
}
