//! The other nodes, as far as a shard needs them: where a session of its users may be, and who has to hear
//! what became of users and sessions here.

use std::{fmt, pin::Pin, sync::Arc};

use encke_proto::{ChannelName, ErrorCode, SessionId, UserId};

use super::Claim;

/// A claim that takes a while.
pub type Claiming = Pin<Box<dyn Future<Output = Result<Claim, ErrorCode>> + Send>>;

/// The other nodes. Nothing here waits but a claim.
pub trait Peers: fmt::Debug + Send + Sync {
    /// Makes sure that others find the user here, and fetches the session that is to go on, wherever it is.
    /// The ticket that the user came with is spent.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthorized`] when the ticket was spent before; [`ErrorCode::SessionClosed`] when the
    /// session was closed on purpose; [`ErrorCode::EngineUnavailable`].
    fn claim(self: Arc<Self>, user: UserId, session: Option<SessionId>, ticket: Option<String>) -> Claiming;

    /// A user has a session here, the first.
    fn came(&self, user: &UserId);

    /// A user has none here any more.
    fn went(&self, user: UserId);

    /// A session of a user has begun here; the user has so many here now.
    fn began(&self, _user: &UserId, _here: usize) {}

    /// A session was closed here on purpose.
    fn mark_closed(&self, user: UserId, session: SessionId);

    /// This node has receivers for a channel, and had none.
    fn watch(&self, channel: &ChannelName);

    /// This node has none any more.
    fn unwatch(&self, channel: &ChannelName);
}
