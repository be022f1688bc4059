//! A session and its subscriptions: the fields that each costs memory for, and the state that a subscription
//! goes through from its beginning to live delivery. What moves that state is in `attach.rs` and
//! `deliver.rs`.

use std::{collections::VecDeque, sync::Arc};

use encke_proto::{Entry, Epoch, Gap, Offset, Position, SessionId, Time};

use crate::{Key, Output, index::Keyed};

/// The driver's name for a connection. The hub only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey(pub u64);

/// One tab or device of a user.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Place of the user in the hub's users.
    pub(crate) user: Key,
    /// Who serves the session now.
    pub(crate) served: Served,
    /// What the driver calls the transport, by its number in the hub; for lists of sessions.
    pub(crate) transport: u8,
    /// What it is to its user.
    pub(crate) kind: Kind,
    /// When it began.
    pub(crate) since: Time,
    /// When the token ends that its connection came with; 0 when it does not.
    pub(crate) token_ends: Time,
    /// How many seconds before that its client is told next; 0 for never again.
    pub(crate) lead_s: u8,
    /// Whether its connection was told.
    pub(crate) notice: Notice,
    /// When that token was issued, in seconds since 1970, in the form of `tokens.rs`. It lies where there was
    /// room.
    pub(crate) issued_s: u32,
    /// When the wheel looks at it next.
    pub(crate) look_ms: u64,
    /// What it follows; the user's own channel comes first.
    pub(crate) subs: Vec<Sub>,
    /// The subscription that is pulled from, and how many times running.
    pub(crate) turn: u16,
    pub(crate) streak: u8,
    /// Whether [`crate::Output::Ready`] was said and the driver has not yet pulled everything.
    pub(crate) ready: bool,
    /// Whether that was said as of one of very many.
    pub(crate) broadcast: bool,
    /// Whether [`crate::Output::Begun`] was said to the connection.
    pub(crate) begun: bool,
    /// Whether it was ever said, so that a client may know of the session.
    pub(crate) known: bool,
    /// Whether it is served by its first connection, which has to be told all about it.
    pub(crate) fresh: bool,
}

/// What a session is to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It outlives its connections.
    Lasting,
    /// It ends with its connection.
    Fleeting,
    /// It is none of the user's: an operator looks on, see `looking.rs`. It ends with its connection.
    Looking,
}

/// Who serves a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// A connection.
    By(ConnKey),
    /// No connection. Without one the session is over then, in milliseconds of the clock that never goes
    /// back.
    Until(u64),
}

/// Whether the connection of a session was told that its token ends soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Not yet.
    Ahead,
    /// It is to be told now.
    Due,
    /// It was told.
    Told,
}

impl Keyed<Session> for SessionId {
    fn of(session: &Session) -> Option<&Self> {
        Some(&session.id)
    }
}

impl Keyed<Session> for ConnKey {
    fn of(session: &Session) -> Option<&Self> {
        match &session.served {
            Served::By(conn) => Some(conn),
            Served::Until(_) => None,
        }
    }
}

impl Session {
    /// One that follows nothing yet and has no connection until `over_ms`; `since` is when it begins.
    pub(crate) fn new(
        id: SessionId,
        user: Key,
        kind: Kind,
        transport: u8,
        over_ms: u64,
        since: Time,
    ) -> Self {
        Self {
            id,
            user,
            served: Served::Until(over_ms),
            transport,
            kind,
            since,
            token_ends: Time(0),
            lead_s: 0,
            notice: Notice::Ahead,
            issued_s: 0,
            look_ms: u64::MAX,
            subs: Vec::new(),
            turn: 0,
            streak: 0,
            ready: false,
            broadcast: false,
            begun: false,
            known: false,
            fresh: true,
        }
    }

    /// The connection that serves the session now.
    pub(crate) fn conn(&self) -> Option<ConnKey> {
        ConnKey::of(self).copied()
    }

    /// Takes one more subscription in. Nearly all sessions follow one or two channels, so there is not more
    /// room than that.
    pub(crate) fn add_sub(&mut self, sub: Sub) {
        if self.subs.len() < FEW_SUBS {
            self.subs.reserve_exact(1);
        }
        self.subs.push(sub);
    }
}

/// Up to how many subscriptions a session has room for exactly as many as there are.
const FEW_SUBS: usize = 4;

/// One channel that a session follows.
#[derive(Debug)]
pub(crate) struct Sub {
    /// Place of the channel in the hub's channels: it stays there as long as it is followed.
    pub(crate) channel: u32,
    /// Place in the channel's list of members.
    pub(crate) member: u32,
    /// How far the session has come.
    pub(crate) at: Position,
    pub(crate) state: SubState,
    /// Where it began, as long as no cursor that a client brought has named the channel: what was pulled
    /// since may have been lost on its way.
    unsure: Unsure,
}

#[derive(Debug)]
enum Unsure {
    /// The client's cursor knows the channel.
    No,
    /// In the epoch in which the subscription stands; nearly always.
    Here(Offset),
    /// In another epoch.
    Elsewhere(Box<Position>),
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
    /// The same, but no further back than the window: of one that may not read the history.
    Recent,
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
    /// There is something to pull; what the driver is to be told, if it is not told already. A session that
    /// waits among very many is named once more when something comes for it alone.
    pub(crate) fn wake(&mut self, broadcast: bool) -> Option<Output> {
        let conn = self.conn().filter(|_| self.begun && (!self.ready || (self.broadcast && !broadcast)))?;
        (self.ready, self.broadcast) = (true, broadcast);
        Some(Output::Ready { conn, broadcast })
    }
}

impl Sub {
    /// A subscription that does not stand anywhere yet.
    pub(crate) fn new(channel: u32, member: u32) -> Self {
        let at = Position { epoch: Epoch(0), offset: 0 };
        Self { channel, member, at, state: SubState::Beginning(Beginning::Now), unsure: Unsure::No }
    }

    /// Goes on from a position.
    pub(crate) fn go(&mut self, to: Position) {
        if let Unsure::Here(offset) = self.unsure
            && self.at.epoch != to.epoch
        {
            self.unsure = Unsure::Elsewhere(Box::new(Position { epoch: self.at.epoch, offset }));
        }
        self.at = to;
    }

    /// Where it began, as long as no cursor that a client brought has named the channel.
    pub(crate) fn began(&self) -> Option<Position> {
        match &self.unsure {
            Unsure::No => None,
            Unsure::Here(offset) => Some(Position { epoch: self.at.epoch, offset: *offset }),
            Unsure::Elsewhere(position) => Some(**position),
        }
    }

    /// It begins where it stands, which no cursor of its client says.
    pub(crate) fn begin_here(&mut self) {
        self.unsure = Unsure::Here(self.at.offset);
    }

    /// The client's cursor knows the channel.
    pub(crate) fn be_sure(&mut self) {
        self.unsure = Unsure::No;
    }

    /// Whether it waits for the engine.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, SubState::Beginning(_) | SubState::Reading(_))
    }

    /// Whether it stands anywhere yet; before, a cursor has nothing to say of it.
    pub(crate) fn placed(&self) -> bool {
        match self.state {
            SubState::Beginning(beginning) => matches!(beginning, Beginning::Here | Beginning::Recent),
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
    use crate::{channel::Channel, one_or_many::OneOrMany, presence::User};
    use std::mem::size_of;

    /// What the hub holds for a session that follows only its user's own channel and waits: a place in each
    /// of four slabs, one in each of four tables, a subscription, and the name.
    #[test]
    fn an_idle_session_is_small() {
        let sizes = [size_of::<Session>(), size_of::<Sub>(), size_of::<Channel>(), size_of::<User>()];
        let (generations, tables) = (3 * 8, 4 * 5 * 7 / 4);
        // The text of ten bytes, with its counts and the allocator's own.
        let name = 16 + 10 + 8;
        assert!(sizes[0] <= 104, "a session: {}", sizes[0]);
        let whole = sizes.iter().sum::<usize>() + generations + tables + name;
        assert!(whole <= 400, "{whole}: session, sub, channel, user {sizes:?}");
        assert_eq!(size_of::<OneOrMany<Key>>(), 16);
    }

    #[test]
    fn where_it_began_is_known_in_whatever_epoch_it_goes_on() {
        let at = |epoch, offset| Position { epoch: Epoch(epoch), offset };
        let mut sub = Sub::new(0, 0);
        assert_eq!(sub.began(), None);
        sub.go(at(1, 5));
        sub.begin_here();
        sub.go(at(1, 9));
        assert_eq!((sub.at, sub.began()), (at(1, 9), Some(at(1, 5))));
        for position in [at(2, 1), at(2, 2), at(1, 5), at(3, 0)] {
            sub.go(position);
            assert_eq!((sub.at, sub.began()), (position, Some(at(1, 5))));
        }
        sub.be_sure();
        assert_eq!(sub.began(), None);
    }
}
