//! How sessions begin and end, and with them the users who are online: the grace time, the limit of sessions
//! for each user, expired tokens. What a session follows is in `attach.rs`.

use encke_proto::{Close, CloseCode, ErrorCode, SessionId, UserId};

use crate::{
    Attach, CloseNotice, ConnKey, Ending, Hub, Key, Now, Output,
    index::Keyed,
    one_or_many::OneOrMany,
    session::{Kind, Served, Session},
};

/// Why a session is ended while a connection may be there to hear it.
pub(crate) enum Why {
    /// On purpose.
    Closed(Close),
    /// It could not begin.
    Refused(ErrorCode),
}

/// A user who is online: one who has a session.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    /// The user's sessions, the oldest first.
    pub(crate) sessions: OneOrMany<Key>,
}

impl Keyed<User> for UserId {
    fn of(user: &User) -> Option<&Self> {
        Some(&user.id)
    }
}

impl Hub {
    /// Makes a session without subscriptions. The user comes online with the first.
    pub(crate) fn begin_session(&mut self, attach: &Attach, now: Now) -> Key {
        let Attach { fresh: id, user, transport, lasting, .. } = attach;
        let transport = self.traffic.number(transport);
        let user_key = match self.user_key(user) {
            Some(key) => key,
            None => {
                let key = self.users.insert(User { id: user.clone(), sessions: OneOrMany::None });
                self.user_index.insert(&self.users, user, key);
                self.say(Output::Present(user.clone()));
                key
            }
        };
        if *lasting && !self.stays(user_key) {
            self.say(Output::Online(user.clone()));
        }
        let surplus = self.users.get(user_key).and_then(|user| {
            let full = user.sessions.len() >= self.config.max_sessions_per_user;
            user.sessions.first().copied().filter(|_| full)
        });
        let kind = if *lasting { Kind::Lasting } else { Kind::Fleeting };
        let over_ms = now.mono_ms + self.config.grace_ms;
        let key = self.sessions.insert(Session {
            // One that comes from another node goes on under the id that its client has.
            fresh: attach.session != Some(attach.fresh),
            ..Session::new(*id, user_key, kind, transport, over_ms, now.wall)
        });
        self.session_index.insert(&self.sessions, id, key);
        if let Some(user) = self.users.get_mut(user_key) {
            user.sessions.push(key);
        }
        // The new one is in already, so the user does not go offline in between.
        if let Some(oldest) = surplus {
            let close = Close {
                code: CloseCode::TooManySessions,
                reason: "the user has too many sessions".into(),
                reconnect: false,
                retry_ms: None,
            };
            self.end_session(oldest, Some(Why::Closed(close)), now);
        }
        key
    }

    /// Ends a session and frees everything of it. A closed one is remembered, so that its client is told if
    /// it comes back.
    pub(crate) fn end_session(&mut self, key: Key, why: Option<Why>, now: Now) {
        let ending = why.map(|why| match why {
            Why::Closed(close) => Ending::Closed(Box::new(self.close_notice(key, close))),
            Why::Refused(code) => Ending::Refused(code),
        });
        while self.sessions.get(key).is_some_and(|session| !session.subs.is_empty()) {
            self.drop_sub(key, 0);
        }
        let Some(session) = self.sessions.remove(key) else { return };
        self.unsubscribed.remove(&key);
        self.forget_token(key);
        self.forget_device(key);
        if session.kind == Kind::Looking {
            self.forget_look(&session);
            return self.end_conn(key, &session, ending);
        }
        self.session_index.remove(&session.id, key);
        self.answer_subscribers(key);
        let Some(user) = self.users.get_mut(session.user) else { return };
        user.sessions.remove_first(|other| *other == key);
        let (user, last) = (user.id.clone(), user.sessions.is_empty());
        if last {
            self.users.remove(session.user);
            self.user_index.remove(&user, session.user);
            // Before the client is told.
            self.say(Output::Absent(user.clone()));
        }
        if let Some(Ending::Closed(close_notice)) = &ending
            && !close_notice.close.reconnect
            && session.kind == Kind::Lasting
        {
            self.tombstones.insert(session.id, user.clone(), now.mono_ms + self.config.grace_ms);
            self.say(Output::Closed { user: user.clone(), session: session.id });
        }
        self.end_conn(key, &session, ending);
        if session.kind == Kind::Lasting && !self.stays(session.user) {
            self.say(Output::Offline(user));
        }
    }

    /// Tells the connection of a session that is gone, if there is one, how it ended.
    fn end_conn(&mut self, key: Key, session: &Session, ending: Option<Ending>) {
        let Some(conn) = session.conn() else { return };
        self.conn_index.remove(&conn, key);
        self.traffic.disconnected(session.transport);
        let Some(ending) = ending else { return };
        if let Ending::Closed(notice) = &ending {
            self.traffic.ended(notice.close.code);
        }
        self.say(Output::Ended { conn, ending });
    }

    /// Whether a user has a session that outlives its connections.
    pub(crate) fn stays(&self, user: Key) -> bool {
        let sessions = self.users.get(user).map_or(&[][..], |user| &user.sessions);
        sessions
            .iter()
            .any(|key| self.sessions.get(*key).is_some_and(|session| session.kind == Kind::Lasting))
    }

    fn close_notice(&mut self, key: Key, close: Close) -> CloseNotice {
        let session = self.sessions.get(key).map_or(SessionId::from_bits(0), |session| session.id);
        let mut cursor = String::new();
        self.write_cursor_of(key, &mut cursor);
        CloseNotice { close, session, cursor }
    }

    /// A connection is gone, or has answered its poll. The session stays for the grace time, if it is one
    /// that lasts.
    pub fn detach(&mut self, conn: ConnKey, now: Now) {
        let Some(key) = self.let_go(conn, now) else { return };
        if self.sessions.get(key).is_some_and(|session| session.kind != Kind::Lasting) {
            self.end_session(key, None, now);
        }
    }

    /// Takes a connection from its session, which is waiting for another then.
    pub(crate) fn let_go(&mut self, conn: ConnKey, now: Now) -> Option<Key> {
        let key = self.key_by_conn(conn)?;
        self.conn_index.remove(&conn, key);
        let session = self.sessions.get_mut(key)?;
        session.served = Served::Until(now.mono_ms + self.config.grace_ms);
        session.ready = false;
        session.begun = false;
        session.fresh = false;
        let transport = session.transport;
        self.traffic.disconnected(transport);
        // The place to begin that is not settled yet is not known to the client either, so it is given up
        // with the connection; a page under way finds no subscription.
        self.look_before(key, now.mono_ms + self.config.grace_ms);
        Some(key)
    }

    /// Sees to it that the wheel looks at a session at `due_ms` or before.
    pub(crate) fn look_before(&mut self, key: Key, due_ms: u64) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if due_ms < session.look_ms {
            session.look_ms = self.wheel.insert(due_ms, key.index);
        }
    }

    /// The wheel has come to a session: end it if its time is over, else look again.
    pub(crate) fn look_at(&mut self, key: Key, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.look_ms > now.mono_ms {
            // An earlier look was asked for and has taken place, or the look was meant for one that stood
            // here before; this is left over.
            return;
        }
        let token_over = session.token_ends.0 != 0 && session.token_ends <= now.wall;
        if matches!(session.served, Served::Until(over_ms) if over_ms <= now.mono_ms) {
            self.end_session(key, None, now);
        } else if token_over {
            let close = Close {
                code: CloseCode::TokenExpired,
                reason: "the token has expired".into(),
                reconnect: true,
                retry_ms: None,
            };
            self.end_session(key, Some(Why::Closed(close)), now);
        } else {
            let over_ms = match session.served {
                Served::By(_) => u64::MAX,
                Served::Until(over_ms) => over_ms,
            };
            session.look_ms = u64::MAX;
            let token_ms = session.note_notice(now).unwrap_or(u64::MAX);
            self.look_before(key, over_ms.min(token_ms));
            if self.has_notice(key) {
                self.make_ready(key, false);
            }
        }
    }

    /// The request of a connection cannot be served: it is answered with an error. A session that no client
    /// knows of is no more.
    pub(crate) fn refuse(&mut self, key: Key, code: ErrorCode, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(conn) = session.conn() else { return };
        if session.known {
            self.detach(conn, now);
            self.say(Output::Ended { conn, ending: Ending::Refused(code) });
        } else {
            self.end_session(key, Some(Why::Refused(code)), now);
        }
    }
}
