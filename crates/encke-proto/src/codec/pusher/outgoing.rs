//! What clients are sent: one JSON object a frame, whose `data` is JSON as text.

use serde_json::value::RawValue;

use super::Member;
use crate::json::push_string;

/// The answer to a ping.
pub const PONG: &str = r#"{"event":"pusher:pong","data":"{}"}"#;

/// Whether a member came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// The first connection of a user subscribed.
    Added,
    /// The last one is gone.
    Removed,
}

impl MemberEvent {
    /// The name of the event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "pusher_internal:member_added",
            Self::Removed => "pusher_internal:member_removed",
        }
    }
}

/// A frame with data that are JSON, which is put into it as text.
pub(super) fn frame(event: &str, channel: Option<&str>, data: &str) -> String {
    let mut encoded = Vec::with_capacity(data.len() + data.len() / 8 + 2);
    push_string(&mut encoded, data);
    frame_of(event, channel, &String::from_utf8(encoded).unwrap_or_default(), None)
}

/// A frame with data as they stand in it.
pub(super) fn frame_of(event: &str, channel: Option<&str>, data: &str, user_id: Option<&str>) -> String {
    let mut out = Vec::with_capacity(64 + event.len() + data.len());
    out.extend_from_slice(b"{\"event\":");
    push_string(&mut out, event);
    for (name, value) in [("channel", channel), ("user_id", user_id)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            push_string(&mut out, value);
        }
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data.as_bytes());
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// The first of all: the id of the connection, and the longest silence in seconds.
#[must_use]
pub fn connection_established(socket_id: &str, activity_timeout_s: u64) -> String {
    let data = format!("{{\"socket_id\":{},\"activity_timeout\":{activity_timeout_s}}}", string(socket_id));
    frame("pusher:connection_established", None, &data)
}

/// Something went wrong; with a code if there is one.
#[must_use]
pub fn error(code: Option<u16>, message: &str) -> String {
    let code = code.map_or_else(|| "null".to_owned(), |code| code.to_string());
    let data = format!("{{\"code\":{code},\"message\":{}}}", string(message));
    // Clients read it as an object, as the protocol's first versions had it.
    frame_of("pusher:error", None, &data, None)
}

/// The client is subscribed; `data` is what [`presence_data`] gives, or `{}`.
#[must_use]
pub fn subscription_succeeded(channel: &str, data: &str) -> String {
    frame("pusher_internal:subscription_succeeded", Some(channel), data)
}

/// The client is not subscribed.
#[must_use]
pub fn subscription_error(channel: &str, kind: &str, message: &str, status: u16) -> String {
    let (kind, message) = (string(kind), string(message));
    let data = format!("{{\"type\":{kind},\"error\":{message},\"status\":{status}}}");
    frame_of("pusher:subscription_error", Some(channel), &data, None)
}

/// A cache channel holds no event.
#[must_use]
pub fn cache_miss(channel: &str) -> String {
    frame("pusher:cache_miss", Some(channel), "{}")
}

/// The client is known as this user.
#[must_use]
pub fn signin_success(user_data: &str) -> String {
    frame("pusher:signin_success", None, &format!("{{\"user_data\":{}}}", string(user_data)))
}

/// Who of a watchlist is online and who is not.
#[must_use]
pub fn watchlist_events(online: &[String], offline: &[String]) -> String {
    frame("pusher_internal:watchlist_events", None, &online_data(online, offline))
}

/// The data of the same.
#[must_use]
pub fn online_data(online: &[String], offline: &[String]) -> String {
    let of = |name: &str, ids: &[String]| {
        let ids: Vec<String> = ids.iter().map(|id| string(id)).collect();
        (!ids.is_empty()).then(|| format!("{{\"name\":\"{name}\",\"user_ids\":[{}]}}", ids.join(",")))
    };
    let events: Vec<String> = [of("online", online), of("offline", offline)].into_iter().flatten().collect();
    format!("{{\"events\":[{}]}}", events.join(","))
}

/// The data of a [`MemberEvent`].
#[must_use]
pub fn member_data(event: MemberEvent, member: &Member) -> String {
    let user_id = string(&member.user_id);
    match member.user_info.as_deref().filter(|_| event == MemberEvent::Added) {
        Some(info) => format!("{{\"user_id\":{user_id},\"user_info\":{}}}", info.get()),
        None => format!("{{\"user_id\":{user_id}}}"),
    }
}

/// Who is in a presence channel: each user once, with what is said of the user.
#[must_use]
pub fn presence_data<'a>(members: impl Iterator<Item = (&'a str, Option<&'a RawValue>)>) -> String {
    let (mut ids, mut hash, mut count) = (String::new(), String::new(), 0_usize);
    for (id, info) in members {
        let comma = if count == 0 { "" } else { "," };
        let id = string(id);
        ids.push_str(comma);
        ids.push_str(&id);
        hash.push_str(&format!("{comma}{id}:{}", info.map_or("null", RawValue::get)));
        count += 1;
    }
    format!("{{\"presence\":{{\"ids\":[{ids}],\"hash\":{{{hash}}},\"count\":{count}}}}}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// The data, which are JSON as text.
    fn data(text: &str) -> Value {
        value(value(text)["data"].as_str().unwrap())
    }

    #[test]
    fn data_are_json_as_text() {
        assert_eq!(
            connection_established("1.2", 30),
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":30}"}"#
        );
        assert_eq!(value(&subscription_succeeded("a", "{}"))["channel"], "a");
        assert_eq!(data(&signin_success("{\"id\":\"ü\"}")), json!({ "user_data": "{\"id\":\"ü\"}" }));
        let events = json!({ "events": [{ "name": "online", "user_ids": ["a\""] }] });
        assert_eq!(data(&watchlist_events(&["a\"".into()], &[])), events);
        assert_eq!(value(&error(Some(4301), "x"))["data"], json!({ "code": 4301, "message": "x" }));
        assert_eq!(value(&error(None, "x"))["data"]["code"], Value::Null);
    }

    #[test]
    fn presence_counts_users() {
        let info = RawValue::from_string("{\"n\":1}".into()).unwrap();
        let users = value(&presence_data([("a\"", Some(&*info)), ("b", None)].into_iter()));
        let expected = json!({ "ids": ["a\"", "b"], "hash": { "a\"": { "n": 1 }, "b": null }, "count": 2 });
        assert_eq!(users["presence"], expected);
        assert_eq!(value(&presence_data(std::iter::empty()))["presence"]["count"], 0);
        let member = Member { user_id: "a".into(), user_info: Some(info) };
        assert_eq!(member_data(MemberEvent::Added, &member), r#"{"user_id":"a","user_info":{"n":1}}"#);
        assert_eq!(member_data(MemberEvent::Removed, &member), r#"{"user_id":"a"}"#);
    }
}
