//! Decompresses one message of permessage-deflate (RFC 7692 section 7.2.2) up to a size bound, so that a
//! small input cannot take much memory. Compression is in `deflate.rs`.

use std::fmt;

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags},
};

use super::Fault;

/// What the sender took from the end of a compressed message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The least and the most room that is made for output at a time.
const ROOM_MIN_BYTES: usize = 64;
const ROOM_MAX_BYTES: usize = 64 * 1024;
/// How much more room is made than there is input.
const ROOM_FACTOR: usize = 4;

/// Inflates one message (RFC 7692 section 7.2.2). Its window is the message itself, as nothing is kept from
/// one to the next.
pub(super) struct Inflater {
    state: DecompressorOxide,
}

impl Inflater {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { state: DecompressorOxide::new() })
    }

    /// Inflates what there is, to at most `max_bytes` of message in `out`; a byte more is the fault of the
    /// sender, however little was sent.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<(), Fault> {
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
            | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        loop {
            let start = out.len();
            let wanted = input.len().saturating_mul(ROOM_FACTOR).clamp(ROOM_MIN_BYTES, ROOM_MAX_BYTES);
            out.resize(start + wanted.min(max_bytes.saturating_add(1).saturating_sub(start)), 0);
            let (status, read, written) = decompress(&mut self.state, input, out, start, flags);
            out.truncate(start + written);
            input = &input[read..];
            if out.len() > max_bytes {
                return Err(Fault::TOO_BIG);
            }
            match status {
                TINFLStatus::NeedsMoreInput => return Ok(()),
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::Done => {
                    // The last block of a stream need not be the last of the message (RFC 7692 section
                    // 7.2.3.4).
                    self.state.init();
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                _ => return Err(Fault::content("a compressed message that cannot be inflated")),
            }
        }
    }

    /// Inflates what is left at the end of the message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, max_bytes: usize) -> Result<(), Fault> {
        self.feed(&TAIL, out, max_bytes)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}
