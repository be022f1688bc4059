//! Published JSON: what is left after the white space is taken out means the same, is one line, and nests
//! within the bound; and what is taken of it without a deserializer is the same.

use encke_proto::{PlainJson, json, limits::JSON_MAX_DEPTH};
use serde_json::{Value, value::RawValue};

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    taken_plain(text);
    // Looked at before it is known to be JSON.
    let depth = json::depth(text);
    if depth > JSON_MAX_DEPTH + 1 {
        return;
    }
    let Ok(raw) = serde_json::from_str::<&RawValue>(text.trim_matches([' ', '\t', '\r', '\n'])) else {
        return;
    };
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else {
        // A number that is too large for any type is JSON all the same.
        return;
    };
    assert_eq!(nesting(&value), depth, "{text}");
    match json::compact(raw) {
        Err(json::TooDeep) => assert!(depth > JSON_MAX_DEPTH),
        Ok(compact) => {
            let compact = compact.get();
            assert!(depth <= JSON_MAX_DEPTH);
            assert!(!compact.contains(['\n', '\r', '\t']), "{compact}");
            assert_eq!(serde_json::from_str::<Value>(compact).expect("it is JSON still"), value);
            assert!(compact.len() <= raw.get().len());
            let again: &RawValue = serde_json::from_str(compact).expect("it is JSON still");
            assert_eq!(
                json::compact(again).expect("no deeper").get(),
                compact,
                "nothing is left to take out"
            );
        }
    }
}

/// Whatever is taken of a text is what a deserializer reads there.
fn taken_plain(text: &str) {
    let mut plain = PlainJson::of(text);
    if let Some(string) = plain.string().filter(|_| plain.is_at_end()) {
        assert_eq!(serde_json::from_str::<String>(text).expect("it is a string"), string);
    }
    let mut plain = PlainJson::of(text);
    if let Some(number) = plain.whole_number().filter(|_| plain.is_at_end()) {
        assert_eq!(serde_json::from_str::<u64>(text).expect("it is a number"), number);
    }
    let mut plain = PlainJson::of(text);
    if let Some(taken) = plain.compact().filter(|_| plain.is_at_end()) {
        let raw: &RawValue = serde_json::from_str(text).expect("it is JSON");
        assert_eq!(json::compact(raw).expect("it is not too deep").get(), taken.get());
    }
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(nesting).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}
