//! Operators who look on at a user's own channel: each is given what the user is given, and takes nothing
//! from the user. What an operator has for that is a session that only its connection finds: the user is not
//! online by it, no limit counts it, no list shows it, and no receipt comes of what it was given.

use encke_proto::{Close, ErrorCode, SessionId, Time, UserId};

use crate::{
    ConnKey, Ending, Hub, Key, Now, Output, Start,
    channel::Log,
    one_or_many::OneOrMany,
    presence::{User, Why},
    session::{Beginning, Kind, Served, Session},
};

/// A connection of an operator who looks on. Who that is, and may do so, was checked before.
#[derive(Clone, Debug)]
pub struct Look {
    /// The connection.
    pub conn: ConnKey,
    /// What its session is called; random.
    pub id: SessionId,
    /// At whom the operator looks.
    pub user: UserId,
    /// What the transport is called.
    pub transport: &'static str,
    /// Where to begin; [`Start::Absent`] is at what no session of the user was handed.
    pub start: Start,
    /// When it ends by itself; 0 when it does not.
    pub ends: Time,
}

impl Hub {
    /// Lets an operator look on: [`Output::Begun`] or [`Output::Ended`] follows. The driver bounds how many
    /// there are.
    pub fn look_on(&mut self, look: Look, now: Now) {
        let Look { conn, id, user, transport, start, ends } = look;
        self.detach(conn, now);
        if self.looks.contains_key(&id) || self.key_by_id(id).is_some() {
            return self.say(Output::Ended { conn, ending: Ending::Refused(ErrorCode::Internal) });
        }
        let transport = self.traffic.number(transport);
        let own = user.channel();
        // An entry of its own, which is found by no name: the user is where the user was.
        let user = self.users.insert(User { id: user, sessions: OneOrMany::None });
        let key = self.sessions.insert(Session {
            served: Served::By(conn),
            ..Session::new(id, user, Kind::Looking, transport, now.mono_ms, now.wall)
        });
        self.looks.insert(id, key);
        self.conn_index.insert(&self.sessions, &conn, key);
        self.found.set(Some(key));
        self.traffic.connected(transport);
        self.note_token(key, None);
        self.note_token_end(key, ends, now);
        let (beginning, at) = match start {
            Start::Absent => (Beginning::Handed, None),
            Start::Earliest => (Beginning::Earliest, None),
            Start::Cursor(cursor) => match cursor.position(&own) {
                Some(at) => (Beginning::Here, Some(at)),
                None => (Beginning::Handed, None),
            },
        };
        if let Err(code) = self.follow(key, &own, beginning, at) {
            return self.refuse(key, code, now);
        }
        self.settle(key);
    }

    /// The session of an operator who looked on is gone.
    pub(crate) fn forget_look(&mut self, session: &Session) {
        self.looks.remove(&session.id);
        self.users.remove(session.user);
    }

    /// Ends what operators have for sessions who look on at a user.
    pub(crate) fn end_looks_at(&mut self, user: &UserId, close: &Close, now: Now) {
        let keys: Vec<Key> = self.looks.values().copied().collect();
        for key in keys {
            if self.user_of(key) == Some(user) {
                self.end_session(key, Some(Why::Closed(close.clone())), now);
            }
        }
    }

    /// A session is to follow a channel that is here already. If operators alone looked on, the user may have
    /// been handed something on another node since, so the engine is asked as if nothing were known.
    pub(crate) fn doubt_handed(&mut self, key: Key) {
        if self.looks.is_empty() {
            return;
        }
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.name.is_own()) else {
            return;
        };
        let looks = |place| self.sessions.at(place).is_some_and(|session| session.kind == Kind::Looking);
        if !channel.members.iter().all(|member| looks(member.session)) {
            return;
        }
        channel.handed = None;
        channel.log = Log::default();
        // What the engine is saying may be of before.
        channel.void = channel.asked;
        self.ask_to_open(key);
    }
}
