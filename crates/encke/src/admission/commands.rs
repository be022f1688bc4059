//! What a client asks over the connection that it waits on, and what answers it: the dialect's handler, which
//! is injected since it stands above.

use std::{fmt, net::IpAddr, pin::Pin, sync::Arc};

use encke_hub::Start;
use encke_proto::{ChannelName, Grant, SessionId, Time, TokenInfo, UserId};

use crate::{
    auth::Identity,
    transports::{Command, CommandAnswer},
};

/// What a client asks over the connection that it waits on.
pub struct Asked {
    /// The dialect that it speaks.
    pub dialect: &'static str,
    /// Who asks; none as long as the connection is of no user.
    pub identity: Option<Identity>,
    /// The session that the connection serves; none as long as it serves none.
    pub session: Option<SessionId>,
    /// The address that it asks from, where that is known.
    pub from: Option<IpAddr>,
    /// What it asks.
    pub command: Command,
}

/// Says who asks; what is asked may be secret.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("dialect", &self.dialect)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What came of it.
pub struct Reply {
    /// What the transport is told.
    pub answer: CommandAnswer,
    /// Whose the connection is from now on.
    pub identified: Option<Box<Identified>>,
}

/// The user of a connection, and what it wants; the same as of a request that says so in its head (see
/// [`super::Admission`]).
#[derive(Debug)]
pub struct Identified {
    /// Who it is.
    pub user: UserId,
    /// What it may ask; none when it has no token.
    pub identity: Option<Identity>,
    /// When its token ends.
    pub token_ends: Time,
    /// What revocations need to know of the token; none without one.
    pub token: Option<TokenInfo>,
    /// The public channels that it may follow.
    pub granted: Grant,
    /// The session that it wants to continue.
    pub session: Option<SessionId>,
    /// The id of a new session; none lets the shard throw dice.
    pub fresh: Option<SessionId>,
    /// Whether a new session outlives its connection.
    pub lasting: bool,
    /// Where it wants to go on.
    pub start: Start,
    /// What it wants to follow besides.
    pub channels: Vec<ChannelName>,
    /// The ticket that is to be spent before it is served.
    pub ticket: Option<String>,
}

impl Reply {
    /// An answer, and nothing else.
    pub fn new(answer: impl Send + 'static) -> Self {
        Self { answer: Box::new(answer), identified: None }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("identified", &self.identified).finish_non_exhaustive()
    }
}

/// A reply that takes a while.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What answers such requests, of all dialects.
#[derive(Clone)]
pub struct CommandHandler(pub Arc<dyn Fn(Asked) -> Answering + Send + Sync>);

impl fmt::Debug for CommandHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandHandler")
    }
}
