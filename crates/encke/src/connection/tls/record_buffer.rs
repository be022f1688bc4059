//! The buffer in which records are read and opened. All connections of a thread share one.

use std::ops::{Deref, Range};

/// The most bytes of plain text in a record (RFC 8446 section 5.1).
pub(super) const PLAIN_MAX_BYTES: usize = 16 * 1024;
/// The most bytes of a record, its header and what encryption adds among them (RFC 5246 section 6.2.3; TLS
/// 1.3 allows less).
pub(super) const RECORD_MAX_BYTES: usize = 5 + PLAIN_MAX_BYTES + 2_048;

/// A place for records, with room before it for their plain text, which is what the buffer is read as. A
/// record that is complete may be larger than what was read last, since its beginning may have come before;
/// with this room its plain text fits all the same. The default has no room at all: it stands for a buffer
/// that is lent.
#[derive(Debug, Default)]
pub struct RecordBuffer(Box<[u8]>);

impl RecordBuffer {
    /// A buffer.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0; PLAIN_MAX_BYTES + RECORD_MAX_BYTES].into())
    }

    /// The beginning, as long as one record's plain text: for what is not encrypted.
    pub fn plain_room(&mut self) -> &mut [u8] {
        self.0.get_mut(..PLAIN_MAX_BYTES).unwrap_or_default()
    }

    /// The place for records, but for so many bytes at its beginning.
    pub(super) fn sealed_room(&mut self, kept: usize) -> &mut [u8] {
        self.0.get_mut(PLAIN_MAX_BYTES + kept..).unwrap_or_default()
    }

    /// What is before a place in the records and may be overwritten with plain text, and the records from
    /// there on.
    pub(super) fn split(&mut self, records: Range<usize>) -> (&mut [u8], &mut [u8]) {
        match self.0.split_at_mut_checked(PLAIN_MAX_BYTES + records.start) {
            Some((plain, rest)) => (plain, rest.get_mut(..records.len()).unwrap_or_default()),
            None => (&mut [], &mut []),
        }
    }
}

impl Deref for RecordBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
