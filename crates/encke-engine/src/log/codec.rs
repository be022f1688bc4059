//! The numbers and texts of which records are made: unsigned integers in groups of seven bits, and bytes
//! behind their length. What the records say is in `record.rs`.

use encke_proto::Time;

/// Bytes that are not what a record should hold, with what was expected in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not there")]
pub(super) struct Malformed(pub(super) &'static str);

/// The most bytes that a number takes.
const NUMBER_MAX_BYTES: usize = 10;

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was appended, from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("a byte"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for at in 0..NUMBER_MAX_BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("the end of a number"))
    }

    /// A number of 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a number of 32 bits"))
    }

    /// How many items follow. No item is shorter than a byte, so a number that is wrong reserves no memory.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed("a count"))?;
        if count > self.0.len() { Err(Malformed("as much as is counted")) } else { Ok(count) }
    }

    pub(super) fn time(&mut self) -> Result<Time, Malformed> {
        self.number().map(Time)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Malformed("as many bytes as are counted"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text in UTF-8"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("as many bytes as a field has"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_read_back() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        for number in numbers {
            put_number(&mut out, number);
        }
        put_bytes(&mut out, "Grüße".as_bytes());
        let mut reader = Reader(&out);
        for number in numbers {
            assert_eq!(reader.number(), Ok(number));
        }
        assert_eq!((reader.text(), reader.0.len()), (Ok("Grüße"), 0));
        for cut in 0..out.len() {
            let mut reader = Reader(&out[..cut]);
            let read =
                numbers.iter().try_for_each(|_| reader.number().map(drop)).and_then(|()| reader.text());
            assert!(read.is_err(), "cut at {cut}");
        }
    }
}
