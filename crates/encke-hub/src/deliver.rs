//! Delivery: messages from the feed go into windows, pages from the engine to subscriptions that lag, and
//! connections pull from both. There is no queue for a connection; a subscription's position says what is
//! next.

use std::{collections::VecDeque, sync::Arc};

use encke_proto::{
    ChannelName, DeviceName, Entry, ErrorCode, Expiring, Gap, GapReason, Message, Offset, Page, Position,
    Unsubscribed, UserId,
};

use crate::{
    ConnKey, Device, Hub, Key, Now, Output, Reached, ReadKey, TracedMessage, Traffic,
    channel::{Appended, Channel, Handed, Log, Member, Window},
    session::{Beginning, Behind, Kind, Notice, Session, Sub, SubState},
};

/// How many messages a session takes from one channel before the others have their turn.
const STREAK_MAX: u8 = 64;

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
    /// The device that was handed it, if it has a place of its own that is not that far yet.
    pub device: Option<DeviceName>,
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
    /// The token of the session ends soon.
    Expiring(Expiring),
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
                if channel.members.len() > 1 {
                    entry.note_shared();
                }
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
            channel.handed = opening.handed.map(Handed::before);
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
            if self.sub(session, index).is_some_and(|sub| self.lags(sub)) {
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
        } else if begun && self.sub(key.session, index).is_some_and(|sub| self.lags(sub)) {
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
        if (session.notice == Notice::Due || !self.unsubscribed.is_empty())
            && let Some(told) = self.pull_notice(key, now)
        {
            return told;
        }
        loop {
            match self.pull_from(key, now) {
                Next::Is(pulled) => return pulled,
                // The subscription waits for the engine then, and the others are looked at.
                Next::Read(index) => self.ask_to_read(key, index),
            }
        }
    }

    /// The next message or gap of one channel, where all else stands back for now. Behind the last of it the
    /// session is ready again as soon as anything more comes.
    pub fn pull_of(&mut self, conn: ConnKey, channel: &ChannelName, now: Now) -> Pulled {
        let Some((key, _)) = self.served_by(conn).filter(|(_, session)| session.begun) else {
            return Pulled::Nothing;
        };
        let index = self.channel_key(channel).and_then(|channel| self.sub_of(key, channel));
        let Self { sessions, channels, traffic, outputs, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return Pulled::Nothing };
        let next = match index.and_then(|index| session.subs.get_mut(usize::from(index))) {
            Some(sub) => next_of(sub, channels.at(sub.channel).and_then(Channel::window), traffic, now),
            None => SubNext::Nothing,
        };
        match next {
            SubNext::Message(entry) => {
                let transport = traffic.of(session.transport).map_or("", |transport| {
                    transport.delivered += 1;
                    transport.name
                });
                outputs.extend(traced(entry.message(), transport));
                return Pulled::Message(entry);
            }
            SubNext::Gap(gap) => {
                traffic.gap(gap.reason);
                return Pulled::Gap(*gap);
            }
            SubNext::Nothing => session.ready = false,
            SubNext::Read => {
                session.ready = false;
                index.into_iter().for_each(|index| self.ask_to_read(key, index));
            }
        }
        Pulled::Nothing
    }

    /// What the client of a session is to be told besides messages and gaps.
    fn pull_notice(&mut self, key: Key, now: Now) -> Option<Pulled> {
        let unsubscribed = self.next_unsubscribed(key).map(Pulled::Unsubscribed);
        unsubscribed.or_else(|| self.next_notice(key, now).map(Pulled::Expiring))
    }

    /// What comes next of a session's subscriptions. The user's own channel goes first; the others take
    /// turns, so that one which is never empty does not starve them.
    fn pull_from(&mut self, key: Key, now: Now) -> Next {
        let Self { sessions, channels, traffic, outputs, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return Next::Is(Pulled::Nothing) };
        let (turn, streak) = match session.streak {
            streak if streak < STREAK_MAX => (usize::from(session.turn), streak),
            _ => (usize::from(session.turn) + 1, 0),
        };
        let count = session.subs.len();
        let first = if (1..count).contains(&turn) { turn } else { 1 };
        let mut index = 0;
        while let Some(sub) = session.subs.get_mut(index) {
            let window = channels.at(sub.channel).and_then(Channel::window);
            let next = if rests(sub, window) { SubNext::Nothing } else { next_of(sub, window, traffic, now) };
            // A session follows far fewer channels than that.
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            let pulled = match next {
                SubNext::Nothing => {
                    let behind = if index + 1 < count { index + 1 } else { 1 };
                    if index > 0 && behind == first {
                        break;
                    }
                    index = if index == 0 { first } else { behind };
                    continue;
                }
                SubNext::Read => return Next::Read(number),
                SubNext::Gap(gap) => {
                    traffic.gap(gap.reason);
                    Pulled::Gap(*gap)
                }
                SubNext::Message(entry) => {
                    let transport = traffic.of(session.transport).map_or("", |transport| {
                        transport.delivered += 1;
                        transport.name
                    });
                    outputs.extend(traced(entry.message(), transport));
                    Pulled::Message(entry)
                }
            };
            if index > 0 {
                session.streak = if index == first { streak + 1 } else { 1 };
                session.turn = number;
            }
            return Next::Is(pulled);
        }
        session.ready = false;
        Next::Is(Pulled::Nothing)
    }

    /// The receipt that is due once the client's side has acknowledged everything that was pulled for a
    /// connection so far. Of broadcasts none is.
    #[must_use]
    pub fn owed(&self, conn: ConnKey) -> Option<Receipt> {
        let (session, position, device) = self.handed_now(conn)?;
        let device = device.map(|device| device.name.clone());
        Some(Receipt { user: self.users.get(session.user)?.id.clone(), position, device })
    }

    /// Whether one is due.
    #[must_use]
    pub fn owes(&self, conn: ConnKey) -> bool {
        self.handed_now(conn).is_some()
    }

    /// How far the user of a connection will have been handed the own channel, if the user or the device gets
    /// farther than before, and the device if it does.
    fn handed_now(&self, conn: ConnKey) -> Option<(&Session, Position, Option<&Device>)> {
        // What an operator was shown who looks on, the user was not handed.
        let (key, session) = self.served_by(conn).filter(|(_, session)| session.kind != Kind::Looking)?;
        // Before it has begun, and before a gap is told, the session stands where its client says, which may
        // be anywhere.
        let sub = session.subs.first().filter(|sub| session.begun && sub.placed() && !sub.has_gap())?;
        let own = self.channels.at(sub.channel)?;
        let device = self.advances(key, own, sub.at);
        (device.is_some() || own.hands(sub.at)).then_some((session, sub.at, device))
    }

    /// What a receipt was due for is acknowledged now. The connection that it was sent on may have served
    /// others since, or be gone.
    pub fn handed(&mut self, receipt: Receipt, now: Now) {
        let Receipt { user, position, device } = receipt;
        if let Some(device) = device {
            self.reach(Reached { user: user.clone(), device, position });
        }
        let channel = user.channel();
        // Without a session of the user here the engine alone knows how far it was handed, and does not go
        // back.
        if let Some(key) = self.own_of_found(&channel).or_else(|| self.channel_key(&channel))
            && let Some(own) = self.channels.get_mut(key)
        {
            if !own.hands(position) {
                return;
            }
            own.handed = Some(Handed::at(position, now));
        }
        self.say(Output::Handed { user, position });
    }

    /// The channel of this name, if it is the own one of the session that was found last: nearly always that
    /// is who was handed something, and then nothing needs to be looked for.
    fn own_of_found(&self, name: &ChannelName) -> Option<Key> {
        let sub = self.sessions.get(self.found.get()?)?.subs.first()?;
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
        let Some(session) = self.sessions.get(key) else { return false };
        session.notice == Notice::Due
            || session.subs.iter().any(|sub| self.lags(sub))
            || self.unsubscribed.contains_key(&key)
    }

    /// Whether there is something of a subscription to pull.
    fn lags(&self, sub: &Sub) -> bool {
        let window = self.channels.at(sub.channel).and_then(|channel| channel.window());
        match &sub.state {
            SubState::Behind(_) => true,
            SubState::Live => window.is_some_and(|window| sub.lag(window.head()) > 0),
            SubState::Beginning(_) | SubState::Reading(_) => false,
        }
    }
}

/// What comes next of a session.
enum Next {
    /// This, which may be nothing.
    Is(Pulled),
    /// The subscription of this number has to read the engine first.
    Read(u16),
}

/// What comes next of a subscription.
enum SubNext {
    Message(Arc<Entry>),
    Gap(Box<Gap>),
    /// What comes next is known to the engine alone.
    Read,
    Nothing,
}

/// What is told of a message that is handed to a connection, if its trace is recorded.
fn traced(message: &Message, transport: &'static str) -> Option<Output> {
    let trace = message.trace.as_deref().filter(|trace| trace.is_sampled)?;
    Some(Output::Traced(Box::new(TracedMessage {
        trace: *trace,
        id: message.id.clone(),
        channel: message.channel.clone(),
        position: message.position,
        time: message.time,
        transport,
    })))
}

/// Whether a subscription stands at the head of its channel, as most do: nothing comes next.
fn rests(sub: &Sub, window: Option<&Window>) -> bool {
    matches!(sub.state, SubState::Live)
        && window.is_some_and(|window| window.epoch == sub.at.epoch && window.head <= sub.at.offset)
}

/// What comes next of a subscription, which stands behind it afterwards. A message past its time is passed
/// over: its sender did not want it to come so late.
fn next_of(sub: &mut Sub, window: Option<&Window>, traffic: &mut Traffic, now: Now) -> SubNext {
    let is_over = |entry: &Entry| entry.message().expires.is_some_and(|expires| expires <= now.wall);
    match &mut sub.state {
        SubState::Live => {}
        SubState::Beginning(_) | SubState::Reading(_) => return SubNext::Nothing,
        SubState::Behind(behind) => {
            if let Some(gap) = behind.gap.take() {
                let goes_on = behind.goes_on;
                sub.go(goes_on);
                return SubNext::Gap(Box::new(gap));
            }
            while let SubState::Behind(behind) = &mut sub.state
                && let Some(entry) = behind.entries.pop_front()
            {
                sub.go(entry.message().position);
                if !is_over(&entry) {
                    return SubNext::Message(entry);
                }
            }
            sub.state = SubState::Live;
        }
    }
    let Some(window) = window else { return SubNext::Nothing };
    if sub.at.epoch != window.epoch {
        match window.carry(sub.at) {
            Some(at) => sub.go(at),
            None => return SubNext::Read,
        }
    }
    while sub.at.offset < window.head {
        let Some(entry) = window.after(sub.at.offset) else { return SubNext::Read };
        // The messages of a window are consecutive.
        sub.at.offset += 1;
        if !is_over(entry) {
            traffic.delivered_ms.record(now.wall.0.saturating_sub(entry.message().time.0));
            return SubNext::Message(Arc::clone(entry));
        }
    }
    SubNext::Nothing
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
