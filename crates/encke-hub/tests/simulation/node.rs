//! A node: a hub and its driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use encke_history::Record;
use encke_hub::{
    Attach, CloseTarget, ConnKey, ControlReply, ControlRequest, Ending, Hub, HubConfig, Output, Pulled,
    ReadKey,
};
use encke_proto::{
    ChannelName, Close, CloseCode, Cursor, Entry, ErrorCode, Gap, MessageId, Position, SessionId, UserId,
};

use crate::{
    plant::Plant,
    sim::{Event, Sim},
};

/// The session time without a connection, in milliseconds.
pub const GRACE_MS: u64 = 5_000;

#[derive(Debug)]
pub struct Node {
    pub hub: Hub,
    /// How often it was started. What was meant for an earlier incarnation comes to nothing.
    pub incarnation: u32,
    pub conns: BTreeMap<u64, Conn>,
    tickets: BTreeMap<u64, Ticket>,
    pub online: BTreeSet<UserId>,
    /// When the last announcement arrives: announcements are not reordered.
    pub feed_ms: u64,
    /// The messages that it was told are cancelled or deleted.
    retracted: BTreeSet<MessageId>,
    /// Planted: hears nothing of the engine.
    pub deaf: bool,
    /// Planted: is not told what was cancelled or deleted.
    pub trusting: bool,
}

#[derive(Debug)]
pub struct Conn {
    pub client: usize,
    stream: bool,
    begun: bool,
    ready: bool,
    /// A poll that has waited long enough.
    over: bool,
    /// When the last frame arrives: a connection keeps its order.
    pipe_ms: u64,
}

#[derive(Clone, Debug)]
pub enum Item {
    Message { channel: ChannelName, position: Position, id: MessageId },
    Gap(Gap),
}

impl Item {
    pub fn channel(&self) -> &ChannelName {
        match self {
            Self::Message { channel, .. } => channel,
            Self::Gap(gap) => &gap.channel,
        }
    }
}

/// What a client gets over a data connection.
#[derive(Clone, Debug)]
pub enum Frame {
    Items { session: SessionId, cursor: String, items: Vec<Item>, last: bool },
    Ended(Ending),
}

#[derive(Clone, Debug)]
pub enum Control {
    Subscribe(ChannelName),
    Unsubscribe(ChannelName),
    Close,
}

#[derive(Clone, Debug)]
pub struct Ticket {
    pub client: usize,
    pub session: SessionId,
    pub control: Control,
}

/// A question to the engine.
#[derive(Clone, Debug)]
pub enum Question {
    Open(encke_hub::Key, ChannelName),
    Read(ReadKey, ChannelName, u64),
}

/// Its answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Opened(encke_hub::Key, Option<encke_hub::Opening>),
    Read(ReadKey, Option<encke_proto::Page>),
}

impl Node {
    pub fn new(
        now: encke_hub::Now,
        window_messages: usize,
        max_sessions_per_user: usize,
        incarnation: u32,
    ) -> Self {
        let config = HubConfig {
            grace_ms: GRACE_MS,
            max_sessions_per_user,
            window_messages,
            window_bytes: 1 << 20,
            window_ms: 3_000,
            broadcast_members: 64,
            ..HubConfig::default()
        };
        Self {
            hub: Hub::new(config, now),
            incarnation,
            conns: BTreeMap::new(),
            tickets: BTreeMap::new(),
            online: BTreeSet::new(),
            feed_ms: 0,
            retracted: BTreeSet::new(),
            deaf: false,
            trusting: false,
        }
    }
}

/// The ticket under which a session is fetched from the other node; tickets of clients count from one.
const FETCHED: u64 = 0;

impl Sim {
    pub fn node_request(&mut self, at: usize, client: usize, mut attach: Attach) {
        self.fetch(at, &mut attach);
        let (conn, stream, now) = (attach.conn, attach.transport == "sse", self.now());
        let node = &mut self.nodes[at];
        node.conns
            .insert(conn.0, Conn { client, stream, begun: false, ready: false, over: false, pipe_ms: 0 });
        let mut asked: Vec<ChannelName> = attach.channels.clone();
        asked.push(attach.user.channel());
        if let encke_hub::Start::Cursor(cursor) = &attach.start {
            asked.extend(cursor.entries.iter().map(|(channel, _)| channel.clone()));
        }
        asked.extend(attach.carried.channels.iter().cloned());
        asked.extend(attach.carried.began.entries.iter().map(|(channel, _)| channel.clone()));
        node.hub.attach(attach, now);
        if let Some(session) = node.hub.session_of(conn) {
            for channel in asked {
                self.history.note(Record::Asked { session, channel });
            }
        }
        if !stream {
            let hold_ms = self.random.below(10_000);
            let incarnation = self.nodes[at].incarnation;
            self.after(hold_ms, Event::Hold { node: at, incarnation, conn: conn.0 });
        }
        self.pump(at);
    }

    /// Fetches the session of a client that comes from the other node, where nodes do so.
    fn fetch(&mut self, at: usize, attach: &mut Attach) {
        let (now, other) = (self.now(), 1 - at);
        let missing = |session: &SessionId| !self.nodes[at].hub.has_session(*session, &attach.user);
        let Some(session) = attach.session.filter(|session| self.fetches && missing(session)) else { return };
        let request = ControlRequest::Release { session: Some(session), user: attach.user.clone() };
        self.nodes[other].hub.control(FETCHED, request, now);
        self.pump(other);
        if let Some(carried) = self.given.take() {
            attach.fresh = session;
            attach.carried = *carried;
        }
    }

    pub fn node_control(&mut self, at: usize, ticket: Ticket) {
        let now = self.now();
        self.tickets += 1;
        let number = self.tickets;
        let user = self.clients[ticket.client].user.clone();
        let session = ticket.session;
        let control = ticket.control.clone();
        let node = &mut self.nodes[at];
        node.tickets.insert(number, ticket);
        match control {
            Control::Subscribe(channel) => {
                if self.plant == Some(Plant::EmptyPromise) && self.planting {
                    self.fired = true;
                    self.replied(at, number, &ControlReply::Following(Box::default()));
                    return;
                }
                let channels = vec![channel.clone()];
                node.hub.control(
                    number,
                    ControlRequest::Subscribe { session, user, channels, from: Cursor::default() },
                    now,
                );
                self.history.note(Record::Asked { session, channel });
            }
            Control::Unsubscribe(channel) => {
                let channels = vec![channel];
                node.hub.control(number, ControlRequest::Unsubscribe { session, user, channels }, now);
            }
            Control::Close => {
                let close = Close {
                    code: CloseCode::Client,
                    reason: String::new(),
                    reconnect: false,
                    retry_ms: None,
                };
                let target = CloseTarget::SessionOf(session, user);
                node.hub.control(number, ControlRequest::Close { target, close }, now);
            }
        }
        self.pump(at);
    }

    pub fn node_tick(&mut self, at: usize) {
        let now = self.now();
        self.nodes[at].hub.tick(now);
        self.pump(at);
        if let Err(what) = self.nodes[at].hub.check() {
            self.history.note(Record::Broken(what));
        }
    }

    pub fn node_announce(&mut self, at: usize, entry: &Arc<Entry>) {
        let now = self.now();
        if !self.nodes[at].deaf {
            self.nodes[at].hub.appended(entry, now);
            self.pump(at);
        }
    }

    /// The node is told that messages of a channel were cancelled or deleted.
    pub fn node_retract(&mut self, at: usize, channel: &ChannelName, ids: &[MessageId]) {
        if !self.nodes[at].deaf {
            self.nodes[at].retracted.extend(ids.iter().cloned());
            if self.nodes[at].trusting {
                return;
            }
            self.nodes[at].hub.retracted(channel);
            self.pump(at);
        }
    }

    pub fn node_answer(&mut self, at: usize, answer: Answer) {
        let now = self.now();
        match answer {
            Answer::Opened(key, opening) => self.nodes[at].hub.opened(key, opening, now),
            Answer::Read(key, page) => self.nodes[at].hub.read(key, page, now),
        }
        self.pump(at);
    }

    pub fn node_stale(&mut self, at: usize) {
        if !self.nodes[at].deaf {
            self.nodes[at].hub.stale();
            self.pump(at);
        }
    }

    /// The node finds out that a connection is gone.
    pub fn node_gone(&mut self, at: usize, conn: u64) {
        let now = self.now();
        if self.nodes[at].conns.remove(&conn).is_some() {
            if self.plant == Some(Plant::Ghost) && self.planting {
                self.fired = true;
                return;
            }
            self.nodes[at].hub.detach(ConnKey(conn), now);
            self.pump(at);
        }
    }

    pub fn node_hold_over(&mut self, at: usize, conn: u64) {
        if let Some(conn) = self.nodes[at].conns.get_mut(&conn) {
            conn.over = true;
        }
        self.serve(at, conn);
        self.pump(at);
    }

    /// Carries out what the hub says.
    pub fn pump(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].hub.poll_output() {
            match output {
                Output::Begun { conn, session } => self.begun(at, conn.0, session),
                Output::Ready { conn, .. } => {
                    if let Some(conn) = self.nodes[at].conns.get_mut(&conn.0) {
                        conn.ready = true;
                    }
                    self.serve(at, conn.0);
                }
                Output::Ended { conn, ending } => {
                    if self.nodes[at].conns.contains_key(&conn.0) {
                        self.send(at, conn.0, Frame::Ended(ending));
                        self.nodes[at].conns.remove(&conn.0);
                    }
                }
                Output::Open { key, channel } => self.ask(at, Question::Open(key, channel)),
                Output::Read { key, channel, after } => self.ask(at, Question::Read(key, channel, after)),
                Output::Handed { user, position } => self.logs.hand(&user.channel(), position),
                Output::Online(user) => {
                    self.nodes[at].online.insert(user.clone());
                    self.history.note(Record::Presence { node: at, user, online: true });
                }
                Output::Offline(user) => {
                    self.nodes[at].online.remove(&user);
                    self.history.note(Record::Presence { node: at, user, online: false });
                }
                Output::Replied { ticket, reply } => self.replied(at, ticket, &reply),
                Output::Shown { .. }
                | Output::Reached(_)
                | Output::Traced(_)
                | Output::Present(_)
                | Output::Absent(_)
                | Output::Watch(_)
                | Output::Unwatch(_)
                | Output::Closed { .. } => {}
            }
        }
    }

    fn begun(&mut self, at: usize, number: u64, session: SessionId) {
        let Some(conn) = self.nodes[at].conns.get_mut(&number) else { return };
        conn.begun = true;
        if conn.stream {
            let mut cursor = String::new();
            self.nodes[at].hub.write_cursor(ConnKey(number), &mut cursor);
            self.send(at, number, Frame::Items { session, cursor, items: Vec::new(), last: false });
        } else {
            self.serve(at, number);
        }
    }

    /// Gives a connection what it can take.
    pub fn serve(&mut self, at: usize, number: u64) {
        let now = self.now();
        let max = self.random.below(8) + 1;
        let node = &mut self.nodes[at];
        let Some(conn) = node.conns.get_mut(&number).filter(|conn| conn.begun) else { return };
        let key = ConnKey(number);
        let Some(session) = node.hub.session_of(key) else { return };
        let mut items = Vec::new();
        while conn.ready && (items.len() as u64) < max {
            match node.hub.pull(key, now) {
                Pulled::Message(entry) => {
                    let message = entry.message();
                    let (channel, position, id) =
                        (message.channel.clone(), message.position, message.id.clone());
                    if node.retracted.contains(&id) {
                        let what = format!("node {at} gives out {id} of {channel}, which was retracted");
                        self.history.note(Record::Retracted(what));
                        self.fired |= node.trusting;
                    }
                    items.push(Item::Message { channel, position, id });
                }
                Pulled::Gap(gap) => items.push(Item::Gap(gap)),
                // Each token here grants everything.
                Pulled::Unsubscribed(told) => panic!("{told:?}"),
                // It says nothing of messages.
                Pulled::Expiring(_) => {}
                Pulled::Nothing => conn.ready = false,
            }
        }
        let (stream, over, more) = (conn.stream, conn.over, conn.ready);
        if items.is_empty() && (stream || !over) {
            return;
        }
        let mut cursor = String::new();
        node.hub.write_cursor(key, &mut cursor);
        if let Some(receipt) = node.hub.owed(key) {
            node.hub.handed(receipt, now);
        }
        self.spoil(at, session, &mut items);
        for item in &items {
            self.history.note(Record::Sent { session, channel: item.channel().clone() });
        }
        self.send(at, number, Frame::Items { session, cursor, items, last: !stream });
        if stream {
            if more {
                let (delay, incarnation) = (self.random.below(400) + 1, self.nodes[at].incarnation);
                self.after(delay, Event::Drain { node: at, incarnation, conn: number });
            }
        } else {
            self.nodes[at].conns.remove(&number);
            self.nodes[at].hub.detach(key, now);
        }
    }

    fn send(&mut self, at: usize, number: u64, frame: Frame) {
        let arrives = self.now_ms + self.random.below(200) + 1;
        let Some(conn) = self.nodes[at].conns.get_mut(&number) else { return };
        conn.pipe_ms = conn.pipe_ms.max(arrives);
        let (client, when) = (conn.client, conn.pipe_ms - self.now_ms);
        self.after(when, Event::Frame { client, conn: number, frame });
    }

    fn ask(&mut self, at: usize, question: Question) {
        let fails = self.faults && self.random.chance(if self.engine_down { 90 } else { 2 });
        let (delay, incarnation) =
            (self.random.below(if self.faults { 300 } else { 20 }), self.nodes[at].incarnation);
        self.after(delay, Event::Execute { node: at, incarnation, question, fails });
    }

    fn replied(&mut self, at: usize, number: u64, reply: &ControlReply) {
        if let ControlReply::Released(given) = reply {
            self.given.clone_from(given);
            return;
        }
        let Some(ticket) = self.nodes[at].tickets.remove(&number) else { return };
        let done = match reply {
            ControlReply::Refused(
                ErrorCode::SessionUnknown | ErrorCode::SessionClosed | ErrorCode::TooManyChannels,
            ) => false,
            ControlReply::Refused(code) => panic!("{code} in {}", self.seed),
            _ => true,
        };
        if let (true, Control::Unsubscribe(channel)) = (done, &ticket.control) {
            self.history.note(Record::Unasked { session: ticket.session, channel: channel.clone() });
        }
        let head = match &ticket.control {
            Control::Subscribe(channel) | Control::Unsubscribe(channel) => Some(self.logs.head(channel)),
            Control::Close => None,
        };
        if self.faults && self.random.chance(10) {
            return;
        }
        let delay = self.random.below(300) + 1;
        self.after(delay, Event::Reply { ticket, done, head });
    }

    /// Does a planted bug to what is about to be sent.
    fn spoil(&mut self, at: usize, session: SessionId, items: &mut Vec<Item>) {
        let Some(plant) = self.plant.filter(|_| self.planting && !self.fired) else { return };
        let user = self.nodes[at]
            .hub
            .sessions(None)
            .into_iter()
            .find(|view| view.session == session)
            .map(|view| view.user);
        let first = items.iter().position(|item| matches!(item, Item::Message { .. }));
        match (plant, first) {
            (Plant::Swap, Some(first)) => {
                let same = (first + 1..items.len()).find(|next| {
                    items[*next].channel() == items[first].channel()
                        && matches!(items[*next], Item::Message { .. })
                });
                if let Some(same) = same {
                    items.swap(first, same);
                    self.fired = true;
                }
            }
            (Plant::CrossUser | Plant::Stranger, Some(first)) => {
                let Item::Message { position, id, .. } = items[first].clone() else { return };
                let own = self.users.iter().find(|other| Some(*other) != user.as_ref()).map(UserId::channel);
                let asked = self.history.records.iter().rev().filter_map(|record| match record {
                    Record::Asked { session: asked, channel } if *asked == session => Some(channel.clone()),
                    _ => None,
                });
                let asked: BTreeSet<ChannelName> = asked.collect();
                let stranger = self.channels.iter().find(|channel| !asked.contains(*channel)).cloned();
                let channel = if plant == Plant::CrossUser { own } else { stranger };
                if let Some(channel) = channel {
                    items.push(Item::Message { channel, position, id });
                    self.fired = true;
                }
            }
            _ => {}
        }
    }
}
