//! Who clients are that bring neither token nor ticket, by the application's word: what it has said, for as
//! long as that is good, and what it is still to be asked.

use std::{fmt, sync::Arc};

use encke_proto::{Refusal, Time, TokenInfo};
use sha2::{Digest, Sha256};

use super::{Authenticated, Credentials, Grant, Grants, Identity};
use crate::hooks::{AnswerCache, Connected, Connecting, Decisions};

/// The shortest for which an answer counts, in milliseconds: until the request for which it was asked has
/// been decided on, and so that a page with many requests asks once.
const COUNTS_MIN_MS: u64 = 1_000;

/// Requests by the hash of what they bring.
type Known = AnswerCache<[u8; 32], Result<Authenticated, Refusal>>;

/// What the application has said of requests.
#[derive(Clone)]
pub(super) struct Application {
    decisions: Arc<Decisions>,
    known: Arc<Known>,
}

/// A request of which the application is to be asked.
pub struct PendingAnswer {
    application: Application,
    connecting: Connecting,
    now: Time,
}

impl Application {
    pub(super) fn new(decisions: Arc<Decisions>) -> Self {
        Self { decisions, known: Arc::default() }
    }

    /// The header fields that it is told besides `Cookie` and `Origin`, in lower case.
    pub(super) fn headers(&self) -> &[String] {
        self.decisions.headers()
    }

    /// What it is told of a request; nothing of one that shows by itself who sends it, and of one that brings
    /// nothing that could.
    pub(super) fn connecting(&self, credentials: &Credentials<'_>) -> Option<Connecting> {
        let shows_itself = credentials.bearer().is_some()
            || credentials.ticket.is_some()
            || credentials.cookie_tokens().next().is_some();
        let cookie = credentials.cookie.as_deref().map(|cookie| ("cookie", cookie));
        if shows_itself || (cookie.is_none() && credentials.chosen.is_empty()) {
            return None;
        }
        let origin = credentials.origin.map(|origin| ("origin", origin));
        let fields = cookie.into_iter().chain(origin).chain(credentials.chosen.iter().copied());
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Connecting { headers })
    }

    /// What it has said of a request, if that is good now.
    pub(super) fn get(&self, connecting: &Connecting, now: Time) -> Option<Result<Authenticated, Refusal>> {
        self.known.get(&hash(connecting), now)
    }

    /// It is to be asked, unless it has said something.
    pub(super) fn pending(&self, connecting: Connecting, now: Time) -> Option<PendingAnswer> {
        self.get(&connecting, now).is_none().then(|| PendingAnswer {
            application: self.clone(),
            connecting,
            now,
        })
    }
}

impl PendingAnswer {
    /// Asks. When the request is decided on again, the answer is there.
    pub async fn over(self) {
        let Self { application: Application { decisions, known }, connecting, now } = self;
        let answer = decisions.connect(&connecting).await;
        let cache_ms = answer
            .as_ref()
            .map_or(0, |connected| connected.cache_s.min(connected.expires_s).saturating_mul(1000));
        let until = Time(now.0 + cache_ms.max(COUNTS_MIN_MS));
        let answer = answer.map(|connected| authenticated(connected, now));
        known.put(hash(&connecting), answer, until, now);
    }
}

fn authenticated(connected: Connected, now: Time) -> Authenticated {
    let grant = |patterns: Option<Vec<String>>| patterns.map_or_else(Grant::none, Grant::of);
    let grants = Grants { channels: grant(connected.channels), publish: grant(connected.publish) };
    Authenticated {
        identity: Identity {
            user: connected.user,
            grants: Arc::new(grants),
            expires: Time(now.0.saturating_add(connected.expires_s * 1000)),
            // A browser sends what shows it unasked, as it does the cookie of a login.
            by_cookie: true,
        },
        token: TokenInfo { issued_s: Some(now.0 / 1000), id: None },
    }
}

fn hash(connecting: &Connecting) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for (name, value) in &connecting.headers {
        for part in [name, value] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().into()
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Application")
    }
}
