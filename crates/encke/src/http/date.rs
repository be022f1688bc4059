//! The value of `Date:`, written once a second for all responses of a shard.

use std::time::{Duration, UNIX_EPOCH};

use encke_proto::Time;

/// The value of `Date:` (RFC 9110 section 5.6.7), made once a second.
#[derive(Debug, Default)]
pub struct DateLine {
    second: u64,
    text: String,
}

impl DateLine {
    /// The text for this moment.
    pub fn at(&mut self, now: Time) -> &str {
        let second = now.0 / 1000;
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = imf_fixdate(second);
        }
        &self.text
    }
}

/// The last second of the year 9999: four digits of a year are all that the form has.
const LAST_SECOND: u64 = 253_402_300_799;

fn imf_fixdate(second: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_rfc_writes_it() {
        assert_eq!(imf_fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut line = DateLine::default();
        assert_eq!(line.at(Time(784_111_777_999)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(line.at(Time(784_111_778_000)), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(imf_fixdate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        for second in [LAST_SECOND, LAST_SECOND + 1, u64::MAX] {
            assert_eq!(imf_fixdate(second), "Fri, 31 Dec 9999 23:59:59 GMT", "{second}");
        }
    }
}
