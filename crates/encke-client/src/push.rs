//! A push: messages and pages to users by id.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Show};

/// Whom a push goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// These users, at most 10,000, online or not.
    Users(Vec<String>),
    /// Every user that the server knows.
    All,
    /// Every user who is online now.
    Online,
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Users(users) => users.serialize(serializer),
            Self::All => serializer.serialize_str("all"),
            Self::Online => serializer.serialize_str("online"),
        }
    }
}

/// What to push, to whom, and for how long.
#[derive(Debug, Clone, Serialize)]
pub struct Push {
    to: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<Show>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

impl Push {
    /// A page: the receivers show this http or https URL.
    pub fn page(to: Target, url: impl Into<String>) -> Self {
        Self { to, url: Some(url.into()), show: None, data: None, ttl_s: None, id: None }
    }

    /// A message with any JSON data.
    ///
    /// # Errors
    /// [`Error::Encode`] when the data does not serialise.
    pub fn data(to: Target, data: &impl Serialize) -> Result<Self, Error> {
        let data = serde_json::value::to_raw_value(data).map_err(Error::Encode)?;
        Ok(Self { to, url: None, show: None, data: Some(data), ttl_s: None, id: None })
    }

    /// In what receivers are to show the page; without, in a frame of theirs. The server refuses it beside
    /// data.
    #[must_use]
    pub fn show(mut self, show: Show) -> Self {
        self.show = Some(show);
        self
    }

    /// Not delivered after this many seconds. Without, the server's `push_ttl_s` (7 days) holds.
    #[must_use]
    pub fn ttl_s(mut self, seconds: u64) -> Self {
        self.ttl_s = Some(seconds);
        self
    }

    /// The idempotency key: pushing again with the same one makes no second message. Without, one is made.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// The server has taken a push.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The push's id, for its receipts.
    pub id: String,
    /// What "accepted" means: `memory` (kept by the process), `log` (on disk), and so on.
    pub mode: String,
    /// How many users it is for.
    pub accepted: u64,
    /// Users of it who were online, at most 10,000.
    #[serde(default)]
    pub online: Vec<String>,
    /// Users of it who were not, at most 10,000; they get it at their next login.
    #[serde(default)]
    pub offline: Vec<String>,
    /// Whether the lists were cut.
    #[serde(default)]
    pub truncated: bool,
}

/// How far a push has come with one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The user.
    pub user: String,
    /// The state.
    pub state: ReceiptState,
    /// When it came to this state: RFC 3339, UTC.
    pub time: String,
    /// The user's devices whose places the server keeps, if they were asked for
    /// ([`Api::receipts_by_device`](crate::Api::receipts_by_device)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceReceipt>>,
}

/// How far a push has come with one device of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceReceipt {
    /// The device, as it calls itself.
    pub device: String,
    /// `delivered`, up to a second late, or `queued`; as with the user where it is `expired` or `cancelled`.
    pub state: ReceiptState,
}

/// The states of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReceiptState {
    /// Safe in the log.
    Queued,
    /// Handed whole to a connection of the user.
    Delivered,
    /// A person saw it: the client acknowledged that.
    Shown,
    /// Its time to live ran out before.
    Expired,
    /// It was cancelled before.
    Cancelled,
}

impl ReceiptState {
    /// Whether the push has reached the user or never will.
    #[must_use]
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Queued)
    }
}

impl std::fmt::Display for ReceiptState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Shown => "shown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        })
    }
}

/// How many users of a push there are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReceiptTotals {
    /// Safe in their logs.
    pub queued: u64,
    /// Handed whole to a connection.
    pub delivered: u64,
    /// Seen by a person.
    pub shown: u64,
    /// Its time to live ran out before.
    pub expired: u64,
    /// It was cancelled before.
    pub cancelled: u64,
}

impl ReceiptTotals {
    /// How many users there are.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.queued + self.delivered + self.shown + self.expired + self.cancelled
    }
}

/// One page of a push's receipts.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Receipts {
    /// The push's id.
    pub id: String,
    /// How many users there are in each state; of a push to more than 1,000 they may be some seconds old. A
    /// server of an older version leaves them out.
    #[serde(default)]
    pub totals: Option<ReceiptTotals>,
    /// A receipt for each user.
    pub receipts: Vec<Receipt>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

/// A push that was accepted, by whatever key and node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastPush {
    /// The push's id, for its receipts.
    pub id: String,
    /// When it was accepted: RFC 3339, UTC.
    pub time: String,
    /// The page, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The message, if it was one; of a long one a string with the beginning of its JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// Whether `url` or `data` is the beginning only.
    #[serde(default)]
    pub cut: bool,
    /// How many users there are in each state.
    pub totals: ReceiptTotals,
}

/// One page of the history of pushes, the newest first.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct PastPushes {
    /// The pushes.
    pub pushes: Vec<PastPush>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_push_is_written_as_the_protocol_says() {
        let page = Push::page(Target::Users(vec!["alice".into()]), "https://x.example/").ttl_s(9).id("k");
        assert_eq!(
            serde_json::to_string(&page).unwrap(),
            r#"{"to":["alice"],"url":"https://x.example/","ttl_s":9,"id":"k"}"#
        );
        let window = Push::page(Target::All, "https://x.example/").show(Show::Window);
        assert_eq!(
            serde_json::to_string(&window).unwrap(),
            r#"{"to":"all","url":"https://x.example/","show":"window"}"#
        );
        let data = Push::data(Target::All, &serde_json::json!({"a": 1})).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), r#"{"to":"all","data":{"a":1}}"#);
        let online = Push::data(Target::Online, &1).unwrap();
        assert_eq!(serde_json::to_string(&online).unwrap(), r#"{"to":"online","data":1}"#);
    }
}
