//! Sends back whatever is sent, for the conformance suite. It is in no build that users get.

use std::sync::Arc;

use encke_proto::{
    Close, Entry, Gap, Refusal,
    codec::ws::{CloseFrame, CloseStatus, Fault, Received, deflate, frame},
};

use super::{Dialect, native};
use crate::{
    admission::{Admit, Endpoint},
    app::App,
    config::Config,
    transports::{NextAction, Spoken, TransportContext, Ws},
};

const NAME: &str = "echo";

/// Says again what it is told.
#[derive(Debug)]
pub(super) struct Echo;

impl Dialect for Echo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_on(&self, _: &Config) -> bool {
        true
    }

    fn is_configured(&self) -> bool {
        false
    }

    fn endpoints(&self, _: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>> {
        vec![native::endpoint("/v1/echo", None, &Ws(Echo), admit)]
    }
}

impl Spoken for Echo {
    const NAME: &'static str = NAME;
    const DIALECT: &'static str = NAME;
    /// What the suite's largest messages need.
    const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;
    type Answer = ();

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

    fn message(_: &mut TransportContext<'_>, _: &Entry) {}

    fn gap(_: &mut TransportContext<'_>, _: &Gap) {}

    fn answered(_: &mut TransportContext<'_>, (): ()) -> NextAction {
        NextAction::Wait
    }

    fn close(_: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        CloseFrame { status: CloseStatus::NORMAL, reason: close.reason.clone() }
    }

    fn refuse(_: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        CloseFrame { status: CloseStatus::POLICY, reason: refusal.message.clone() }
    }
}
