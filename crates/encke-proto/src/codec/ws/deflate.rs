//! Messages compressed once for all who receive them (RFC 7692 section 7.2.1): each by itself, without what
//! went before.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};

use super::{frame, negotiate::WINDOW_BITS_MAX};

/// How hard is tried, from 1 to 9: zlib's default.
const LEVEL: i32 = 6;
/// Raw DEFLATE, without zlib's head.
const RAW: i32 = -15;
/// How a flushed stream ends; the receiver knows.
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// The payload of a compressed message.
#[must_use]
pub fn compress(payload: &[u8]) -> Vec<u8> {
    compress_within(payload, WINDOW_BITS_MAX)
}

/// The payload of a compressed message for a receiver that looks back no further than 2 to the `window_bits`
/// bytes: it is compressed in parts of that length, none of which refers to another.
#[must_use]
pub fn compress_within(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() / 2 + 16);
    let part = if window_bits < WINDOW_BITS_MAX { 1 << window_bits } else { payload.len() };
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, RAW, 0));
    let mut left = payload;
    while !left.is_empty() {
        let (now, later) = left.split_at(part.min(left.len()));
        left = later;
        let flush = if left.is_empty() { TDEFLFlush::Sync } else { TDEFLFlush::Full };
        compress_to_output(&mut compressor, now, flush, |bytes| {
            out.extend_from_slice(bytes);
            true
        });
    }
    if out.ends_with(TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    if out.is_empty() {
        // An empty block, whose length the receiver adds (RFC 7692 section 7.2.3.6).
        out.push(0);
    }
    out
}

/// A whole message in a compressed frame; none when that is not smaller than the plain one.
#[must_use]
pub fn message(opcode: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let compressed = compress(payload);
    if compressed.len() >= payload.len() {
        return None;
    }
    let mut out = Vec::with_capacity(frame::HEAD_MAX_BYTES + compressed.len());
    frame::head(&mut out, opcode, true, compressed.len());
    out.extend_from_slice(&compressed);
    Some(out)
}
