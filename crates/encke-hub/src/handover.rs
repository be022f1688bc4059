//! Sessions that go on elsewhere: their client has come to another node.

use encke_proto::{CloseCode, Cursor, ErrorCode, Grant, SessionId, UserId};

use crate::{ControlReply, Ending, Following, Hub, Key, Now, Output, session::Beginning};

impl Hub {
    /// Gives a session up to the node that asks for it, with all that it follows: nothing of it stays, and no
    /// connection is told that it ended; its last one is told that another took over.
    pub(crate) fn release(&mut self, ticket: u64, session: SessionId, user: &UserId, now: Now) {
        let key = self.key_by_id(session).filter(|key| self.user_of(*key) == Some(user));
        let given = key.map(|key| {
            let following = self.carried_by(key);
            if let Some(conn) = self.sessions.get(key).and_then(crate::session::Session::conn) {
                self.let_go(conn, now);
                self.traffic.ended(CloseCode::TakenOver);
                self.say(Output::Ended { conn, ending: Ending::TakenOver });
            }
            self.end_session(key, None, now);
            Box::new(following)
        });
        self.say(Output::Replied { ticket, reply: ControlReply::Released(given) });
    }

    /// What a session follows: where it stands, or where it began as long as its client has not named the
    /// channel; and the channels in which it does not stand yet.
    fn carried_by(&self, key: Key) -> Following {
        let mut following = Following { channels: Vec::new(), began: Cursor::default() };
        for sub in self.sessions.get(key).map(|session| session.subs.as_slice()).unwrap_or_default() {
            let Some(channel) = self.channels.at(sub.channel) else { continue };
            if sub.placed() {
                following.began.set(&channel.name, sub.began().unwrap_or(sub.at));
            } else if !channel.name.is_own() {
                following.channels.push(channel.name.clone());
            }
        }
        following
    }

    /// Lets a session that has just begun follow all that it followed on another node and is granted.
    pub(crate) fn carry_on(
        &mut self,
        key: Key,
        user: &UserId,
        carried: &Following,
        granted: &Grant,
    ) -> Result<(), ErrorCode> {
        // The own channel comes first, so that every session has it as its first subscription.
        let own = self.user_of(key).map(UserId::channel);
        let at = own.as_ref().and_then(|own| carried.began.position(own));
        if let (Some(own), Some(at)) = (&own, at) {
            self.follow(key, own, Beginning::Here, Some(at))?;
        } else if let Some(own) = &own {
            self.follow(key, own, Beginning::Handed, None)?;
        }
        for (channel, at) in carried.began.entries.iter().filter(|(channel, _)| !channel.is_own()) {
            if !self.is_permitted(user, granted, channel) {
                self.tell_unsubscribed(key, channel);
                continue;
            }
            self.follow(key, channel, Beginning::Here, Some(*at))?;
            // It is not the client that said so: should its cursor not name the channel, what is sent from
            // here on may be lost like what was sent there.
            if let Some(index) = self.sub_named(key, channel)
                && let Some(sub) = self.sub_mut(key, index)
            {
                sub.begin_here();
            }
        }
        for channel in carried.channels.iter().filter(|channel| !channel.is_own()) {
            if !self.is_permitted(user, granted, channel) {
                self.tell_unsubscribed(key, channel);
                continue;
            }
            self.follow(key, channel, Beginning::Now, None)?;
        }
        Ok(())
    }
}
