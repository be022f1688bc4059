//! The world of a run: one clock, one queue of events, one source of chance.

use std::{cmp::Reverse, collections::BTreeSet, collections::BinaryHeap, sync::Arc};

use encke_history::{History, Record};
use encke_hub::{Attach, Following, Now};
use encke_proto::{ChannelName, Entry, MessageId, Position, Time, UserId};

use crate::{
    client::Client,
    node::{Answer, Frame, GRACE_MS, Node, Question, Ticket},
    plant::Plant,
    support::{channel, log::Logs, random::Random, user},
};

/// How long things go wrong, then how long they have to heal, in milliseconds.
const FAULTS_MS: u64 = 25_000;
const HEAL_MS: u64 = 45_000;

#[derive(Debug)]
pub enum Event {
    Tick(usize),
    Stale(usize),
    Execute { node: usize, incarnation: u32, question: Question, fails: bool },
    Arrive { node: usize, incarnation: u32, answer: Box<Answer> },
    Announce { node: usize, incarnation: u32, entry: Arc<Entry> },
    Retract { node: usize, incarnation: u32, channel: ChannelName, ids: Vec<MessageId> },
    Step(usize),
    Request { node: usize, incarnation: u32, client: usize, attach: Box<Attach> },
    Control { node: usize, incarnation: u32, ticket: Ticket },
    Reply { ticket: Ticket, done: bool, head: Option<Position> },
    Hold { node: usize, incarnation: u32, conn: u64 },
    Drain { node: usize, incarnation: u32, conn: u64 },
    Gone { node: usize, incarnation: u32, conn: u64 },
    Frame { client: usize, conn: u64, frame: Frame },
    Publish,
    Retry { id: MessageId, to: ChannelName, expires: Option<Time>, times: u32 },
    Chaos,
}

#[derive(Debug)]
struct Due {
    ms: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.ms, self.number) == (other.ms, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ms, self.number).cmp(&(other.ms, other.number))
    }
}

#[derive(Debug)]
pub struct Sim {
    pub seed: u64,
    pub random: Random,
    pub now_ms: u64,
    queue: BinaryHeap<Reverse<Due>>,
    events: u64,
    pub logs: Logs,
    keys: BTreeSet<MessageId>,
    pub engine_down: bool,
    window_messages: usize,
    max_sessions: usize,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub users: Vec<UserId>,
    pub channels: Vec<ChannelName>,
    pub history: History,
    pub conns: u64,
    pub tickets: u64,
    messages: u64,
    /// Whether a node fetches a session from the other when its client comes.
    pub fetches: bool,
    /// What was fetched.
    pub given: Option<Box<Following>>,
    /// Whether things go wrong.
    pub faults: bool,
    pub healed_ms: u64,
    /// Whether clients only go away any more.
    pub leaving: bool,
    pub plant: Option<Plant>,
    /// Whether it is time for the planted bug, and whether it has had its effect.
    pub planting: bool,
    pub fired: bool,
}

impl Sim {
    pub fn new(seed: u64, plant: Option<Plant>) -> Self {
        let mut random = Random::new(seed);
        let page_max = [1, 3, 10, 50][random.index(4)];
        let window_messages = [1, 4, 16, 256][random.index(4)];
        let users: Vec<UserId> = (0..3 + random.below(8)).map(|n| user(&format!("user {n}"))).collect();
        let channels: Vec<ChannelName> =
            (0..1 + random.below(5)).map(|n| channel(&format!("room {n}"))).collect();
        let count = usize::try_from(6 + random.below(20)).unwrap();
        let clients: Vec<Client> = (0..count)
            .map(|_| Client::new(random.pick(&users).clone(), random.index(2), random.chance(50)))
            .collect();
        // So many that all users who are there fit, and too few as soon as some leave sessions behind.
        let tabs = |user: &UserId| clients.iter().filter(|client| client.user == *user).count();
        let max_sessions = users.iter().map(tabs).max().unwrap_or(0) + 1;
        let mut sim = Self {
            seed,
            random,
            now_ms: 0,
            queue: BinaryHeap::new(),
            events: 0,
            logs: Logs::new(100, page_max),
            keys: BTreeSet::new(),
            engine_down: false,
            window_messages,
            max_sessions,
            nodes: Vec::new(),
            clients,
            users,
            channels,
            history: History::default(),
            conns: 0,
            tickets: 0,
            messages: 0,
            fetches: seed.is_multiple_of(2),
            given: None,
            faults: true,
            healed_ms: 0,
            leaving: false,
            plant,
            planting: false,
            fired: false,
        };
        for at in 0..2 {
            sim.nodes.push(Node::new(sim.now(), window_messages, max_sessions, 0));
            sim.after(1_000, Event::Tick(at));
            sim.after(4_000, Event::Stale(at));
        }
        for at in 0..count {
            sim.history.note(Record::Incarnation { client: at });
            let delay = sim.random.below(3_000);
            sim.after(delay, Event::Step(at));
        }
        sim.after(10, Event::Publish);
        sim.after(2_000, Event::Chaos);
        sim
    }

    pub fn now(&self) -> Now {
        Now { mono_ms: 1_000_000 + self.now_ms, wall: Time(1_700_000_000_000 + self.now_ms) }
    }

    pub fn after(&mut self, ms: u64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse(Due { ms: self.now_ms + ms, number: self.events, event }));
    }

    /// The whole of a run: faults, healing, judgement, and the leave of all clients.
    pub fn run(mut self) -> Self {
        self.until(6_000);
        self.planting = self.plant.is_some();
        self.until(FAULTS_MS);
        self.faults = false;
        self.engine_down = false;
        self.logs.page_max = self.logs.page_max.max(20);
        self.planting = self.planting && !self.fired && self.plant == Some(Plant::Ghost);
        self.healed_ms = self.now_ms;
        for at in 0..2 {
            self.node_stale(at);
        }
        self.until(FAULTS_MS + HEAL_MS);
        self.judge();
        self.leave();
        self
    }

    fn until(&mut self, end_ms: u64) {
        while let Some(Reverse(due)) = self.queue.peek() {
            if due.ms > end_ms {
                break;
            }
            if let Some(Reverse(due)) = self.queue.pop() {
                self.now_ms = due.ms;
                self.happen(due.event);
            }
        }
        self.now_ms = end_ms;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node) => {
                self.node_tick(node);
                self.after(1_000, Event::Tick(node));
            }
            Event::Stale(node) => {
                self.node_stale(node);
                self.after(4_000, Event::Stale(node));
            }
            Event::Execute { node, incarnation, question, fails } => {
                let answer = match question {
                    Question::Open(key, channel) => {
                        Answer::Opened(key, (!fails).then(|| self.logs.open(&channel)))
                    }
                    Question::Read(key, channel, after) => {
                        Answer::Read(key, (!fails).then(|| self.logs.read(&channel, after)))
                    }
                };
                let slow = self.faults && self.random.chance(10);
                let delay = self.random.below(if slow { 3_000 } else { 50 });
                self.after(delay, Event::Arrive { node, incarnation, answer: Box::new(answer) });
            }
            Event::Arrive { node, incarnation, answer } if self.lives(node, incarnation) => {
                self.node_answer(node, *answer)
            }
            Event::Announce { node, incarnation, entry } if self.lives(node, incarnation) => {
                self.node_announce(node, &entry)
            }
            Event::Retract { node, incarnation, channel, ids } if self.lives(node, incarnation) => {
                self.node_retract(node, &channel, &ids)
            }
            Event::Request { node, incarnation, client, attach } if self.lives(node, incarnation) => {
                self.node_request(node, client, *attach)
            }
            Event::Control { node, incarnation, ticket } if self.lives(node, incarnation) => {
                self.node_control(node, ticket)
            }
            Event::Hold { node, incarnation, conn } if self.lives(node, incarnation) => {
                self.node_hold_over(node, conn)
            }
            Event::Drain { node, incarnation, conn } if self.lives(node, incarnation) => {
                self.serve(node, conn);
                self.pump(node);
            }
            Event::Gone { node, incarnation, conn } if self.lives(node, incarnation) => {
                self.node_gone(node, conn)
            }
            Event::Reply { ticket, done, head } => self.client_replied(ticket, done, head),
            Event::Frame { client, conn, frame } => self.client_frame(client, conn, frame),
            Event::Step(client) => self.client_step(client),
            Event::Publish => self.publish(),
            Event::Retry { id, to, expires, times } => self.send_to_engine(id, to, expires, times),
            Event::Chaos => self.chaos(),
            // Meant for a node that has died meanwhile.
            _ => {}
        }
    }

    fn lives(&self, node: usize, incarnation: u32) -> bool {
        self.nodes[node].incarnation == incarnation
    }

    fn publish(&mut self) {
        let busy = self.random.chance(30);
        let delay = self.random.below(if busy { 20 } else { 300 }) + 1;
        if self.now_ms < FAULTS_MS + 5_000 {
            self.after(delay, Event::Publish);
        }
        let to = if self.random.chance(40) {
            self.random.pick(&self.users.clone()).channel()
        } else {
            self.random.pick(&self.channels.clone()).clone()
        };
        self.messages += 1;
        let id = MessageId::from_bits(u128::from(self.messages));
        let expires = self.random.chance(10).then(|| Time(self.now().wall.0 + self.random.below(4_000)));
        self.history.note(Record::Invoked(id.clone()));
        self.send_to_engine(id, to, expires, 0);
    }

    /// A publisher's request: it may fail, or its outcome may stay unknown; then it is sent again under the
    /// same key.
    fn send_to_engine(&mut self, id: MessageId, to: ChannelName, expires: Option<Time>, times: u32) {
        let (fails, unknown) = (self.engine_down || self.random.chance(3), self.random.chance(5));
        if !fails && self.keys.insert(id.clone()) {
            self.append(&id, &to, expires);
        }
        if (fails || unknown) && times < 4 {
            let delay = self.random.below(2_000) + 50;
            self.after(delay, Event::Retry { id, to, expires, times: times + 1 });
        }
    }

    fn append(&mut self, id: &MessageId, to: &ChannelName, expires: Option<Time>) {
        let entry = self.logs.append_as(to, id.clone(), self.now().wall, expires);
        let position = entry.message().position;
        self.history.note(Record::Appended { channel: to.clone(), position, id: id.clone(), expires });
        for node in 0..2 {
            if self.faults && self.random.chance(4) {
                continue;
            }
            let late = self.faults && self.random.chance(3);
            let arrives = self.now_ms + self.random.below(if late { 2_000 } else { 60 });
            let incarnation = self.nodes[node].incarnation;
            let feed = &mut self.nodes[node].feed_ms;
            *feed = (*feed).max(arrives);
            let delay = *feed - self.now_ms;
            self.after(delay, Event::Announce { node, incarnation, entry: Arc::clone(&entry) });
            if self.faults && self.random.chance(4) {
                let again = delay + self.random.below(3_000);
                self.after(again, Event::Announce { node, incarnation, entry: Arc::clone(&entry) });
            }
        }
    }

    /// What goes wrong at large.
    fn chaos(&mut self) {
        if !self.faults {
            return;
        }
        let delay = self.random.below(2_500) + 100;
        self.after(delay, Event::Chaos);
        if self.planting && self.plant == Some(Plant::DeafFeed) && !self.fired {
            self.fired = true;
            self.nodes.iter_mut().for_each(|node| node.deaf = true);
        }
        if self.planting && self.plant == Some(Plant::TrustsMemory) {
            self.nodes.iter_mut().for_each(|node| node.trusting = true);
        }
        match self.random.below(100) {
            0..40 => self.trim(),
            40..52 => self.engine_down = !self.engine_down,
            52..64 => {
                let node = self.random.index(2);
                self.crash(node);
            }
            64..68 => self.forget(),
            76..90 => self.cancel(),
            90..94 => self.delete(),
            68..76 => {
                let node = self.random.index(2);
                self.node_stale(node);
            }
            _ => {}
        }
        if self.random.chance(60) {
            self.engine_down = false;
        }
    }

    fn trim(&mut self) {
        let to = if self.random.chance(30) {
            self.users[0].channel()
        } else {
            self.random.pick(&self.channels.clone()).clone()
        };
        let keep = self.random.index(12);
        let kept = self.logs.trim(&to, keep);
        let head = self.logs.head(&to);
        self.history.note(Record::Trimmed {
            channel: to,
            upto: Position { offset: head.offset - kept as u64, ..head },
        });
    }

    /// Some messages of a user are cancelled, one after the other.
    fn cancel(&mut self) {
        let to = self.random.pick(&self.users.clone()).channel();
        for _ in 0..1 + self.random.below(4) {
            let head = self.logs.head(&to);
            let back = self.random.below(12).min(head.offset);
            let position = Position { offset: head.offset - back, ..head };
            if let Some(id) = self.logs.cancel(&to, position.offset) {
                self.history.note(Record::Cancelled { channel: to.clone(), position });
                self.tell_retracted(&to, vec![id]);
            }
        }
    }

    /// A log is deleted, which takes an offset.
    fn delete(&mut self) {
        let channels: Vec<ChannelName> =
            self.channels.iter().cloned().chain(self.users.iter().map(UserId::channel)).collect();
        let channel = self.random.pick(&channels).clone();
        let ids = self.logs.delete(&channel);
        let position = self.logs.head(&channel);
        self.messages += 1;
        let id = MessageId::from_bits(u128::from(self.messages));
        self.history.note(Record::Appended {
            channel: channel.clone(),
            position,
            id,
            expires: Some(Time(0)),
        });
        self.history.note(Record::Trimmed { channel: channel.clone(), upto: position });
        self.tell_retracted(&channel, ids);
    }

    /// Tells the nodes that messages were retracted, behind what was announced before; some do not hear it.
    fn tell_retracted(&mut self, channel: &ChannelName, ids: Vec<MessageId>) {
        for node in 0..2 {
            if self.faults && self.random.chance(4) {
                continue;
            }
            let arrives = self.now_ms + self.random.below(60);
            let incarnation = self.nodes[node].incarnation;
            let feed = &mut self.nodes[node].feed_ms;
            *feed = (*feed).max(arrives);
            let delay = *feed - self.now_ms;
            let (channel, ids) = (channel.clone(), ids.clone());
            self.after(delay, Event::Retract { node, incarnation, channel, ids });
        }
    }

    /// A node dies, and another takes its place. Its hub is lost; clients see their connections break.
    fn crash(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation + 1;
        for user in std::mem::take(&mut self.nodes[node].online) {
            self.history.note(Record::Presence { node, user, online: false });
        }
        let (deaf, trusting) = (self.nodes[node].deaf, self.nodes[node].trusting);
        self.nodes[node] = Node::new(self.now(), self.window_messages, self.max_sessions, incarnation);
        (self.nodes[node].deaf, self.nodes[node].trusting) = (deaf, trusting);
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            client.conn = None;
        }
    }

    /// The engine begins anew, without its log; sometimes in the same process as the nodes.
    fn forget(&mut self) {
        let epoch = self.logs.epoch.0 + 1 + self.random.below(5);
        self.logs.forget(epoch);
        self.history.note(Record::Forgot);
        for node in 0..2 {
            if self.random.chance(50) { self.crash(node) } else { self.node_stale(node) }
        }
    }

    fn judge(&mut self) {
        let time = self.now().wall;
        let names: Vec<ChannelName> =
            self.channels.iter().cloned().chain(self.users.iter().map(UserId::channel)).collect();
        for channel in names {
            let position = self.logs.head(&channel);
            self.history.note(Record::Head { channel, position, time });
        }
        for client in 0..self.clients.len() {
            self.history.note(Record::Judged { client });
        }
    }

    /// Some go without a word, then all; presence and the hubs' memory must follow.
    fn leave(&mut self) {
        self.leaving = true;
        let count = self.clients.len();
        for round in [count / 2, count] {
            for at in 0..round {
                self.client_drop(at);
            }
            self.until(self.now_ms + GRACE_MS + 25_000);
            for node in 0..2 {
                for user in self.users.clone() {
                    let there = |client: &Client| {
                        round < count && client.user == user && client.node == node && client.conn.is_some()
                    };
                    // Clients that leave do not renew a poll that was answered, so only held streams count.
                    let online = self.clients.iter().any(there);
                    self.history.note(Record::Truth { node, user, online });
                }
            }
        }
        for (node, state) in self.nodes.iter().enumerate() {
            let (sessions, channels) = (state.hub.session_count(), state.hub.channel_count());
            if (sessions, channels) != (0, 0) {
                self.history.note(Record::Left { node, sessions, channels });
            }
        }
    }
}
