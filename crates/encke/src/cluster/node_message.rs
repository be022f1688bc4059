//! What nodes write to each other, as JSON.

use bytes::Bytes;
use encke_hub::{CloseTarget, Following};
use encke_proto::{ChannelName, Close, Cursor, ErrorCode, Position, SessionId, UserId};
use serde::{Deserialize, Serialize};

use super::Listed;

/// A message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeMessage {
    /// Who writes it wants an answer.
    Question {
        /// The incarnation of the node that asks.
        from: String,
        /// Its number of the question.
        number: u64,
        /// What it asks.
        question: Question,
    },
    /// The answer to a question.
    Answer {
        /// The number that the question had.
        number: u64,
        /// What there is to say, or the code of an error.
        answer: Result<Answer, String>,
    },
}

/// What one node asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    Close { target: Target, close: Close },
    Subscribe { session: SessionId, user: UserId, channels: Vec<ChannelName> },
    SubscribeFrom { session: SessionId, user: UserId, channels: Vec<ChannelName>, from: String },
    Unsubscribe { session: SessionId, user: UserId, channels: Vec<ChannelName> },
    Ack { session: SessionId, user: UserId, cursor: String },
    Release { session: Option<SessionId>, user: UserId },
    Counts { users: Vec<UserId> },
    Online { after: Option<UserId>, limit: usize },
    Sessions { user: Option<UserId>, after: Option<SessionId>, limit: usize },
    Present { channel: ChannelName, after: Option<UserId>, limit: usize },
    Followers { channels: Vec<ChannelName> },
}

/// Whom a close ends. Everybody is never closed from elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    Session(SessionId),
    SessionOf(SessionId, UserId),
    User(UserId),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Closed(usize),
    Following(Followed),
    Shown(Option<(u64, u64)>),
    Given(Option<Followed>),
    Counts(Vec<usize>),
    Users(Vec<(UserId, usize)>),
    Sessions(Vec<Listed>),
}

/// What a session follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Followed {
    channels: Vec<ChannelName>,
    began: String,
}

impl NodeMessage {
    /// The message as it is sent.
    pub(super) fn write(&self) -> Result<Bytes, ErrorCode> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| {
            tracing::error!(%error, "a letter cannot be written");
            ErrorCode::Internal
        })
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .inspect_err(|error| tracing::warn!(%error, "a letter from another node is not understood"))
            .ok()
    }
}

impl Target {
    /// The target, unless it is everybody.
    pub(super) fn of(target: &CloseTarget) -> Option<Self> {
        match target {
            CloseTarget::Session(session) => Some(Self::Session(*session)),
            CloseTarget::SessionOf(session, user) => Some(Self::SessionOf(*session, user.clone())),
            CloseTarget::User(user) => Some(Self::User(user.clone())),
            CloseTarget::Everybody => None,
        }
    }
}

impl From<Target> for CloseTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Session(session) => Self::Session(session),
            Target::SessionOf(session, user) => Self::SessionOf(session, user),
            Target::User(user) => Self::User(user),
        }
    }
}

impl From<Following> for Followed {
    fn from(following: Following) -> Self {
        Self { channels: following.channels, began: following.began.to_string() }
    }
}

impl Followed {
    pub(super) fn read(self) -> Result<Following, ErrorCode> {
        let began = Cursor::parse(&self.began).map_err(|_| ErrorCode::Internal)?;
        Ok(Following { channels: self.channels, began })
    }
}

/// A position, as messages have it.
pub(super) fn pair(position: Position) -> (u64, u64) {
    (position.epoch.0, position.offset)
}

/// The error of an answer.
pub(super) fn code(text: &str) -> ErrorCode {
    ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(ErrorCode::Internal)
}

#[cfg(test)]
mod tests {
    use encke_proto::{CloseCode, Epoch};

    use super::*;

    #[test]
    fn letters_are_read_as_they_were_written() {
        let user = UserId::new("a {b} * > .").unwrap();
        let close =
            Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: None };
        let target = Target::SessionOf(SessionId::from_bits(7), user.clone());
        let message = NodeMessage::Question {
            from: "x".into(),
            number: 3,
            question: Question::Close { target, close: close.clone() },
        };
        let Some(NodeMessage::Question {
            number: 3, question: Question::Close { target, close: read }, ..
        }) = NodeMessage::read(&message.write().unwrap())
        else {
            panic!("another letter")
        };
        assert_eq!(
            (CloseTarget::from(target), read),
            (CloseTarget::SessionOf(SessionId::from_bits(7), user.clone()), close)
        );

        let mut began = Cursor::default();
        began.set(&user.channel(), Position { epoch: Epoch(u64::MAX), offset: 9 });
        let following = Following { channels: vec![ChannelName::public("news").unwrap()], began };
        let message =
            NodeMessage::Answer { number: 4, answer: Ok(Answer::Given(Some(following.clone().into()))) };
        let Some(NodeMessage::Answer { answer: Ok(Answer::Given(Some(given))), .. }) =
            NodeMessage::read(&message.write().unwrap())
        else {
            panic!("another letter")
        };
        assert_eq!(given.read(), Ok(following));
    }

    #[test]
    fn what_is_no_letter_is_dropped() {
        for bytes in [&b""[..], b"{}", b"{\"question\":{}}", b"\xff\xfe", b"[1,2"] {
            assert!(NodeMessage::read(bytes).is_none());
        }
        assert_eq!(code("session_unknown"), ErrorCode::SessionUnknown);
        assert_eq!(code("never heard of"), ErrorCode::Internal);
    }
}
