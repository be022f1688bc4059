//! Encke's own messages over WebSocket: each event is a text frame, and each text frame from the client is a
//! control request.

use encke_proto::{
    Close, CloseCode, Entry, Event, Expiring, Gap, Refusal, Unsubscribed,
    codec::ws::{CloseFrame, CloseStatus, Fault, Received, frame},
    json,
    limits::BODY_MAX_BYTES,
};
use serde::Serialize;

use super::{NAME, form::Messages};
use crate::transports::{NextAction, Spoken, TransportContext};

/// The product's own: an event a message, and control requests the other way.
#[derive(Debug)]
pub(super) struct Events<M>(pub(super) M);

impl<M: Messages> Spoken for Events<M> {
    const NAME: &'static str = "ws";
    const DIALECT: &'static str = NAME;
    const MESSAGE_MAX_BYTES: usize = BODY_MAX_BYTES;
    type Answer = String;

    fn begin(context: &mut TransportContext<'_>) {
        let open = M::open(context);
        frame::text(context.out, &Event::Open(open).json());
    }

    fn on_message(context: &mut TransportContext<'_>, said: Received) -> Result<(), Fault> {
        match said {
            Received::Text(request) => {
                context.ask(Box::new(request));
                Ok(())
            }
            _ => Err(Fault { status: CloseStatus::UNSUPPORTED, reason: "requests are text" }),
        }
    }

    /// Writes a message in the form that all receivers of its kind share.
    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        let form = M::form(context);
        let compression = context.duplex.as_ref().and_then(|duplex| duplex.compression);
        let policy = context.site.compression;
        let compresses =
            compression.is_some_and(|agreed| policy.compresses(entry, form.json(entry).len(), agreed));
        match if compresses { form.ws_frame_compressed(entry) } else { None } {
            Some(compressed) => context.out.extend_from_slice(compressed),
            None => form.push_ws_frame(context.out, entry),
        }
    }

    fn gap(context: &mut TransportContext<'_>, gap: &Gap) {
        frame::text(context.out, &Event::Gap(gap.clone()).json());
    }

    fn unsubscribed(context: &mut TransportContext<'_>, told: &Unsubscribed) {
        frame::text(context.out, &Event::Unsubscribed(told.clone()).json());
    }

    fn expiring(context: &mut TransportContext<'_>, told: Expiring) {
        frame::text(context.out, &Event::Expiring(told).json());
    }

    fn answered(context: &mut TransportContext<'_>, answer: String) -> NextAction {
        frame::text(context.out, &answer);
        NextAction::Wait
    }

    /// Says that the session has ended, as an event for clients that read events, and in the close frame.
    fn close(context: &mut TransportContext<'_>, close: &Close) -> CloseFrame {
        frame::text(context.out, &Event::Close(close.clone()).json());
        CloseFrame { status: status(close.code), reason: close.reason.clone() }
    }

    fn refuse(context: &mut TransportContext<'_>, refusal: &Refusal) -> CloseFrame {
        #[derive(Serialize)]
        struct Refused<'a> {
            event: &'a str,
            code: &'a str,
            reason: &'a str,
            reconnect: bool,
        }
        let (code, reason) = (refusal.code, refusal.message.as_str());
        let refused =
            Refused { event: "close", code: code.as_str(), reason, reconnect: code.status() == 503 };
        frame::text(context.out, &json::write(&refused));
        CloseFrame { status: CloseStatus::of_application(code.status()), reason: reason.to_owned() }
    }
}

/// The status that fits: where there is none of the protocol's own, 4000 and the HTTP status that says the
/// same.
fn status(code: CloseCode) -> CloseStatus {
    match code {
        CloseCode::Client | CloseCode::Recycle => CloseStatus::NORMAL,
        CloseCode::Shutdown => CloseStatus::GOING_AWAY,
        CloseCode::Operator | CloseCode::Deleted => CloseStatus::of_application(410),
        CloseCode::TokenExpired | CloseCode::Revoked => CloseStatus::of_application(401),
        CloseCode::Banned => CloseStatus::of_application(403),
        CloseCode::Slow => CloseStatus::of_application(408),
        CloseCode::TakenOver => CloseStatus::of_application(409),
        CloseCode::TooManySessions => CloseStatus::of_application(429),
    }
}
