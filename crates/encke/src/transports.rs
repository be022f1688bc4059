//! The transports: how what a session receives becomes bytes on a connection that waits. One file each, and a
//! line in [`TRANSPORTS`].
//!
//! A transport holds nothing: it is asked when something happened to a connection, pulls from the session
//! through its [`Exchange`], and appends bytes to it.

mod exchange;
mod iframe;
mod ndjson;
mod poll;
mod sse;
mod stream;
mod talk;
mod ws;

use std::fmt;

use encke_hub::Ending;

pub use exchange::{Exchange, Held, Pace};
use stream::Stream;
pub use talk::{Answer, Asked, Clerk, MESSAGE_WITHIN_MS, Talk};
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
pub enum After {
    /// It goes on waiting; everything that there was is written.
    Wait,
    /// It goes on waiting; there is more to pull once this is sent.
    More,
    /// The response is complete; the connection is free for another request, if the client keeps it.
    Done,
    /// The response is complete, and the socket is to be freed.
    Close,
    /// The last was said; the peer has a moment to say its last. Only for those that talk.
    Part,
    /// Both have said their last, or the peer cannot be understood any more; it has a moment to hang up. Only
    /// for those that talk.
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

    /// Whether the connection changes to a protocol of its own, in which its client goes on talking: what it
    /// sends is no next request, and goes to [`Transport::heard`].
    fn talks(&self) -> bool {
        false
    }

    /// How a connection of this kind waits.
    fn pace(&self) -> Pace;

    /// The session is known and stands in each of its channels.
    fn begin(&self, exchange: &mut Exchange<'_>) -> After;

    /// There is something to pull.
    fn ready(&self, exchange: &mut Exchange<'_>) -> After;

    /// The time of waiting is over: a hold ends, a silence is broken.
    fn elapsed(&self, exchange: &mut Exchange<'_>) -> After;

    /// The hub ends the service.
    fn ended(&self, exchange: &mut Exchange<'_>, ending: &Ending) -> After;

    /// The client has said something. What is read is taken from `bytes`; the rest is brought again when what
    /// was asked is answered (see [`Exchange::ask`]).
    fn heard(&self, _exchange: &mut Exchange<'_>, bytes: &mut &[u8]) -> After {
        *bytes = &[];
        After::Wait
    }

    /// What was asked is answered.
    fn answered(&self, _exchange: &mut Exchange<'_>, _answer: &str) -> After {
        After::Wait
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
