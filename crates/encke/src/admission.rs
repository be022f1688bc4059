//! Admission: what becomes of a request that wants to wait. Where such requests come in is an [`Endpoint`] of
//! a dialect, which decides on each: who it is, where it wants to go on, and whether that is granted.

mod commands;
mod endpoint;
mod subscribing;
mod waiting;

use std::{fmt, pin::Pin, sync::Arc};

use encke_hub::{Device, Start};
use encke_proto::{ChannelName, Grant, Refusal, SessionId, Time, TokenInfo, UserId};

use crate::{
    auth::Authenticator,
    hooks::Decisions,
    rate_limits::RateLimits,
    stopping::Stopping,
    transports::{CompressionPolicy, ConnectionState, RequestState, Transport},
};

pub use commands::{Answering, Asked, CommandHandler, Identified, Reply};
pub use endpoint::{Address, Endpoint, Endpoints, Method, Path};
pub use subscribing::subscribing;
pub use waiting::Waiting;

/// What an admitted request wants.
#[derive(Debug)]
pub struct Admission {
    /// How it is served.
    pub transport: &'static dyn Transport,
    /// What the table keeps of it.
    pub request_state: RequestState,
    /// Who it is.
    pub user: UserId,
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
    /// Whether a new session outlives its connection. See [`encke_hub::Attach::lasting`].
    pub lasting: bool,
    /// Where it wants to go on.
    pub start: Start,
    /// The device that it is of, if that is to have a place of its own.
    pub device: Option<Device>,
    /// What it wants to follow besides.
    pub channels: Vec<ChannelName>,
    /// What is kept of the connection besides.
    pub state: Option<Box<ConnectionState>>,
    /// The ticket that is to be spent before it is served, so that no other node takes it.
    pub ticket: Option<String>,
    /// The operator who looks on at the user and is none of the user's clients; none for all others.
    pub looks_on: Option<LooksOn>,
}

/// An operator who looks on.
#[derive(Clone, Debug)]
pub struct LooksOn {
    /// The name of the key.
    pub key: Box<str>,
    /// As long as these keys are in use it was checked; see [`crate::auth::Allowed::generation`].
    pub generation: u64,
}

/// A connection that is open before it is of any user.
#[derive(Debug)]
pub struct Opened {
    /// How it is served. It is duplex.
    pub transport: &'static dyn Transport,
    /// What the table keeps of it.
    pub request_state: RequestState,
    /// What is kept of the connection besides.
    pub state: Box<ConnectionState>,
}

/// An answer in a dialect's own form.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The type of its body.
    pub content_type: &'static str,
    /// Fields that it has besides.
    pub fields: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What becomes of a request that wants to wait.
#[derive(Debug)]
pub enum Verdict {
    /// It may.
    Admitted(Box<Admission>),
    /// The connection is opened, and is to name its user in time.
    Opened(Box<Opened>),
    /// It may not; the origin says whether its page may read why.
    Refused(Refusal, RequestState),
    /// It is answered at once.
    Answered(Box<Answer>, RequestState),
    /// It is a browser that came back by itself after a close on purpose: 204 makes it stay away.
    StayAway(RequestState),
    /// It takes a while to find out.
    Later(Later),
}

/// A verdict that takes a while.
pub struct Later(pub Pin<Box<dyn Future<Output = Verdict> + Send>>);

impl Later {
    /// What comes of this.
    pub fn new(verdict: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self(Box::pin(verdict))
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// What endpoints need to decide on requests.
#[derive(Clone, Debug)]
pub struct Admit {
    /// Who is who.
    pub auth: Arc<Authenticator>,
    /// How often clients may ask.
    pub rate_limits: Arc<RateLimits>,
    /// Whether the server stops.
    pub stopping: Stopping,
    /// How long a poll waits at most, in seconds.
    pub hold_s: u64,
    /// Which messages over WebSocket are compressed.
    pub compression: CompressionPolicy,
    /// What the application decides, if it decides anything.
    pub decisions: Option<Arc<Decisions>>,
}

impl Admit {
    /// The origin, if its pages may read answers.
    #[must_use]
    pub fn readable_by<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        origin.filter(|origin| self.auth.origins().lists(origin))
    }

    /// What the table keeps of a request, before anything is decided.
    #[must_use]
    pub fn request_state(&self, waiting: &Waiting<'_>) -> RequestState {
        RequestState {
            hold_s: u32::try_from(self.hold_s).unwrap_or(u32::MAX),
            origin: waiting.origin.and_then(|origin| self.auth.origins().number(origin)),
            keep_alive: waiting.keep_alive,
            plain: waiting.http_10,
            began: false,
            tally: 0,
            scratch: [0; 8],
            embedder: None,
        }
    }
}
