//! The answer to a long poll: one JSON object, written piece by piece so that messages are copied from their
//! shared form.

use serde::Serialize;

use crate::{Close, CloseKey, Cursor, Entry, Gap, IdText, MessageJson, SessionId, Unsubscribed, event, json};

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
}

/// How many pieces a body is put together from.
const PIECES: usize = 12;

/// What begins the list of such channels, behind the gaps; the list is ended like theirs.
const UNSUBSCRIBED: &str = "],\"unsubscribed\":[";

/// A poll's answer in the making.
#[derive(Debug, Default)]
pub struct Answer {
    messages: String,
    gaps: String,
    unsubscribed: String,
}

impl Answer {
    /// Adds a message.
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

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len() + self.gaps.len() + self.unsubscribed.len()
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

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}
