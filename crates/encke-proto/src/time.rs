//! A moment in UTC and its text (RFC 3339), written and parsed. It reads no clock: the time comes from the
//! caller.

use std::{cell::Cell, fmt};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in milliseconds since 1970 in UTC. On the wire: RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The moment `seconds` later; saturates at the end of time.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The moment `seconds` earlier; saturates at 1970.
    #[must_use]
    pub fn minus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds.saturating_mul(1000)))
    }

    fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

/// How long a time is on the wire.
const TEXT_BYTES: usize = "0000-00-00T00:00:00.000Z".len();

impl Time {
    /// The time as it is on the wire. Each message has one, so it is written without the formatting
    /// machinery, and all but the milliseconds only once for those of a second.
    pub(crate) fn text(self) -> [u8; TEXT_BYTES] {
        // Times past the year 9999 cannot be written in RFC 3339; they are written as its last moment.
        let millis = self.0.min(253_402_300_799_999);
        let (second, millis) = (millis / 1000, millis % 1000);
        let (known, mut text) = LAST_SECOND.get();
        if known != second {
            text = text_of(second);
            LAST_SECOND.set((second, text));
        }
        put(&mut text, 20, 3, millis);
        text
    }
}

thread_local! {
    /// The second that this thread has written last, and its text.
    static LAST_SECOND: Cell<(u64, [u8; TEXT_BYTES])> =
        const { Cell::new((0, *b"1970-01-01T00:00:00.000Z")) };
}

/// The text of a second since 1970, up to the year 9999.
fn text_of(second: u64) -> [u8; TEXT_BYTES] {
    let moment =
        i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
    let (year, month, day) = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_calendar_date();
    let in_day = second % 86_400;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text, 0, 4, u64::from(year.unsigned_abs()));
    put(&mut text, 5, 2, u64::from(u8::from(month)));
    put(&mut text, 8, 2, u64::from(day));
    put(&mut text, 11, 2, in_day / 3600);
    put(&mut text, 14, 2, in_day / 60 % 60);
    put(&mut text, 17, 2, in_day % 60);
    text
}

/// Puts a number of so many digits at a place of a text.
fn put(text: &mut [u8; TEXT_BYTES], at: usize, digits: usize, value: u64) {
    let mut rest = value;
    for place in text[at..at + digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time since 1970"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_rfc_3339_and_read_back() {
        let time = Time(1_763_800_000_123);
        assert_eq!(time.to_string(), "2025-11-22T08:26:40.123Z");
        assert_eq!(Time::parse(&time.to_string()), Some(time));
    }

    #[test]
    fn every_field_is_where_the_library_puts_it() {
        for time in [
            0,
            1,
            59_999,
            86_399_999,
            951_782_400_000,
            951_868_799_999,
            4_107_542_400_001,
            1_709_210_096_789,
            253_402_300_799_000,
        ] {
            let library = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time) * 1_000_000).unwrap();
            assert_eq!(Time::parse(&Time(time).to_string()), Some(Time(time)));
            assert_eq!(Time(time).to_string()[..19], library.format(&Rfc3339).unwrap()[..19]);
        }
    }

    #[test]
    fn the_end_of_time_is_writable() {
        assert_eq!(Time(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
