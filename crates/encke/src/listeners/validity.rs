//! From when and until when a certificate is valid. rustls asks that of the certificates of others only.

use super::der::{GENERALIZED_TIME, INTEGER, NUMBER_0, SEQUENCE, UTC_TIME, value};

/// The first and the last second in which a certificate is valid, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before_s: i64,
    pub(super) not_after_s: i64,
}

impl Validity {
    /// That of a certificate; none when it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (whole, _) = value(certificate, SEQUENCE)?;
        let (fields, _) = value(whole, SEQUENCE)?;
        // The version, which may be left out (RFC 5280 section 4.1).
        let fields = value(fields, NUMBER_0).map_or(fields, |(_, rest)| rest);
        // The number, the kind of signature and the issuer come before it.
        let (_, fields) = value(fields, INTEGER)?;
        let (_, fields) = value(fields, SEQUENCE)?;
        let (_, fields) = value(fields, SEQUENCE)?;
        let (validity, _) = value(fields, SEQUENCE)?;
        let (not_before_s, not_after) = time(validity)?;
        Some(Self { not_before_s, not_after_s: time(not_after)?.0 })
    }

    /// How long it is, in seconds.
    pub(super) fn life_s(self) -> i64 {
        (self.not_after_s - self.not_before_s).max(0)
    }
}

/// The time at the beginning, and what is behind it. Both forms end in `Z` (RFC 5280 section 4.1.2.5).
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, century) = match value(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, None),
        None => {
            let (text, rest) = value(bytes, GENERALIZED_TIME)?;
            let (century, text) = text.split_at_checked(2)?;
            (text, rest, Some(two_digits(century)?))
        }
    };
    let [digits @ .., b'Z'] = text else { return None };
    let parts: Vec<i64> = digits.chunks(2).map(two_digits).collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second] = parts[..] else { return None };
    let century = century.unwrap_or(if year < 50 { 20 } else { 19 });
    let days = days_before(100 * century + year, month, day);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

fn two_digits(text: &[u8]) -> Option<i64> {
    let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = text else { return None };
    Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// How many days a day of the Gregorian calendar is after the first of 1970. Years are counted from March, so
/// that a leap day is the last of its year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From the first of March of the year 0 to the first of 1970 there are 719,468 days.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn not_after_s(certificate: &[u8]) -> Option<i64> {
        Validity::of(certificate).map(|validity| validity.not_after_s)
    }

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1990, 1, 2);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for ((year, month, day), end_s) in [
            ((1999, 12, 31), 946_598_400),
            ((2000, 2, 29), 951_782_400),
            ((2000, 3, 1), 951_868_800),
            ((2026, 11, 28), 1_795_824_000),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            assert_eq!(not_after_s(&certificate(year, month, day)), Some(end_s), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn the_beginning_is_read_too() {
        let validity = Validity::of(&certificate(1990, 1, 4)).unwrap();
        assert_eq!((validity.not_before_s, validity.life_s()), (631_238_400, 2 * 86_400));
    }

    #[test]
    fn what_is_no_certificate_or_is_cut_has_no_end() {
        let whole = certificate(2030, 1, 1);
        let end = (0..whole.len()).find(|end| not_after_s(&whole[..*end]).is_some());
        assert_eq!(end, None, "the length in front is that of all");
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            // Whatever comes of it, it is read to its end.
            let _ = not_after_s(&changed);
        }
    }
}
