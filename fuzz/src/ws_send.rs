//! What is sent over a WebSocket, in either direction, compressed or not, comes back from the reader.

use arbitrary::Arbitrary;
use encke_proto::codec::ws::{CloseFrame, CloseStatus, Compression, Reader, Received, Rules, deflate, frame};

use crate::input::{Rest, typed};

#[derive(Arbitrary, Debug)]
enum Sent<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Compressed { bytes: &'a [u8], times: u8, window_bits: u8 },
    Ping(&'a [u8]),
    Pong(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    mask: Option<[u8; 4]>,
    close: (u16, &'a str),
    offers: &'a str,
    sent: Rest<Sent<'a>>,
}

/// The longest message of this target, in bytes.
const MESSAGE_MAX_BYTES: usize = 1 << 20;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input<'_>>(bytes) else { return };
    let rules =
        Rules { message_max_bytes: MESSAGE_MAX_BYTES, compression: true, masked: input.mask.is_some() };
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for sent in &input.sent.0 {
        let (plain, heard) = write(sent);
        match input.mask {
            Some(mask) => out.extend(frame::masked(&plain, mask)),
            None => out.extend(plain),
        }
        expected.push(heard);
    }
    if let Some(status) = CloseStatus::new(input.close.0) {
        let mut plain = Vec::new();
        CloseFrame::write(&mut plain, status, input.close.1);
        match input.mask {
            Some(mask) => out.extend(frame::masked(&plain, mask)),
            None => out.extend(plain),
        }
        let reason = input.close.1;
        // As much of it as a control frame holds, cut between two characters.
        let length =
            (0..=reason.len().min(123)).rev().find(|length| reason.is_char_boundary(*length)).unwrap_or(0);
        expected.push(Received::Close(Some(CloseFrame { status, reason: reason[..length].to_owned() })));
    }
    let (mut reader, mut rest) = (Reader::default(), out.as_slice());
    for heard in expected {
        assert_eq!(reader.next(&rules, &mut rest), Ok(Some(heard)));
    }
    assert!(rest.is_empty() && reader.is_idle());
    negotiate(input.offers);
}

/// A whole frame of the server's, and what is heard of it.
fn write(sent: &Sent<'_>) -> (Vec<u8>, Received) {
    let mut out = Vec::new();
    match sent {
        Sent::Text(text) => {
            frame::text(&mut out, text);
            (out, Received::Text((*text).to_owned()))
        }
        Sent::Binary(bytes) => {
            frame::write(&mut out, frame::BINARY, bytes);
            (out, Received::Binary(bytes.to_vec()))
        }
        Sent::Compressed { bytes, times, window_bits } => {
            let message = bytes.repeat(usize::from(*times));
            let payload = deflate::compress_within(&message, 8 + window_bits % 8);
            frame::head(&mut out, frame::BINARY, true, payload.len());
            out.extend_from_slice(&payload);
            (out, Received::Binary(message))
        }
        Sent::Ping(bytes) => {
            let bytes = &bytes[..bytes.len().min(125)];
            frame::write(&mut out, frame::PING, bytes);
            (out, Received::Ping(bytes.to_vec()))
        }
        Sent::Pong(bytes) => {
            let bytes = &bytes[..bytes.len().min(125)];
            frame::write(&mut out, frame::PONG, bytes);
            (out, Received::Pong(bytes.to_vec()))
        }
    }
}

/// An offer that is accepted names what is accepted, and would be accepted if it were offered itself.
fn negotiate(offers: &str) {
    let Some(compression) = Compression::negotiate(offers) else { return };
    assert!(offers.contains("permessage-deflate"));
    assert!((8..=15).contains(&compression.window_bits()));
    let again = Compression::negotiate(&compression.response());
    assert_eq!(again.map(Compression::window_bits), Some(compression.window_bits()));
    assert!(compression.fits(1 << compression.window_bits()));
}
