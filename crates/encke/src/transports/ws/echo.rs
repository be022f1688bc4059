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
        let compression = exchange.talk.as_ref().and_then(|talk| talk.compression);
        let fits = compression.is_some_and(|compression| compression.fits(payload.len()));
        match fits.then(|| deflate::message(opcode, payload)).flatten() {
            Some(compressed) => exchange.out.extend_from_slice(&compressed),
            None => frame::write(exchange.out, opcode, payload),
        }
        Ok(())
    }
}
