//! One JSON object a line, in one response that goes on: for programs, and for browsers' fetch.

use encke_proto::{Entry, Event, codec::ndjson};

use super::{TransportContext, stream::Form};
use crate::http::response::NDJSON;

#[derive(Debug)]
pub(super) struct Ndjson;

impl Form for Ndjson {
    const NAME: &'static str = "ndjson";
    const PATH: &'static str = "/v1/stream";
    const AS: Option<&'static str> = Some("ndjson");
    const CONTENT_TYPE: &'static str = NDJSON;

    fn message(context: &mut TransportContext<'_>, entry: &Entry) {
        ndjson::message(context.out, entry);
    }

    fn event(context: &mut TransportContext<'_>, event: &Event) {
        ndjson::event(context.out, event);
    }

    fn rest(context: &mut TransportContext<'_>) {
        context.out.extend_from_slice(ndjson::HEARTBEAT);
    }
}
