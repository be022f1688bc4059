//! The classic dialect's positions and answers: a position comes back from its text, and an answer is JSON
//! with the same message.

use arbitrary::Arbitrary;
use encke_proto::codec::classic::{Timestamp, Written, with_stop, with_timestamp};
use serde_json::json;

use crate::input::{position, typed};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Text(&'a str),
    Answer { msg: &'a str, at: (u64, u64), stop: bool },
}

/// See the module.
pub fn run(bytes: &[u8]) {
    match typed::<Input<'_>>(bytes) {
        Some(Input::Text(text)) => read(text),
        Some(Input::Answer { msg, at, stop }) => write(msg, at, stop),
        None => {}
    }
}

fn read(text: &str) {
    let Ok(timestamp) = Timestamp::parse(text) else { return };
    let again = match timestamp {
        Timestamp::Now => String::new(),
        Timestamp::At(position) => Written(position).to_string(),
        Timestamp::Offset(offset) => offset.to_string(),
    };
    assert_eq!(Timestamp::parse(&again), Ok(timestamp), "{text}");
}

fn write(msg: &str, at: (u64, u64), stop: bool) {
    let at = position(at);
    let mut out = Vec::new();
    with_timestamp(&mut out, msg, at);
    let value: serde_json::Value = serde_json::from_slice(&out).expect("the answer is JSON");
    assert_eq!(value, json!({"msg": msg, "timestamp": Written(at).to_string()}));
    let timestamp = value["timestamp"].as_str().map(Timestamp::parse);
    assert_eq!(timestamp, Some(Ok(Timestamp::At(at))));
    let value: serde_json::Value = serde_json::from_str(&with_stop(msg, stop)).expect("the answer is JSON");
    assert_eq!(value, json!({"msg": msg, "stop": u8::from(stop)}));
}
