//! The transports: how what a session receives becomes bytes on a connection that waits. One file each, and a
//! line in [`TRANSPORTS`].
//!
//! A transport holds nothing: it is asked when something happened to a connection, pulls from the session
//! through its [`TransportContext`], and appends bytes to it.

mod context;
mod duplex;
mod iframe;
mod ndjson;
mod poll;
mod sse;
mod stream;
mod ws;

use std::fmt;

use encke_hub::Ending;

pub use context::{HoldKind, RequestState, TransportContext};
pub use duplex::{Answer, Asked, CommandHandler, Duplex, MESSAGE_WITHIN_MS};
use stream::Stream;
use ws::Ws;

/// Every transport there is.
pub static TRANSPORTS: &[&dyn Transport] = &[
    &poll::Poll,
    &Stream(sse::Sse),
    &Stream(ndjson::Ndjson),
    &Stream(iframe::Iframe),
    &Ws(ws::Events),
    #[cfg(feature = "conformance")]
    &Ws(ws::Echo),
];

/// What becomes of the connection after a transport has had its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// It goes on waiting; everything that there was is written.
    Wait,
    /// It goes on waiting; there is more to pull once this is sent.
    More,
    /// The response is complete; the connection is free for another request, if the client keeps it.
    Done,
    /// The response is complete, and the socket is to be freed.
    Close,
    /// The last was said; the peer has a moment to finish. Only for duplex transports.
    Part,
    /// Both have finished, or the peer cannot be understood any more; it has a moment to hang up. Only for
    /// duplex transports.
    HangUp,
}

/// A way in which a client waits.
pub trait Transport: Sync + fmt::Debug {
    /// What it is called, in the list of sessions and in metrics.
    fn name(&self) -> &'static str;

    /// Where it is asked for.
    fn path(&self) -> &'static str;

    /// The `as` parameter that it is asked for with, where several share a path.
    fn form(&self) -> Option<&'static str> {
        None
    }

    /// Whether the connection changes to a protocol of its own, which is duplex: what the client sends is no
    /// next request, and goes to [`Transport::on_bytes`].
    fn is_duplex(&self) -> bool {
        false
    }

    /// How a connection of this kind waits.
    fn hold_kind(&self) -> HoldKind;

    /// The session is known and stands in each of its channels.
    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// There is something to pull.
    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// The time of waiting is over: a hold ends, a silence is broken.
    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// The hub ends the service.
    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction;

    /// The client has said something. What is read is taken from `bytes`; the rest is brought again when what
    /// was asked is answered (see [`TransportContext::ask`]).
    fn on_bytes(&self, _exchange: &mut TransportContext<'_>, bytes: &mut &[u8]) -> NextAction {
        *bytes = &[];
        NextAction::Wait
    }

    /// What was asked is answered.
    fn answered(&self, _exchange: &mut TransportContext<'_>, _answer: &str) -> NextAction {
        NextAction::Wait
    }
}

/// The transport that a request asks for.
#[must_use]
pub fn asked_for(path: &str, query: &str) -> Option<&'static dyn Transport> {
    let form = || query.split('&').find_map(|pair| pair.strip_prefix("as="));
    TRANSPORTS.iter().copied().find(|transport| {
        transport.path() == path && (transport.form().is_none() || transport.form() == form())
    })
}
