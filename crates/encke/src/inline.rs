//! Inline requests: requests that are answered at once, and so often that a shard which has read one whole
//! runs its handler itself, without hyper (ADR 0011). Which they are is decided where the handlers
//! are.

use std::{fmt, pin::Pin};

use crate::{config::Scope, http::refusal::Refused};

/// The most users, channels or messages of a request that is done within the shard's turn; what has more of
/// them is done beside the shard.
pub const WITHIN_TURN_MAX: usize = 16;

/// What came of an inline request.
pub type Outcome = Result<Done, Refused>;
/// An inline request under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// Begins a request, whose body this is.
pub type Run = Box<dyn Fn(&[u8]) -> Begun + Send + Sync>;

/// What came of a request when it was begun. What needs no waiting is done at once: a future would cost it
/// more than the work.
pub enum Begun<T = Outcome> {
    /// It is done.
    Done(T),
    /// It waits for something.
    Goes(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: Send + 'static> Begun<T> {
    /// Waits for what becomes of it.
    pub async fn finish(self) -> T {
        match self {
            Self::Done(outcome) => outcome,
            Self::Goes(running) => running.await,
        }
    }

    /// The same with another result.
    pub fn map<U>(self, to: impl FnOnce(T) -> U + Send + 'static) -> Begun<U> {
        match self {
            Self::Done(outcome) => Begun::Done(to(outcome)),
            Self::Goes(running) => Begun::Goes(Box::pin(async move { to(running.await) })),
        }
    }
}

/// The answer to an inline request.
#[derive(Debug)]
pub struct Done {
    /// The HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub json: Vec<u8>,
}

/// A kind of inline request: a POST of JSON by a backend with a key of the server API.
pub struct InlineRoute {
    /// Its path; there is no query.
    pub path: &'static str,
    /// What the key has to allow.
    pub scope: Scope,
    /// What it is called in the audit trail.
    pub action: &'static str,
    /// What it was about, by its answer.
    pub what: fn(&[u8]) -> Box<str>,
    /// Runs it.
    pub run: Run,
}

impl fmt::Debug for InlineRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineRoute").field("path", &self.path).finish_non_exhaustive()
    }
}

/// All inline routes. What else a path takes (other methods, other bodies) is hyper's business.
#[derive(Debug)]
pub struct InlineRoutes {
    routes: Vec<InlineRoute>,
    /// What the first line of all of them begins with, so that most other requests are told apart by a few
    /// bytes.
    prefix: Vec<u8>,
    /// Whether requests that name a trace are left to hyper.
    leave_traced: bool,
}

impl InlineRoutes {
    /// These routes.
    #[must_use]
    pub fn new(routes: Vec<InlineRoute>) -> Self {
        let mut prefix = routes.first().map_or("", |route| route.path).to_owned();
        while !routes.iter().all(|route| route.path.starts_with(&prefix)) {
            prefix.pop();
        }
        Self { prefix: format!("POST {prefix}").into_bytes(), routes, leave_traced: false }
    }

    /// Whether requests that name a trace are left to hyper: a server that records traces reads that, and no
    /// head with it is like the one before.
    #[must_use]
    pub fn leaving_traced(self, leave_traced: bool) -> Self {
        Self { leave_traced, ..self }
    }

    /// Whether requests that name a trace are left to hyper.
    #[must_use]
    pub fn leave_traced(&self) -> bool {
        self.leave_traced
    }

    /// Whether these may be the first bytes of such a request.
    #[must_use]
    pub fn may_begin_with(&self, bytes: &[u8]) -> bool {
        let looks = bytes.len().min(self.prefix.len());
        bytes[..looks] == self.prefix[..looks] && !self.routes.is_empty()
    }

    /// The number of the route with this path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.path == path)
    }

    /// The route of this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&InlineRoute> {
        self.routes.get(number)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &InlineRoute> {
        self.routes.iter()
    }
}
