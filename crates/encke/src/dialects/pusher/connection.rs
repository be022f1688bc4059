//! What is known of a connection: its application, what it subscribed to, and as which user it signed in.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use encke_proto::{
    ChannelName, Message, SessionId, Time,
    codec::pusher::{Member, SignedIn},
};

use super::{
    application::Application, browser::Browser, deadlines::Deadlines, departure::Departure,
    followed::Follows, places::Places, server::Server, tracked::Tracked,
};
use crate::{app::App, auth::Identity, http::refusal::Refused, random};

/// A connection. What others know of it is taken back when it is dropped.
pub(super) struct Connection {
    pub(super) app: Arc<App>,
    pub(super) server: Arc<Server>,
    pub(super) application: Arc<Application>,
    /// How backends name it.
    pub(super) socket_id: String,
    /// The user that it is here.
    pub(super) identity: Identity,
    /// Whether its client may be known again, and is sent then what it missed.
    pub(super) recovers: bool,
    /// The browser that it comes from, if it does.
    pub(super) browser: Option<Browser>,
    /// How long its client waits, as it comes, for others that it may be.
    pub(super) deadlines: Deadlines,
    /// How far its client is, where that is to be known.
    tracked: OnceLock<Arc<Tracked>>,
    /// Whether it was over, and its client does not come back to go on.
    is_done: AtomicBool,
    state: Mutex<State>,
}

/// What changes of it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The channels that it subscribed to, each with who it is there if that is known.
    pub(super) subscriptions: HashMap<String, Option<Member>>,
    /// The user as whom it signed in.
    pub(super) signed_in: Option<SignedIn>,
    /// When the second began in which events are counted, in milliseconds of the clock that never goes back.
    second_ms: u64,
    /// How many events it has sent in that second.
    events: u64,
}

impl Connection {
    /// A new one; none when the application has as many as it may.
    pub(super) fn new(
        app: &Arc<App>,
        server: &Arc<Server>,
        application: &Arc<Application>,
    ) -> Result<Option<Self>, Refused> {
        let socket_id = socket_id()?;
        let user = application.user(&socket_id)?;
        if !application.enter() {
            return Ok(None);
        }
        let grants = Arc::clone(&application.grants);
        Ok(Some(Self {
            app: Arc::clone(app),
            server: Arc::clone(server),
            application: Arc::clone(application),
            socket_id,
            identity: Identity { user, grants, expires: Time(0), by_cookie: false },
            recovers: false,
            browser: None,
            deadlines: Deadlines::default(),
            tracked: OnceLock::new(),
            is_done: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far its client is, if that is to be known.
    pub(super) fn tracked(&self) -> Option<&Arc<Tracked>> {
        self.tracked.get()
    }

    /// It is to be known of its client how far it is in a channel. False when the connection was over before:
    /// what its client leaves is read without that.
    pub(super) fn follow(&self, follows: Follows) -> bool {
        let living = &self.server.places.living;
        let tracked = self.tracked.get_or_init(|| living.track(self.identity.user.clone()));
        let logs = follows.kept_in.clone();
        let is_left = {
            // What it leaves is read behind this lock, and after it is known to leave.
            let mut followed = tracked.followed();
            let was_leaving = tracked.is_leaving();
            followed.follow(follows);
            !was_leaving
        };
        living.enter(&self.application, tracked, &logs, self.app.now().mono_ms);
        if !is_left {
            living.gone(tracked, &logs);
        }
        is_left
    }

    /// It is no more.
    pub(super) fn unfollow(&self, log: &ChannelName) {
        let Some(tracked) = self.tracked() else { return };
        let logs = tracked.followed().kept_in();
        tracked.followed().unfollow(log);
        self.server.places.living.unfollowed(tracked, &logs);
    }

    /// Whether a message is one for the client. What it has sent itself is not, or asked its backend to send
    /// to all others.
    pub(super) fn lets(&self, message: &Message) -> bool {
        message.from.as_ref() != Some(&self.identity.user)
            && self.tracked().is_none_or(|tracked| tracked.followed().lets(message))
    }

    /// So much of what was written is acknowledged.
    pub(super) fn acknowledged(&self, up_to: u32) {
        let Some(tracked) = self.tracked() else { return };
        let mut followed = tracked.followed();
        followed.acknowledged(up_to);
        if followed.take_moved() {
            let logs = followed.kept_in();
            drop(followed);
            self.server.places.living.moved(&logs);
        }
    }

    /// It is over. Where its client stands is kept, unless that does not come back to go on.
    pub(super) fn ends(&self, is_done: bool) {
        self.is_done.fetch_or(is_done, Ordering::Relaxed);
        let Some(tracked) = self.tracked().filter(|tracked| tracked.leave()) else { return };
        match &self.server.runtime {
            Some(runtime) if !is_done => {
                let (app, application) = (&self.app, &self.application);
                Places::leave(&self.server.places, runtime, app, application, Arc::clone(tracked));
            }
            _ => {
                let logs = tracked.followed().kept_in();
                self.server.places.living.gone(tracked, &logs);
            }
        }
    }

    /// Whether it subscribed to a channel.
    pub(super) fn is_subscribed(&self, channel: &str) -> bool {
        self.state().subscriptions.contains_key(channel)
    }

    /// Whether it has signed in as this user.
    pub(super) fn is_user(&self, id: &str) -> bool {
        self.state().signed_in.as_ref().is_some_and(|user| user.member.user_id == id)
    }

    /// New rules forbid a channel: it is not subscribed to that any more, and the others are told. False when
    /// it was not.
    pub(super) fn expel(&self, channel: &str) -> bool {
        let removed = self.state().subscriptions.remove_entry(channel);
        let was_subscribed = removed.is_some();
        self.departure(removed.into_iter().collect(), None).begin();
        was_subscribed
    }

    fn departure(
        &self,
        subscriptions: HashMap<String, Option<Member>>,
        signed_in: Option<SignedIn>,
    ) -> Departure {
        Departure {
            app: Arc::clone(&self.app),
            server: Arc::clone(&self.server),
            application: Arc::clone(&self.application),
            user: self.identity.user.clone(),
            subscriptions,
            signed_in,
        }
    }

    /// Counts an event that it sends; false when it has sent as many in this second as it may.
    pub(super) fn may_send(&self) -> bool {
        let (now_ms, max) = (self.app.now().mono_ms, self.application.settings.client_events_per_s);
        let mut state = self.state();
        if now_ms.saturating_sub(state.second_ms) >= 1_000 {
            (state.second_ms, state.events) = (now_ms, 0);
        }
        state.events += 1;
        state.events <= max
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.application.leave();
        // What it asked may have been under way when it was over.
        self.ends(self.is_done.load(Ordering::Relaxed));
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.departure(state.subscriptions, state.signed_in).begin();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("socket_id", &self.socket_id).finish_non_exhaustive()
    }
}

/// What a client asks, and who it is.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) connection: &'a Connection,
    /// The session that brings it messages.
    pub(super) session: SessionId,
    /// The address that it asks from, where that is known.
    pub(super) from: Option<IpAddr>,
}

/// A socket id that cannot be guessed: two numbers, as libraries of backends demand.
pub(super) fn socket_id() -> Result<String, Refused> {
    let bits = random::bits()?;
    // Half of the bits tell connections apart for longer than any server runs, and the numbers stay exact in
    // JavaScript.
    let (first, second) = ((bits >> 96) as u32, (bits >> 64) as u32);
    Ok(format!("{first}.{second}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_one() {
        let (one, other) = (socket_id().unwrap(), socket_id().unwrap());
        assert!(encke_proto::codec::pusher::is_socket_id(&one) && one != other);
    }
}
