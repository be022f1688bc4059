//! Server-sent events, as the HTML standard's section 9.2 reads them.
//!
//! Everything written here is one line of JSON or a cursor, neither of which can hold a line break, so no
//! field can be broken out of.

use super::MessageForm;
use crate::{Entry, Event};

/// The comment that breaks a silence.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// After how many milliseconds a browser's EventSource comes back when a stream was cut off.
pub const RETRY_MS: u64 = 3_000;

/// Writes a message. It has no event name, so that it reaches `onmessage`.
pub fn message(out: &mut Vec<u8>, entry: &Entry, form: MessageForm) {
    out.extend_from_slice(b"data: ");
    form.push(out, entry);
    out.push(b'\n');
}

/// Writes an event other than a message.
pub fn event(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name(event).as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(event.json().as_bytes());
    out.push(b'\n');
    let retry_ms = match event {
        // Browsers keep what they were told last, so each stream begins with the usual.
        Event::Open(_) => Some(RETRY_MS),
        Event::Close(close) => close.retry_ms,
        Event::Gap(_) | Event::Unsubscribed(_) | Event::Expiring(_) => None,
    };
    if let Some(retry_ms) = retry_ms {
        out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
    }
}

/// The name of an event in a stream of them. An EventSource has an event `open` of its own, and would call
/// those who listen to that for both.
fn name(event: &Event) -> &'static str {
    if matches!(event, Event::Open(_)) { "opened" } else { event.name() }
}

/// Ends an event with the cursor that follows it. Alone, it moves the receiver's last event id without an
/// event.
pub fn id(out: &mut Vec<u8>, cursor: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(cursor.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Ends an event without a cursor: the receiver keeps the one it has.
pub fn end(out: &mut Vec<u8>) {
    out.push(b'\n');
}
