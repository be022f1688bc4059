//! What is answered: one reply for each message, with advice on what to do next.

use serde::Serialize;
use serde_json::value::RawValue;

use super::VERSION;
use crate::{Expiring, json};

/// What a client does after a reply (specification section 5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// Connects again.
    Retry,
    /// Begins a new session.
    Handshake,
    /// Stays away.
    None,
}

/// Advice. All of it each time: CometD's clients forget what they were told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What to do.
    pub reconnect: Reconnect,
    /// When, in milliseconds.
    pub interval: u64,
    /// For how long a connect is held, in milliseconds.
    pub timeout: u64,
    /// That another connect of this browser is held, so that this one was not.
    #[serde(rename = "multiple-clients", skip_serializing_if = "std::ops::Not::not")]
    pub multiple_clients: bool,
}

impl Advice {
    /// To go on, at once.
    #[must_use]
    pub fn retry(timeout: u64) -> Self {
        Self { reconnect: Reconnect::Retry, interval: 0, timeout, multiple_clients: false }
    }

    /// Something else, at once.
    #[must_use]
    pub fn to(reconnect: Reconnect, timeout: u64) -> Self {
        Self { reconnect, ..Self::retry(timeout) }
    }
}

/// What extensions are told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplyExt {
    /// Of a handshake `true`, of a connect the number of the batch that ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<serde_json::Value>,
    /// The server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timesync: Option<TimeSyncReply>,
    /// Of a connect: that the token of the session ends soon. No extension of others has this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiring: Option<Expiring>,
    /// Of a connect: what its client subscribed to and may not follow any more, as it was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsubscribed: Vec<String>,
}

impl ReplyExt {
    fn is_empty(&self) -> bool {
        self.ack.is_none()
            && self.timesync.is_none()
            && self.expiring.is_none()
            && self.unsubscribed.is_empty()
    }
}

/// The server's side of the extension `timesync`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimeSyncReply {
    /// The client's time, as it said.
    pub tc: i64,
    /// When its message came.
    pub ts: i64,
    /// For how long it was held.
    pub p: i64,
    /// By how much the client is off, with all that it reckons.
    pub a: i64,
}

/// The reply to a message. What a message was answered with is found by its channel and its id.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<RawValue>>,
    successful: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported_connection_types: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Advice>,
    #[serde(skip_serializing_if = "ReplyExt::is_empty")]
    ext: ReplyExt,
}

impl Reply {
    /// That what was asked is done.
    #[must_use]
    pub fn done(channel: &str, id: Option<Box<RawValue>>) -> Self {
        Self {
            channel: channel.to_owned(),
            id,
            successful: true,
            error: None,
            version: None,
            minimum_version: None,
            client_id: None,
            supported_connection_types: None,
            subscription: None,
            advice: None,
            ext: ReplyExt::default(),
        }
    }

    /// That it is not: `code:arguments:message` (specification section 3.4).
    #[must_use]
    pub fn failed(channel: &str, id: Option<Box<RawValue>>, error: impl Into<String>) -> Self {
        Self { successful: false, error: Some(error.into()), ..Self::done(channel, id) }
    }

    /// With what a handshake is told.
    #[must_use]
    pub fn shaken(self, types: &'static [&'static str], client: Option<&str>) -> Self {
        Self {
            version: Some(VERSION),
            minimum_version: Some(VERSION),
            supported_connection_types: Some(types),
            client_id: client.map(str::to_owned),
            ..self
        }
    }

    /// With what was subscribed to, as it was written.
    #[must_use]
    pub fn of_subscription(self, subscription: Option<Box<RawValue>>) -> Self {
        Self { subscription, ..self }
    }

    /// With advice.
    #[must_use]
    pub fn advised(self, advice: Advice) -> Self {
        Self { advice: Some(advice), ..self }
    }

    /// With what extensions are told.
    #[must_use]
    pub fn extended(self, ext: ReplyExt) -> Self {
        Self { ext, ..self }
    }

    /// As JSON in one line.
    #[must_use]
    pub fn json(&self) -> String {
        json::write(self)
    }
}

/// Several texts of JSON as one array.
#[must_use]
pub fn array<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![b'['];
    for part in parts {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(part);
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn value(reply: &Reply) -> Value {
        serde_json::from_str(&reply.json()).unwrap()
    }

    #[test]
    fn a_reply_says_what_there_is_and_leaves_the_rest_out() {
        let id = || Some(RawValue::from_string("\"1\"".into()).unwrap());
        assert_eq!(
            value(&Reply::done("/a", id())),
            json!({ "channel": "/a", "id": "1", "successful": true })
        );
        assert_eq!(
            value(
                &Reply::failed("/meta/connect", None, "402::session_unknown")
                    .advised(Advice::to(Reconnect::Handshake, 5))
            ),
            json!({
                "channel": "/meta/connect", "successful": false, "error": "402::session_unknown",
                "advice": { "reconnect": "handshake", "interval": 0, "timeout": 5 },
            })
        );
        let ext = ReplyExt {
            ack: Some(3.into()),
            expiring: Some(Expiring { in_s: 9 }),
            unsubscribed: vec!["/a".into()],
            ..ReplyExt::default()
        };
        let shaken = Reply::done("/meta/handshake", id()).shaken(&["long-polling"], Some("c")).extended(ext);
        assert_eq!(
            value(&shaken),
            json!({
                "channel": "/meta/handshake", "id": "1", "successful": true, "version": "1.0",
                "minimumVersion": "1.0", "supportedConnectionTypes": ["long-polling"], "clientId": "c",
                "ext": { "ack": 3, "expiring": { "in_s": 9 }, "unsubscribed": ["/a"] },
            })
        );
    }

    #[test]
    fn parts_are_joined_to_an_array() {
        assert_eq!(array([]), b"[]");
        assert_eq!(array([&b"1"[..], b"{}"]), b"[1,{}]");
    }
}
