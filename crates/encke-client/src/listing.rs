//! What the server tells about its users, sessions and channels.

use serde::{Deserialize, Serialize};

use crate::http::Query;
use crate::{Gap, Message};

/// Which part of a long list is asked for. The default is the server's first page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most this many entries; `None` leaves it to the server.
    pub limit: Option<u32>,
    /// The `next` of the page before; `None` for the first.
    pub after: Option<String>,
}

impl Page {
    pub(crate) fn query(&self) -> Query {
        let mut query = Query::default();
        if let Some(limit) = self.limit {
            query.add("limit", &limit.to_string());
        }
        query.add_some("after", self.after.as_deref());
        query
    }
}

/// Which names of a list are asked for, and whether they are counted. The default is all, not counted.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    /// Only names that contain this, byte by byte.
    pub contains: Option<String>,
    /// Only names that begin with this.
    pub prefix: Option<String>,
    /// Whether to tell how many there are in all pages together. The server goes through all names for it.
    pub count: bool,
}

impl Matching {
    pub(crate) fn add_to(&self, query: &mut Query) {
        query.add_some("q", self.contains.as_deref());
        query.add_some("prefix", self.prefix.as_deref());
        query.add_some("count", self.count.then_some("true"));
    }
}

/// A user that the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The id that the application gave.
    pub id: String,
    /// Whether there is a session.
    pub online: bool,
    /// How many sessions there are.
    #[serde(default)]
    pub sessions: u64,
    /// RFC 3339, UTC.
    #[serde(default)]
    pub first_seen: Option<String>,
    /// RFC 3339, UTC.
    #[serde(default)]
    pub last_seen: Option<String>,
}

/// A page of users.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Users {
    /// The users.
    pub users: Vec<User>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
    /// How many there are in all pages together, if they were counted.
    #[serde(default)]
    pub total: Option<u64>,
}

/// A session: one tab or device of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// Its id.
    pub session: String,
    /// Whose it is.
    pub user: String,
    /// What it is connected by: `poll`, `sse`, and so on.
    #[serde(default)]
    pub transport: Option<String>,
    /// The node that it is on.
    #[serde(default)]
    pub node: Option<String>,
    /// When it began: RFC 3339, UTC.
    #[serde(default)]
    pub since: Option<String>,
    /// How many messages it is behind.
    #[serde(default)]
    pub lag: u64,
    /// Its channels.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Whether a connection serves it now; if not, it is in its grace time.
    #[serde(default)]
    pub connected: bool,
}

/// A page of sessions.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Sessions {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Channel {
    /// Its name.
    pub channel: String,
    /// The epoch of its log.
    pub epoch: String,
    /// The oldest offset that is kept.
    pub tail: u64,
    /// The newest offset.
    pub head: u64,
    /// How many sessions have it.
    #[serde(default)]
    pub subscribers: u64,
}

/// A page of channels.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Channels {
    /// The channels.
    pub channels: Vec<Channel>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
    /// How many there are in all pages together, if they were counted.
    #[serde(default)]
    pub total: Option<u64>,
}

/// A part of a channel's history.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// What is missing in front of them.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// Where to read on.
    pub cursor: String,
    /// Where to read on backwards, if anything in front of the messages is kept.
    #[serde(default)]
    pub previous: Option<String>,
}

/// A user who is in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PresentUser {
    /// The user.
    pub user: String,
    /// With how many sessions.
    #[serde(default)]
    pub sessions: u64,
}

/// A page of the users in a channel.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Presence {
    /// The users.
    pub users: Vec<PresentUser>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}
