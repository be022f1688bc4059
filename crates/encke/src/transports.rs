//! The framings: how what a session receives becomes bytes on a connection that waits. One answer
//! ([`OneAnswer`]), a stream ([`Stream`]) or a WebSocket ([`Ws`]); what is said in it is a dialect's.
//!
//! A transport holds nothing: it is asked when something happened to a connection, pulls from the session
//! through its [`TransportContext`], and appends bytes to it. What a dialect has to keep of a connection
//! stands in its [`ConnectionState`].

mod compression_policy;
mod context;
mod duplex;
mod one_answer;
mod site;
mod state;
mod stream;
mod written;
mod ws;

use std::{any::Any, fmt};

use encke_hub::Ending;
use encke_proto::Refusal;

pub use compression_policy::CompressionPolicy;
pub use context::{HoldKind, RequestState, TransportContext};
pub use duplex::{Duplex, Kept, MESSAGE_WITHIN_MS};
pub use one_answer::{AnswerForm, OneAnswer};
pub use site::Site;
pub use state::ConnectionState;
pub use stream::{Form, Stream};
pub use written::Written;
pub use ws::{Spoken, Ws, close_with};

/// What a dialect wants done that takes a while: a value of a type of its own.
pub type Command = Box<dyn Any + Send>;
/// What came of a [`Command`]: a value of a type of the dialect's own.
pub type CommandAnswer = Box<dyn Any + Send>;

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

/// A way in which a client waits: a framing with what a dialect says in it.
pub trait Transport: Sync + fmt::Debug {
    /// What it is called, in the list of sessions and in metrics.
    fn name(&self) -> &'static str;

    /// The dialect that is spoken, whose commands are carried out for it.
    fn dialect(&self) -> &'static str;

    /// Whether the connection changes to a protocol of its own, which is duplex: what the client sends is no
    /// next request, and goes to [`Transport::on_bytes`].
    fn is_duplex(&self) -> bool {
        false
    }

    /// How a connection of this kind waits.
    fn hold_kind(&self) -> HoldKind;

    /// The connection is open and not of any user yet. Only for duplex transports.
    fn open(&self, _context: &mut TransportContext<'_>) -> NextAction {
        NextAction::Close
    }

    /// The session is known and stands in each of its channels.
    fn begin(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// There is something to pull.
    fn ready(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// The time of waiting is over: a hold ends, a silence is broken.
    fn elapsed(&self, context: &mut TransportContext<'_>) -> NextAction;

    /// The hub ends the service.
    fn ended(&self, context: &mut TransportContext<'_>, ending: &Ending) -> NextAction;

    /// It is not served, for a reason that was found before it had a session: by the other nodes, or because
    /// no user was named in time.
    fn refused(&self, context: &mut TransportContext<'_>, refusal: &Refusal) -> NextAction {
        context.refuse_with(refusal)
    }

    /// The client has said something. What is read is taken from `bytes`; the rest is brought again when what
    /// was asked is answered (see [`TransportContext::ask`]).
    fn on_bytes(&self, _context: &mut TransportContext<'_>, bytes: &mut &[u8]) -> NextAction {
        *bytes = &[];
        NextAction::Wait
    }

    /// The connection is over, or about to be: nothing more is written for it, and what its peer has of what
    /// was is known as well as it ever will be.
    fn left(&self, _context: &mut TransportContext<'_>) {}

    /// What was asked is answered.
    fn answered(&self, _context: &mut TransportContext<'_>, _answer: CommandAnswer) -> NextAction {
        NextAction::Wait
    }
}
