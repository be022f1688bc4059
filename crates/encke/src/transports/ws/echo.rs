//! Sends back whatever is sent, for the conformance suite. It is in no build that users get.

use encke_proto::codec::ws::{Fault, Heard, deflate, frame};

use super::Dialect;
use crate::transports::Exchange;

/// Says again what it is told.
#[derive(Debug)]
pub(in crate::transports) struct Echo;

impl Dialect for Echo {
    const NAME: &'static str = "echo";
    const PATH: &'static str = "/v1/echo";
    /// What the suite's largest messages need.
    const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

    fn said(exchange: &mut Exchange<'_>, said: Heard) -> Result<(), Fault> {
        let (opcode, payload) = match &said {
            Heard::Text(text) => (frame::TEXT, text.as_bytes()),
            Heard::Binary(bytes) => (frame::BINARY, &bytes[..]),
            Heard::Ping(_) | Heard::Pong(_) | Heard::Close(_) => return Ok(()),
        };
        match exchange.talk.as_ref().and_then(|talk| talk.compression) {
            // The suite wants every message compressed, also where that makes it longer.
            Some(compression) => {
                let compressed = deflate::compress_within(payload, compression.window_bits());
                frame::head(exchange.out, opcode, true, compressed.len());
                exchange.out.extend_from_slice(&compressed);
            }
            None => frame::write(exchange.out, opcode, payload),
        }
        Ok(())
    }
}
