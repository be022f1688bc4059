//! NDJSON: each event is one line, which is the same JSON.

use encke_proto::codec::{MessageForm, ndjson};
use serde_json::Value;

use crate::input::{Item, Rest, typed};

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(Rest(items)) = typed::<Rest<Item>>(bytes) else { return };
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for item in &items {
        match item {
            Item::Heartbeat => out.extend_from_slice(ndjson::HEARTBEAT),
            Item::Message(message) => {
                let Some(entry) = message.entry() else { continue };
                ndjson::message(&mut out, &entry, MessageForm::Long);
                expected.push(entry.event_json().to_owned());
            }
            Item::Event(event) => {
                let Some(event) = event.event() else { continue };
                ndjson::event(&mut out, &event);
                expected.push(event.json());
            }
        }
    }
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    let read: Vec<&str> = text.split_terminator('\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(read, expected);
    assert!(!text.contains('\r'), "a reader may take a carriage return for the end of a line");
    for line in read {
        let value: Value = serde_json::from_str(line).expect("a line is JSON");
        assert!(value["event"].is_string(), "{line}");
    }
}
