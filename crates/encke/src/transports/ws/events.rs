//! Encke's own messages over WebSocket: each event is a text frame, and each text frame from the client is a
//! control request.

use encke_proto::{
    Event, Open,
    codec::ws::{CloseStatus, Fault, Received, frame},
    limits::BODY_MAX_BYTES,
};

use super::Dialect;
use crate::transports::TransportContext;

/// The product's own: an event a message, and control requests the other way.
#[derive(Debug)]
pub(in crate::transports) struct Events;

impl Dialect for Events {
    const NAME: &'static str = "ws";
    const PATH: &'static str = "/v1/ws";
    const MESSAGE_MAX_BYTES: usize = BODY_MAX_BYTES;

    fn begin(context: &mut TransportContext<'_>) {
        let open = Open {
            session: context.session(),
            cursor: context.hub.cursor(context.conn),
            heartbeat_s: context.heartbeat_s,
        };
        frame::text(context.out, &Event::Open(open).json());
    }

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        match said {
            Received::Text(request) => {
                context.ask(request);
                Ok(())
            }
            _ => Err(Fault { status: CloseStatus::UNSUPPORTED, reason: "requests are text" }),
        }
    }
}
