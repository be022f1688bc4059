//! A client, as one in a browser would be: it keeps its cursor, drops repeats, comes back, and changes its
//! mind.

use std::collections::{BTreeMap, BTreeSet};

use encke_history::Record;
use encke_hub::{Attach, ConnKey, Ending, Following, Start};
use encke_proto::{ChannelName, Cursor, Epoch, MessageId, Offset, Position, SessionId, Time, UserId};

use crate::{
    node::{Control, Frame, Item, Ticket},
    plant::Plant,
    sim::{Event, Sim},
};

#[derive(Debug)]
pub struct Client {
    pub user: UserId,
    pub node: usize,
    stream: bool,
    cursor: Option<Cursor>,
    session: Option<SessionId>,
    pub conn: Option<u64>,
    /// Whether anything came over this connection.
    pub heard: bool,
    pub heard_ms: u64,
    wants: BTreeSet<ChannelName>,
    seen: BTreeMap<ChannelName, (Epoch, Offset)>,
    /// A control request is under way until then, answered or not.
    busy_ms: u64,
    /// It stays away until then.
    away_ms: u64,
    /// Planted: the cursor that it had at some time before.
    old: Option<Cursor>,
}

impl Client {
    pub fn new(user: UserId, node: usize, stream: bool) -> Self {
        Self {
            user,
            node,
            stream,
            cursor: None,
            session: None,
            conn: None,
            heard: false,
            heard_ms: 0,
            wants: BTreeSet::new(),
            seen: BTreeMap::new(),
            busy_ms: 0,
            away_ms: 0,
            old: None,
        }
    }

    /// Planted: takes an older cursor than it has, if that would bring something again.
    fn resume_from_old(&mut self) -> bool {
        let Some(old) = self.old.take().filter(|old| Some(old) != self.cursor.as_ref()) else { return false };
        let behind = |(channel, position): &(ChannelName, Position)| {
            let seen = self.seen.get(channel);
            seen.is_some_and(|seen| seen.0 == position.epoch && position.offset < seen.1)
        };
        let is_behind = old.entries.iter().any(behind);
        if is_behind {
            self.cursor = Some(old);
            self.seen.clear();
        }
        is_behind
    }
}

impl Sim {
    /// A client does something, or nothing.
    pub fn client_step(&mut self, at: usize) {
        let delay = self.random.below(2_000) + 50;
        self.after(delay, Event::Step(at));
        if self.leaving {
            return;
        }
        let (now_ms, faults) = (self.now_ms, self.faults);
        let client = &mut self.clients[at];
        if now_ms < client.away_ms && faults {
            return;
        }
        if client.conn.is_none() {
            return self.client_connect(at);
        }
        if !faults {
            // A request that was lost on its way to a node that died then is given up after a while. Nothing
            // is lost once things are healed.
            if !client.heard && now_ms > client.heard_ms + 15_000 {
                if client.heard_ms > self.healed_ms {
                    self.history.note(Record::Stuck { client: at });
                }
                self.client_drop(at);
            }
            return;
        }
        match self.random.below(100) {
            0..8 => self.client_drop(at),
            8..12 => self.client_connect(at),
            12..22 => self.client_control(at, true),
            22..27 => self.client_control(at, false),
            27..29 => self.client_close(at),
            _ => {}
        }
    }

    /// The connection breaks. The client sees it at once; the node at some time.
    pub fn client_drop(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(conn) = client.conn.take() else { return };
        let node = client.node;
        let delay = if self.random.chance(50) {
            0
        } else {
            self.random.below(if self.faults { 12_000 } else { 1_000 })
        };
        let incarnation = self.nodes[node].incarnation;
        // Not before the request itself has arrived.
        self.after(250 + delay, Event::Gone { node, incarnation, conn });
        let away = if self.random.chance(20) { self.random.below(12_000) } else { self.random.below(500) };
        self.clients[at].away_ms = self.now_ms + away;
    }

    fn client_connect(&mut self, at: usize) {
        if self.faults && self.clients[at].conn.is_none() && self.random.chance(3) {
            self.client_forget(at);
        }
        self.conns += 1;
        let conn = self.conns;
        // When things have healed no client wanders any more.
        let settled = self.leaving || !self.faults;
        let (elsewhere, forgets) = (!settled && self.random.chance(15), !settled && self.random.chance(25));
        let fresh = u128::from(self.random.next());
        let first = self.random.below(100);
        let resumes_wrong = self.plant == Some(Plant::StaleResume) && self.planting && !self.fired;
        let client = &mut self.clients[at];
        let before = client.node;
        if let Some(old) = client.conn.take() {
            // The older connection stays as it is: the node will see that a newer one took over, or that this
            // one is silent.
            let incarnation = self.nodes[before].incarnation;
            self.after(20_000, Event::Gone { node: before, incarnation, conn: old });
        }
        let client = &mut self.clients[at];
        if elsewhere {
            client.node = 1 - client.node;
        }
        if forgets {
            client.session = None;
        }
        if resumes_wrong {
            self.fired |= client.resume_from_old();
        }
        let start = match &client.cursor {
            Some(cursor) => Start::Cursor(Cursor::parse(&cursor.to_string()).unwrap()),
            None if first < 15 => Start::Earliest,
            None => Start::Absent,
        };
        let named = |channel: &&ChannelName| {
            client.cursor.as_ref().is_none_or(|cursor| cursor.position(channel).is_none())
        };
        let channels: Vec<ChannelName> = client.wants.iter().filter(named).cloned().collect();
        let (session, user, node) = (client.session, client.user.clone(), client.node);
        client.conn = Some(conn);
        client.heard = false;
        client.heard_ms = self.now_ms;
        let expires = !settled && self.random.chance(5);
        let token_ends = if expires { Time(self.now().wall.0 + self.random.below(20_000)) } else { Time(0) };
        let transport = if self.clients[at].stream { "sse" } else { "poll" };
        if session.is_none() {
            for channel in &channels {
                self.history.note(Record::Released { client: at, channel: channel.clone() });
            }
        }
        let attach = Attach {
            conn: ConnKey(conn),
            session,
            fresh: SessionId::from_bits(fresh),
            user,
            transport,
            lasting: true,
            start,
            device: None,
            channels,
            carried: Following::default(),
            token_ends,
            token: None,
            granted: encke_proto::Grant::all(),
        };
        let (delay, incarnation) = (self.random.below(200) + 1, self.nodes[node].incarnation);
        self.after(delay, Event::Request { node, incarnation, client: at, attach: Box::new(attach) });
    }

    /// The application starts over, with nothing in its memory.
    fn client_forget(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.cursor = None;
        client.session = None;
        client.old = None;
        client.seen.clear();
        self.history.note(Record::Incarnation { client: at });
    }

    fn client_control(&mut self, at: usize, more: bool) {
        let channel = self.random.pick(&self.channels.clone()).clone();
        let client = &mut self.clients[at];
        let Some(session) = client.session.filter(|_| self.now_ms >= client.busy_ms) else { return };
        if client.wants.contains(&channel) == more {
            return;
        }
        client.busy_ms = self.now_ms + 1_500;
        let control = if more {
            client.wants.insert(channel.clone());
            Control::Subscribe(channel)
        } else {
            client.wants.remove(&channel);
            if let Some(cursor) = &mut client.cursor {
                cursor.entries.retain(|(other, _)| *other != channel);
            }
            self.history.note(Record::Released { client: at, channel: channel.clone() });
            Control::Unsubscribe(channel)
        };
        self.client_asks(at, session, control);
    }

    fn client_close(&mut self, at: usize) {
        if let Some(session) = self.clients[at].session {
            self.client_asks(at, session, Control::Close);
        }
    }

    fn client_asks(&mut self, at: usize, session: SessionId, control: Control) {
        let node = self.clients[at].node;
        if self.random.chance(90) {
            let (delay, incarnation) = (self.random.below(300) + 1, self.nodes[node].incarnation);
            self.after(
                delay,
                Event::Control { node, incarnation, ticket: Ticket { client: at, session, control } },
            );
        }
    }

    pub fn client_replied(&mut self, ticket: Ticket, done: bool, head: Option<Position>) {
        let at = ticket.client;
        if self.clients[at].session != Some(ticket.session) || !done {
            return;
        }
        match (ticket.control, head) {
            (Control::Subscribe(channel), Some(position)) if self.clients[at].wants.contains(&channel) => {
                self.history.note(Record::Promised { client: at, channel, position });
            }
            (Control::Close, _) => {
                self.client_forget(at);
                self.client_drop(at);
                self.clients[at].away_ms = self.now_ms + self.random.below(8_000);
            }
            _ => {}
        }
    }

    pub fn client_frame(&mut self, at: usize, conn: u64, frame: Frame) {
        if self.clients[at].conn != Some(conn) {
            return;
        }
        match frame {
            Frame::Items { last: true, cursor, items, .. } if self.faults && self.random.chance(6) => {
                // The answer is lost on its last way, with all that was pulled for it.
                self.clients[at].conn = None;
                let client = &mut self.clients[at];
                let unseen = |item: &Item| match item {
                    Item::Message { channel, position, .. } => client
                        .seen
                        .get(channel)
                        .is_some_and(|seen| seen.0 == position.epoch && seen.1 + 1 == position.offset),
                    Item::Gap(_) => false,
                };
                if self.plant == Some(Plant::CursorAhead)
                    && self.planting
                    && !self.fired
                    && items.iter().any(unseen)
                {
                    self.fired = true;
                    client.cursor = Cursor::parse(&cursor).ok();
                }
            }
            Frame::Items { session, cursor, items, last } => {
                self.clients[at].heard = true;
                self.clients[at].heard_ms = self.now_ms;
                self.client_session(at, session);
                for item in items {
                    self.client_item(at, item);
                }
                self.client_cursor(at, &cursor);
                if last {
                    self.clients[at].conn = None;
                    if self.leaving || self.random.chance(95) {
                        self.client_connect(at);
                    }
                }
            }
            Frame::Ended(ending) => {
                self.clients[at].conn = None;
                match ending {
                    Ending::Closed(close_notice) if close_notice.close.reconnect => {}
                    Ending::Closed(_) | Ending::Refused(encke_proto::ErrorCode::SessionClosed) => {
                        self.client_forget(at)
                    }
                    Ending::TakenOver | Ending::Refused(encke_proto::ErrorCode::EngineUnavailable) => {}
                    Ending::Refused(code) => panic!("{code} in {}", self.seed),
                }
            }
        }
    }

    fn client_session(&mut self, at: usize, session: SessionId) {
        let client = &mut self.clients[at];
        if client.session.replace(session) == Some(session) {
            return;
        }
        // In a new session nothing is followed but what the cursor named, and what was asked for anew.
        let named = |channel: &&ChannelName| {
            client.cursor.as_ref().is_none_or(|cursor| cursor.position(channel).is_none())
        };
        for channel in client.wants.iter().filter(named) {
            self.history.note(Record::Released { client: at, channel: channel.clone() });
        }
    }

    fn client_item(&mut self, at: usize, item: Item) {
        let time = self.now().wall;
        let client = &mut self.clients[at];
        if !client.wants.contains(item.channel()) && *item.channel() != client.user.channel() {
            return;
        }
        let seen = client.seen.get(item.channel()).copied();
        match item {
            Item::Gap(gap) => {
                // A gap does not name its epoch, so it cannot be said of one that it was told before.
                // All of them, since some are of messages that were deleted, and so not missed.
                if self.plant == Some(Plant::UndeclaredGap)
                    && self.planting
                    && gap.to.is_some()
                    && seen.is_some()
                {
                    self.fired = true;
                    return;
                }
                self.history.note(Record::Gap {
                    client: at,
                    channel: gap.channel,
                    from: gap.from,
                    to: gap.to,
                    time,
                });
            }
            Item::Message { channel, position, id } => {
                if seen.is_some_and(|(epoch, offset)| epoch == position.epoch && position.offset <= offset) {
                    return;
                }
                client.seen.insert(channel.clone(), (position.epoch, position.offset));
                self.client_application(at, channel, position, id, seen.is_some());
            }
        }
    }

    fn client_application(
        &mut self,
        at: usize,
        channel: ChannelName,
        mut position: Position,
        mut id: MessageId,
        placed: bool,
    ) {
        let time = self.now().wall;
        let mut times = 1;
        if self.planting && !self.fired && placed {
            self.fired = true;
            match self.plant {
                Some(Plant::Drop) => times = 0,
                Some(Plant::Double) => times = 2,
                Some(Plant::WrongEpoch) => position.epoch = Epoch(position.epoch.0 + 1),
                Some(Plant::Phantom) => id = MessageId::from_bits(u128::MAX),
                Some(Plant::FalseGap) => {
                    let (from, to) = (position.offset, Some(position.offset));
                    self.history.note(Record::Gap { client: at, channel: channel.clone(), from, to, time });
                    times = 0;
                }
                _ => self.fired = false,
            }
        }
        for _ in 0..times {
            let (channel, id) = (channel.clone(), id.clone());
            self.history.note(Record::Delivered { client: at, channel, position, id, time });
        }
    }

    fn client_cursor(&mut self, at: usize, text: &str) {
        let mut cursor = Cursor::parse(text).unwrap();
        let time = self.now().wall;
        let client = &mut self.clients[at];
        let own = client.user.channel();
        cursor.entries.retain(|(channel, _)| *channel == own || client.wants.contains(channel));
        for (channel, position) in &cursor.entries {
            self.history.note(Record::At { client: at, channel: channel.clone(), position: *position, time });
        }
        if self.plant == Some(Plant::StaleResume) && client.old.is_none() {
            client.old = Some(cursor.clone());
        }
        client.cursor = Some(cursor);
    }
}
