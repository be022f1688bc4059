//! The forever frame: for browsers whose network lets nothing else through. A document that never ends hands
//! its events to the page around it.

use std::borrow::Cow;

use encke_proto::{
    Entry, Event,
    codec::{MessageForm, iframe},
};

use super::{form::Messages, stream::EventForm};
use crate::{http::response::HTML, transports::TransportContext};

/// After so many bytes the client begins another frame: a document that only grows costs its browser memory.
const SPENT_BYTES: u32 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Iframe;

impl EventForm for Iframe {
    const NAME: &'static str = "iframe";
    const CONTENT_TYPE: &'static str = HTML;

    fn policy(context: &TransportContext<'_>) -> Option<String> {
        Some(iframe::policy(&nonce(context), context.embedder().as_deref().unwrap_or("'self'")))
    }

    fn prelude(context: &mut TransportContext<'_>) {
        let (nonce, embedder) = (nonce(context), context.embedder().map(Cow::into_owned));
        iframe::begin(context.out, &nonce, embedder.as_deref());
    }

    fn message(context: &mut TransportContext<'_>, entry: &Entry, form: MessageForm) {
        iframe::message(context.out, &nonce(context), entry, form);
    }

    fn event(context: &mut TransportContext<'_>, event: &Event) {
        iframe::event(context.out, &nonce(context), event);
    }

    fn end_event<M: Messages>(context: &mut TransportContext<'_>, begins: usize) {
        let bytes = u32::try_from(context.out.len() - begins).unwrap_or(u32::MAX);
        context.request_state.tally = context.request_state.tally.saturating_add(bytes);
    }

    fn rest(context: &mut TransportContext<'_>) {
        iframe::heartbeat(context.out, &nonce(context));
    }

    fn spent(context: &TransportContext<'_>) -> bool {
        context.request_state.tally >= SPENT_BYTES
    }
}

fn nonce(context: &TransportContext<'_>) -> String {
    format!("{:016x}", u64::from_be_bytes(context.request_state.scratch))
}
