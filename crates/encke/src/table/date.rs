use encke_proto::Time;
use time::{OffsetDateTime, UtcDateTime};

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

fn imf_fixdate(second: u64) -> String {
    let moment = i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
    let moment = UtcDateTime::from(moment.unwrap_or(OffsetDateTime::UNIX_EPOCH));
    let (day, month) = (moment.weekday().to_string(), moment.month().to_string());
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        &day[..3],
        moment.day(),
        &month[..3],
        moment.year(),
        moment.hour(),
        moment.minute(),
        moment.second()
    )
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
    }
}
