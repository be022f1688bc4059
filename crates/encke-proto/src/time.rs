//! A moment in UTC and its text (RFC 3339), written and parsed. It reads no clock: the time comes from the
//! caller.

use std::fmt;

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
    /// machinery.
    pub(crate) fn text(self) -> [u8; TEXT_BYTES] {
        // Times past the year 9999 cannot be written in RFC 3339; they are written as its last moment.
        let millis = self.0.min(253_402_300_799_999);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let moment =
            i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let (year, month, day) = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_calendar_date();
        let in_day = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: usize, value: u64| {
            let mut rest = value;
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        put(0, 4, u64::from(year.unsigned_abs()));
        put(5, 2, u64::from(u8::from(month)));
        put(8, 2, u64::from(day));
        put(11, 2, in_day / 3600);
        put(14, 2, in_day / 60 % 60);
        put(17, 2, in_day % 60);
        put(20, 3, millis);
        text
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
