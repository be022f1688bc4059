//! Sends back whatever is sent, for the conformance suite. It is in no build that users get.

use encke_proto::codec::ws::{Fault, Received, deflate, frame};

use super::Dialect;
use crate::transports::TransportContext;

/// Says again what it is told.
#[derive(Debug)]
pub(in crate::transports) struct Echo;

impl Dialect for Echo {
    const NAME: &'static str = "echo";
    const PATH: &'static str = "/v1/echo";
    /// What the suite's largest messages need.
    const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        let (opcode, payload) = match &said {
            Received::Text(text) => (frame::TEXT, text.as_bytes()),
            Received::Binary(bytes) => (frame::BINARY, &bytes[..]),
            Received::Ping(_) | Received::Pong(_) | Received::Close(_) => return Ok(()),
        };
        match context.duplex.as_ref().and_then(|duplex| duplex.compression) {
            // The suite wants every message compressed, also where that makes it longer.
            Some(compression) => {
                let compressed = deflate::compress_within(payload, compression.window_bits());
                frame::head(context.out, opcode, true, compressed.len());
                context.out.extend_from_slice(&compressed);
            }
            None => frame::write(context.out, opcode, payload),
        }
        Ok(())
    }
}
