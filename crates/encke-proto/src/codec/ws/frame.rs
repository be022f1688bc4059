//! Frames as they are sent (RFC 6455 section 5.2): never in fragments, and masked only by clients.

use super::mask::unmask;

/// Opcode of a frame that goes on with a message.
pub(super) const CONTINUATION: u8 = 0x0;
/// Opcode of text.
pub const TEXT: u8 = 0x1;
/// Opcode of bytes.
pub const BINARY: u8 = 0x2;
/// Opcode of the end.
pub const CLOSE: u8 = 0x8;
/// Opcode of a question whether the peer is there.
pub const PING: u8 = 0x9;
/// Opcode of its answer.
pub const PONG: u8 = 0xa;

/// The bit of the last frame of a message.
pub(super) const FIN: u8 = 0x80;
/// The bit of a compressed message (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;
/// The bit of a masked frame, in the second byte.
pub(super) const MASKED: u8 = 0x80;
/// The longest head that the server writes.
pub const HEAD_MAX_BYTES: usize = 10;

/// Writes the head of a frame that is a whole message, in as few bytes as it can be.
pub fn head(out: &mut Vec<u8>, opcode: u8, compressed: bool, length: usize) {
    out.push(FIN | opcode | if compressed { RSV1 } else { 0 });
    // The widest a usize can be is 64 bits, and none that is held in memory has the topmost set.
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Writes a frame that is a whole message or a control frame.
pub fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.reserve(HEAD_MAX_BYTES + payload.len());
    head(out, opcode, false, payload.len());
    out.extend_from_slice(payload);
}

/// Writes text as a whole message.
pub fn text(out: &mut Vec<u8>, text: &str) {
    write(out, TEXT, text.as_bytes());
}

/// The same frame as a client sends it. The mask has to be one that cannot be foreseen (RFC 6455 section
/// 5.3).
///
/// `frame` is what one of the functions above has written.
#[must_use]
pub fn masked(frame: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = frame.to_vec();
    let head = match frame.get(1) {
        None => return out,
        Some(126) => 4,
        Some(127) => HEAD_MAX_BYTES,
        Some(_) => 2,
    };
    out[1] |= MASKED;
    unmask(&mut out[head..], mask, 0);
    out.splice(head..head, mask);
    out
}
