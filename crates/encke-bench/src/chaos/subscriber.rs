//! Subscribers: who they are, what they note, and what they take it into their heads to do. How they wait is
//! in `raw` and `client`.

mod app;
mod client;
mod raw;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_proto::{ChannelName, Cursor, UserId};
use tokio::time::Instant;

use super::{
    evidence::{Evidence, Note},
    http::Asker,
    mutation::Mutation,
    phase::{Look, Stage},
    wire::Transport,
};
use crate::choice::Choice;

/// How often a request of the control connection is tried in calm weather before that counts as being stuck.
const ASKS_MAX: u32 = 60;

/// With what a subscriber listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Our client library, always by the same transport.
    Library(encke_client::Transport),
    /// The bare protocol, by any transport, and by another after a reconnect.
    Raw,
}

/// A subscriber.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its number.
    pub client: usize,
    /// Whose it is.
    pub user: UserId,
    /// What it follows besides the user's own channel.
    pub channels: Vec<ChannelName>,
    /// With what it listens.
    pub means: Means,
    /// Where it connects to: the server, or the proxy in front of it.
    pub through: SocketAddr,
    /// Where the server is.
    pub server: SocketAddr,
    /// The user's token.
    pub token: String,
    /// Whether it closes its session now and then, and comes back without a cursor. It is the user's only
    /// client then.
    pub forgetful: bool,
    /// What it mutations about.
    pub mutation: Option<Mutation>,
    /// When it leaves for good.
    pub leaves: Stage,
    /// Where its choices begin.
    pub seed: u64,
}

/// How a subscriber is doing, for tasks that wait for it.
#[derive(Debug, Default)]
pub struct State {
    /// Whether a connection serves it.
    pub connected: bool,
    /// Whether it has left for good.
    pub gone: bool,
    /// How far the application has come.
    pub places: Cursor,
}

/// A subscriber's state, shared.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Looks at it, or changes it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a subscriber takes it into its head to do while things go wrong.
#[derive(Clone, Copy, Debug)]
enum Whim {
    /// Cuts the connection, and comes back with its cursor after this time.
    Away(Duration),
    /// Ends the session on purpose, forgets everything, and logs in anew after this time.
    Forget(Duration),
    /// Says that a person has seen everything.
    Ack,
}

/// Listens until it is time to leave.
pub async fn listen(plan: Plan, shared: Shared, evidence: Evidence, look: Look) {
    let app = app::App::new(&plan, shared.clone(), evidence);
    match plan.means {
        Means::Raw => raw::listen(plan, app, look).await,
        Means::Library(transport) => client::listen(plan, transport, app, look).await,
    }
    let mut state = shared.state();
    (state.connected, state.gone) = (false, true);
}

/// When a whim comes next, and which.
#[derive(Debug)]
struct Mood {
    choice: Choice,
    forgetful: bool,
    next: Instant,
}

impl Mood {
    fn new(plan: &Plan) -> Self {
        let mut mood = Self { choice: Choice(plan.seed), forgetful: plan.forgetful, next: Instant::now() };
        mood.later();
        mood
    }

    fn later(&mut self) {
        self.next = Instant::now() + Duration::from_millis(u64::from(1_000 + self.choice.below(14_000)));
    }

    fn whim(&mut self) -> Whim {
        self.later();
        // Some stay away for longer than the grace time of their session.
        let longest = if self.choice.below(3) == 0 { 8_000 } else { 300 };
        let pause = Duration::from_millis(u64::from(self.choice.below(longest)));
        match self.choice.below(4) {
            0 => Whim::Ack,
            1 | 2 if self.forgetful => Whim::Forget(pause),
            _ => Whim::Away(pause),
        }
    }
}

/// Stays away for a time, or until things have calmed down.
async fn rest(pause: Duration, look: &Look) {
    let mut look = look.clone();
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = look.reached(Stage::Breeze) => {}
    }
}

/// Asks on the control connection until it is answered. False when that does not come about although nothing
/// is in the way.
async fn insist(asker: &mut Asker, path: &str, body: &str, look: &Look) -> Option<u16> {
    let mut calm = 0;
    while calm < ASKS_MAX {
        match asker.post(path, body).await {
            Ok((status, _)) if status < 500 && status != 429 => return Some(status),
            _ => calm += u32::from(!look.is_busy()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}

impl Plan {
    /// The transport that a connection without our library is made with.
    fn any_transport(choice: &mut Choice) -> Transport {
        Transport::ALL[choice.below(Transport::ALL.len() as u32) as usize]
    }

    fn stuck(&self, what: &str) -> Note {
        Note::Stuck(format!("client {} of {}: {what}", self.client, self.user))
    }

    fn broken(&self, what: &str) -> Note {
        Note::Broken(format!("client {} of {}: {what}", self.client, self.user))
    }
}
