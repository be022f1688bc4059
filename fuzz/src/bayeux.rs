//! What clients of Bayeux send: whatever is read is within its bounds, comes back in a reply as it was
//! written, and a message of a channel fits a pattern only if it is in the pattern's log.

use encke_proto::codec::bayeux::{
    BATCH_MAX_MESSAGES, Channel, Pattern, Reply, array, copy, glob_logs, is_callback, is_glob, read, script,
};
use serde_json::Value;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    names(text);
    if is_callback(text) {
        let whole = script(text, b"[]");
        assert!(whole.is_ascii() && whole.ends_with(b"([]);"), "{text}");
        assert!(!text.contains(['(', ')', ';', '<', '>', '"', '\'', '\\', ' ']), "{text}");
    }
    let Ok(messages) = read(text) else { return };
    assert!(messages.len() <= BATCH_MAX_MESSAGES);
    for message in &messages {
        names(&message.channel);
        let _ = (message.ext().acks(), message.ext().batch(), message.timeout_ms());
        for subscription in message.subscriptions().map(|all| all.0).unwrap_or_default() {
            names(&subscription);
        }
        if !message.has_valid_id() {
            continue;
        }
        let reply = Reply::failed(&message.channel, message.id.clone(), text)
            .of_subscription(message.subscription.clone());
        let json = reply.json();
        assert!(!json.contains(['\n', '\r', '\u{2028}', '\u{2029}']), "{json}");
        let parts = array([json.as_bytes(), json.as_bytes()]);
        // A number that is too large for any type is JSON all the same, and no value.
        let Ok(Value::Array(replies)) = serde_json::from_slice(&parts) else { continue };
        let id = message.id.as_ref().map_or(Value::Null, |id| serde_json::from_str(id.get()).expect("JSON"));
        assert!(
            replies.len() == 2 && replies[0]["channel"] == message.channel.as_str() && replies[1]["id"] == id
        );
    }
}

fn names(text: &str) {
    let (channel, pattern) = (Channel::parse(text), Pattern::parse(text));
    if let Ok(Channel::Broadcast(name)) = channel {
        assert!(!is_glob(name) && pattern.as_ref().is_ok_and(|pattern| pattern.fits(name)), "{name}");
        for log in glob_logs(name) {
            assert!(is_glob(&log) && Pattern::parse(&log).is_ok_and(|pattern| pattern.fits(name)), "{log}");
        }
        let copy = copy(name, "1").expect("there is one");
        let value: Value = serde_json::from_str(copy.get()).expect("JSON");
        assert!(value["channel"] == name && value["data"] == 1);
    } else {
        assert_eq!(glob_logs(text).count(), 0, "{text}");
    }
    if let Ok(pattern) = pattern {
        assert!(pattern.is_within(&pattern.log()), "{text}");
        assert!(Channel::parse(&pattern.log()).is_ok() != is_glob(&pattern.log()), "{text}");
    }
}
