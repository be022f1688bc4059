//! The answer to a long poll: one JSON object, written piece by piece so that messages are copied from their shared form.

use crate::{Close, Entry, Gap, SessionId, entry::push_string};

/// A poll's answer in the making.
#[derive(Debug)]
pub struct Answer {
    messages: String,
    gaps: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self { messages: String::from("["), gaps: String::from("[") }
    }
}

impl Answer {
    /// Adds a message.
    pub fn message(&mut self, entry: &Entry) {
        separate(&mut self.messages);
        self.messages.push('{');
        self.messages.push_str(entry.members_json());
    }

    /// Adds a gap.
    pub fn gap(&mut self, gap: &Gap) {
        separate(&mut self.gaps);
        // A gap is a name, two numbers and a word: it always encodes.
        self.gaps.push_str(&serde_json::to_string(gap).unwrap_or_default());
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.len() + self.gaps.len() == 2
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len() + self.gaps.len()
    }

    /// The whole body: what was gathered, where to go on, and how the session ended if it did.
    #[must_use]
    pub fn finish(self, session: SessionId, cursor: &str, close: Option<&Close>) -> String {
        let mut out = String::with_capacity(self.len() + cursor.len() + 128);
        out.push_str("{\"session\":\"");
        out.push_str(&session.to_string());
        out.push_str("\",\"cursor\":");
        push_string(&mut out, cursor);
        out.push_str(",\"messages\":");
        out.push_str(&self.messages);
        out.push_str("],\"gaps\":");
        out.push_str(&self.gaps);
        out.push_str("],\"close\":");
        match close {
            Some(close) => out.push_str(&serde_json::to_string(close).unwrap_or_default()),
            None => out.push_str("null"),
        }
        out.push('}');
        out
    }
}

fn separate(list: &mut String) {
    if list.len() > 1 {
        list.push(',');
    }
}
