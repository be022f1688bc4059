//! What streams carry besides messages, each with its JSON. Messages are encoded in
//! `entry.rs`.

use serde::{Deserialize, Serialize};

use crate::{ChannelName, CloseKey, Cursor, Epoch, Offset, SessionId, UserId, json};

/// Why a session was ended, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CloseCode {
    /// The client asked for it.
    Client,
    /// A person at the console, or a backend, ended it.
    Operator,
    /// The server stops; come back after a pause.
    Shutdown,
    /// The token ran out; come back with a new one.
    TokenExpired,
    /// The receiver took too little for too long; come back with the cursor.
    Slow,
    /// A newer connection of the same session took over.
    TakenOver,
    /// The stream has become long; come back with the cursor.
    Recycle,
    /// The user has more sessions than the site allows; the oldest went.
    TooManySessions,
    /// The user was deleted.
    Deleted,
    /// The token was revoked.
    Revoked,
    /// The user is kept away for a time.
    Banned,
}

impl CloseCode {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Client,
        Self::Operator,
        Self::Shutdown,
        Self::TokenExpired,
        Self::Slow,
        Self::TakenOver,
        Self::Recycle,
        Self::TooManySessions,
        Self::Deleted,
        Self::Revoked,
        Self::Banned,
    ];

    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
            Self::TokenExpired => "token_expired",
            Self::Slow => "slow",
            Self::TakenOver => "taken_over",
            Self::Recycle => "recycle",
            Self::TooManySessions => "too_many_sessions",
            Self::Deleted => "deleted",
            Self::Revoked => "revoked",
            Self::Banned => "banned",
        }
    }
}

/// The end of a session, as its connection is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Close {
    /// Why, for programs.
    pub code: CloseCode,
    /// Why, as text for logs and users; may be empty.
    pub reason: String,
    /// Whether the client should come back by itself.
    pub reconnect: bool,
    /// After how many milliseconds it should, when the server spreads the clients that come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// Why messages will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum GapReason {
    /// Retention removed them before this receiver came.
    Trimmed,
    /// The channel began a new epoch: what was lost in the old one is not known.
    Epoch,
    /// This receiver took too little for too long; the log may have them still.
    Slow,
}

impl GapReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[Self::Trimmed, Self::Epoch, Self::Slow];

    /// The reason on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Epoch => "epoch",
            Self::Slow => "slow",
        }
    }
}

/// Messages of one channel that a receiver will not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gap {
    /// The channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelName,
    /// The first offset that is missing.
    pub from: Offset,
    /// The last offset that is missing; none when that is not known.
    pub to: Option<Offset>,
    /// Why.
    pub reason: GapReason,
}

/// Why a session does not follow a channel any more, though its client did not ask for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum UnsubscribedReason {
    /// The token that the session goes on with does not grant it, or a rule that has changed.
    NotGranted,
}

/// A channel that the session does not follow any more, though its client did not ask for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unsubscribed {
    /// The channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelName,
    /// Why.
    pub reason: UnsubscribedReason,
}

/// The token of the session ends soon, and the session with it, unless a fresh one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Expiring {
    /// In how many whole seconds at least.
    pub in_s: u64,
}

/// The beginning of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Open {
    /// The session that the connection serves.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// Where it goes on from.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub cursor: Cursor,
    /// The longest silence on a sound connection, in seconds.
    pub heartbeat_s: u64,
    /// What ends the session without a token, for a beacon.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub close_key: CloseKey,
    /// The user, in whose own channel messages of the short form do not name it. With that form alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub user: Option<UserId>,
    /// The epoch of the messages of the short form that say none. With that form alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub epoch: Option<Epoch>,
}

/// What streams carry besides messages. Messages are written from [`crate::Entry`], which encodes them once
/// for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Event {
    /// First of all.
    Open(Open),
    /// Messages are missing.
    Gap(Gap),
    /// A channel is not followed any more.
    Unsubscribed(Unsubscribed),
    /// The token ends soon.
    Expiring(Expiring),
    /// Last of all.
    Close(Close),
}

impl Event {
    /// The event's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Gap(_) => "gap",
            Self::Unsubscribed(_) => "unsubscribed",
            Self::Expiring(_) => "expiring",
            Self::Close(_) => "close",
        }
    }

    /// The event's JSON, in one line.
    #[must_use]
    pub fn json(&self) -> String {
        json::write(self)
    }
}

/// Writes a cursor as its text.
pub(crate) fn as_text<S: serde::Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}
