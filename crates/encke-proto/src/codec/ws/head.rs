//! The head of a frame: two bytes, up to eight more for the length, and the mask, if the sender is a client.

use super::{
    CONTROL_MAX_BYTES, Fault,
    frame::{BINARY, CLOSE, CONTINUATION, FIN, MASKED, PING, PONG, RSV1, TEXT},
};

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX_BYTES: usize = 14;

/// A head in the making.
#[derive(Debug, Default)]
pub(super) struct HeadBytes {
    bytes: [u8; HEAD_MAX_BYTES],
    count: usize,
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Whether it is the last frame of its message.
    pub(super) fin: bool,
    /// Whether the first bit that extensions may use is set.
    pub(super) rsv1: bool,
    /// What kind of frame it is; one of those that there are.
    pub(super) opcode: u8,
    /// How many bytes of payload there are.
    pub(super) length: u64,
    /// The mask.
    pub(super) mask: [u8; 4],
}

impl HeadBytes {
    /// Whether no byte is there.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes as many bytes as belong to the head; the head when it is complete. What can be seen to be wrong
    /// after two bytes is not waited for.
    pub(super) fn take(&mut self, masked: bool, input: &mut &[u8]) -> Result<Option<Head>, Fault> {
        self.fill(input, 2);
        if self.count < 2 {
            return Ok(None);
        }
        let (first, second) = (self.bytes[0], self.bytes[1]);
        check(first, second, masked)?;
        let width = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        self.fill(input, 2 + width);
        if self.count < 2 + width {
            return Ok(None);
        }
        let length = self.bytes[2..2 + width].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let length = match width {
            0 => u64::from(second & 0x7f),
            2 if length < 126 => return Err(Fault::protocol("a length in more bytes than it needs")),
            8 if length <= 0xffff => return Err(Fault::protocol("a length in more bytes than it needs")),
            8 if length >> 63 != 0 => return Err(Fault::protocol("a length with its topmost bit set")),
            _ => length,
        };
        // A mask of zeros changes nothing.
        let mut mask = [0; 4];
        if masked {
            self.fill(input, 2 + width + 4);
            if self.count < 2 + width + 4 {
                return Ok(None);
            }
            mask.copy_from_slice(&self.bytes[2 + width..2 + width + 4]);
        }
        self.count = 0;
        Ok(Some(Head { fin: first & FIN != 0, rsv1: first & RSV1 != 0, opcode: first & 0xf, length, mask }))
    }

    fn fill(&mut self, input: &mut &[u8], until: usize) {
        let count = until.saturating_sub(self.count).min(input.len());
        let (taken, rest) = input.split_at(count);
        self.bytes[self.count..self.count + count].copy_from_slice(taken);
        self.count += count;
        *input = rest;
    }
}

fn check(first: u8, second: u8, masked: bool) -> Result<(), Fault> {
    if first & 0x30 != 0 {
        return Err(Fault::protocol("a reserved bit is set"));
    }
    match first & 0xf {
        CONTINUATION | TEXT | BINARY => {}
        CLOSE | PING | PONG => {
            if first & FIN == 0 {
                return Err(Fault::protocol("a control frame in fragments"));
            }
            if first & RSV1 != 0 {
                return Err(Fault::protocol("a reserved bit is set in a control frame"));
            }
            if usize::from(second & 0x7f) > CONTROL_MAX_BYTES {
                return Err(Fault::protocol("a control frame that is too long"));
            }
        }
        _ => return Err(Fault::protocol("a reserved opcode")),
    }
    match (second & MASKED != 0, masked) {
        (false, true) => Err(Fault::protocol("a frame without a mask")),
        (true, false) => Err(Fault::protocol("a frame of a server with a mask")),
        _ => Ok(()),
    }
}
