//! What a listener is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::short::Told;
use crate::{Error, Message};

/// One thing that happened to a session that is listened to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A data connection is there: for the first time, or again after [`Lost`](Event::Lost).
    Open(Open),
    /// A message, once: repeats are dropped by channel, epoch and offset.
    Message(Message),
    /// Messages that will not come.
    Gap(Gap),
    /// The session does not follow a channel any more, as its new token does not grant it.
    Unsubscribed(Unsubscribed),
    /// The token of the session ends soon. With a source of tokens a fresh one takes its place by itself.
    Expiring(Expiring),
    /// The session was ended on purpose. When `reconnect` is false, nothing follows.
    Close(Close),
    /// The connection broke. The listener goes on by itself after the pause, from where it was; nothing is
    /// lost by this alone.
    Lost(Lost),
}

/// A data connection is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Open {
    /// The session that it serves. It is another one when the server did not know the former any more.
    pub session: String,
    /// Where the session goes on from.
    pub cursor: String,
    /// The longest silence in seconds that the server keeps. `None` on polls, which have no heartbeat.
    #[serde(default)]
    pub heartbeat_s: Option<u64>,
    /// What ends the session without a token (`POST /v1/close`). `None` when a poll goes on with a session,
    /// whose first answer had it.
    #[serde(default)]
    pub close_key: Option<String>,
    /// What messages of the connection leave out.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// The same.
    #[serde(default)]
    pub(crate) epoch: Option<String>,
}

/// Messages of a channel that will not come: they were trimmed before they could be handed over, or the
/// receiver was too slow for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// The channel.
    pub channel: String,
    /// The first offset that is missing.
    pub from: u64,
    /// The last offset that is missing. `None` when the channel's epoch changed: then it is not known how
    /// much was lost.
    #[serde(default)]
    pub to: Option<u64>,
    /// `trimmed`, `epoch` or `slow`; absent with servers that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A channel that the session does not follow any more, though its client did not ask for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unsubscribed {
    /// The channel.
    pub channel: String,
    /// Why: `not_granted`.
    pub reason: String,
}

/// The token of the session ends soon, and the session with it, unless a fresh one takes its place
/// ([`SessionHandle::refresh`](crate::SessionHandle::refresh)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Expiring {
    /// In how many seconds.
    pub in_s: u64,
}

/// The session was ended on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Close {
    /// Who ended it: `client`, `operator`, and so on; `session_closed` when it had been closed while no
    /// client was connected.
    pub code: String,
    /// The reason that was given, in words.
    #[serde(default)]
    pub reason: String,
    /// Whether the server wants the client back.
    #[serde(default)]
    pub reconnect: bool,
    /// After how many milliseconds, when the server spreads the clients that come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// The connection broke.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lost {
    /// Why.
    pub cause: Error,
    /// How long the listener waits before it tries again.
    pub retry_in: Duration,
}

/// One event of a stream, as it is written on the wire.
#[derive(Debug)]
pub(crate) enum WireEvent {
    Open(Open),
    Message(Message),
    Gap(Gap),
    Unsubscribed(Unsubscribed),
    Expiring(Expiring),
    Close(Close),
    /// Of a kind that a newer server knows.
    Unknown,
}

impl WireEvent {
    /// Reads the JSON that every stream writes; messages in the short form with what was told for that.
    pub(crate) fn parse(json: &str, told: &Told) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Kind {
            event: String,
        }
        if json.starts_with('[') {
            return told.read(json).map(Self::Message);
        }
        // The kind is read first and by itself: an enum tagged from within cannot keep the data's bytes as
        // they are.
        let bad = |error: serde_json::Error| Error::BadAnswer(format!("an event of the stream: {error}"));
        let kind: Kind = serde_json::from_str(json).map_err(bad)?;
        Ok(match kind.event.as_str() {
            "open" => Self::Open(serde_json::from_str(json).map_err(bad)?),
            "message" => Self::Message(serde_json::from_str(json).map_err(bad)?),
            "gap" => Self::Gap(serde_json::from_str(json).map_err(bad)?),
            "unsubscribed" => Self::Unsubscribed(serde_json::from_str(json).map_err(bad)?),
            "expiring" => Self::Expiring(serde_json::from_str(json).map_err(bad)?),
            "close" => Self::Close(serde_json::from_str(json).map_err(bad)?),
            _ => Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_events_of_the_protocol_are_read() {
        let told = &Told::default();
        let open =
            WireEvent::parse(r#"{"event":"open","session":"s","cursor":"1~e","heartbeat_s":20}"#, told)
                .unwrap();
        assert!(matches!(open, WireEvent::Open(Open { heartbeat_s: Some(20), .. })));
        let gap =
            WireEvent::parse(r#"{"event":"gap","channel":"news","from":8,"to":null,"reason":"epoch"}"#, told)
                .unwrap();
        assert!(matches!(gap, WireEvent::Gap(Gap { to: None, .. })));
        let close =
            WireEvent::parse(r#"{"event":"close","code":"client","reason":"","reconnect":false}"#, told)
                .unwrap();
        assert!(matches!(close, WireEvent::Close(Close { reconnect: false, .. })));
        assert!(matches!(WireEvent::parse(r#"{"event":"later"}"#, told).unwrap(), WireEvent::Unknown));
        for bad in ["", "{}", r#"{"event":"gap"}"#, "[]"] {
            assert!(matches!(WireEvent::parse(bad, told), Err(Error::BadAnswer(_))), "{bad}");
        }
    }
}
