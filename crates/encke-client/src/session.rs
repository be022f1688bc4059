//! What a listener knows about its session, shared with the handles that steer it meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encke_proto::ErrorCode;
use tokio::sync::watch;

use crate::client::Change;
use crate::http::Query;
use crate::positions::Positions;
use crate::{Client, Error, Gap, Message};

/// The state of a session as its listener and its handles share it.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// True once the session was closed through a handle: then the listener does not connect any more.
    closing: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<String>,
    positions: Positions,
    /// The cursor to begin with, which stands until the server tells one.
    first_cursor: Option<String>,
    /// Channels that were subscribed to, so that a session made anew gets them even if its cursor does not
    /// name them.
    wanted: BTreeSet<String>,
    /// Channels that were unsubscribed: what of them is still under way is not handed over, and does not
    /// bring them back into the cursor.
    left: BTreeSet<String>,
    /// The channels that the current connection was asked for, as far as they are known by name.
    asked: BTreeSet<String>,
}

/// What changed while a connection was on its way, which it was not asked with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) wanted: Vec<String>,
    pub(crate) left: Vec<String>,
}

impl Shared {
    pub(crate) fn new(
        session: Option<String>,
        first_cursor: Option<String>,
        wanted: BTreeSet<String>,
    ) -> Self {
        Self {
            state: Mutex::new(State { session, first_cursor, wanted, ..State::default() }),
            closing: watch::Sender::new(false),
        }
    }

    /// No code under the lock can panic halfway through a change, so a poisoned lock guards a good state all
    /// the same.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that is known so far.
    pub(crate) fn session(&self) -> Option<String> {
        self.state().session.clone()
    }

    /// Whether this is another session than the one known so far.
    pub(crate) fn is_new(&self, session: &str) -> bool {
        self.state().session.as_deref() != Some(session)
    }

    pub(crate) fn open(&self, session: &str) {
        self.state().session = Some(session.to_owned());
    }

    pub(crate) fn adopt(&self, cursor: &str) {
        let mut state = self.state();
        let state = &mut *state;
        state.first_cursor = None;
        state.positions.adopt(cursor);
        for channel in &state.left {
            state.positions.forget(channel);
        }
    }

    /// Whether the message is to be handed over.
    pub(crate) fn accept(&self, message: &Message) -> bool {
        let mut state = self.state();
        !state.left.contains(&message.channel)
            && state.positions.advance(&message.channel, &message.epoch, message.offset)
    }

    /// Whether the gap is to be handed over.
    pub(crate) fn skip(&self, gap: &Gap) -> bool {
        let mut state = self.state();
        if let Some(to) = gap.to {
            state.positions.skip(&gap.channel, to);
        }
        !state.left.contains(&gap.channel)
    }

    /// The session does not have this channel any more, and is not to ask for it again.
    pub(crate) fn lose(&self, channel: &str) {
        let mut state = self.state();
        state.wanted.remove(channel);
        state.positions.forget(channel);
    }

    /// Takes over where the session began in channels that it was just given.
    fn begin(&self, cursor: &str) {
        let mut state = self.state();
        let state = &mut *state;
        state.positions.begin(cursor);
        for channel in &state.left {
            state.positions.forget(channel);
        }
    }

    /// Notes that channels are wanted, before the server is asked: a connection that is made meanwhile brings
    /// them. Tells which were not wanted before, each with whether it had been left.
    fn want(&self, channels: &[String]) -> Vec<(String, bool)> {
        let mut state = self.state();
        let state = &mut *state;
        let new = channels.iter().filter(|channel| state.wanted.insert((*channel).clone()));
        new.map(|channel| (channel.clone(), state.left.remove(channel))).collect()
    }

    /// The server refuses these channels: takes back what [`want`](Self::want) noted.
    fn refuse(&self, noted: Vec<(String, bool)>) {
        let mut state = self.state();
        for (channel, was_left) in noted {
            state.wanted.remove(&channel);
            if was_left {
                state.left.insert(channel);
            }
        }
    }

    /// Notes that channels are not wanted any more.
    fn leave(&self, channels: &[String]) {
        let mut state = self.state();
        for channel in channels {
            state.wanted.remove(channel);
            state.positions.forget(channel);
            state.left.insert(channel.clone());
        }
    }

    /// What the connection that has just opened was not asked with.
    pub(crate) fn late(&self) -> Late {
        let state = self.state();
        Late {
            wanted: state.wanted.difference(&state.asked).cloned().collect(),
            left: state.left.intersection(&state.asked).cloned().collect(),
        }
    }

    /// The server does not know the session any more, or must not be asked for it.
    pub(crate) fn drop_session(&self) {
        self.state().session = None;
    }

    /// What a data connection is asked for with.
    pub(crate) fn query(&self) -> Query {
        let mut state = self.state();
        state.asked = state.wanted.iter().chain(state.positions.channels()).cloned().collect();
        let mut query = Query::default();
        query.add_some("session", state.session.as_deref());
        query.add_some("cursor", state.first_cursor.clone().or_else(|| state.positions.cursor()).as_deref());
        query.add_list(
            "channels",
            state.wanted.iter().map(String::as_str).filter(|channel| !state.positions.names(channel)),
        );
        query
    }

    pub(crate) fn cursor(&self) -> Option<String> {
        let state = self.state();
        state.first_cursor.clone().or_else(|| state.positions.cursor())
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Returns when the session was closed through a handle.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

/// Steers a session while its [`Listener`](crate::Listener) listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    client: Client,
    shared: Arc<Shared>,
}

impl SessionHandle {
    pub(crate) fn new(client: Client, shared: Arc<Shared>) -> Self {
        Self { client, shared }
    }

    /// The session's id; `None` before the first [`Open`](crate::Event::Open), and between a close with
    /// reconnect and the next one.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.shared.session()
    }

    /// How far the session has come with what was handed over. A later [`Listen`](crate::Listen) can begin
    /// there.
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        self.shared.cursor()
    }

    /// Subscribes to more channels, at once on the held connection, and again whenever the session must be
    /// made anew.
    ///
    /// Returns all channels that the session now has. Before the first `Open` the channels are only noted,
    /// and the list is empty; they are asked for once the connection is open.
    ///
    /// After an error that [`is_temporary`](Error::is_temporary), and after `session_unknown`, the channels
    /// stay wanted: the next connection brings them. [`unsubscribe`](Self::unsubscribe) takes that back.
    ///
    /// # Errors
    /// `channel_forbidden` and `session_unknown` among what the server refuses, and not being able to reach
    /// it.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Vec<String>, Error> {
        let noted = self.shared.want(channels);
        let Some(session) = self.session() else { return Ok(Vec::new()) };
        match self.client.change_channels(Change::Subscribe, &session, channels).await {
            Ok(followed) => {
                // Until the first message of a channel this is all there is of where it began.
                self.shared.begin(followed.cursor.as_deref().unwrap_or_default());
                Ok(followed.channels)
            }
            Err(error) => {
                if !error.is_temporary() && error.code() != Some(ErrorCode::SessionUnknown.as_str()) {
                    self.shared.refuse(noted);
                }
                Err(error)
            }
        }
    }

    /// Takes channels away, at once. Returns all that the session still has.
    ///
    /// Nothing of them is handed over from now on, and no further connection asks for them, even after an
    /// error.
    ///
    /// # Errors
    /// `session_unknown` among what the server refuses, and not being able to reach it.
    pub async fn unsubscribe(&self, channels: &[String]) -> Result<Vec<String>, Error> {
        self.shared.leave(channels);
        match self.session() {
            Some(session) => self.client.unsubscribe(&session, channels).await,
            None => Ok(Vec::new()),
        }
    }

    /// Tells that a person saw all pushes that the listener has handed over so far. Does nothing before the
    /// first `Open`.
    ///
    /// # Errors
    /// `session_unknown` among what the server refuses, and not being able to reach it.
    pub async fn ack(&self) -> Result<(), Error> {
        let (Some(session), Some(cursor)) = (self.session(), self.cursor()) else { return Ok(()) };
        self.client.ack(&session, &cursor).await
    }

    /// Puts a fresh token of the same user in the place of the one that ends; see
    /// [`Client::refresh`](crate::Client::refresh). None before the first `Open`.
    ///
    /// # Errors
    /// As [`Client::refresh`](crate::Client::refresh).
    pub async fn refresh(&self, token: &str) -> Result<Option<String>, Error> {
        let Some(session) = self.session() else { return Ok(None) };
        self.client.refresh(&session, token).await.map(Some)
    }

    /// Ends the session on purpose. The listener gets its [`Close`](crate::Event::Close) and ends; it does
    /// not connect again in any case.
    ///
    /// False if the server had no such session (any more), or none was there yet.
    ///
    /// # Errors
    /// Not being able to reach the server; then the listener goes on, until it is dropped.
    pub async fn close(&self, reason: Option<&str>) -> Result<bool, Error> {
        let closed = match self.session() {
            Some(session) => self.client.close(&session, reason).await?,
            None => false,
        };
        self.shared.closing.send_replace(true);
        Ok(closed)
    }
}
