//! The invariants between the hub's tables, checked by walking over all of them. For tests and fuzzing only:
//! the cost grows with everything that the hub holds.

use std::collections::HashSet;

use crate::{Hub, Key, channel::Log, session::Kind};

impl Hub {
    /// Whether everything in the hub points to each other as it should: what is wrong, if not. Looks at all
    /// there is, so it is for tests and fuzzing.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.check_sessions()?;
        self.check_channels()?;
        self.check_users()?;
        let served = self.sessions.iter().filter(|(_, session)| session.conn().is_some()).count();
        ensure(served == self.conn_index.len(), || {
            "connections and the sessions that they serve differ in number".into()
        })?;
        let counted: u64 = self.traffic.transports.iter().map(|transport| transport.connections).sum();
        ensure(counted == served as u64, || "connections and their count by transport differ".into())?;
        for place in self.conn_index.places() {
            ensure(self.sessions.at(place).is_some_and(|session| session.conn().is_some()), || {
                "a connection serves no session".into()
            })?;
        }
        for key in self.subscribing.keys() {
            ensure(self.sessions.get(*key).is_some(), || {
                "a request waits for a session that is gone".into()
            })?;
        }
        for key in self.devices.keys() {
            ensure(self.sessions.get(*key).is_some(), || "a device has a session that is gone".into())?;
        }
        Ok(())
    }

    fn check_sessions(&self) -> Result<(), String> {
        ensure(self.sessions.len() == self.session_index.len() + self.looks.len(), || {
            "sessions and their ids differ in number".into()
        })?;
        for (key, session) in self.sessions.iter() {
            let id = session.id;
            let looks = session.kind == Kind::Looking;
            let found = if looks { self.looks.get(&id).copied() } else { self.key_by_id(id) };
            ensure(found == Some(key), || format!("{id:?} is not found by its id"))?;
            let user = self.users.get(session.user);
            ensure(user.is_some_and(|user| user.sessions.contains(&key) != looks), || {
                format!("{id:?} has no user, or is not the user's")
            })?;
            if let Some(conn) = session.conn() {
                ensure(self.key_by_conn(conn) == Some(key), || {
                    format!("{id:?} believes in a connection that does not serve it")
                })?;
            } else {
                ensure(!session.ready && !session.begun, || {
                    format!("{id:?} is served without a connection")
                })?;
                ensure(session.look_ms != u64::MAX, || format!("{id:?} has no connection and no timer"))?;
            }
            ensure(session.begun || !session.ready, || format!("{id:?} is ready before it has begun"))?;
            // A session that has something to pull was woken; otherwise it would wait for ever.
            ensure(
                !session.begun || session.ready || !self.has_more(key) || self.reread.contains(&key),
                || format!("{id:?} was not woken"),
            )?;
            let own = session
                .subs
                .first()
                .and_then(|sub| self.channels.at(sub.channel))
                .map(|channel| channel.name.owner());
            let user = self.users.get(session.user).map(|user| &user.id);
            ensure(own.flatten().as_ref() == user, || {
                format!("{id:?} does not follow its user's own channel first")
            })?;
            let mut followed = HashSet::new();
            for (index, sub) in session.subs.iter().enumerate() {
                ensure(followed.insert(sub.channel), || format!("{id:?} follows a channel twice"))?;
                let channel = self
                    .channels
                    .at(sub.channel)
                    .ok_or_else(|| format!("{id:?} follows a channel that is gone"))?;
                let member = channel.members.get(sub.member as usize);
                let back = member
                    .is_some_and(|member| member.session == key.index && usize::from(member.sub) == index);
                ensure(back, || format!("{id:?} is no member of {}", channel.name))?;
            }
        }
        Ok(())
    }

    fn check_channels(&self) -> Result<(), String> {
        ensure(self.channels.len() == self.channel_index.len(), || {
            "channels and their names differ in number".into()
        })?;
        for (key, channel) in self.channels.iter() {
            let name = &channel.name;
            ensure(self.channel_key(name) == Some(key), || format!("{name} is not found by its name"))?;
            ensure(!channel.members.is_empty(), || format!("{name} has no follower"))?;
            for (index, member) in channel.members.iter().enumerate() {
                let sub = self
                    .sessions
                    .at(member.session)
                    .and_then(|session| session.subs.get(usize::from(member.sub)));
                ensure(
                    sub.is_some_and(|sub| sub.channel == key.index && sub.member as usize == index),
                    || format!("{name} has a follower who is not"),
                )?;
            }
            if let Log::Open(window) = &channel.log {
                ensure(window.is_sound(), || format!("the window of {name} has a hole"))?;
            }
        }
        Ok(())
    }

    fn check_users(&self) -> Result<(), String> {
        ensure(self.users.len() == self.user_index.len() + self.looks.len(), || {
            "users and their ids differ in number".into()
        })?;
        let looked_at: HashSet<Key> =
            self.looks.values().filter_map(|key| self.sessions.get(*key)).map(|look| look.user).collect();
        for (key, user) in self.users.iter().filter(|(key, _)| !looked_at.contains(key)) {
            let id = &user.id;
            ensure(self.user_key(id) == Some(key), || format!("{id} is not found by its id"))?;
            ensure(!user.sessions.is_empty(), || format!("{id} is online without a session"))?;
            let known =
                |session: &Key| self.sessions.get(*session).is_some_and(|session| session.user == key);
            ensure(user.sessions.iter().all(known), || format!("{id} has a session that is gone"))?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
