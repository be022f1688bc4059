//! Webhooks: what an application is told after it has happened, as JSON.

use serde_json::value::RawValue;

use crate::{Time, json::push_string};

/// The names and values of an event, in their order.
fn event(name: &str, channel: &str, texts: &[(&str, &str)], number: Option<(&str, usize)>) -> String {
    let mut out = b"{\"name\":".to_vec();
    push_string(&mut out, name);
    out.extend_from_slice(b",\"channel\":");
    push_string(&mut out, channel);
    for (key, value) in texts {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        push_string(&mut out, value);
    }
    if let Some((key, value)) = number {
        out.extend_from_slice(format!(",\"{key}\":{value}").as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// A channel has its first subscriber, or a user has come into a presence channel; or the last is gone.
#[must_use]
pub fn webhook_change(channel: &str, user_id: Option<&str>, is_there: bool) -> String {
    match (user_id, is_there) {
        (None, true) => event("channel_occupied", channel, &[], None),
        (None, false) => event("channel_vacated", channel, &[], None),
        (Some(user_id), true) => event("member_added", channel, &[("user_id", user_id)], None),
        (Some(user_id), false) => event("member_removed", channel, &[("user_id", user_id)], None),
    }
}

/// A client has sent an event. Data that are no text are told as the text of their JSON.
#[must_use]
pub fn webhook_client_event(
    channel: &str,
    name: &str,
    data: &RawValue,
    socket_id: &str,
    user_id: Option<&str>,
) -> String {
    let text = serde_json::from_str::<String>(data.get()).unwrap_or_else(|_| data.get().to_owned());
    let mut texts = vec![("event", name), ("data", &text), ("socket_id", socket_id)];
    texts.extend(user_id.map(|user_id| ("user_id", user_id)));
    event("client_event", channel, &texts, None)
}

/// A client has subscribed to a cache channel that holds no event.
#[must_use]
pub fn webhook_cache_miss(channel: &str) -> String {
    event("cache_miss", channel, &[], None)
}

/// A channel has so many subscribers.
#[must_use]
pub fn webhook_subscription_count(channel: &str, count: usize) -> String {
    event("subscription_count", channel, &[], Some(("subscription_count", count)))
}

/// The body of a request with these events.
#[must_use]
pub fn webhook_body(time: Time, events: &[String]) -> String {
    format!("{{\"time_ms\":{},\"events\":[{}]}}", time.0, events.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_has_its_form_whatever_is_in_it() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let events = [
            (webhook_change("a", None, true), json!({"name": "channel_occupied", "channel": "a"})),
            (webhook_change("a", None, false), json!({"name": "channel_vacated", "channel": "a"})),
            (
                webhook_change("presence-a", Some("\"]}"), true),
                json!({"name": "member_added", "channel": "presence-a", "user_id": "\"]}"}),
            ),
            (
                webhook_change("presence-a", Some("1"), false),
                json!({"name": "member_removed", "channel": "presence-a", "user_id": "1"}),
            ),
            (
                webhook_client_event("presence-a", "client-x", &raw(r#"{"a":[1]}"#), "1.2", Some("u")),
                json!({
                    "name": "client_event", "channel": "presence-a", "event": "client-x",
                    "data": "{\"a\":[1]}", "socket_id": "1.2", "user_id": "u",
                }),
            ),
            (
                webhook_client_event("private-a", "client-x", &raw(r#""tex\"t""#), "1.2", None),
                json!({
                    "name": "client_event", "channel": "private-a", "event": "client-x",
                    "data": "tex\"t", "socket_id": "1.2",
                }),
            ),
            (webhook_cache_miss("cache-a"), json!({"name": "cache_miss", "channel": "cache-a"})),
            (
                webhook_subscription_count("a", 2),
                json!({"name": "subscription_count", "channel": "a", "subscription_count": 2}),
            ),
        ];
        for (event, expected) in &events {
            assert_eq!(serde_json::from_str::<Value>(event).unwrap(), *expected);
        }
        let all: Vec<String> = events.iter().map(|(event, _)| event.clone()).collect();
        let body: Value = serde_json::from_str(&webhook_body(Time(7), &all)).unwrap();
        assert_eq!((&body["time_ms"], body["events"].as_array().unwrap().len()), (&json!(7), all.len()));
    }
}
