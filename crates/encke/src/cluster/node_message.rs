//! What nodes write to each other, as JSON.

use bytes::Bytes;
use encke_hub::{ControlReply, ControlRequest};
use encke_proto::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stats::{NodeReport, Point};

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
        request: ControlRequest,
    },
    /// The answer to a question.
    Answer {
        /// The number that the question had.
        number: u64,
        /// What there is to say, or the code of an error.
        answer: Result<ControlReply, String>,
    },
    /// Who writes it wants to know what a dialect there knows of its own connections.
    DialectQuestion {
        /// The incarnation of the node that asks.
        from: String,
        /// Its number of the question.
        number: u64,
        /// Which dialect.
        dialect: String,
        /// What it is asked, in its own form.
        question: Value,
    },
    /// What the dialect answers.
    DialectAnswer {
        /// The number that the question had.
        number: u64,
        /// In the dialect's own form; null when it is not spoken there.
        answer: Value,
    },
    /// Who writes it wants to know how the node is.
    ReportQuestion {
        /// The incarnation of the node that asks.
        from: String,
        /// Its number of the question.
        number: u64,
        /// How much of its history is wanted, in minutes; none for nothing of it.
        minutes: Option<u32>,
    },
    /// How the node is.
    Report {
        /// The number that the question had.
        number: u64,
        /// How it is.
        report: Box<NodeReport>,
        /// The steps of its history that were wanted.
        points: Vec<Point>,
    },
}

impl NodeMessage {
    /// The message as it is sent.
    pub(super) fn write(&self) -> Result<Bytes, ErrorCode> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| {
            tracing::error!(%error, "a node message cannot be written");
            ErrorCode::Internal
        })
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .inspect_err(|error| tracing::warn!(%error, "a message from another node is not understood"))
            .ok()
    }
}

/// The error of an answer.
pub(super) fn code(text: &str) -> ErrorCode {
    ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(ErrorCode::Internal)
}

#[cfg(test)]
mod tests {
    use encke_hub::{CloseTarget, Following, FreshToken, SessionView};
    use encke_proto::{
        ChannelName, Close, CloseCode, Cursor, Epoch, Grant, NameFilter, Position, Revocation, SessionId,
        Time, TokenId, TokenInfo, UserId,
    };

    use super::*;

    fn channels() -> Vec<ChannelName> {
        vec![ChannelName::public("news").unwrap(), ChannelName::public("a {b} * > .").unwrap()]
    }

    fn cursor(user: &UserId) -> Cursor {
        let mut cursor = Cursor::default();
        cursor.set(&user.channel(), Position { epoch: Epoch(u64::MAX), offset: 9 });
        cursor
    }

    /// One of each that a node may ask of another.
    fn requests(user: &UserId) -> Vec<ControlRequest> {
        let (session, user) = (SessionId::from_bits(7), user.clone());
        let close =
            Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: Some(1) };
        let targets = [
            CloseTarget::Session(session),
            CloseTarget::SessionOf(session, user.clone()),
            CloseTarget::User(user.clone()),
            CloseTarget::Revoked { revocation: Revocation::User { user: user.clone(), before_s: 7 }, at: 3 },
            CloseTarget::Revoked { revocation: Revocation::Token { id: TokenId(u64::MAX) }, at: 4 },
            CloseTarget::Revoked { revocation: Revocation::Before { before_s: 7 }, at: 5 },
            CloseTarget::Revoked { revocation: Revocation::Ban { user: user.clone() }, at: 6 },
        ];
        let mut requests: Vec<ControlRequest> = targets
            .into_iter()
            .map(|target| ControlRequest::Close { target, close: close.clone() })
            .collect();
        requests.extend([
            ControlRequest::Subscribe {
                session,
                user: user.clone(),
                channels: channels(),
                from: cursor(&user),
            },
            ControlRequest::Unsubscribe { session, user: user.clone(), channels: Vec::new() },
            ControlRequest::Ack { session, user: user.clone(), cursor: cursor(&user) },
            ControlRequest::Refresh {
                session,
                user: user.clone(),
                token: Box::new(FreshToken {
                    ends: Time(1_763_800_000_123),
                    info: TokenInfo { issued_s: Some(7), id: Some(TokenId(u64::MAX)) },
                    // Rules may allow what was not said, and nothing besides an empty list.
                    channels: Grant::none(),
                    publish: Grant::of(Vec::new()),
                }),
            },
            ControlRequest::Release { session: Some(session), user: user.clone() },
            ControlRequest::Release { session: None, user: user.clone() },
            ControlRequest::CountSessions { users: vec![user.clone()] },
            ControlRequest::ListUsers {
                lasting: true,
                filter: NameFilter { prefix: "al".into(), contains: "\"é".into() },
                after: Some(user.clone()),
                limit: usize::MAX,
            },
            ControlRequest::ListFollowers { channel: user.channel(), after: None, limit: 0 },
            ControlRequest::ListFollowed { prefix: "a".into(), after: channels().pop(), limit: 3 },
            ControlRequest::ListSessions { user: Some(user), after: Some(session), limit: 3 },
            ControlRequest::CountFollowers { channels: channels() },
        ]);
        requests
    }

    /// One of each that a node may answer.
    fn replies(user: &UserId) -> Vec<ControlReply> {
        let following = Following { channels: channels(), began: cursor(user) };
        let view = SessionView {
            session: SessionId::from_bits(8),
            user: user.clone(),
            transport: "sse".into(),
            since: Time(1_763_800_000_123),
            lag: u64::MAX,
            channels: channels(),
            connected: true,
        };
        vec![
            ControlReply::Closed(usize::MAX),
            ControlReply::Following(Box::new(following.clone())),
            ControlReply::Shown(Some(Position { epoch: Epoch(u64::MAX), offset: u64::MAX })),
            ControlReply::Shown(None),
            ControlReply::Released(Some(Box::new(following))),
            ControlReply::Released(None),
            ControlReply::Refreshed,
            ControlReply::Users(vec![(user.clone(), 3)]),
            ControlReply::Channels(vec![(channels().remove(0), 2)]),
            ControlReply::Sessions(vec![view]),
            ControlReply::Counts(vec![0, 1]),
        ]
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let user = UserId::new("a {b} * > .").unwrap();
        for request in requests(&user) {
            let message = NodeMessage::Question { from: "x".into(), number: 3, request: request.clone() };
            let Some(NodeMessage::Question { number: 3, request: read, .. }) =
                NodeMessage::read(&message.write().unwrap())
            else {
                panic!("{request:?} is another message")
            };
            assert_eq!(read, request);
        }
        for answer in replies(&user).into_iter().map(Ok).chain([Err("overloaded".to_owned())]) {
            let message = NodeMessage::Answer { number: 4, answer: answer.clone() };
            let Some(NodeMessage::Answer { number: 4, answer: read }) =
                NodeMessage::read(&message.write().unwrap())
            else {
                panic!("{answer:?} is another message")
            };
            assert_eq!(read, answer);
        }
    }

    #[test]
    fn a_cursor_whose_text_would_be_too_long_is_carried() {
        // A client may leave out epochs that this server's own text of the same cursor has to name.
        let mut cursor = Cursor::default();
        let long = encke_proto::limits::CURSOR_MAX_BYTES / encke_proto::limits::SESSION_MAX_CHANNELS;
        for at in 0..encke_proto::limits::SESSION_MAX_CHANNELS {
            let name = format!("{at}{}", "x".repeat(long));
            cursor.entries.push((
                ChannelName::public(&name).unwrap(),
                Position { epoch: Epoch(u64::MAX - at as u64), offset: u64::MAX },
            ));
        }
        assert!(Cursor::parse(&cursor.to_string()).is_err());
        let request = ControlRequest::Ack {
            session: SessionId::from_bits(1),
            user: UserId::new("alice").unwrap(),
            cursor,
        };
        let message = NodeMessage::Question { from: "x".into(), number: 3, request: request.clone() };
        let Some(NodeMessage::Question { request: read, .. }) = NodeMessage::read(&message.write().unwrap())
        else {
            panic!("another message")
        };
        assert_eq!(read, request);
    }

    #[test]
    fn no_node_closes_the_sessions_of_another_all_at_once() {
        let close =
            Close { code: CloseCode::Operator, reason: String::new(), reconnect: false, retry_ms: None };
        let request = ControlRequest::Close { target: CloseTarget::Everybody, close };
        let message = NodeMessage::Question { from: "x".into(), number: 3, request };
        assert_eq!(message.write(), Err(ErrorCode::Internal));
        let close = r#"{"code":"operator","reason":"","reconnect":false}"#;
        let question = |target: &str| {
            format!(
                r#"{{"question":{{"from":"x","number":3,"request":{{"close":{{"target":{target},"close":{close}}}}}}}}}"#
            )
        };
        assert!(NodeMessage::read(question(r#"{"user":"alice"}"#).as_bytes()).is_some());
        assert!(NodeMessage::read(question(r#""everybody""#).as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_message_is_dropped() {
        for bytes in [&b""[..], b"{}", b"{\"question\":{}}", b"\xff\xfe", b"[1,2"] {
            assert!(NodeMessage::read(bytes).is_none());
        }
        assert_eq!(code("session_unknown"), ErrorCode::SessionUnknown);
        assert_eq!(code("never heard of"), ErrorCode::Internal);
    }
}
