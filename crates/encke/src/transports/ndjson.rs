//! One JSON object a line, in one response that goes on: for programs, and for browsers' fetch.

use encke_proto::{Entry, Event, codec::ndjson};

use super::{Exchange, stream::Form};
use crate::http::response::NDJSON;

#[derive(Debug)]
pub(super) struct Ndjson;

impl Form for Ndjson {
    const NAME: &'static str = "ndjson";
    const PATH: &'static str = "/v1/stream";
    const AS: Option<&'static str> = Some("ndjson");
    const CONTENT_TYPE: &'static str = NDJSON;

    fn message(exchange: &mut Exchange<'_>, entry: &Entry) {
        ndjson::message(exchange.out, entry);
    }

    fn event(exchange: &mut Exchange<'_>, event: &Event) {
        ndjson::event(exchange.out, event);
    }

    fn rest(exchange: &mut Exchange<'_>) {
        exchange.out.extend_from_slice(ndjson::HEARTBEAT);
    }
}
