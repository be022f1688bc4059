//! How far a session has come in each of its channels, and the cursor that says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A position in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    /// The last offset handed over; 0 is none yet.
    pub(crate) offset: u64,
}

/// The positions of one session, kept up to date from each message.
///
/// A cursor of a version that this client does not know is carried as it is: then only the server moves it,
/// and repeats are still recognised.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    known: BTreeMap<String, Position>,
    /// The cursor that could not be read, and takes the place of the composed one.
    opaque: Option<String>,
}

impl Positions {
    /// Takes over a cursor from the server, which names every channel that the session has.
    ///
    /// A position that is behind ours in the same epoch is not taken: what lies between has been handed over
    /// already.
    pub(crate) fn adopt(&mut self, cursor: &str) {
        let Some(mut told) = parse(cursor) else {
            self.opaque = Some(cursor.to_owned());
            return;
        };
        self.opaque = None;
        for (channel, position) in &mut told {
            if let Some(ours) = self.known.get(channel)
                && ours.epoch == position.epoch
            {
                position.offset = position.offset.max(ours.offset);
            }
        }
        self.known = told;
    }

    /// Takes over where the session began in channels that are not known yet. Of the others it says nothing.
    pub(crate) fn begin(&mut self, cursor: &str) {
        for (channel, position) in parse(cursor).unwrap_or_default() {
            self.known.entry(channel).or_insert(position);
        }
    }

    /// Whether this message is new, and if so, moves the position behind it.
    pub(crate) fn advance(&mut self, channel: &str, epoch: &str, offset: u64) -> bool {
        match self.known.get_mut(channel) {
            Some(position) if position.epoch == epoch => {
                if offset <= position.offset {
                    return false;
                }
                position.offset = offset;
            }
            Some(position) => *position = Position { epoch: epoch.to_owned(), offset },
            None => {
                self.known.insert(channel.to_owned(), Position { epoch: epoch.to_owned(), offset });
            }
        }
        true
    }

    /// What is up to `to` in this channel will not come any more.
    pub(crate) fn skip(&mut self, channel: &str, to: u64) {
        if let Some(position) = self.known.get_mut(channel) {
            position.offset = position.offset.max(to);
        }
    }

    /// The session does not have this channel any more.
    pub(crate) fn forget(&mut self, channel: &str) {
        self.known.remove(channel);
    }

    /// The channels with a known position.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// Whether the cursor names this channel, so that it alone brings the channel back.
    pub(crate) fn names(&self, channel: &str) -> bool {
        self.opaque.is_none() && self.known.contains_key(channel)
    }

    /// The cursor to go on with. `None` as long as nothing is known.
    pub(crate) fn cursor(&self) -> Option<String> {
        if let Some(opaque) = &self.opaque {
            return Some(opaque.clone());
        }
        let lead = self.commonest_epoch()?;
        let mut cursor = format!("1~{lead}");
        for (channel, position) in &self.known {
            cursor.push('~');
            escape(channel, &mut cursor);
            // Writing to a string cannot fail.
            let _ = write!(cursor, "~{}", position.offset);
            if position.epoch != lead {
                let _ = write!(cursor, ":{}", position.epoch);
            }
        }
        Some(cursor)
    }

    /// Any epoch may lead; the commonest makes the cursor shortest.
    fn commonest_epoch(&self) -> Option<&str> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for position in self.known.values() {
            *counts.entry(&position.epoch).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(epoch, _)| epoch)
    }
}

/// Reads a cursor of version 1. `None` for any other, and for one that is malformed.
fn parse(cursor: &str) -> Option<BTreeMap<String, Position>> {
    let mut parts = cursor.split('~');
    if parts.next()? != "1" {
        return None;
    }
    let lead = parts.next().filter(|epoch| !epoch.is_empty())?;
    let mut known = BTreeMap::new();
    while let Some(name) = parts.next() {
        let Some(offset) = parts.next() else {
            // Only the mark of a closed session stands alone.
            return (name == "closed").then_some(known);
        };
        let (offset, epoch) = offset.split_once(':').unwrap_or((offset, lead));
        let position = Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? };
        known.insert(unescape(name)?, position);
    }
    Some(known)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'@' | b'/')
}

fn escape(name: &str, into: &mut String) {
    for byte in name.bytes() {
        if is_plain(byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "!{byte:02x}");
        }
    }
}

fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'!' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            byte if is_plain(byte) => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(cursor: &str) -> Positions {
        let mut positions = Positions::default();
        positions.adopt(cursor);
        positions
    }

    #[test]
    fn the_example_of_the_protocol_comes_back_as_it_was() {
        assert_eq!(at("1~k3x9~@alice~12~news~7").cursor().unwrap(), "1~k3x9~@alice~12~news~7");
    }

    #[test]
    fn a_second_epoch_is_written_behind_the_offset() {
        let cursor = "1~k3x9~@alice~12~news~7:zz~rain~0";
        assert_eq!(at(cursor).cursor().unwrap(), cursor);
        assert_eq!(at("1~zz~@alice~12:k3x9~news~7~rain~0:k3x9").cursor().unwrap(), cursor);
    }

    #[test]
    fn strange_names_are_escaped_and_in_the_order_of_their_bytes() {
        let mut positions = Positions::default();
        for name in ["a~b", "a b", "\u{e4}", "a!", "a,b"] {
            assert!(positions.advance(name, "e", 1));
        }
        let cursor = positions.cursor().unwrap();
        assert_eq!(cursor, "1~e~a!20b~1~a!21~1~a!2cb~1~a!7eb~1~!c3!a4~1");
        assert_eq!(at(&cursor).cursor().unwrap(), cursor);
    }

    #[test]
    fn repeats_are_recognised_by_channel_epoch_and_offset() {
        let mut positions = at("1~e~news~7");
        assert!(!positions.advance("news", "e", 7));
        assert!(positions.advance("news", "e", 8));
        assert!(!positions.advance("news", "e", 8));
        assert!(positions.advance("rain", "e", 1));
        assert!(positions.advance("news", "f", 1), "a new epoch starts over");
        assert!(!positions.advance("news", "f", 1));
        assert_eq!(positions.cursor().unwrap(), "1~f~news~1~rain~1:e");
    }

    #[test]
    fn a_cursor_that_is_behind_does_not_bring_repeats_back() {
        let mut positions = at("1~e~news~7");
        positions.adopt("1~e~news~5~rain~1");
        assert_eq!(positions.cursor().unwrap(), "1~e~news~7~rain~1");
        positions.adopt("1~f~news~2");
        assert_eq!(
            positions.cursor().unwrap(),
            "1~f~news~2",
            "another epoch is taken as it is, and rain is gone"
        );
    }

    #[test]
    fn a_gap_moves_the_position_to_its_end() {
        let mut positions = at("1~e~news~7");
        positions.skip("news", 12);
        positions.skip("unknown", 3);
        assert_eq!(positions.cursor().unwrap(), "1~e~news~12");
        positions.skip("news", 9);
        assert_eq!(positions.cursor().unwrap(), "1~e~news~12", "and never back");
    }

    #[test]
    fn where_a_channel_began_is_news_of_that_channel_alone() {
        let mut positions = at("1~e~@alice~4~news~7");
        positions.begin("1~e~news~5~rain~3");
        assert_eq!(positions.cursor().unwrap(), "1~e~@alice~4~news~7~rain~3");
        for nothing in ["1~0", "2~whatever", ""] {
            positions.begin(nothing);
            assert_eq!(positions.cursor().unwrap(), "1~e~@alice~4~news~7~rain~3", "{nothing}");
        }
    }

    #[test]
    fn the_closed_mark_is_not_a_channel() {
        assert_eq!(at("1~e~news~7~closed").cursor().unwrap(), "1~e~news~7");
        assert_eq!(at("1~e~closed~7").cursor().unwrap(), "1~e~closed~7");
    }

    #[test]
    fn a_cursor_of_another_version_is_carried_as_it_is() {
        for cursor in ["2~whatever", "1", "1~", "1~e~news", "1~e~news~x", "1~e~!zz~1", "1~e~a b~1", ""] {
            let mut positions = at(cursor);
            assert_eq!(positions.cursor().unwrap(), cursor);
            assert!(positions.advance("news", "e", 3));
            assert!(!positions.advance("news", "e", 3), "repeats are recognised all the same");
            assert_eq!(positions.cursor().unwrap(), cursor);
            assert!(!positions.names("news"));
        }
    }

    #[test]
    fn nothing_known_means_no_cursor() {
        assert_eq!(Positions::default().cursor(), None);
        let mut positions = at("1~e~news~7");
        positions.forget("news");
        assert_eq!(positions.cursor(), None);
    }
}
