//! Offsets, epochs and positions: a place in one channel. Places in several channels make a cursor
//! (`cursor.rs`).

use std::{cell::Cell, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of a message in its channel: the first has 1, each next one more. 0 stands before the first.
pub type Offset = u64;

/// Why a text is not an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch")]
pub struct EpochError;

/// Within one epoch of a channel, an offset means the same message for ever. A new epoch begins whenever that
/// can no longer be promised. Text: base 36, lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl Epoch {
    /// Writes the text, without the detour over a formatter: cursors are written for every message.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn write_to(self, out: &mut impl fmt::Write) -> fmt::Result {
        let (text, at) = self.text();
        out.write_str(std::str::from_utf8(&text[at..]).unwrap_or("0"))
    }

    /// Appends the text.
    pub(crate) fn push_to(self, out: &mut Vec<u8>) {
        let (text, at) = self.text();
        out.extend_from_slice(&text[at..]);
    }

    /// The digits at the end of a text, and where they begin. Nearly all logs of a store are of one epoch.
    fn text(self) -> ([u8; EPOCH_DIGITS], usize) {
        let (known, mut text, mut at) = LAST_EPOCH.get();
        if known != self {
            at = self.digits(&mut text);
            LAST_EPOCH.set((self, text, at));
        }
        (text, at)
    }

    /// Puts the digits at the end of a text; where they begin.
    fn digits(self, text: &mut [u8; EPOCH_DIGITS]) -> usize {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut at = text.len();
        let mut rest = self.0;
        loop {
            at -= 1;
            text[at] = DIGITS[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                return at;
            }
        }
    }
}

/// 64 bits have at most so many digits in base 36.
const EPOCH_DIGITS: usize = 13;

thread_local! {
    /// The epoch that this thread has written last, its digits at the end of a text, and where they begin.
    static LAST_EPOCH: Cell<(Epoch, [u8; EPOCH_DIGITS], usize)> =
        const { Cell::new((Epoch(0), [b'0'; EPOCH_DIGITS], EPOCH_DIGITS - 1)) };
}

/// Writes an offset in decimal, without the detour over a formatter.
///
/// # Errors
/// Only those of the writer.
pub fn write_offset(out: &mut impl fmt::Write, offset: Offset) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(offset))
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        // One text for each epoch, so that cursors can be compared as text: no sign, no capitals, no leading
        // zero.
        if text.is_empty() || (text.starts_with('0') && text.len() > 1) {
            return Err(EpochError);
        }
        let digits = text.bytes().try_fold(0_u64, |epoch, byte| {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                _ => return None,
            };
            epoch.checked_mul(36)?.checked_add(u64::from(digit))
        });
        digits.map(Self).ok_or(EpochError)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far something has come in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The epoch that the offset belongs to.
    pub epoch: Epoch,
    /// The last offset that is behind; 0 when none is.
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_as_the_standard_library_writes_them() {
        for offset in [0, 1, 9, 10, 1234, u64::MAX] {
            let mut text = String::new();
            write_offset(&mut text, offset).unwrap();
            assert_eq!(text, offset.to_string());
        }
    }

    #[test]
    fn an_epoch_has_one_text() {
        for bits in [0, 1, 35, 36, u64::MAX] {
            assert_eq!(Epoch(bits).to_string().parse(), Ok(Epoch(bits)));
        }
        for text in ["", "00", "01", "A", "+1", "-1", "3w5e11264sgsg", "zzzzzzzzzzzzzz"] {
            assert_eq!(text.parse::<Epoch>(), Err(EpochError), "{text}");
        }
    }
}
