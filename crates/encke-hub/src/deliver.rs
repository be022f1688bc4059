//! Delivery: messages from the feed go into windows, pages from the engine to subscriptions that lag, and
//! connections pull from both. There is no queue for a connection; a subscription's position says what is
//! next.

use std::{collections::VecDeque, iter, sync::Arc};

use encke_proto::{
    ChannelName, Entry, ErrorCode, Gap, GapReason, Offset, Page, Position, Unsubscribed, UserId,
};

use crate::{
    ConnKey, Hub, Key, Now, Output, ReadKey,
    channel::{Appended, Channel, Log, Member},
    session::{Beginning, Behind, Session, Sub, SubState},
};

/// How many messages a session takes from one channel before the others have their turn.
const STREAK_MAX: u16 = 64;

/// What the engine says of a channel when it is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The end of the log: the newest messages, or none of them.
    pub page: Page,
    /// For a user's own channel: how far it was handed over.
    pub handed: Option<Position>,
}

/// That a user was handed everything in the own channel up to a position, once it is acknowledged
/// ([`Hub::handed`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The user.
    pub user: UserId,
    /// Up to here.
    pub position: Position,
}

/// The next thing for a connection.
#[derive(Clone, Debug)]
pub enum Pulled {
    /// A message.
    Message(Arc<Entry>),
    /// Messages that will not come.
    Gap(Gap),
    /// A channel is not followed any more, as the token does not grant it.
    Unsubscribed(Unsubscribed),
    /// Nothing now; [`Output::Ready`] tells when there is.
    Nothing,
}

impl Hub {
    /// A message is in the log. Called in the order of the offsets, as far as possible: a hole is found and
    /// read.
    pub fn appended(&mut self, entry: &Arc<Entry>, _now: Now) {
        let Some(key) = self.channel_key(&entry.message().channel) else { return };
        let Some(channel) = self.channels.get_mut(key) else { return };
        match channel.log.append(entry, &self.config) {
            Appended::Nothing => {}
            Appended::Grown => {
                if !std::mem::replace(&mut channel.warm, true) {
                    self.warm.push(key);
                }
                self.wake(key);
            }
            Appended::Foreign => {
                let early = if channel.asked { vec![Arc::clone(entry)] } else { Vec::new() };
                channel.log = Log::Opening { early, missed: false };
                self.ask_to_open(key);
            }
        }
    }

    /// Messages may have been missed, and that some were retracted: every log is looked at again.
    pub fn stale(&mut self) {
        let keys: Vec<Key> = self.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.retracted_in(key);
        }
    }

    /// Messages of a channel may have been missed.
    pub fn behind(&mut self, channel: &ChannelName) {
        if let Some(key) = self.channel_key(channel) {
            self.ask_to_open(key);
        }
    }

    /// Asks for the end of a channel's log. One question at a time, so that answers come in the order of what
    /// they know.
    pub(crate) fn ask_to_open(&mut self, key: Key) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if std::mem::replace(&mut channel.asked, true) {
            channel.again = true;
            return;
        }
        if let Log::Opening { early, missed } = &mut channel.log {
            // The answer will know of these: they were in the log before they were announced.
            early.clear();
            *missed = false;
        }
        let channel = channel.name.clone();
        self.say(Output::Open { key, channel });
    }

    /// The answer to [`Output::Open`]; none when the engine had none.
    pub fn opened(&mut self, key: Key, answer: Option<Opening>, now: Now) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        channel.asked = false;
        let mut again = std::mem::take(&mut channel.again);
        if std::mem::take(&mut channel.void) && answer.is_some() {
            return self.ask_to_open(key);
        }
        let Some(opening) = answer else { return self.open_failed(key, now) };
        if channel.handed.is_none() {
            channel.handed = opening.handed;
        }
        self.forget_retracted(key, &opening.page);
        let Some(channel) = self.channels.get_mut(key) else { return };
        // A log that is open already has been followed since; the answer only counts when it knows more.
        let newer = channel
            .window()
            .is_none_or(|window| window.epoch != opening.page.epoch || window.head < opening.page.head);
        let mut since = None;
        if newer {
            let opened = channel.log.open(opening.page, &self.config);
            since = Some(opened.since);
            again |= !opened.whole;
            if !std::mem::replace(&mut channel.warm, true) {
                self.warm.push(key);
            }
        }
        let broadcast = channel.is_broadcast(&self.config);
        for (session, index) in self.members(key, |sub| newer || matches!(sub.state, SubState::Beginning(_)))
        {
            let Some(sub) = self.sub_mut(session, index) else { continue };
            if let SubState::Beginning(mut beginning) = sub.state {
                if let (Beginning::Now, Some(since)) = (beginning, since) {
                    sub.go(since);
                    sub.begin_here();
                    beginning = Beginning::Here;
                }
                self.begin_at(session, index, beginning);
                self.settle(session);
            }
            if self.lags(session, index) {
                self.make_ready(session, broadcast);
            }
        }
        if again {
            self.ask_to_open(key);
        }
    }

    fn open_failed(&mut self, key: Key, now: Now) {
        self.reopen.push(key);
        for (session, _) in self.members(key, |sub| matches!(sub.state, SubState::Beginning(_))) {
            if self.sessions.get(session).is_some_and(|session| !session.begun) {
                self.refuse(session, ErrorCode::EngineUnavailable, now);
            }
        }
    }

    /// The subscriptions to a channel that fit.
    pub(crate) fn members(&self, key: Key, fits: impl Fn(&Sub) -> bool) -> Vec<(Key, u16)> {
        let Some(channel) = self.channels.get(key) else { return Vec::new() };
        let fitting = |member: &Member| {
            let sub = self.sessions.at(member.session)?.subs.get(usize::from(member.sub))?;
            Some((self.sessions.key_at(member.session).filter(|_| fits(sub))?, member.sub))
        };
        channel.members.iter().filter_map(fitting).collect()
    }

    /// The answer to [`Output::Read`]; none when the engine had none.
    pub fn read(&mut self, key: ReadKey, answer: Option<Page>, now: Now) {
        let number = key.number;
        let asked = |sub: &Sub| match sub.state {
            SubState::Reading(reading) if sub.channel == key.channel.index && reading.number == number => {
                Some(reading.earliest)
            }
            _ => None,
        };
        let Some(session) = self.sessions.get(key.session) else { return };
        // The subscription may have been given up, or moved, while the engine was reading: then no
        // subscription waits for this answer any more.
        let Some((index, earliest)) =
            (0..).zip(&session.subs).find_map(|(index, sub)| Some((index, asked(sub)?)))
        else {
            return;
        };
        let begun = session.begun;
        let Some(page) = answer else { return self.read_failed(key.session, index, earliest, now) };
        let Some(channel) = self.channels.get(key.channel) else { return };
        let name = channel.name.clone();
        if channel.window().is_some_and(|window| window.epoch != page.epoch) {
            // The reader is the first to find out that the log is another one now.
            self.ask_to_open(key.channel);
        }
        let Some(sub) = self.sub_mut(key.session, index) else { return };
        let first = Position { epoch: page.epoch, offset: page.tail.saturating_sub(1) };
        // A cursor from outside may name any offset at all.
        let from = sub.at.offset.saturating_add(1);
        // What the log kept over a change of its epoch is where it was.
        if let Some(at) = page.lineage.carry(sub.at, page.epoch) {
            sub.go(at);
        }
        let (goes_on, lost) = if earliest { (first, None) } else { goes_on(sub.at, &page) };
        let gap = lost.map(|(to, reason)| Gap { channel: name, from, to, reason });
        if gap.is_none() {
            sub.go(goes_on);
        }
        let misplaced =
            page.entries.first().is_some_and(|entry| entry.message().position.offset != goes_on.offset + 1);
        let mut entries: VecDeque<_> = page
            .entries
            .into_iter()
            .skip_while(|entry| entry.message().position.offset <= goes_on.offset)
            .collect();
        if entries.front().is_some_and(|entry| entry.message().position.offset != goes_on.offset + 1) {
            // The question was put in another epoch, so the page is for another place.
            entries.clear();
        }
        if gap.is_none() && entries.is_empty() && goes_on.offset < page.head && misplaced {
            return self.ask_for_page(key.session, index, goes_on.offset, false);
        }
        let behind = Behind { gap, goes_on, entries };
        let progress = behind.gap.is_some() || !behind.entries.is_empty();
        sub.state = if progress { SubState::Behind(Box::new(behind)) } else { SubState::Live };
        self.settle(key.session);
        if progress {
            self.make_ready(key.session, false);
        } else if begun && self.lags(key.session, index) {
            // The engine does not yet show what its feed has announced; it is asked again at the next tick.
            self.reread.push(key.session);
        }
    }

    fn read_failed(&mut self, key: Key, index: u16, earliest: bool, now: Now) {
        let begun = self.sessions.get(key).is_some_and(|session| session.begun);
        if let Some(sub) = self.sub_mut(key, index) {
            sub.state = match (begun, earliest) {
                (true, _) => SubState::Live,
                (false, true) => SubState::Beginning(Beginning::Earliest),
                (false, false) => SubState::Beginning(Beginning::Here),
            };
        }
        if begun {
            // The connection is served; it is caught up when the engine answers again.
            self.reread.push(key);
        } else {
            self.refuse(key, ErrorCode::EngineUnavailable, now);
        }
    }

    /// The next message or gap for a connection. The session's cursor stands behind it afterwards.
    pub fn pull(&mut self, conn: ConnKey, now: Now) -> Pulled {
        let served = self.served_by(conn);
        let Some((key, session)) = served.filter(|(_, session)| session.begun) else {
            return Pulled::Nothing;
        };
        let (turn, streak) = (session.turn, session.streak);
        let count = u16::try_from(session.subs.len()).unwrap_or(u16::MAX);
        self.pulled = Some(key);
        if let Some(unsubscribed) = self.next_unsubscribed(key) {
            return Pulled::Unsubscribed(unsubscribed);
        }
        // The user's own channel goes first; the others take turns, so that one which is never empty does not
        // starve them.
        let (first, streak) = if streak < STREAK_MAX { (turn, streak) } else { (turn + 1, 0) };
        let first = if (1..count).contains(&first) { first } else { 1 };
        let mut order = iter::once(0).chain(first..count).chain(1..first);
        while let Some(index) = self.next_awake(key, &mut order) {
            let Some(pulled) = self.pull_live(key, index, now) else { continue };
            if let Some(session) = self.sessions.get_mut(key)
                && index > 0
            {
                session.turn = index;
                session.streak = if index == first { streak + 1 } else { 1 };
            }
            return pulled;
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.ready = false;
        }
        Pulled::Nothing
    }

    /// The next subscription in an order that does not rest at the head of its channel, as most do.
    fn next_awake(&self, key: Key, order: &mut impl Iterator<Item = u16>) -> Option<u16> {
        let subs = &self.sessions.get(key)?.subs;
        let rests = |sub: &Sub| {
            let window = self.channels.at(sub.channel).and_then(Channel::window);
            matches!(sub.state, SubState::Live)
                && window.is_some_and(|window| window.epoch == sub.at.epoch && window.head <= sub.at.offset)
        };
        order.find(|index| subs.get(usize::from(*index)).is_some_and(|sub| !rests(sub)))
    }

    fn pull_live(&mut self, key: Key, index: u16, now: Now) -> Option<Pulled> {
        loop {
            match self.pull_sub(key, index)? {
                // A message past its time is passed over: its sender did not want it to come so late.
                Pulled::Message(entry)
                    if entry.message().expires.is_some_and(|expires| expires <= now.wall) => {}
                pulled => return Some(pulled),
            }
        }
    }

    fn pull_sub(&mut self, key: Key, index: u16) -> Option<Pulled> {
        let sub = self.sessions.get_mut(key)?.subs.get_mut(usize::from(index))?;
        if let SubState::Behind(behind) = &mut sub.state {
            if let Some(gap) = behind.gap.take() {
                let goes_on = behind.goes_on;
                sub.go(goes_on);
                return Some(Pulled::Gap(gap));
            }
            if let Some(entry) = behind.entries.pop_front() {
                sub.go(entry.message().position);
                return Some(Pulled::Message(entry));
            }
            sub.state = SubState::Live;
        }
        if !matches!(sub.state, SubState::Live) {
            return None;
        }
        let window = self.channels.at(sub.channel)?.window()?;
        if sub.at.epoch != window.epoch
            && let Some(at) = window.carry(sub.at)
        {
            sub.go(at);
        }
        if sub.at.epoch == window.epoch {
            if sub.at.offset >= window.head {
                return None;
            }
            if let Some(entry) = window.after(sub.at.offset) {
                // The messages of a window are consecutive.
                sub.at.offset += 1;
                return Some(Pulled::Message(Arc::clone(entry)));
            }
        }
        self.ask_to_read(key, index);
        None
    }

    /// The receipt that is due once the client's side has acknowledged everything that was pulled for a
    /// connection so far. Of broadcasts none is.
    #[must_use]
    pub fn owed(&self, conn: ConnKey) -> Option<Receipt> {
        let (session, position) = self.handed_now(conn)?;
        Some(Receipt { user: self.users.get(session.user)?.id.clone(), position })
    }

    /// Whether one is due.
    #[must_use]
    pub fn owes(&self, conn: ConnKey) -> bool {
        self.handed_now(conn).is_some()
    }

    /// How far the user of a connection will have been handed the own channel, if farther than before.
    fn handed_now(&self, conn: ConnKey) -> Option<(&Session, Position)> {
        let session = self.session_by_conn(conn)?;
        // Before it has begun, and before a gap is told, the session stands where its client says, which may
        // be anywhere.
        let sub = session.subs.first().filter(|sub| session.begun && sub.placed() && !sub.has_gap())?;
        self.channels.at(sub.channel)?.hands(sub.at).then_some((session, sub.at))
    }

    /// What a receipt was due for is acknowledged. The connection that it was sent on may have served others
    /// since, or be gone.
    pub fn handed(&mut self, receipt: Receipt) {
        let Receipt { user, position } = receipt;
        let channel = user.channel();
        // Without a session of the user here the engine alone knows how far it was handed, and does not go
        // back.
        if let Some(key) = self.own_pulled(&channel).or_else(|| self.channel_key(&channel))
            && let Some(own) = self.channels.get_mut(key)
        {
            if !own.hands(position) {
                return;
            }
            own.handed = Some(position);
        }
        self.say(Output::Handed { user, position });
    }

    /// The channel of this name, if it is the own one of the session that was pulled from last: nearly always
    /// that is who was handed something, and then nothing needs to be looked for.
    fn own_pulled(&self, name: &ChannelName) -> Option<Key> {
        let sub = self.sessions.get(self.pulled?)?.subs.first()?;
        self.channels.entry_at(sub.channel).filter(|(_, channel)| channel.name == *name).map(|(key, _)| key)
    }

    /// A channel has grown: every session that follows it has something to pull.
    fn wake(&mut self, key: Key) {
        let Some(channel) = self.channels.get(key) else { return };
        let broadcast = channel.is_broadcast(&self.config);
        for member in channel.members.iter() {
            if let Some(session) = self.sessions.at_mut(member.session)
                && let Some(ready) = session.wake(broadcast)
            {
                self.outputs.push_back(ready);
            }
        }
    }

    pub(crate) fn make_ready(&mut self, key: Key, broadcast: bool) {
        if let Some(ready) = self.sessions.get_mut(key).and_then(|session| session.wake(broadcast)) {
            self.say(ready);
        }
    }

    /// Whether a session has something to pull, or to read first.
    pub(crate) fn has_more(&self, key: Key) -> bool {
        let count = self.sessions.get(key).map_or(0, |session| session.subs.len());
        self.unsubscribed.contains_key(&key)
            || (0..count).any(|index| self.lags(key, u16::try_from(index).unwrap_or(u16::MAX)))
    }

    fn lags(&self, key: Key, index: u16) -> bool {
        let Some(sub) = self.sessions.get(key).and_then(|session| session.subs.get(usize::from(index)))
        else {
            return false;
        };
        let window = self.channels.at(sub.channel).and_then(|channel| channel.window());
        match &sub.state {
            SubState::Behind(_) => true,
            SubState::Live => window.is_some_and(|window| sub.lag(window.head()) > 0),
            SubState::Beginning(_) | SubState::Reading(_) => false,
        }
    }
}

/// Where a session that stands at `at` goes on with this page, and what is lost between: up to which offset,
/// where that is known, and why.
fn goes_on(at: Position, page: &Page) -> (Position, Option<(Option<Offset>, GapReason)>) {
    let first = Position { epoch: page.epoch, offset: page.tail.saturating_sub(1) };
    if at.epoch != page.epoch || at.offset > page.head {
        // Of what came behind the last that was kept, nothing is known any more; of the rest nothing is to be
        // sent again.
        let kept = page.lineage.shared(at.epoch).map_or(0, |kept| kept.min(page.head));
        (Position { offset: first.offset.max(kept), ..first }, Some((None, GapReason::Epoch)))
    } else if at.offset < first.offset {
        (first, Some((Some(first.offset), GapReason::Trimmed)))
    } else {
        (at, None)
    }
}
