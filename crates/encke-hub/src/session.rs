use std::{collections::VecDeque, sync::Arc};

use encke_proto::{Entry, Gap, Offset, Position, SessionId, Time};

use crate::{Key, Output};

/// The driver's name for a connection. The hub only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey(pub u64);

/// One tab or device of a user.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Place of the user in the hub's users.
    pub(crate) user: Key,
    /// The connection that serves the session now.
    pub(crate) conn: Option<ConnKey>,
    /// What the driver calls the transport; for those who ask.
    pub(crate) transport: &'static str,
    /// Whether it outlives its connections.
    pub(crate) lasting: bool,
    /// When it began.
    pub(crate) since: Time,
    /// When the token ends that its connection came with; 0 when it does not.
    pub(crate) token_ends: Time,
    /// Without a connection, when it is over, in milliseconds of the clock that never goes back.
    pub(crate) grace_ends_ms: u64,
    /// When the wheel looks at it next.
    pub(crate) look_ms: u64,
    /// What it follows; the user's own channel comes first.
    pub(crate) subs: Vec<Sub>,
    /// The subscription that is pulled from, and how many times running.
    pub(crate) turn: u16,
    pub(crate) streak: u16,
    /// Whether [`crate::Output::Ready`] was said and the driver has not yet pulled everything.
    pub(crate) ready: bool,
    /// Whether that was said as of one of very many.
    pub(crate) wide: bool,
    /// Whether [`crate::Output::Begun`] was said to the connection.
    pub(crate) begun: bool,
    /// Whether it was ever said, so that a client may know of the session.
    pub(crate) known: bool,
}

/// One channel that a session follows.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) channel: Key,
    /// Place in the channel's list of members.
    pub(crate) member: u32,
    /// How far the session has come.
    pub(crate) at: Position,
    pub(crate) state: SubState,
    /// Where it began, as long as no cursor that a client brought has named the channel: what was pulled since may have been lost on its way.
    pub(crate) unsure: Option<Box<Position>>,
}

/// Where the next message of a subscription comes from.
#[derive(Debug)]
pub(crate) enum SubState {
    /// The channel is being opened; then the place to begin is settled.
    Beginning(Beginning),
    /// From the channel's window, or nowhere while it is at the head.
    Live,
    /// A page was asked for.
    Reading(Reading),
    /// From pages that were read, then from the window.
    Behind(Box<Behind>),
}

/// A question that the engine has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Its number. An answer with another one was for a place where the subscription stands no more.
    pub(crate) number: u32,
    /// Whether the subscription begins with whatever is the oldest that is kept.
    pub(crate) earliest: bool,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// At what comes from now on.
    Now,
    /// At the oldest that is kept, without a word about what is not.
    Earliest,
    /// Behind what some session of the user was handed.
    Handed,
    /// Behind the position that the subscription has.
    Here,
}

/// What a session that lags has yet to be given of a channel.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) gap: Option<Gap>,
    /// Where the subscription stands once the gap has been told.
    pub(crate) goes_on: Position,
    pub(crate) entries: VecDeque<Arc<Entry>>,
}

impl Session {
    /// There is something to pull; what the driver is to be told, if it is not told already. Whoever waits among very many is told once more when something comes for it alone.
    pub(crate) fn wake(&mut self, wide: bool) -> Option<Output> {
        let conn = self.conn.filter(|_| self.begun && (!self.ready || (self.wide && !wide)))?;
        (self.ready, self.wide) = (true, wide);
        Some(Output::Ready { conn, wide })
    }
}

impl Sub {
    /// Whether it waits for the engine.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, SubState::Beginning(_) | SubState::Reading(_))
    }

    /// Whether it stands anywhere yet; before, a cursor has nothing to say of it.
    pub(crate) fn placed(&self) -> bool {
        match self.state {
            SubState::Beginning(beginning) => beginning == Beginning::Here,
            SubState::Reading(reading) => !reading.earliest,
            SubState::Live | SubState::Behind(_) => true,
        }
    }

    /// Whether a gap is to be told before anything else.
    pub(crate) fn has_gap(&self) -> bool {
        matches!(&self.state, SubState::Behind(behind) if behind.gap.is_some())
    }

    /// How many messages it has yet to be given. What a gap says that it will not get is none of them.
    pub(crate) fn lag(&self, head: Position) -> Offset {
        let at = match &self.state {
            SubState::Behind(behind) if behind.gap.is_some() => behind.goes_on,
            _ => self.at,
        };
        if at.epoch == head.epoch { head.offset.saturating_sub(at.offset) } else { head.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::Channel, presence::User};
    use encke_proto::{ChannelName, UserId};
    use std::mem::size_of;

    /// What the hub holds for a session that follows only its user's own channel and waits: slots, the tables that find them at their usual load, and what they own.
    #[test]
    fn an_idle_session_is_small() {
        let place = size_of::<u32>() * 2;
        let slots = size_of::<Session>() + size_of::<Sub>() + size_of::<Channel>() + size_of::<User>() + 3 * place;
        let (ids, conns) = (size_of::<(SessionId, Key)>(), size_of::<(ConnKey, Key)>());
        let tables = (ids + conns + size_of::<(ChannelName, Key)>() + size_of::<(UserId, Key)>() + 4) * 4 / 3;
        // Two names of ten letters with their counts, and two lists of one.
        let owned = 2 * 32 + size_of::<crate::channel::Member>() + size_of::<Key>();
        let sizes = (size_of::<Session>(), size_of::<Sub>(), size_of::<Channel>(), size_of::<User>());
        println!("session, sub, channel, user: {sizes:?}; slots {slots}, tables {tables}, owned {owned}");
        assert!(slots + tables + owned < 640, "{}", slots + tables + owned);
    }
}
