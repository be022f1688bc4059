//! The answer to a long poll: one JSON object, written piece by piece so that messages are copied from their
//! shared form.

use serde::Serialize;

use super::MessageForm;
use crate::{
    Close, CloseKey, Cursor, Entry, Epoch, Expiring, Gap, IdText, MessageJson, SessionId, Unsubscribed,
    UserId, event, json,
};

/// What [`Answer`] writes, as a type: for the description of the API.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PollAnswer<'a> {
    /// The session, to be continued by the next poll.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// Where to go on.
    #[serde(serialize_with = "event::as_text")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub cursor: Cursor,
    /// What came, in the order of each channel's log.
    pub messages: Vec<MessageJson<'a>>,
    /// What will not come; before the messages in time.
    pub gaps: Vec<Gap>,
    /// Channels that the session does not follow any more though its client did not ask for that; absent when
    /// there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub unsubscribed: Vec<Unsubscribed>,
    /// How the session ended, if it did.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub close: Option<Close>,
    /// What ends the session without a token, for a beacon; in the first answer of a session alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = false))]
    pub close_key: Option<CloseKey>,
    /// That the token ends soon; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub expiring: Option<Expiring>,
}

/// How many pieces a body is put together from.
const PIECES: usize = 13;

/// What begins the list of such channels, behind the gaps; the list is ended like theirs.
const UNSUBSCRIBED: &str = "],\"unsubscribed\":[";

/// A poll's answer in the making.
#[derive(Debug, Default)]
pub struct Answer {
    messages: String,
    gaps: String,
    unsubscribed: String,
    expiring: String,
}

impl Answer {
    /// Adds a message in the short form.
    pub fn short_message(&mut self, entry: &Entry, told: Epoch) {
        separate(&mut self.messages);
        self.messages.push_str(MessageForm::Short { told: Some(told) }.json(entry));
    }

    /// Adds a message in the long form.
    pub fn message(&mut self, entry: &Entry) {
        let members = entry.members_json();
        self.messages.reserve(members.len() + 2);
        separate(&mut self.messages);
        self.messages.push('{');
        self.messages.push_str(members);
    }

    /// Adds a gap.
    pub fn gap(&mut self, gap: &Gap) {
        separate(&mut self.gaps);
        self.gaps.push_str(&json::write(gap));
    }

    /// Adds a channel that is not followed any more.
    pub fn unsubscribed(&mut self, unsubscribed: &Unsubscribed) {
        self.unsubscribed.push_str(if self.unsubscribed.is_empty() { UNSUBSCRIBED } else { "," });
        self.unsubscribed.push_str(&json::write(unsubscribed));
    }

    /// Says that the token ends soon.
    pub fn expiring(&mut self, expiring: Expiring) {
        self.expiring = [",\"expiring\":", &json::write(&expiring)].concat();
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len() + self.gaps.len() + self.unsubscribed.len() + self.expiring.len()
    }

    /// The whole body of an answer to a client that asked for the short form, in which nothing stands that
    /// says nothing. The epoch is that of [`Self::short_message`].
    #[must_use]
    pub fn finish_short(&self, told: &ShortTold<'_>) -> String {
        let mut out = ["{\"cursor\":\"", told.cursor, "\",\"messages\":[", &self.messages, "]"].concat();
        if let Some((user, epoch)) = told.messages_of.filter(|_| !self.messages.is_empty()) {
            push_member(&mut out, "user", &json::write(user));
            push_member(&mut out, "epoch", &json::write(&epoch));
        }
        if !self.gaps.is_empty() {
            push_member(&mut out, "gaps", &["[", &self.gaps, "]"].concat());
        }
        if let Some(list) = self.unsubscribed.strip_prefix(UNSUBSCRIBED) {
            push_member(&mut out, "unsubscribed", &["[", list, "]"].concat());
        }
        out.push_str(&self.expiring);
        if let Some((session, close_key)) = told.begins {
            push_member(&mut out, "session", &json::write(&session));
            push_member(&mut out, "close_key", &json::write(&close_key));
        }
        if let Some(close) = told.close {
            push_member(&mut out, "close", &json::write(close));
        }
        out.push('}');
        out
    }

    /// The whole body: what was gathered, where to go on, and how the session ended. `cursor` is as its type
    /// writes it, so that it needs no escape; `close` is JSON, or what [`begins`] gives.
    #[must_use]
    pub fn finish<'a>(&'a self, session: &'a IdText, cursor: &'a str, close: &'a str) -> Pieces<'a> {
        Pieces([
            b"{\"session\":\"",
            session.as_bytes(),
            b"\",\"cursor\":\"",
            cursor.as_bytes(),
            b"\",\"messages\":[",
            self.messages.as_bytes(),
            b"],\"gaps\":[",
            self.gaps.as_bytes(),
            self.unsubscribed.as_bytes(),
            b"],\"close\":",
            close.as_bytes(),
            self.expiring.as_bytes(),
            b"}",
        ])
    }
}

/// What `close` is while the session goes on.
pub const GOES_ON: &str = "null";

/// The same in the first answer of a session, with the key of the session behind it.
#[must_use]
pub fn begins(close_key: CloseKey) -> String {
    let text = close_key.text();
    [GOES_ON, ",\"close_key\":\"", text.as_str(), "\""].concat()
}

/// A body, whose length is known before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a>([&'a [u8]; PIECES]);

impl Pieces<'_> {
    /// How many bytes there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always something")]
    pub fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    /// Writes them.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Room for all of them is made once.
        out.reserve(self.len());
        self.0.iter().for_each(|piece| out.extend_from_slice(piece));
    }
}

/// What an answer in the short form says besides what was gathered.
#[derive(Clone, Copy, Debug)]
pub struct ShortTold<'a> {
    /// Where to go on, as its type writes it.
    pub cursor: &'a str,
    /// Whose own channel messages do not name, and of which epoch those are that say none.
    pub messages_of: Option<(&'a UserId, Epoch)>,
    /// The session and what ends it, in the first answer of one.
    pub begins: Option<(SessionId, CloseKey)>,
    /// How the session ended, if it did.
    pub close: Option<&'a Close>,
}

fn push_member(out: &mut String, name: &str, json: &str) {
    [",", "\"", name, "\":", json].into_iter().for_each(|part| out.push_str(part));
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}
