//! What clients send: messages, alone or in arrays.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{json::depth, limits::JSON_MAX_DEPTH};

/// The most messages in one request.
pub const BATCH_MAX_MESSAGES: usize = 128;
/// The longest id of a message, in bytes of its JSON.
pub const ID_MAX_BYTES: usize = 66;
/// How deep a message may nest: its data as deep as everywhere, in an object in an array.
const DEPTH_MAX: usize = JSON_MAX_DEPTH + 2;

/// Why what a client sent is no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON, or no object or array of objects with members of the types that they have to have.
    #[error("this is neither a message nor an array of messages")]
    Json,
    /// Nested deeper than data may be.
    #[error("messages nest too deep")]
    TooDeep,
    /// More than [`BATCH_MAX_MESSAGES`].
    #[error("a request has at most {BATCH_MAX_MESSAGES} messages")]
    TooMany,
}

/// A message from a client. What is not named here is passed over, as extensions may add anything.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// What it is sent to; empty if it is absent.
    #[serde(default)]
    pub channel: String,
    /// Its id as it was written, to be written back the same: clients compare it with its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<RawValue>>,
    /// The session that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Of a handshake: the transports that the client knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_connection_types: Option<Vec<String>>,
    /// Of a connect: the transport that is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// Of a subscribe and an unsubscribe, as it was written; see [`Subscription`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Box<RawValue>>,
    /// What is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// Of extensions; see [`Message::ext`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ext: Option<Box<RawValue>>,
    /// Of a connect: how long it may be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Box<RawValue>>,
}

/// What is known of the extensions of a message.
#[derive(Debug, Default, Deserialize)]
pub struct Ext {
    /// Of a handshake `true`, of a connect the number of the last batch that arrived.
    pub ack: Option<serde_json::Value>,
    /// The client's clock.
    pub timesync: Option<TimeSync>,
    /// Who it is: a token, as in `Authorization: Bearer`. Of a connect, a fresh one of the same user.
    pub token: Option<String>,
}

impl Ext {
    /// Whether the client of a handshake acknowledges.
    #[must_use]
    pub fn acks(&self) -> bool {
        match &self.ack {
            Some(serde_json::Value::Object(ack)) => {
                ack.get("enabled").and_then(serde_json::Value::as_bool) == Some(true)
            }
            Some(ack) => ack.as_bool() == Some(true),
            None => false,
        }
    }

    /// The last batch that the client of a connect has received.
    #[must_use]
    pub fn batch(&self) -> Option<u64> {
        self.ack.as_ref()?.as_u64()
    }
}

/// The client's side of the extension `timesync`: in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TimeSync {
    /// The client's time.
    #[serde(default)]
    pub tc: i64,
    /// The lag of the network, as the client reckons.
    #[serde(default)]
    pub l: i64,
    /// By how much the client's clock is behind.
    #[serde(default)]
    pub o: i64,
}

/// What is subscribed to: one or several. Which of the two it was is kept, since the reply says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription(pub Vec<String>);

impl Message {
    /// Whether its id is one: text or a number, and not too long.
    #[must_use]
    pub fn has_valid_id(&self) -> bool {
        self.id.as_ref().is_none_or(|id| {
            let text = id.get();
            let is_scalar = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
            is_scalar && text.len() <= ID_MAX_BYTES
        })
    }

    /// What it says of extensions. What cannot be understood counts as absent, as of an extension that is not
    /// known.
    #[must_use]
    pub fn ext(&self) -> Ext {
        self.ext.as_ref().and_then(|ext| serde_json::from_str(ext.get()).ok()).unwrap_or_default()
    }

    /// For how long a connect may be held at most, in milliseconds, if it says so.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Advice {
            timeout: Option<u64>,
        }
        let advice = self.advice.as_ref()?;
        serde_json::from_str::<Advice>(advice.get()).ok()?.timeout
    }

    /// What is subscribed to, if it says so: a text, or an array of texts that is not empty.
    #[must_use]
    pub fn subscriptions(&self) -> Option<Subscription> {
        let json = self.subscription.as_ref()?.get();
        let all: Vec<String> = if json.starts_with('[') {
            serde_json::from_str(json).ok()?
        } else {
            vec![serde_json::from_str(json).ok()?]
        };
        (!all.is_empty()).then_some(Subscription(all))
    }
}

/// Reads what a client sent: an array of messages, or one. An empty array is none, as some clients keep a
/// connection alive with it.
///
/// # Errors
/// [`Malformed`].
pub fn read(text: &str) -> Result<Vec<Message>, Malformed> {
    let text = text.trim_ascii();
    if depth(text) > DEPTH_MAX {
        return Err(Malformed::TooDeep);
    }
    let messages: Vec<Message> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|_| Malformed::Json)?
    } else {
        vec![serde_json::from_str(text).map_err(|_| Malformed::Json)?]
    };
    if messages.len() > BATCH_MAX_MESSAGES {
        return Err(Malformed::TooMany);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_an_array_of_one() {
        let one = "{\"channel\":\"/a\",\"id\":\"1\",\"data\":{\"x\":1},\"unknown\":[1]}";
        for text in [one.to_owned(), format!("[{one}]"), format!(" [ {one} ] \n")] {
            let messages = read(&text).unwrap();
            let [message] = messages.as_slice() else { panic!("{text}") };
            assert_eq!((message.channel.as_str(), message.id.as_ref().unwrap().get()), ("/a", "\"1\""));
            assert_eq!(message.data.as_ref().unwrap().get(), "{\"x\":1}");
        }
        assert!(read("[]").unwrap().is_empty());
        let written = serde_json::to_string(&read(one).unwrap()[0]).unwrap();
        assert_eq!(written, "{\"channel\":\"/a\",\"id\":\"1\",\"data\":{\"x\":1}}", "as nodes pass it on");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", "1", "null", "[1]", "[[]]", "{", "{\"channel\":1}", "{\"channel\":\"/a\"", "\"x\""] {
            assert_eq!(read(text).err(), Some(Malformed::Json), "{text}");
        }
        let deep = |depth: usize| format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&format!("[{}]", deep(JSON_MAX_DEPTH))).is_ok());
        assert_eq!(read(&format!("[{}]", deep(JSON_MAX_DEPTH + 1))).err(), Some(Malformed::TooDeep));
        assert_eq!(read(&"[".repeat(100_000)).err(), Some(Malformed::TooDeep));
        let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert!(read(&many(BATCH_MAX_MESSAGES)).is_ok());
        assert_eq!(read(&many(BATCH_MAX_MESSAGES + 1)).err(), Some(Malformed::TooMany));
    }

    fn message(members: &str) -> Message {
        read(&format!("{{{members}}}")).unwrap().remove(0)
    }

    #[test]
    fn an_id_is_a_text_or_a_number() {
        for (id, is_valid) in [("\"1\"", true), ("17", true), ("[1]", false), ("{}", false), ("true", false)]
        {
            assert_eq!(message(&format!("\"id\":{id}")).has_valid_id(), is_valid, "{id}");
        }
        assert!(message("").has_valid_id() && message("\"id\":null").has_valid_id());
        assert!(!message(&format!("\"id\":\"{}\"", "1".repeat(ID_MAX_BYTES))).has_valid_id());
    }

    #[test]
    fn a_subscription_is_one_or_several() {
        let of = |json: &str| message(&format!("\"subscription\":{json}")).subscriptions();
        assert_eq!(of("\"/a\""), Some(Subscription(vec!["/a".into()])));
        assert_eq!(of("[\"/a\",\"/b\"]"), Some(Subscription(vec!["/a".into(), "/b".into()])));
        for json in ["[]", "1", "[1]", "{}", "null"] {
            assert_eq!(of(json), None, "{json}");
        }
    }

    #[test]
    fn extensions_and_advice_that_are_not_understood_are_absent() {
        let ext =
            message("\"ext\":{\"ack\":true,\"timesync\":{\"tc\":5,\"l\":1,\"o\":-2},\"token\":\"t\"}").ext();
        assert!(ext.acks() && ext.token.as_deref() == Some("t"));
        assert_eq!(ext.timesync, Some(TimeSync { tc: 5, l: 1, o: -2 }));
        assert_eq!(message("\"ext\":{\"ack\":7}").ext().batch(), Some(7));
        assert!(message("\"ext\":{\"ack\":{\"enabled\":true}}").ext().acks());
        for ext in ["1", "[]", "null", "{\"token\":1}", "{\"ack\":-1}", "{\"ack\":\"1\"}"] {
            let ext = message(&format!("\"ext\":{ext}")).ext();
            assert!(!ext.acks() && ext.batch().is_none() && ext.token.is_none());
        }
        assert_eq!(message("\"advice\":{\"timeout\":0}").timeout_ms(), Some(0));
        for advice in ["{}", "1", "{\"timeout\":\"0\"}", "{\"timeout\":-1}"] {
            assert_eq!(message(&format!("\"advice\":{advice}")).timeout_ms(), None, "{advice}");
        }
    }
}
