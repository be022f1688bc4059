//! One JSON object a line, in one response that goes on: for programs, and for browsers' fetch.

use encke_proto::{
    Entry, Event,
    codec::{MessageForm, ndjson},
};

use super::stream::EventForm;
use crate::{http::response::NDJSON, transports::TransportContext};

#[derive(Debug)]
pub(super) struct Ndjson;

impl EventForm for Ndjson {
    const NAME: &'static str = "ndjson";
    const CONTENT_TYPE: &'static str = NDJSON;

    fn message(context: &mut TransportContext<'_>, entry: &Entry, form: MessageForm) {
        ndjson::message(context.out, entry, form);
    }

    fn event(context: &mut TransportContext<'_>, event: &Event) {
        ndjson::event(context.out, event);
    }

    fn rest(context: &mut TransportContext<'_>) {
        context.out.extend_from_slice(ndjson::HEARTBEAT);
    }
}
