//! What each of many nodes has to do:
//! `cargo run --release -p encke-hub --example scale -- [SESSIONS] [NODES,NODES…]`.
//!
//! Hubs without sockets, and a log that tells each hub of what it watches, as the engines do. Users are
//! spread over the nodes by chance, each with one session that follows the user's own channel, a room of a
//! hundred and one channel of all. Then pushes to users, messages to rooms and broadcasts are appended, and
//! clients come back to other nodes. What each hub is told, watches and hands over is counted; whatever
//! should have arrived and did not ends the run as a failure.

use std::{collections::VecDeque, process::ExitCode, sync::Arc};

use encke_hub::{
    Attach, ConnKey, ControlReply, ControlRequest, Following, Hub, HubConfig, Now, Opening, Output, Pulled,
    Start,
};
use encke_proto::{
    Body, ChannelName, Cursor, Entry, Epoch, Lineage, Message, MessageId, NameError, Page, Position,
    SessionId, Time, UserId,
};

const EPOCH: Epoch = Epoch(1);
/// How many follow a room, on average.
const ROOM: usize = 100;
/// How many messages all get.
const BROADCASTS: usize = 10;
/// Of how many users one comes back to another node.
const WANDERERS: usize = 10;
/// The name of what all follow.
const ALL: &str = "all";

/// What a node did.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Entries that it was told of.
    told: u64,
    /// Messages that it handed to connections.
    handed: u64,
    /// Channels that it began or ceased to watch.
    watches: u64,
    /// Ends of logs that it asked for.
    reads: u64,
    /// Sessions that it fetched from another node.
    fetched: u64,
}

struct Node {
    hub: Hub,
    work: Work,
}

/// A channel's end, and the nodes that watch it.
#[derive(Clone, Default)]
struct Log {
    head: u64,
    watchers: Vec<u16>,
}

/// The channels by their numbers: users' own, then rooms, then the one of all.
struct World {
    nodes: Vec<Node>,
    logs: Vec<Log>,
    sessions: usize,
    rooms: usize,
    /// Where each user is, and under which number of a connection.
    at: Vec<(u16, u32)>,
    /// By connection: who it is of. Kept to give a message to the one who waits for it.
    conns: u32,
    given: Option<Following>,
    now: Now,
    seed: u64,
    said: VecDeque<Output>,
}

impl World {
    fn new(sessions: usize, nodes: usize) -> Self {
        let now = Now { mono_ms: 1_000_000, wall: Time(1_763_800_000_000) };
        let rooms = (sessions / ROOM).max(1);
        Self {
            nodes: (0..nodes)
                .map(|_| Node { hub: Hub::new(HubConfig::default(), now), work: Work::default() })
                .collect(),
            logs: vec![Log::default(); sessions + rooms + 1],
            sessions,
            rooms,
            at: vec![(0, 0); sessions],
            conns: 0,
            given: None,
            now,
            seed: 7,
            said: VecDeque::new(),
        }
    }

    /// The same numbers in every run (SplitMix64).
    fn below(&mut self, bound: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }

    fn name(&self, channel: usize) -> Result<ChannelName, NameError> {
        if channel < self.sessions {
            Ok(user(channel)?.channel())
        } else if channel < self.sessions + self.rooms {
            ChannelName::public(&format!("room{}", channel - self.sessions))
        } else {
            ChannelName::public(ALL)
        }
    }

    fn number(&self, channel: &ChannelName) -> usize {
        let digits = |prefix: &str| {
            channel.as_str().strip_prefix(prefix).and_then(|digits| digits.parse::<usize>().ok())
        };
        digits("@u")
            .or_else(|| digits("room").map(|room| self.sessions + room))
            .unwrap_or(self.sessions + self.rooms)
    }

    /// A client comes to a node, for the first time or with what another node gave up.
    fn come(&mut self, index: usize, to: usize, back: Option<(Cursor, Following)>) -> Result<(), NameError> {
        self.conns += 1;
        self.at[index] = (u16::try_from(to).unwrap_or(u16::MAX), self.conns);
        let session = SessionId::from_bits(index as u128 + 1);
        let room = self.sessions + index % self.rooms;
        let (start, carried, channels) = match back {
            Some((cursor, carried)) => (Start::Cursor(cursor), carried, Vec::new()),
            None => (
                Start::Absent,
                Following::default(),
                vec![self.name(room)?, self.name(self.sessions + self.rooms)?],
            ),
        };
        let attach = Attach {
            conn: ConnKey(u64::from(self.conns)),
            session: Some(session),
            fresh: session,
            user: user(index)?,
            transport: "sse",
            lasting: true,
            start,
            device: None,
            channels,
            carried,
            token_ends: Time(0),
            token: None,
            granted: encke_proto::Grant::all(),
        };
        self.nodes[to].hub.attach(attach, self.now);
        self.settle(to);
        Ok(())
    }

    /// A client's next request comes to a node that does not have the session.
    fn wander(&mut self, index: usize, to: usize) -> Result<(), NameError> {
        let (from, conn) = self.at[index];
        let from = usize::from(from);
        if from == to {
            return Ok(());
        }
        let cursor = self.nodes[from].hub.cursor(ConnKey(u64::from(conn)));
        let session = Some(SessionId::from_bits(index as u128 + 1));
        self.nodes[from].hub.control(1, ControlRequest::Release { session, user: user(index)? }, self.now);
        self.settle(from);
        let given = self.given.take().unwrap_or_default();
        self.nodes[to].work.fetched += 1;
        self.come(index, to, Some((cursor, given)))
    }

    /// A message is in a log, and the nodes that watch that are told.
    fn append(&mut self, channel: usize, number: u128) -> Result<(), NameError> {
        let log = &mut self.logs[channel];
        log.head += 1;
        let position = Position { epoch: EPOCH, offset: log.head };
        let message = Message {
            id: MessageId::from_bits(number),
            channel: self.name(channel)?,
            position,
            time: self.now.wall,
            body: Body::Page("https://example.com/a/page/of/usual/length".into()),
            from: None,
            expires: None,
            trace: None,
        };
        let entry = Arc::new(Entry::new(message));
        for watcher in self.logs[channel].watchers.clone() {
            let at = usize::from(watcher);
            self.nodes[at].work.told += 1;
            self.nodes[at].hub.appended(&entry, self.now);
            self.settle(at);
        }
        Ok(())
    }

    /// Carries out what a hub says.
    fn settle(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].hub.poll_output() {
            self.said.push_back(output);
            while let Some(output) = self.said.pop_front() {
                self.carry_out(at, output);
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let watcher = u16::try_from(at).unwrap_or(u16::MAX);
        match output {
            Output::Watch(channel) => {
                let number = self.number(&channel);
                self.logs[number].watchers.push(watcher);
                self.nodes[at].work.watches += 1;
            }
            Output::Unwatch(channel) => {
                let number = self.number(&channel);
                self.logs[number].watchers.retain(|other| *other != watcher);
                self.nodes[at].work.watches += 1;
            }
            Output::Open { key, channel } => {
                let head = self.logs[self.number(&channel)].head;
                // Nothing is kept, so that what is measured is the hubs.
                let page = Page {
                    epoch: EPOCH,
                    lineage: Lineage::default(),
                    tail: head + 1,
                    head,
                    closed: false,
                    entries: Vec::new(),
                };
                let handed = channel.is_own().then_some(Position { epoch: EPOCH, offset: head });
                self.nodes[at].work.reads += 1;
                self.nodes[at].hub.opened(key, Some(Opening { page, handed }), self.now);
            }
            Output::Ready { conn, .. } => {
                let Node { hub, work } = &mut self.nodes[at];
                while let Pulled::Message(_) = hub.pull(conn, self.now) {
                    work.handed += 1;
                }
                if let Some(receipt) = hub.owed(conn) {
                    hub.handed(receipt, self.now);
                }
            }
            Output::Replied { reply: ControlReply::Released(given), .. } => {
                self.given = given.map(|given| *given)
            }
            Output::Begun { .. }
            | Output::Ended { .. }
            | Output::Read { .. }
            | Output::Handed { .. }
            | Output::Reached(_)
            | Output::Shown { .. }
            | Output::Traced(_)
            | Output::Present(_)
            | Output::Absent(_)
            | Output::Online(_)
            | Output::Offline(_)
            | Output::Closed { .. }
            | Output::Replied { .. } => {}
        }
    }

    /// What the nodes did since this was asked last.
    fn works(&mut self) -> Vec<Work> {
        self.nodes.iter_mut().map(|node| std::mem::take(&mut node.work)).collect()
    }

    /// Time goes by until the windows are empty.
    fn cool(&mut self) {
        for _ in 0..40 {
            self.now.mono_ms += 1_000;
            self.now.wall.0 += 1_000;
            for at in 0..self.nodes.len() {
                self.nodes[at].hub.tick(self.now);
                self.settle(at);
            }
        }
    }
}

fn user(index: usize) -> Result<UserId, NameError> {
    UserId::new(&format!("u{index}"))
}

/// What this process occupies, in bytes.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// What nodes did of one kind: each on average, and the busiest.
fn of(works: &[Work], what: impl Fn(&Work) -> u64) -> (f64, u64) {
    let sum: u64 = works.iter().map(&what).sum();
    (sum as f64 / works.len() as f64, works.iter().map(what).max().unwrap_or(0))
}

/// Prints what all did for so many messages, and says whether all that should have been handed over was.
fn row(name: &str, messages: usize, works: &[Work], expected: u64) -> bool {
    let (told, most) = of(works, |work| work.told);
    let (handed, most_handed) = of(works, |work| work.handed);
    let sum: u64 = works.iter().map(|work| work.handed).sum();
    println!(
        "  {name:<12}{messages:>9} messages  told: {told:>11.1} a node (most {most:>8}), {:>7.3} nodes a message;  handed over: {handed:>11.1} a node (most {most_handed:>8})",
        told * works.len() as f64 / messages as f64
    );
    sum == expected
}

fn tell_memory(works: &[Work], grown: f64, sessions: usize, rooms: usize) {
    let nodes = works.len();
    let (watched, most) = of(works, |work| work.watches);
    println!(
        "{nodes} nodes, {sessions} sessions of as many users, {rooms} rooms of {ROOM} and a channel of all"
    );
    println!(
        "  memory of the hubs {:.0} MB, {:.0} bytes a session, {:.1} MB a node; watched: {watched:.0} channels a node (most {most})",
        grown / 1e6,
        grown / sessions as f64,
        grown / 1e6 / nodes as f64
    );
}

fn run(sessions: usize, nodes: usize) -> Result<bool, NameError> {
    let mut world = World::new(sessions, nodes);
    let before = memory();
    for index in 0..sessions {
        let to = world.below(nodes);
        world.come(index, to, None)?;
    }
    let works = world.works();
    tell_memory(&works, memory() - before, sessions, world.rooms);
    let mut number = 0;
    let mut next = move || {
        number += 1;
        number
    };
    let mut all_well = true;

    let pushes = sessions / 2;
    for _ in 0..pushes {
        let to = world.below(sessions);
        world.append(to, next())?;
    }
    all_well &= row("to one user", pushes, &world.works(), pushes as u64);
    world.cool();

    let in_rooms = (world.rooms / 2).max(1);
    let mut expected = 0;
    for _ in 0..in_rooms {
        let room = world.below(world.rooms);
        expected += (sessions - room).div_ceil(world.rooms) as u64;
        world.append(sessions + room, next())?;
    }
    all_well &= row("to a room", in_rooms, &world.works(), expected);

    for _ in 0..BROADCASTS {
        world.append(sessions + world.rooms, next())?;
    }
    all_well &= row("to all", BROADCASTS, &world.works(), (BROADCASTS * sessions) as u64);
    world.cool();
    world.works();

    for index in (0..sessions).step_by(WANDERERS) {
        let to = world.below(nodes);
        world.wander(index, to)?;
    }
    let (works, moved) = (world.works(), sessions.div_ceil(WANDERERS));
    let (fetched, most) = of(&works, |work| work.fetched);
    let (changes, reads) =
        (of(&works, |work| work.watches).0 * nodes as f64, of(&works, |work| work.reads).0 * nodes as f64);
    println!(
        "  {moved} come back anywhere: {fetched:.1} sessions fetched a node (most {most}); for each that came {:.2} fetched, {:.2} changes of what is watched, {:.2} ends of logs read",
        fetched * nodes as f64 / moved as f64,
        changes / moved as f64,
        reads / moved as f64
    );
    // Wherever they are by now, all are still reached.
    world.append(sessions + world.rooms, next())?;
    for index in (0..sessions).step_by(WANDERERS) {
        world.append(index, next())?;
    }
    let handed: u64 = world.works().iter().map(|work| work.handed).sum();
    all_well &= handed == (sessions + moved) as u64;
    Ok(all_well)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let sessions = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_usize).max(ROOM);
    let nodes = arguments.next().unwrap_or_else(|| "1,4,10,100".to_owned());
    let counts: Vec<u16> =
        nodes.split(',').filter_map(|text| text.parse().ok()).filter(|nodes| *nodes > 0).collect();
    let done = match counts.as_slice() {
        [nodes] => run(sessions, usize::from(*nodes)).map_err(|error| error.to_string()),
        _ => each(sessions, &counts).map_err(|error| error.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("not everything arrived that should have");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each in a process of its own: what one has freed would hide what the next takes.
fn each(sessions: usize, counts: &[u16]) -> std::io::Result<bool> {
    let program = std::env::current_exe()?;
    for nodes in counts {
        let status =
            std::process::Command::new(&program).args([sessions.to_string(), nodes.to_string()]).status()?;
        if !status.success() {
            return Ok(false);
        }
    }
    Ok(true)
}
