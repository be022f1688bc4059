//! An event as it stands in the log of its channel, where native clients see it too:
//! `{"event","data","user_id"?}`. What others publish there is an event as well.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CLIENT_EVENT, FRAMES, ONLINE, RESERVED_EVENTS,
    name::channel_of,
    outgoing::{frame, frame_of},
};
use crate::{Body, Message, WebPage, json::one_line, json::push_string};

/// The name of the event for what is published without one.
const PLAIN: &str = "message";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logged<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
}

/// What is appended for an event: `data` is any JSON, which clients are given as it is.
#[must_use]
pub fn logged(event: &str, data: &RawValue, user_id: Option<&str>) -> Option<Box<RawValue>> {
    let mut out = Vec::with_capacity(32 + event.len() + data.get().len());
    out.extend_from_slice(b"{\"event\":");
    push_string(&mut out, event);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data.get().as_bytes());
    if let Some(user_id) = user_id {
        out.extend_from_slice(b",\"user_id\":");
        push_string(&mut out, user_id);
    }
    out.push(b'}');
    RawValue::from_string(String::from_utf8(out).ok()?).ok()
}

fn read(json: &str) -> Option<Logged<'_>> {
    serde_json::from_str(json).ok().filter(|_| json.starts_with('{'))
}

/// What only the dialect itself may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The log of a user, or of one connection.
    #[error("in the logs of a Pusher application that begin with `#` the server alone publishes")]
    Log,
    /// An event of the protocol's own.
    #[error("the protocol of Pusher keeps events that begin with `pusher:` for itself")]
    Event,
}

/// Whether clients would take what others publish to a log for the word of the server.
#[must_use]
pub fn forged(log: &str, json: &str) -> Option<Forged> {
    if channel_of(log)?.starts_with('#') {
        return Some(Forged::Log);
    }
    let is_reserved = |event: &str| RESERVED_EVENTS.iter().any(|prefix| event.starts_with(prefix));
    read(json).filter(|logged| is_reserved(&logged.event)).map(|_| Forged::Event)
}

/// A message as subscribers of its channel are sent it; none of a log that is no channel's.
#[must_use]
pub fn frame_text(message: &Message) -> Option<String> {
    let name = channel_of(message.channel.as_str())?;
    // What is for one connection alone is written as it is sent.
    if name.starts_with(FRAMES) {
        let Body::Data(json) = &message.body else { return None };
        return serde_json::from_str(json.get()).ok();
    }
    // What is said of users on a watchlist is not of a channel.
    let channel = (!name.starts_with(ONLINE)).then_some(name);
    let text = match &message.body {
        Body::Data(json) => match read(json.get()) {
            Some(Logged { event, data, user_id }) => {
                frame_of(&event, channel, data.get(), user_id.as_deref())
            }
            None => frame(PLAIN, channel, json.get()),
        },
        Body::Bytes(typed) => frame(PLAIN, channel, typed.json().get()),
        Body::Page(WebPage { url, show }) => {
            let mut data = b"{\"url\":".to_vec();
            push_string(&mut data, url);
            let show = show.said().map_or(String::new(), |show| format!(",\"show\":\"{show}\""));
            data.extend_from_slice(show.as_bytes());
            data.push(b'}');
            frame(PLAIN, channel, &String::from_utf8(data).unwrap_or_default())
        }
    };
    Some(one_line(text))
}

/// The same with its data alone, if it is one that a cache channel keeps: neither what a client sent nor what
/// the protocol says.
#[must_use]
pub fn cached(message: &Message) -> Option<(String, String)> {
    let data = match &message.body {
        Body::Data(json) => match read(json.get()) {
            Some(Logged { event, .. })
                if RESERVED_EVENTS.iter().chain([&CLIENT_EVENT]).any(|prefix| event.starts_with(prefix)) =>
            {
                return None;
            }
            Some(Logged { data, .. }) => {
                serde_json::from_str::<String>(data.get()).unwrap_or_else(|_| data.get().to_owned())
            }
            None => json.get().to_owned(),
        },
        Body::Bytes(typed) => typed.json().get().to_owned(),
        Body::Page(page) => page.url.to_string(),
    };
    Some((frame_text(message)?, data))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{ChannelName, Epoch, MessageId, Position, Time};

    fn message(channel: &str, body: Body) -> Message {
        Message {
            id: MessageId::from_bits(1),
            channel: ChannelName::any(channel).unwrap(),
            position: Position { epoch: Epoch(1), offset: 1 },
            time: Time(0),
            body,
            from: None,
            expires: None,
            trace: None,
        }
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    fn sent(channel: &str, body: Body) -> Value {
        serde_json::from_str(&frame_text(&message(channel, body)).unwrap()).unwrap()
    }

    #[test]
    fn subscribers_are_given_the_data_as_they_were_sent() {
        let data = raw(r#""{ \"a\" : 1 }""#);
        let body = Body::Data(logged("e\"", &data, None).unwrap().into());
        let expected = json!({ "event": "e\"", "channel": "news", "data": "{ \"a\" : 1 }" });
        assert_eq!(sent("pusher:1:news", body), expected);
        let body = Body::Data(logged("client-x", &raw("{\"a\":1}"), Some("u")).unwrap().into());
        let told = sent("pusher:1:presence-a", body);
        assert_eq!((&told["data"], &told["user_id"]), (&json!({ "a": 1 }), &json!("u")));
    }

    #[test]
    fn what_others_publish_is_an_event_too() {
        let plain = sent("pusher:1:news", Body::Data(raw("{\"a\":[1]}").into()));
        assert_eq!(plain, json!({ "event": "message", "channel": "news", "data": "{\"a\":[1]}" }));
        let page = sent("pusher:1:news", Body::Page("http://x/".into()));
        assert_eq!(page["data"], "{\"url\":\"http://x/\"}");
        let named = sent("pusher:1:news", Body::Data(raw("{\"event\":\"e\",\"data\":\"x\"}").into()));
        assert_eq!(named, json!({ "event": "e", "channel": "news", "data": "x" }));
        let online = sent("pusher:1:#online-a", Body::Data(raw("{\"event\":\"e\",\"data\":\"x\"}").into()));
        assert_eq!(online, json!({ "event": "e", "data": "x" }));
        assert_eq!(frame_text(&message("news", Body::Page("http://x/".into()))), None);
        let frame = Body::Data(raw(r#""{\"event\":\"e\"}""#).into());
        let frame = frame_text(&message("pusher:1:#frames-1.2", frame));
        assert_eq!(frame.as_deref(), Some("{\"event\":\"e\"}"));
    }

    #[test]
    fn what_the_server_alone_says_is_told_apart() {
        let event = |name: &str| format!("{{\"data\":\"{{}}\",\"event\":\"{name}\"}}");
        for (log, json, expected) in [
            ("pusher:1:#frames-1.2", "1".to_owned(), Some(Forged::Log)),
            ("pusher:1:#online-a", "1".to_owned(), Some(Forged::Log)),
            ("pusher:1:#server-to-user-a", event("e"), Some(Forged::Log)),
            ("pusher:1:a", event("pusher:error"), Some(Forged::Event)),
            ("pusher:1:a", event("pusher_internal:member_added"), Some(Forged::Event)),
            ("pusher:1:a", event("\\u0070usher:error"), Some(Forged::Event)),
            ("pusher:1:a", event("client-x"), None),
            ("pusher:1:a", "\"pusher:error\"".to_owned(), None),
            ("a", event("pusher:error"), None),
            ("pusher:#a", event("pusher:error"), None),
        ] {
            assert_eq!(forged(log, &json), expected, "{log} {json}");
        }
    }

    #[test]
    fn a_cache_keeps_what_backends_publish() {
        for (event, is_kept) in
            [("e", true), ("client-x", false), ("pusher_internal:member_added", false), ("pusher:x", false)]
        {
            let body = Body::Data(logged(event, &raw("\"x\""), None).unwrap().into());
            assert_eq!(cached(&message("pusher:1:cache-a", body)).is_some(), is_kept, "{event}");
        }
    }
}
