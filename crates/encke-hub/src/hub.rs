//! The hub's state, its lookups by key and its tick. What happens to sessions, channels and receipts is in
//! the files named for it, as further methods of the same type.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
};

use encke_proto::{ChannelName, IntHashState, NameHashState, SessionId, Time, TokenId, UserId};

use crate::{
    ConnKey, Device, HubConfig, Key, Now, Output, Slab, Traffic, Wheel, channel::Channel,
    cursor_text::EpochText, index::Index, presence::User, session::Session, tombstone::Tombstones,
};

/// The ticks of the hub's wheel, in milliseconds.
pub(crate) const TICK_MS: u64 = 250;
/// For how many outputs room is kept when there is none.
const OUTPUTS_KEPT: usize = 1_024;
/// How often windows let go of old messages, in milliseconds.
const COOL_MS: u64 = 1_000;
/// One turn of it: about a minute.
const WHEEL_BUCKETS: usize = 256;

/// The state machine. See the crate's documentation.
#[derive(Debug)]
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) users: Slab<User>,
    pub(crate) user_index: Index<NameHashState>,
    pub(crate) sessions: Slab<Session>,
    pub(crate) session_index: Index,
    /// Operators who look on, by the ids that their sessions have; the driver bounds their number.
    pub(crate) looks: HashMap<SessionId, Key>,
    /// Which session a connection serves.
    pub(crate) conn_index: Index<IntHashState>,
    /// The session that was found last by its connection. What a driver asks next is nearly always about the
    /// same connection, and then nothing needs to be looked for.
    pub(crate) found: Cell<Option<Key>>,
    pub(crate) channels: Slab<Channel>,
    pub(crate) channel_index: Index<NameHashState>,
    pub(crate) tombstones: Tombstones,
    /// When sessions are looked at, by their places: the session that stands there by then is looked at, and
    /// knows whether it was meant.
    pub(crate) wheel: Wheel<u32>,
    /// Channels that hold messages in their window.
    pub(crate) warm: Vec<Key>,
    /// When they are looked at next.
    pub(crate) cools_ms: u64,
    /// Channels and sessions for which the engine had no answer; asked again at the next tick.
    pub(crate) reopen: Vec<Key>,
    pub(crate) reread: Vec<Key>,
    /// How many pages were asked for; numbers the questions.
    pub(crate) reads: u32,
    /// Control requests that wait until their session stands in the channels that they named.
    pub(crate) subscribing: HashMap<Key, Vec<u64>>,
    /// What clients are yet to be told of: channels that their session does not follow any more. At most as
    /// many for each as a session may follow.
    pub(crate) unsubscribed: HashMap<Key, Vec<ChannelName>>,
    /// The ids of the tokens that sessions came with; most tokens have none.
    pub(crate) token_ids: HashMap<Key, TokenId>,
    /// The devices that sessions are of; most are of none.
    pub(crate) devices: HashMap<Key, Device>,
    /// From when on what was published is recent: see [`crate::HubConfig::window_ms`].
    pub(crate) recent_since: Time,
    pub(crate) outputs: VecDeque<Output>,
    /// What went through, by transport among others; sessions hold their number.
    pub(crate) traffic: Traffic,
    pub(crate) epoch_text: EpochText,
}

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new(config: HubConfig, now: Now) -> Self {
        let recent_since = Time(now.wall.0.saturating_sub(config.window_ms));
        Self {
            config,
            users: Slab::default(),
            user_index: Index::default(),
            sessions: Slab::default(),
            session_index: Index::default(),
            looks: HashMap::new(),
            conn_index: Index::default(),
            found: Cell::new(None),
            channels: Slab::default(),
            channel_index: Index::default(),
            tombstones: Tombstones::default(),
            wheel: Wheel::new(TICK_MS, WHEEL_BUCKETS, now.mono_ms),
            warm: Vec::new(),
            cools_ms: now.mono_ms,
            reopen: Vec::new(),
            reread: Vec::new(),
            reads: 0,
            subscribing: HashMap::new(),
            unsubscribed: HashMap::new(),
            token_ids: HashMap::new(),
            devices: HashMap::new(),
            recent_since,
            outputs: VecDeque::new(),
            traffic: Traffic::default(),
            epoch_text: EpochText::default(),
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > OUTPUTS_KEPT {
            // A broadcast has left room for as many as it woke.
            self.outputs = VecDeque::new();
        }
        next
    }

    pub(crate) fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The session that a connection serves.
    #[must_use]
    pub fn session_of(&self, conn: ConnKey) -> Option<SessionId> {
        self.session_by_conn(conn).map(|session| session.id)
    }

    /// The session that a connection serves, and whether it is the session's first.
    #[must_use]
    pub fn serves(&self, conn: ConnKey) -> Option<(SessionId, bool)> {
        self.session_by_conn(conn).map(|session| (session.id, session.fresh))
    }

    /// The user whose session a connection serves.
    #[must_use]
    pub fn user_on(&self, conn: ConnKey) -> Option<&UserId> {
        let (_, session) = self.served_by(conn)?;
        self.users.get(session.user).map(|user| &user.id)
    }

    pub(crate) fn key_by_conn(&self, conn: ConnKey) -> Option<Key> {
        self.served_by(conn).map(|(key, _)| key)
    }

    pub(crate) fn session_by_conn(&self, conn: ConnKey) -> Option<&Session> {
        self.served_by(conn).map(|(_, session)| session)
    }

    /// The session that a connection serves, and its key.
    pub(crate) fn served_by(&self, conn: ConnKey) -> Option<(Key, &Session)> {
        let last = self.found.get().and_then(|key| Some((key, self.sessions.get(key)?)));
        last.filter(|(_, session)| session.conn() == Some(conn)).or_else(|| {
            let found = self.conn_index.find_value(&self.sessions, &conn)?;
            self.found.set(Some(found.0));
            Some(found)
        })
    }

    pub(crate) fn key_by_id(&self, id: SessionId) -> Option<Key> {
        self.session_index.find(&self.sessions, &id)
    }

    pub(crate) fn user_key(&self, id: &UserId) -> Option<Key> {
        self.user_index.find(&self.users, id)
    }

    pub(crate) fn channel_key(&self, name: &ChannelName) -> Option<Key> {
        self.channel_index.find(&self.channels, name)
    }

    /// What grew with the sessions shrinks after they have gone.
    fn fit(&mut self) {
        self.user_index.fit::<User, UserId>(&self.users);
        self.session_index.fit::<Session, SessionId>(&self.sessions);
        self.conn_index.fit::<Session, ConnKey>(&self.sessions);
        self.channel_index.fit::<Channel, ChannelName>(&self.channels);
        self.token_ids.shrink_to(2 * self.token_ids.len());
        self.devices.shrink_to(2 * self.devices.len());
    }

    /// Time goes on: sessions whose grace or token is over end, channels at rest let go of their messages,
    /// and what failed is tried again.
    pub fn tick(&mut self, now: Now) {
        self.tombstones.expire(now.mono_ms);
        self.recent_since = Time(now.wall.0.saturating_sub(self.config.window_ms));
        for place in self.wheel.due(now.mono_ms) {
            if let Some(key) = self.sessions.key_at(place) {
                self.look_at(key, now);
            }
        }
        if now.mono_ms >= self.cools_ms {
            self.cools_ms = now.mono_ms + COOL_MS;
            let before = self.recent_since;
            let mut warm = std::mem::take(&mut self.warm);
            warm.retain(|key| self.channels.get_mut(*key).is_some_and(|channel| channel.cool(before)));
            warm.shrink_to(2 * warm.len());
            self.warm = warm;
            self.fit();
        }
        for key in std::mem::take(&mut self.reopen) {
            if self.channels.get(key).is_some_and(|channel| !channel.asked) {
                self.ask_to_open(key);
            }
        }
        for key in std::mem::take(&mut self.reread) {
            self.make_ready(key, false);
        }
    }
}
