//! What is sent and looked for: a JSON string of an exact size that says which message it is, when it was
//! due, and whose other bytes can be foretold.

/// What every payload begins with, behind its quotation mark.
pub const MARK: &[u8] = b"encke-bench ";
/// The bytes up to the filler: the mark, lane, number and due time in hexadecimal digits, each with a hyphen
/// behind it.
const HEAD_BYTES: usize = MARK.len() + 9 + 9 + 13;
/// The smallest payload, its two quotation marks included.
pub const PAYLOAD_MIN_BYTES: usize = HEAD_BYTES + 2;
/// The messages of the filler, which begins at another one for each message.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The ordered stream that it belongs to.
    pub lane: u32,
    /// Its number there, from 0.
    pub number: u32,
    /// When it was due, in microseconds since the generator began.
    pub due_us: u64,
}

impl Stamp {
    /// The payload, quotation marks included, of exactly `size` bytes (or [`PAYLOAD_MIN_BYTES`]).
    #[must_use]
    pub fn payload(&self, size: usize) -> String {
        let mut text = String::with_capacity(size.max(PAYLOAD_MIN_BYTES));
        text.push('"');
        text.push_str("encke-bench ");
        text.push_str(&format!("{:08x}-{:08x}-{:012x}-", self.lane, self.number, self.due_us));
        let mut at = self.first_character();
        while text.len() + 1 < size {
            text.push(char::from(ALPHABET[at]));
            at = (at + 1) % ALPHABET.len();
        }
        text.push('"');
        text
    }

    fn first_character(&self) -> usize {
        (self.lane as usize + self.number as usize) % ALPHABET.len()
    }
}

/// A payload was found that is not as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Finds all payloads of `size` bytes within what was received, whatever stands around them.
pub fn find_all(bytes: &[u8], size: usize, mut found: impl FnMut(Result<Stamp, Damaged>)) {
    let mut rest = bytes;
    while let Some(at) = find(rest, MARK) {
        rest = &rest[at..];
        // The mark was found one byte behind the quotation mark that begins the payload.
        let length = size.max(PAYLOAD_MIN_BYTES) - 1;
        found(read(rest, length));
        rest = &rest[length.min(rest.len())..];
    }
}

fn read(bytes: &[u8], length: usize) -> Result<Stamp, Damaged> {
    let body = bytes.get(..length).ok_or(Damaged)?;
    let field = |from: usize, digits: usize| -> Result<u64, Damaged> {
        let text = std::str::from_utf8(&body[from..from + digits]).map_err(|_| Damaged)?;
        if body[from + digits] != b'-' {
            return Err(Damaged);
        }
        u64::from_str_radix(text, 16).map_err(|_| Damaged)
    };
    let at = MARK.len();
    let narrow = |value: u64| u32::try_from(value).map_err(|_| Damaged);
    let stamp = Stamp {
        lane: narrow(field(at, 8)?)?,
        number: narrow(field(at + 9, 8)?)?,
        due_us: field(at + 18, 12)?,
    };
    let (filler, end) = body[HEAD_BYTES..].split_at(length - HEAD_BYTES - 1);
    let mut at = stamp.first_character();
    for byte in filler {
        if *byte != ALPHABET[at] {
            return Err(Damaged);
        }
        at = if at + 1 == ALPHABET.len() { 0 } else { at + 1 };
    }
    if end == b"\"" { Ok(stamp) } else { Err(Damaged) }
}

/// Where `needle` begins in `bytes`.
#[must_use]
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_and_is_found_again() {
        for size in [PAYLOAD_MIN_BYTES, 100, 1000] {
            let stamps = [
                Stamp { lane: 7, number: 42, due_us: 123_456_789 },
                Stamp { lane: 0, number: u32::MAX, due_us: 0 },
            ];
            let text = format!("data: {{\"a\":{}}} eek {}", stamps[0].payload(size), stamps[1].payload(size));
            assert_eq!(stamps[0].payload(size).len(), size);
            let mut found = Vec::new();
            find_all(text.as_bytes(), size, |stamp| found.push(stamp.unwrap()));
            assert_eq!(found, stamps);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let text = Stamp { lane: 7, number: 42, due_us: 9 }.payload(100);
        for at in 13..100 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = b'~';
            let mut found = Vec::new();
            find_all(&bytes, 100, |stamp| found.push(stamp));
            assert_eq!(found, [Err(Damaged)], "at {at}");
        }
        let mut found = Vec::new();
        find_all(&text.as_bytes()[..99], 100, |stamp| found.push(stamp));
        assert_eq!(found, [Err(Damaged)], "cut short");
    }
}
