//! The cursor of a session as it is handed to its client: as text with every message, and as a value where a
//! session begins. What a text means is for `encke_proto::Cursor` to say.

use std::fmt;

use encke_proto::{Cursor, Epoch, write_offset};

use crate::{ConnKey, Hub, Key, Slab, channel::Channel, session::Session};

/// The text of an epoch, kept until another one is asked for: nearly all logs of a store are of one epoch,
/// and every cursor begins with it.
#[derive(Debug)]
pub(crate) struct EpochText {
    epoch: Epoch,
    text: String,
}

impl Default for EpochText {
    fn default() -> Self {
        let epoch = Epoch(0);
        Self { epoch, text: epoch.to_string() }
    }
}

impl EpochText {
    /// The text of this epoch.
    fn of(&mut self, epoch: Epoch) -> &str {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.text.clear();
            // Writing to a string does not fail.
            let _ = epoch.write_to(&mut self.text);
        }
        &self.text
    }
}

impl Hub {
    /// Writes the cursor of a connection's session, as far as it has been pulled.
    pub fn write_cursor(&mut self, conn: ConnKey, out: &mut String) {
        if let Some(key) = self.key_by_conn(conn) {
            self.write_cursor_of(key, out);
        }
    }

    /// The same of a session.
    pub(crate) fn write_cursor_of(&mut self, key: Key, out: &mut String) {
        let Self { sessions, channels, epoch_text, .. } = self;
        if let Some(session) = sessions.get(key) {
            // Writing to a string does not fail.
            let _ = write(session, channels, epoch_text, out);
        }
    }

    /// The same as a value.
    #[must_use]
    pub fn cursor(&self, conn: ConnKey) -> Cursor {
        let mut cursor = Cursor::default();
        if let Some(session) = self.session_by_conn(conn) {
            let named = session
                .subs
                .iter()
                .filter(|sub| sub.placed())
                .filter_map(|sub| Some((self.channels.at(sub.channel)?.name.clone(), sub.at)));
            cursor.entries = named.collect();
        }
        cursor
    }
}

fn write(
    session: &Session,
    channels: &Slab<Channel>,
    epoch_text: &mut EpochText,
    out: &mut String,
) -> fmt::Result {
    let mut placed = session.subs.iter().filter(|sub| sub.placed()).peekable();
    let leading = placed.peek().map_or(Epoch(0), |sub| sub.at.epoch);
    out.push_str("1~");
    out.push_str(epoch_text.of(leading));
    for sub in placed {
        let Some(channel) = channels.at(sub.channel) else { continue };
        out.push('~');
        out.push_str(channel.wire());
        out.push('~');
        write_offset(out, sub.at.offset)?;
        if sub.at.epoch != leading {
            out.push(':');
            sub.at.epoch.write_to(out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_its_own_text_whichever_was_asked_for_before() {
        let mut text = EpochText::default();
        for bits in [0, 7, 7, 123_456, 7, u64::MAX, 0] {
            assert_eq!(text.of(Epoch(bits)), Epoch(bits).to_string());
        }
    }
}
