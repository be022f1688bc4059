//! Encke's own messages over WebSocket: each event is a text frame, and each text frame from the client is a
//! control request.

use encke_proto::{
    Event, Open,
    codec::ws::{CloseStatus, Fault, Heard, frame},
    limits::BODY_MAX_BYTES,
};

use super::Dialect;
use crate::transports::Exchange;

/// The product's own: an event a message, and control requests the other way.
#[derive(Debug)]
pub(in crate::transports) struct Events;

impl Dialect for Events {
    const NAME: &'static str = "ws";
    const PATH: &'static str = "/v1/ws";
    const MESSAGE_MAX_BYTES: usize = BODY_MAX_BYTES;

    fn begin(exchange: &mut Exchange<'_>) {
        let open = Open {
            session: exchange.session(),
            cursor: exchange.hub.cursor(exchange.conn),
            heartbeat_s: exchange.heartbeat_s,
        };
        frame::text(exchange.out, &Event::Open(open).json());
    }

    fn said(exchange: &mut Exchange<'_>, said: Heard) -> Result<(), Fault> {
        match said {
            Heard::Text(request) => {
                exchange.ask(request);
                Ok(())
            }
            _ => Err(Fault { status: CloseStatus::UNSUPPORTED, reason: "requests are text" }),
        }
    }
}
