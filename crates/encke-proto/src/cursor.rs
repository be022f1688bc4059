//! The cursor: a position in each channel that a session follows, and its text form, which clients store and
//! send back. Whether a position is still valid is for the hub and the engine to say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ChannelName, Epoch, Offset, Position, limits::CURSOR_MAX_BYTES, limits::SESSION_MAX_CHANNELS};

/// Why a text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Longer than [`CURSOR_MAX_BYTES`].
    #[error("a cursor has at most {CURSOR_MAX_BYTES} bytes")]
    TooLong,
    /// Does not begin with a version that this server knows.
    #[error("this cursor is not of a version that is known here")]
    Version,
    /// Broken somewhere behind the version.
    #[error("this is not a cursor")]
    Malformed,
}

/// How far a session has come in each channel it follows. The text form is what clients hand back; its
/// grammar is in `docs/PROTOCOL.md`, the reasons in ADR 0003. Between nodes it is its fields, which have no
/// bound on their text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The positions, each channel once.
    pub entries: Vec<(ChannelName, Position)>,
    /// Whether the session that this cursor came from was closed on purpose.
    pub closed: bool,
}

impl Cursor {
    /// Whether a text is what scripts send in the place of a cursor that they have not got yet: nothing, `0`,
    /// or the names of JavaScript's and JSON's empty values.
    #[must_use]
    pub fn is_none_yet(text: &str) -> bool {
        matches!(text, "" | "0" | "null" | "undefined")
    }

    /// Reads a cursor's text.
    ///
    /// # Errors
    /// [`CursorError`] when it is not one. A cursor of a foreign epoch is a cursor all the same.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_MAX_BYTES {
            return Err(CursorError::TooLong);
        }
        let mut fields = fields(text);
        if fields.next() != Some("1") {
            return Err(CursorError::Version);
        }
        let leading: Epoch =
            fields.next().ok_or(CursorError::Malformed)?.parse().map_err(|_| CursorError::Malformed)?;
        let mut cursor = Self::default();
        while let Some(name) = fields.next() {
            let Some(place) = fields.next() else {
                // "closed" at the very end is the one field that stands alone.
                cursor.closed = name == "closed";
                return if cursor.closed { Ok(cursor) } else { Err(CursorError::Malformed) };
            };
            let channel = read_name(name).ok_or(CursorError::Malformed)?;
            let (offset, epoch) = match cut(place, b':') {
                Some((offset, epoch)) => (offset, epoch.parse().map_err(|_| CursorError::Malformed)?),
                None => (place, leading),
            };
            let offset = read_offset(offset).ok_or(CursorError::Malformed)?;
            // One more than the limit, for the user's own channel.
            if cursor.entries.len() > SESSION_MAX_CHANNELS || cursor.position(&channel).is_some() {
                return Err(CursorError::Malformed);
            }
            cursor.entries.push((channel, Position { epoch, offset }));
        }
        Ok(cursor)
    }

    /// The position in `channel`, if the cursor has one.
    #[must_use]
    pub fn position(&self, channel: &ChannelName) -> Option<Position> {
        self.entries.iter().find(|(name, _)| name == channel).map(|(_, position)| *position)
    }

    /// Moves the position in `channel`, which is added when it is new.
    pub fn set(&mut self, channel: &ChannelName, position: Position) {
        match self.entries.iter_mut().find(|(name, _)| name == channel) {
            Some((_, old)) => *old = position,
            None => self.entries.push((channel.clone(), position)),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leading = self.entries.first().map_or(Epoch(0), |(_, position)| position.epoch);
        write!(f, "1~{leading}")?;
        for (name, position) in &self.entries {
            f.write_str("~")?;
            write_name(f, name)?;
            write!(f, "~{}", position.offset)?;
            if position.epoch != leading {
                write!(f, ":{}", position.epoch)?;
            }
        }
        if self.closed { f.write_str("~closed") } else { Ok(()) }
    }
}

/// Writes a channel's name as cursors hold it.
///
/// # Errors
/// Only those of the writer.
pub fn write_name(out: &mut impl fmt::Write, name: &ChannelName) -> fmt::Result {
    let mut rest = name.as_str();
    // Nearly all names are plain from end to end, and written as they are.
    while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
        let length = rest[at..].chars().next().map_or(1, char::len_utf8);
        out.write_str(&rest[..at])?;
        rest[at..at + length].bytes().try_for_each(|byte| write!(out, "!{byte:02x}"))?;
        rest = &rest[at + length..];
    }
    out.write_str(rest)
}

/// The parts between tildes. A cursor is read with every poll, and its parts are so short that searching the
/// simple way is the fastest.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (field, more) = cut(text, b'~').map_or((text, None), |(field, more)| (field, Some(more)));
        rest = more;
        Some(field)
    })
}

/// What stands before and behind the first `mark`, which is a character of ASCII.
fn cut(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == mark)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Reads an offset: digits alone, and no zero before others.
fn read_offset(text: &str) -> Option<Offset> {
    match text.as_bytes() {
        [b'0'] => Some(0),
        // The standard library takes a sign besides.
        [b'1'..=b'9', ..] => text.parse().ok(),
        _ => None,
    }
}

/// Whether a byte of a name is written as it is.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// A name is looked at for each of its bytes, with every poll, so they are looked up.
const PLAIN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte.is_ascii() {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'@' | b'/');
        byte += 1;
    }
    table
};

fn read_name(text: &str) -> Option<ChannelName> {
    if text.bytes().all(is_plain) {
        return ChannelName::any(text).ok();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if is_plain(byte) {
            bytes.push(byte);
        } else if byte == b'!' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            return None;
        }
    }
    ChannelName::any(std::str::from_utf8(&bytes).ok()?).ok()
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::any(text).unwrap()
    }

    #[test]
    fn the_text_form_is_as_the_protocol_says() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.to_string(), "1~0");
        cursor.set(&name("@alice"), Position { epoch: Epoch(123_456), offset: 12 });
        cursor.set(&name("a b~ü"), Position { epoch: Epoch(123_456), offset: 0 });
        cursor.set(&name("news"), Position { epoch: Epoch(7), offset: 9 });
        assert_eq!(cursor.to_string(), "1~2n9c~@alice~12~a!20b!7e!c3!bc~0~news~9:7");
        cursor.closed = true;
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        for text in [
            "1",
            "1~",
            "1~A",
            "1~k~",
            "1~k~news",
            "1~k~news~",
            "1~k~news~x",
            "1~k~news~-1",
            "1~k~news~01",
            "1~k~news~1:",
            "1~k~news~1~news~2",
            "1~k~~1",
            "1~k~a!2~1",
            "1~k~a!ZZ~1",
            "1~k~a b~1",
            "1~k~news~1~closed~",
            "1~k~!00~1",
            "1~k~!ff~1",
            "1~k~news~18446744073709551616",
        ] {
            assert_eq!(Cursor::parse(text), Err(CursorError::Malformed), "{text}");
        }
        for text in ["", "2~k", "earliest", "{}"] {
            assert_eq!(Cursor::parse(text), Err(CursorError::Version), "{text}");
        }
        assert_eq!(Cursor::parse(&"1".repeat(CURSOR_MAX_BYTES + 1)), Err(CursorError::TooLong));
    }

    #[test]
    fn its_bounds_are_those_of_the_limits() {
        let of = |channels: usize| {
            format!("1~k{}", (0..channels).map(|number| format!("~{number}~1")).collect::<String>())
        };
        // One more than a session may follow, for the user's own channel.
        assert_eq!(
            Cursor::parse(&of(SESSION_MAX_CHANNELS + 1)).unwrap().entries.len(),
            SESSION_MAX_CHANNELS + 1
        );
        assert_eq!(Cursor::parse(&of(SESSION_MAX_CHANNELS + 2)), Err(CursorError::Malformed));
        let long = |bytes: usize| format!("1{}", "~".repeat(bytes - 1));
        assert_eq!(Cursor::parse(&long(CURSOR_MAX_BYTES)), Err(CursorError::Malformed), "it is read");
        assert_eq!(Cursor::parse(&long(CURSOR_MAX_BYTES + 1)), Err(CursorError::TooLong));
    }

    /// A cursor read by the grammar of `docs/PROTOCOL.md`, without any thought of speed.
    fn by_the_grammar(text: &str) -> Option<Cursor> {
        let mut parts: Vec<&str> = text.split('~').collect();
        // Positions come in pairs behind the version and the epoch, so an odd number of parts has one that
        // stands alone.
        let closed = parts.len() % 2 == 1 && parts.pop()? == "closed";
        let [version, leading, places @ ..] = parts.as_slice() else { return None };
        if *version != "1" || text.split('~').count() % 2 != usize::from(closed) {
            return None;
        }
        let leading = leading.parse().ok()?;
        let mut cursor = Cursor { entries: Vec::new(), closed };
        for place in places.chunks(2) {
            let (number, epoch) = match place[1].split_once(':') {
                Some((number, epoch)) => (number, epoch.parse().ok()?),
                None => (place[1], leading),
            };
            let offset: u64 = number.parse().ok()?;
            let name = ChannelName::any(&decoded(place[0])?).ok()?;
            if offset.to_string() != number || cursor.entries.iter().any(|(other, _)| *other == name) {
                return None;
            }
            cursor.entries.push((name, Position { epoch, offset }));
        }
        Some(cursor)
    }

    fn decoded(name: &str) -> Option<String> {
        let (mut bytes, mut rest) = (Vec::new(), name);
        while let Some(c) = rest.chars().next() {
            if c == '!' {
                let digits = rest
                    .get(1..3)
                    .filter(|digits| digits.bytes().all(|b| b"0123456789abcdef".contains(&b)))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[3..];
            } else {
                bytes.push(
                    u8::try_from(c).ok().filter(|b| b.is_ascii_alphanumeric() || b"-._:@/".contains(b))?,
                );
                rest = &rest[1..];
            }
        }
        String::from_utf8(bytes).ok()
    }

    fn is_read_as_the_grammar_says(text: &str) -> Result<(), TestCaseError> {
        let read = Cursor::parse(text);
        prop_assert_eq!(read.clone().ok(), by_the_grammar(text), "{}", text);
        if let Ok(cursor) = read {
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
        Ok(())
    }

    /// What could stand between two tildes, right or nearly right.
    fn part() -> impl Strategy<Value = String> {
        let place = "(0|[1-9][0-9]{0,19}|0[0-9]|[+-]1|)(:[0-9a-z]{1,3}|:|:0k|)";
        let name = "(news|@alice|a!20b|!c3!bc|!ff|!2|!4G|!+1|[!a-z@:/._-]{1,4}|ü|)";
        prop_oneof![3 => name, 3 => place, 1 => Just("closed".to_owned()), 1 => "[0-9a-zA-Z~]{0,3}"]
    }

    #[test]
    fn the_grammar_takes_what_the_reader_takes() {
        for text in [
            "1~k",
            "1~k~closed",
            "1~k~news~0~@alice~18446744073709551615:z~closed",
            "1~k~a!20b~1~!c3!bc~2",
            "1~closed",
        ] {
            assert!(by_the_grammar(text).is_some(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_cursor_or_an_error(
            text in ".{0,80}",
            parts in prop::collection::vec(part(), 0..6),
            pairs in prop::collection::vec(
                ("[a-f!0-9]{1,5}|news|@bob", "0|[1-9][0-9]{0,3}(:[a-z]{1,2})?"),
                0..4,
            ),
            end in "(~closed)?",
        ) {
            is_read_as_the_grammar_says(&text)?;
            is_read_as_the_grammar_says(&format!("1~k~{text}"))?;
            is_read_as_the_grammar_says(&format!("1~{}", parts.join("~")))?;
            let pairs: String = pairs.into_iter().map(|(name, place)| format!("~{name}~{place}")).collect();
            is_read_as_the_grammar_says(&format!("1~k{pairs}{end}"))?;
        }

        #[test]
        fn a_cursor_survives_its_text(
            entries in prop::collection::vec(
                ("[^\\p{C}\\p{Z}\\p{M}@]{1,8}", any::<u64>(), 0..4_u64),
                0..9,
            ),
        ) {
            let mut cursor = Cursor::default();
            for (text, offset, epoch) in entries {
                if let Ok(channel) = ChannelName::any(&text) {
                    cursor.set(&channel, Position { epoch: Epoch(epoch), offset });
                }
            }
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }
}
