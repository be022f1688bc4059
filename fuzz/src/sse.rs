//! Server-sent events: what is written comes back from the parser of the Rust client, event by event, with
//! its cursor.

use arbitrary::Arbitrary;
use encke_proto::{
    Event,
    codec::{MessageForm, sse},
};

use crate::input::{AnyCursor, Item, Rest, typed};
use client::{SseEvent, SseParser};

#[path = "../../crates/encke-client/src/sse.rs"]
mod client;

#[derive(Arbitrary, Debug)]
struct Input {
    cut: u8,
    items: Rest<(Item, Option<AnyCursor>)>,
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input>(bytes) else { return };
    let (mut out, mut expected, mut retry_ms) = (Vec::new(), Vec::new(), None);
    for (item, cursor) in &input.items.0 {
        let (event, data) = match item {
            Item::Heartbeat => {
                out.extend_from_slice(sse::HEARTBEAT);
                continue;
            }
            Item::Message(message) => {
                let Some(entry) = message.entry() else { continue };
                sse::message(&mut out, &entry, MessageForm::Long);
                ("message", entry.event_json().to_owned())
            }
            Item::Event(event) => {
                let Some(event) = event.event() else { continue };
                sse::event(&mut out, &event);
                match &event {
                    Event::Open(_) => retry_ms = Some(sse::RETRY_MS),
                    Event::Close(close) => retry_ms = close.retry_ms.or(retry_ms),
                    Event::Gap(_) | Event::Unsubscribed(_) | Event::Expiring(_) => {}
                }
                // What an EventSource calls `open` itself has another name here.
                let name = if matches!(event, Event::Open(_)) { "opened" } else { event.name() };
                (name, event.json())
            }
        };
        let id = cursor.as_ref().map(|cursor| cursor.cursor().to_string());
        match &id {
            Some(id) => sse::id(&mut out, id),
            None => sse::end(&mut out),
        }
        expected.push(SseEvent { event: event.to_owned(), data: Some(data), id });
    }
    let mut parser = SseParser::new();
    let mut read = Vec::new();
    for piece in out.chunks(usize::from(input.cut) + 1) {
        if parser.push(piece).is_err() {
            // Longer than the client takes; no message that was accepted is.
            return;
        }
        read.extend(std::iter::from_fn(|| parser.next_event()));
    }
    assert_eq!(read, expected);
    assert_eq!(parser.retry_ms(), retry_ms);
}
