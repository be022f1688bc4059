//! How many records without text a client may send: requests for new keys, and empty ones.
//!
//! Such a record costs as much as one with text, or twenty times as much if keys are derived for it, and an
//! honest client hardly sends any: those that change their keys do so once in gigabytes. rustls refuses some
//! in a row only, and begins to count anew behind each record with text, however short that is.

/// The most records without text that a client may send for nothing.
pub(super) const EMPTY_RECORDS_MAX: u8 = 64;
/// For so many bytes of text, sent or received, a client may send one more.
pub(super) const TEXT_PER_EMPTY_RECORD_BYTES: usize = 4 * 1024;

/// How many records without text a client may still send after its handshake.
#[derive(Debug)]
pub(super) struct EmptyRecords {
    left: u8,
    /// Text for which none was added yet; less than [`TEXT_PER_EMPTY_RECORD_BYTES`].
    text_bytes: u16,
}

impl EmptyRecords {
    pub(super) fn new() -> Self {
        Self { left: EMPTY_RECORDS_MAX, text_bytes: 0 }
    }

    /// So much text was sent or received.
    pub(super) fn add(&mut self, text_bytes: usize) {
        let text_bytes = text_bytes.saturating_add(usize::from(self.text_bytes));
        let more = u8::try_from(text_bytes / TEXT_PER_EMPTY_RECORD_BYTES).unwrap_or(u8::MAX);
        self.left = self.left.saturating_add(more).min(EMPTY_RECORDS_MAX);
        // Less than the divisor, which fits.
        self.text_bytes = (text_bytes % TEXT_PER_EMPTY_RECORD_BYTES) as u16;
    }

    /// A record without text has come. False when it is one too many.
    pub(super) fn take(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(empty_records: &mut EmptyRecords) -> usize {
        (0..1_000).take_while(|_| empty_records.take()).count()
    }

    #[test]
    fn so_many_are_free_and_text_makes_room_for_more_of_them() {
        let mut empty_records = EmptyRecords::new();
        empty_records.add(usize::MAX);
        assert_eq!(left(&mut empty_records), usize::from(EMPTY_RECORDS_MAX), "more is not saved up");
        empty_records.add(TEXT_PER_EMPTY_RECORD_BYTES - usize::from(empty_records.text_bytes) - 1);
        assert_eq!(left(&mut empty_records), 0);
        empty_records.add(1);
        assert_eq!(left(&mut empty_records), 1);
        for _ in 0..3 * TEXT_PER_EMPTY_RECORD_BYTES {
            empty_records.add(1);
        }
        assert_eq!(left(&mut empty_records), 3, "also if it comes byte by byte");
    }
}
