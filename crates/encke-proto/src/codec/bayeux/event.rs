//! Messages to subscribers: `{"channel","data"}` and nothing of the one who published, neither `clientId`,
//! which is what entitles to speak for a session, nor `id`, which would make them replies.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel::is_glob;
use crate::{
    Body, JsonText, Message, WebPage,
    json::{one_line, push_string},
};

/// Where pushes to the user arrive.
pub const PUSH_CHANNEL: &str = "/service/push";

const CHANNEL: &str = "{\"channel\":";
const DATA: &str = ",\"data\":";

/// A message as a subscriber receives it, in one line.
///
/// What a pattern's log holds is that already. A push to the user comes on [`PUSH_CHANNEL`], unless its data
/// is itself a message of a service: `{"channel":"/service/…","id"?,"data","successful"?}`, which is how a
/// backend answers one.
#[must_use]
pub fn event(message: &Message) -> Vec<u8> {
    let channel = message.channel.as_str();
    let json = match &message.body {
        Body::Data(json) if is_glob(channel) => json.get().to_owned(),
        body if message.channel.is_own() => match body {
            Body::Data(json) => of_service(json.get()).unwrap_or_else(|| pushed(message.id.as_str(), body)),
            Body::Page(_) | Body::Bytes(_) => pushed(message.id.as_str(), body),
        },
        Body::Data(json) => member(channel, json.get()),
        Body::Bytes(typed) => member(channel, typed.json().get()),
        Body::Page(page) => member(channel, &string(&page.url)),
    };
    one_line(json).into_bytes()
}

/// What is appended to the logs of patterns for a message of this channel.
#[must_use]
pub fn copy(channel: &str, data: &str) -> Option<JsonText> {
    RawValue::from_string(member(channel, data)).ok().map(JsonText::from)
}

/// What is appended to the log of a service: the data, with the id by which the client knows the answer.
#[must_use]
pub fn service(id: Option<&RawValue>, data: &RawValue) -> Option<Box<RawValue>> {
    let id = id.map_or(String::new(), |id| format!("\"id\":{},", id.get()));
    RawValue::from_string(format!("{{{id}\"data\":{}}}", data.get())).ok()
}

/// The channel that a message was published to, if it is a copy in the log of a pattern.
#[must_use]
pub fn channel_of(message: &Message) -> Option<&str> {
    let Body::Data(json) = &message.body else { return None };
    // Names of channels hold nothing that JSON escapes, and the copy was written here.
    let rest = json.get().strip_prefix(CHANNEL)?.strip_prefix('"')?;
    let (channel, rest) = rest.split_once('"')?;
    rest.starts_with(DATA).then_some(channel)
}

fn member(channel: &str, data: &str) -> String {
    [CHANNEL, &string(channel), DATA, data, "}"].concat()
}

fn pushed(id: &str, body: &Body) -> String {
    let data = |json: &JsonText| format!("{{\"id\":\"{id}\",\"type\":\"message\",\"data\":{}}}", json.get());
    let what = match body {
        Body::Page(WebPage { url, show }) => {
            let show = show.said().map_or(String::new(), |show| format!(",\"show\":\"{show}\""));
            format!("{{\"id\":\"{id}\",\"type\":\"page\",\"url\":{}{show}}}", string(url))
        }
        Body::Data(json) => data(json),
        Body::Bytes(typed) => data(typed.json()),
    };
    member(PUSH_CHANNEL, &what)
}

fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// A push that is the message of a service, if it is one. With an id it is the answer to a call, of which its
/// client wants to know whether it succeeded.
fn of_service(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Service<'a> {
        #[serde(borrow)]
        channel: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
        successful: Option<bool>,
    }
    let message: Service<'_> = serde_json::from_str(json).ok().filter(|_| json.starts_with('{'))?;
    if !message.channel.starts_with("/service/") {
        return None;
    }
    let answer = member(&message.channel, message.data.get());
    let Some(id) = message.id else { return Some(answer) };
    let (successful, open) = (message.successful.unwrap_or(true), answer.strip_suffix('}')?);
    Some(format!("{open},\"id\":{},\"successful\":{successful}}}", id.get()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{ChannelName, Epoch, MessageId, Position, Time, UserId};

    fn message(channel: &str, body: Body) -> Message {
        Message {
            id: MessageId::from_bits(1),
            channel: ChannelName::any(channel).unwrap(),
            position: Position { epoch: Epoch(1), offset: 1 },
            time: Time(0),
            body,
            from: Some(UserId::new("alice").unwrap()),
            expires: None,
            trace: None,
        }
    }

    fn data(json: &str) -> Body {
        Body::Data(RawValue::from_string(json.into()).unwrap().into())
    }

    fn value(message: &Message) -> Value {
        serde_json::from_slice(&event(message)).unwrap()
    }

    #[test]
    fn a_subscriber_is_told_the_channel_and_the_data_and_no_more() {
        let told = value(&message("/a \u{fc}", data("{\"x\":[1]}")));
        assert_eq!(told, json!({ "channel": "/a ü", "data": { "x": [1] } }));
        let told = event(&message("/a", data("\"\u{2028}\"")));
        assert_eq!(told, br#"{"channel":"/a","data":"\u2028"}"#);
    }

    #[test]
    fn a_copy_is_what_the_subscriber_of_the_channel_is_told() {
        let raw = RawValue::from_string("[1,\"x\"]".into()).unwrap();
        let copy = message("/a/**", Body::Data(copy("/a/b", raw.get()).unwrap()));
        assert_eq!(event(&copy), event(&message("/a/b", data("[1,\"x\"]"))));
        assert_eq!(channel_of(&copy), Some("/a/b"));
        assert_eq!(channel_of(&message("/a/**", data("{\"a\":1}"))), None);
    }

    #[test]
    fn a_push_comes_on_a_channel_of_its_own_or_as_the_answer_of_a_service() {
        let id = MessageId::from_bits(1);
        let told = value(&message("@alice", Body::Page("http://x/".into())));
        assert_eq!(
            told,
            json!({
                "channel": PUSH_CHANNEL,
                "data": { "id": id.as_str(), "type": "page", "url": "http://x/" },
            })
        );
        for plain in ["1", "{\"channel\":\"/a\",\"data\":1}", "{\"channel\":\"/service/x\"}"] {
            assert_eq!(value(&message("@alice", data(plain)))["channel"], PUSH_CHANNEL, "{plain}");
        }
        let answer = "{\"channel\":\"/service/x\",\"id\":\"7\",\"data\":1}";
        let told = value(&message("@alice", data(answer)));
        assert_eq!(told, json!({ "channel": "/service/x", "id": "7", "data": 1, "successful": true }));
        let failed = "{\"channel\":\"/service/x\",\"id\":\"7\",\"data\":1,\"successful\":false}";
        assert_eq!(value(&message("@alice", data(failed)))["successful"], false);
        let plain = "{\"channel\":\"/service/x\",\"data\":1}";
        assert_eq!(event(&message("@alice", data(plain))), plain.as_bytes());
        let (id, raw) =
            (RawValue::from_string("\"7\"".into()).unwrap(), RawValue::from_string("1".into()).unwrap());
        assert_eq!(service(Some(&id), &raw).unwrap().get(), "{\"id\":\"7\",\"data\":1}");
        assert_eq!(service(None, &raw).unwrap().get(), "{\"data\":1}");
    }
}
