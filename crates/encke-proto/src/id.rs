//! Session ids and message ids: 128 bits and their text of 22 characters. The random bits come from the
//! caller.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Time;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct IdError;

/// How many bits of a message's id are random; above them are 48 bits of time, in milliseconds.
const CHANCE_BITS: u32 = 80;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 128 bits at six bits a character.
const TEXT_BYTES: usize = 22;

/// How many characters are made of one word of 64 bits: those whose bits it has whole.
const WORD_CHARS: usize = 10;

fn encode(bits: u128) -> [u8; TEXT_BYTES] {
    let mut text = [0; TEXT_BYTES];
    // A word at a time: every message has an id, and a shift of 128 bits is several instructions.
    for (number, slots) in text.rchunks_mut(WORD_CHARS).enumerate() {
        let mut word = (bits >> (6 * WORD_CHARS * number)) as u64;
        for slot in slots.iter_mut().rev() {
            *slot = ALPHABET[(word & 63) as usize];
            word >>= 6;
        }
    }
    text
}

fn decode(text: &str) -> Result<u128, IdError> {
    if text.len() != TEXT_BYTES {
        return Err(IdError);
    }
    let (mut bits, mut seen) = (0_u128, 0);
    for byte in text.bytes() {
        let value = VALUES[usize::from(byte)];
        seen |= value;
        bits = bits << 6 | u128::from(value);
    }
    // The first character carries only the two bits that 21 others leave over.
    let first = text.bytes().next().map_or(u8::MAX, |byte| VALUES[usize::from(byte)]);
    if seen == NOT_IN_IT || first > 3 { Err(IdError) } else { Ok(bits) }
}

/// What stands in [`VALUES`] for a character that is not in the alphabet: more bits than any that is has.
const NOT_IN_IT: u8 = u8::MAX;

/// The place of each character in the alphabet.
const VALUES: [u8; 256] = {
    let (mut values, mut value) = ([NOT_IN_IT; 256], 0);
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// A session: 128 bits that cannot be guessed. It stands in addresses, so knowing it entitles to nothing.
// In bytes, as a number of that width would have to lie at places that leave others empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Random bits as the server has drawn them, of which the lower half tells sessions apart.
        state.write_u64(self.bits() as u64);
    }
}

impl SessionId {
    /// A session id from 128 random bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The id before this one in their order; none before the first.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        self.bits().checked_sub(1).map(Self::from_bits)
    }

    /// The id as text.
    #[must_use]
    pub fn text(self) -> IdText {
        IdText(encode(self.bits()))
    }
}

/// What entitles a page that is being closed to end its session: 128 bits that are made of the session's id
/// and a secret of the server, and told to the session's own client alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CloseKey([u8; 16]);

impl CloseKey {
    /// A key from 128 bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// Its bytes, to be compared in constant time.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The key as text.
    #[must_use]
    pub fn text(&self) -> IdText {
        IdText(encode(u128::from_be_bytes(self.0)))
    }
}

/// A secret is in no log.
impl fmt::Debug for CloseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloseKey(…)")
    }
}

impl FromStr for CloseKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode(text).map(Self::from_bits)
    }
}

impl Serialize for CloseKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
    }
}

/// An id's text, without the detour over a formatter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText([u8; TEXT_BYTES]);

impl IdText {
    /// The text as the bytes that it is sent as.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // All of it is of the alphabet.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The head of the id is enough to tell sessions apart in a log.
        let text = encode(self.bits());
        write!(f, "SessionId({}…)", String::from_utf8_lossy(&text[..6]))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode(text).map(Self::from_bits)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A message or a push: made by the server from the time and 80 random bits, the same for every user that one
/// push reaches.
// It holds its text: there is no allocation for one, and none to be counted for a copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId([u8; TEXT_BYTES]);

/// How many of the last characters of a message's id are hashed: all of their bits are random.
const HASHED_BYTES: usize = 8;

impl Hash for MessageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut last = [0; HASHED_BYTES];
        last.copy_from_slice(&self.0[TEXT_BYTES - HASHED_BYTES..]);
        state.write_u64(u64::from_ne_bytes(last));
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageId").field(&self.as_str()).finish()
    }
}

impl MessageId {
    /// The id of a message of this moment. Ids of one time are neighbours wherever they are sorted, so that a
    /// store which finds messages by id writes to one place, not all over.
    #[must_use]
    pub fn fresh(time: Time, chance: u128) -> Self {
        Self::from_bits(u128::from(time.0) << CHANCE_BITS | chance & ((1 << CHANCE_BITS) - 1))
    }

    /// A message id from 128 bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(encode(bits))
    }

    /// The 128 bits, as [`Self::from_bits`] takes them.
    #[must_use]
    pub fn bits(&self) -> u128 {
        // No id has a text that is not one of bits.
        decode(self.as_str()).unwrap_or_default()
    }

    /// The moment that [`Self::fresh`] made it for.
    #[must_use]
    pub fn time(&self) -> Time {
        // What is left are 48 bits.
        Time((self.bits() >> CHANCE_BITS) as u64)
    }

    /// The id's text as the bytes that it is sent as.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // All of it is of the alphabet.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode(text).map(Self::from_bits)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_stands_where_the_alphabet_has_it() {
        for byte in 0..=u8::MAX {
            let place = ALPHABET.iter().position(|other| *other == byte);
            assert_eq!(usize::from(VALUES[usize::from(byte)]), place.unwrap_or(NOT_IN_IT.into()));
        }
    }

    #[test]
    fn ids_are_read_back_from_their_text_and_from_nothing_else() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = SessionId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(MessageId::from_bits(bits).bits(), bits);
        }
        for text in
            ["", "short", "AAAAAAAAAAAAAAAAAAAAAA=", "zAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA/"]
        {
            assert_eq!(text.parse::<SessionId>(), Err(IdError), "{text}");
        }
    }

    #[test]
    fn messages_of_one_time_are_neighbours() {
        let id = |time, chance| MessageId::fresh(Time(time), chance).to_string();
        let now = 1_700_000_000_000;
        assert_eq!(id(now, u128::MAX)[..8], id(now, 1)[..8]);
        assert_ne!(id(now, 1), id(now, 2), "and not the same");
        assert_ne!(id(now, 1), id(now + 1, 1));
        for chance in [0, u128::MAX] {
            assert_eq!(MessageId::fresh(Time(now), chance).time(), Time(now));
        }
    }

    #[test]
    fn a_close_key_is_read_back_and_in_no_log() {
        let key = CloseKey::from_bits(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(key.text().as_str().parse(), Ok(key));
        assert_eq!("short".parse::<CloseKey>(), Err(IdError));
        assert!(!format!("{key:?}").contains(&key.text().as_str()[..4]));
    }

    #[test]
    fn a_session_id_is_not_whole_in_a_log() {
        let id = SessionId::from_bits(7);
        assert!(!format!("{id:?}").contains(&id.to_string()));
    }
}
