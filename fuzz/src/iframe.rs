//! The forever frame: no data ends a script, opens one or breaks its line, and the page is handed the same
//! JSON.

use arbitrary::Arbitrary;
use encke_proto::codec::{MessageForm, iframe};

use crate::input::{Item, Rest, typed};

#[derive(Arbitrary, Debug)]
struct Input {
    origin: Option<String>,
    items: Rest<Item>,
}

const NONCE: &str = "bm9uY2U";
const BEGIN: &str = "<script nonce=\"bm9uY2U\">";
const END: &str = "</script>\n";

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input>(bytes) else { return };
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    iframe::begin(&mut out, NONCE, input.origin.as_deref());
    let head = out.len();
    for item in &input.items.0 {
        match item {
            Item::Heartbeat => {
                iframe::heartbeat(&mut out, NONCE);
                expected.push("{\"event\":\"heartbeat\"}".to_owned());
            }
            Item::Message(message) => {
                let Some(entry) = message.entry() else { continue };
                iframe::message(&mut out, NONCE, &entry, MessageForm::Long);
                expected.push(entry.event_json().to_owned());
            }
            Item::Event(event) => {
                let Some(event) = event.event() else { continue };
                iframe::event(&mut out, NONCE, &event);
                expected.push(event.json());
            }
        }
    }
    let (head, scripts) = (text(&out[..head]), text(&out[head..]));
    check_head(head, input.origin.as_deref());
    let mut rest = scripts;
    for json in expected {
        let inner = rest.strip_prefix(BEGIN).expect("a script begins");
        let (script, after) = inner.split_once('<').expect("it ends at the first angle bracket");
        rest = after.strip_prefix(&END[1..]).expect("and that is its end");
        let literal =
            script.strip_prefix("p(").and_then(|script| script.strip_suffix(')')).expect("it is one call");
        assert!(!literal.contains(['>', '&', '\n', '\r', '\u{2028}', '\u{2029}']), "{literal}");
        let read: String = serde_json::from_str(literal).expect("with one string");
        assert_eq!(read, json);
    }
    assert_eq!(rest, "");
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the document is UTF-8")
}

fn check_head(head: &str, origin: Option<&str>) {
    let script = head.split_once(BEGIN).expect("there is a script").1;
    let script = script.split_once('<').expect("it ends").0;
    let target = script.strip_prefix("\"use strict\";var o=").expect("it begins with the target");
    // The only semicolon that is not in the string is behind it.
    let literal = target.rsplit_once(";function p(e)").expect("and goes on with the function").0;
    match origin {
        Some(origin) => assert_eq!(serde_json::from_str::<String>(literal).expect("a string"), origin),
        None => assert_eq!(literal, "location.origin"),
    }
    assert!(head.len() > iframe::PADDING_BYTES);
}
