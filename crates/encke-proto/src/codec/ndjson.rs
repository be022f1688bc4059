//! One JSON object a line: the events as they are, each ended by a line feed. JSON in one line cannot hold
//! another.

use super::MessageForm;
use crate::{Entry, Event};

/// The line that breaks a silence: an empty one, which readers of the format pass over.
pub const HEARTBEAT: &[u8] = b"\n";

/// Writes a message.
pub fn message(out: &mut Vec<u8>, entry: &Entry, form: MessageForm) {
    form.push(out, entry);
    out.push(b'\n');
}

/// Writes an event other than a message.
pub fn event(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(event.json().as_bytes());
    out.push(b'\n');
}
