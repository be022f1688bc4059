//! The answer to a poll: one JSON object with exactly what was put into it, as long as it says.

use arbitrary::Arbitrary;
use encke_proto::{Event, SessionId, codec::poll};
use serde_json::Value;

use crate::input::{AnyCursor, Item, Rest, typed};

#[derive(Arbitrary, Debug)]
struct Input {
    session: u128,
    cursor: AnyCursor,
    items: Rest<Item>,
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input>(bytes) else { return };
    let mut answer = poll::Answer::default();
    let (mut messages, mut gaps, mut close) = (Vec::new(), Vec::new(), poll::GOES_ON.to_owned());
    for item in &input.items.0 {
        match item {
            Item::Heartbeat => {}
            Item::Message(message) => {
                let Some(entry) = message.entry() else { continue };
                answer.message(&entry);
                let mut value: Value = serde_json::from_str(entry.event_json()).expect("an event is JSON");
                value.as_object_mut().expect("an object").remove("event");
                messages.push(value);
            }
            Item::Event(event) => match event.event() {
                Some(Event::Gap(gap)) => {
                    answer.gap(&gap);
                    gaps.push(serde_json::to_value(&gap).expect("a gap is JSON"));
                }
                Some(Event::Close(end)) => close = serde_json::to_string(&end).expect("a close is JSON"),
                Some(Event::Open(_) | Event::Unsubscribed(_) | Event::Expiring(_)) | None => {}
            },
        }
    }
    assert_eq!(answer.is_empty(), messages.is_empty() && gaps.is_empty());
    let (session, cursor) = (SessionId::from_bits(input.session).text(), input.cursor.cursor().to_string());
    let mut out = Vec::new();
    let pieces = answer.finish(&session, &cursor, &close);
    pieces.write(&mut out);
    assert_eq!(pieces.len(), out.len());
    let read: Value = serde_json::from_slice(&out).expect("the body is JSON");
    let close: Value = serde_json::from_str(&close).expect("a close is JSON");
    let expected = serde_json::json!({
        "session": session.as_str(), "cursor": cursor, "messages": messages, "gaps": gaps, "close": close,
    });
    assert_eq!(read, expected);
}
