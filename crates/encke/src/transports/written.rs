//! What was written for a connection, as a transport may ask: whether its peer's kernel has everything up to
//! some message.

use std::fmt;

/// What a record of TLS 1.3 adds to what is in it: its head, its type and its tag.
const RECORD_BYTES: usize = 22;
/// The most that one record holds.
const RECORD_MAX_BYTES: usize = 16 * 1024;

/// What was written for a connection before a turn, modulo 2^32: less than that is on its way at a time.
pub struct Written<'a> {
    /// How many bytes that is, as they are sent.
    pub before: u32,
    /// Where this turn's bytes begin in the output.
    pub start: usize,
    /// Whether they are sent in records of TLS.
    pub sealed: bool,
    /// How many bytes are not acknowledged; none when the kernel does not say.
    pub outstanding: &'a dyn Fn() -> Option<usize>,
}

impl Written<'_> {
    /// How much was written once the output is sent that is `length` bytes long now.
    #[must_use]
    pub fn until(&self, length: usize) -> u32 {
        let plain = length.saturating_sub(self.start);
        let added = if self.sealed { plain.div_ceil(RECORD_MAX_BYTES) * RECORD_BYTES } else { 0 };
        // The low bits are what is counted.
        self.before.wrapping_add((plain + added) as u32)
    }

    /// How much of what was written before this turn the kernel of the peer has acknowledged, counted as
    /// [`Written::until`] does; none when it is not known.
    #[must_use]
    pub fn acknowledged(&self) -> Option<u32> {
        Some(self.before.wrapping_sub((self.outstanding)()? as u32))
    }
}

impl fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("before", &self.before).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted_as_it_is_sent() {
        let outstanding = || Some(10);
        let written = |sealed| Written { before: u32::MAX, start: 5, sealed, outstanding: &outstanding };
        assert_eq!((written(false).until(5), written(false).until(6)), (u32::MAX, 0));
        assert_eq!((written(true).until(6), written(true).until(5 + RECORD_MAX_BYTES + 1)), (22, 16_428));
        assert_eq!(written(false).acknowledged(), Some(u32::MAX - 10));
    }
}
