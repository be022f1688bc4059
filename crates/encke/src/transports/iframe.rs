//! The forever frame: for browsers whose network lets nothing else through. A document that never ends hands
//! its events to the page around it.

use encke_proto::{Entry, Event, codec::iframe};

use super::{Exchange, stream::Form};
use crate::http::response::HTML;

/// After so many bytes the client begins another frame: a document that only grows costs its browser memory.
const SPENT_BYTES: u32 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Iframe;

impl Form for Iframe {
    const NAME: &'static str = "iframe";
    const PATH: &'static str = "/v1/stream";
    const AS: Option<&'static str> = Some("iframe");
    const CONTENT_TYPE: &'static str = HTML;

    fn policy(exchange: &Exchange<'_>) -> Option<String> {
        Some(iframe::policy(&nonce(exchange), exchange.embedder().unwrap_or("'self'")))
    }

    fn prelude(exchange: &mut Exchange<'_>) {
        let (nonce, embedder) = (nonce(exchange), exchange.embedder().map(str::to_owned));
        iframe::begin(exchange.out, &nonce, embedder.as_deref());
    }

    fn message(exchange: &mut Exchange<'_>, entry: &Entry) {
        iframe::message(exchange.out, &nonce(exchange), entry);
    }

    fn event(exchange: &mut Exchange<'_>, event: &Event) {
        iframe::event(exchange.out, &nonce(exchange), event);
    }

    fn end_event(exchange: &mut Exchange<'_>, begins: usize) {
        let bytes = u32::try_from(exchange.out.len() - begins).unwrap_or(u32::MAX);
        exchange.held.tally = exchange.held.tally.saturating_add(bytes);
    }

    fn rest(exchange: &mut Exchange<'_>) {
        iframe::heartbeat(exchange.out, &nonce(exchange));
    }

    fn spent(exchange: &Exchange<'_>) -> bool {
        exchange.held.tally >= SPENT_BYTES
    }
}

fn nonce(exchange: &Exchange<'_>) -> String {
    format!("{:016x}", u64::from_be_bytes(exchange.held.nonce))
}
