//! One shard: a thread that serves the connections of its table and runs its hub.
//!
//! Each turn it takes in what sockets and letters bring, hands it to the hub, carries out what the hub says, and writes. Everything is bounded by the turn, so that nobody waits for long.

mod errands;
mod letters;
mod listen;
mod ready;
mod send;
mod slow;
mod spread;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{IpAddr, Shutdown},
    sync::Arc,
    time::Duration,
};

use encke_engine::ReceiptState;
use encke_hub::{Attach, ConnKey, Ending, Hub, HubConfig, Key, Now, Output, Reply, Slab, Wheel};
use encke_proto::{CloseCode, ErrorCode, Refusal, SessionId};
use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::{errands::Tallies, ready::Ready, slow::Laggards, spread::Spread};
use super::{Arrival, Chance, Desk, Letter, Letters, Shards, Wish};
use crate::{
    clock::Clock,
    config::Slow,
    front::{Admission, Admit, Verdict},
    table::{
        DateLine, Gate, Hears, LentId, Line, Pass, Queued, Service, Slot, State, errand,
        head::{self, HEAD_MAX_BYTES},
        response::{self, Body, Head},
    },
    transports::{After, Clerk, Exchange, Held, Pace, Transport},
};

const BELL: Token = Token(0);
const DOOR: Token = Token(1);
/// Slots' tokens come behind those of the bell and the door.
const FIRST_SLOT: usize = 2;

/// The table's ticks, in milliseconds.
const TICK_MS: u64 = 100;
/// One turn of the table's wheel: 51.2 seconds.
const WHEEL_BUCKETS: usize = 512;
/// How long notes of what was handed over are gathered before the engine is given them, in milliseconds, and how many at most: together they cost little more than one.
const NOTES_MS: u64 = 20;
const NOTES_MAX: usize = 1_024;
/// How often the hub is told that time goes on, in milliseconds.
const HUB_TICK_MS: u64 = 250;
/// The most that the kernel's poll tells in one turn.
pub const EVENTS_PER_TURN: usize = 1_024;
/// The most sockets accepted in one turn.
const ACCEPTS_PER_TURN: usize = 256;
/// The most letters taken out in one turn.
const LETTERS_PER_TURN: usize = 4_096;
/// The most connections of a broadcast served in one turn: a slice of well under a millisecond, behind which everybody else comes first.
const WIDE_PER_TURN: usize = 64;
/// The most connections served in one turn that became ready alone.
const NARROW_PER_TURN: usize = 1_024;
/// How much is read from a socket at a time.
const READ_BYTES: usize = 16 * 1024;
/// How long a client that talks may take to say its last, and to hang up, in milliseconds.
const PART_MS: u64 = 2_000;
/// How long after a failed accept the door is tried again, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 200;

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A request's head, from its first byte.
    pub head_ms: u64,
    /// A connection between two requests.
    pub idle_ms: u64,
    /// A receiver with what it was sent and its socket could not take.
    pub stalled_ms: u64,
    /// A stream's silence.
    pub heartbeat_ms: u64,
}

/// A connection for the HTTP library: the socket, what was read from it, and the right to have it open.
#[derive(Debug)]
pub struct Stray {
    /// The socket.
    pub socket: std::net::TcpStream,
    /// What was read.
    pub bytes: Vec<u8>,
    /// The right to have it open.
    pub pass: Pass,
}

/// What a shard is made of.
pub struct Parts {
    /// The poll that the mailbox's bell belongs to.
    pub poll: Poll,
    /// Where sockets come in.
    pub door: TcpListener,
    /// What it is told and asked.
    pub letters: Letters<Letter>,
    /// The way to the other shards.
    pub shards: Shards,
    /// Which of them it is.
    pub index: usize,
    /// The desk before the engine.
    pub desk: Desk,
    /// The runtime within which errands run.
    pub runtime: Handle,
    /// Where connections for the HTTP library go.
    pub strays: mpsc::Sender<Stray>,
    /// Who may wait.
    pub admit: Admit,
    /// Who answers what clients ask over connections that wait.
    pub clerk: Clerk,
    /// How many sockets may be open.
    pub gate: Arc<Gate>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds and times of the hub.
    pub hub: HubConfig,
    /// How long things may take.
    pub patience: Patience,
    /// How far a receiver may be behind.
    pub slow: Slow,
    /// How long broadcasts gather before they are written, in milliseconds.
    pub linger_ms: u64,
    /// Over how long those who are sent away by a stop are spread at most, in milliseconds.
    pub spread_ms: u64,
}

/// How long a socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until less comes than there was room for: then there is nothing more, and what comes later is told by an event of its own (epoll(7), of edge-triggered files), as is the end.
    Short,
    /// Until the kernel says that there is nothing: where that event may have been before.
    Empty,
}

/// A shard at work.
pub struct Shard {
    parts: Parts,
    hub: Hub,
    slots: Slab<Slot>,
    /// When slots are looked at, by their places: whoever stands there by then is looked at, and knows whether it was meant.
    wheel: Wheel<u32>,
    now: Now,
    date: DateLine,
    hub_tick_ms: u64,
    /// When the door is tried again, although the kernel says nothing.
    door_opens_ms: Option<u64>,
    ready: Ready,
    laggards: Laggards,
    /// Notes for the engine, and when they are to be on their way.
    notes: Vec<Wish>,
    notes_due_ms: u64,
    /// Control requests that wait for the hub's reply.
    asked: HashMap<u64, oneshot::Sender<Reply>>,
    /// Where the responses are that the library sends.
    lent: HashMap<LentId, Key>,
    next_ticket: u64,
    tallies: Tallies,
    /// Scratch, shared by all connections.
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    cursor: String,
    chance: Chance,
    spread: Spread,
    drains: bool,
    stops: bool,
}

impl Shard {
    /// A shard, not yet at work.
    ///
    /// # Errors
    /// When the door cannot be watched.
    pub fn new(mut parts: Parts) -> io::Result<Self> {
        let now = parts.clock.now();
        parts.poll.registry().register(&mut parts.door, DOOR, Interest::READABLE)?;
        Ok(Self {
            hub: Hub::new(parts.hub.clone(), now),
            slots: Slab::default(),
            wheel: Wheel::new(TICK_MS, WHEEL_BUCKETS, now.mono_ms),
            now,
            date: DateLine::default(),
            hub_tick_ms: now.mono_ms,
            door_opens_ms: None,
            ready: Ready::new(parts.linger_ms),
            laggards: Laggards::new(),
            notes: Vec::new(),
            notes_due_ms: 0,
            asked: HashMap::new(),
            lent: HashMap::new(),
            next_ticket: 0,
            tallies: Tallies::new(),
            inbound: vec![0; READ_BYTES],
            outbound: Vec::new(),
            cursor: String::new(),
            chance: Chance::default(),
            spread: Spread::default(),
            drains: false,
            stops: false,
            parts,
        })
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let runtime = self.parts.runtime.clone();
        let _within = runtime.enter();
        while !self.stops {
            self.step(&mut events)?;
        }
        self.hand_in_notes();
        Ok(())
    }

    /// One turn: waits for at most a tick until there is something to do, and does a bounded part of it. `events` is scratch.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn step(&mut self, events: &mut Events) -> io::Result<()> {
        let at_the_door = self.door_opens_ms.is_some_and(|opens| opens <= self.now.mono_ms);
        let rest_ms = if at_the_door { 0 } else { self.rest_ms() };
        let wait = Duration::from_millis(if rest_ms > 0 && self.parts.letters.rest() { rest_ms } else { 0 });
        match self.parts.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        self.parts.letters.rise();
        self.now = self.parts.clock.now();
        for event in &*events {
            match event.token() {
                BELL => {}
                DOOR => self.accept(),
                Token(token) => self.touched(slot_key(token), event),
            }
        }
        self.take_letters();
        self.tick();
        self.carry_out();
        self.serve_ready();
        if self.now.mono_ms >= self.notes_due_ms {
            self.hand_in_notes();
        }
        Ok(())
    }

    /// How long the shard may rest if nothing comes.
    fn rest_ms(&self) -> u64 {
        let notes = if self.notes.is_empty() { TICK_MS } else { self.notes_due_ms.saturating_sub(self.now.mono_ms) };
        self.ready.rests_ms(self.now.mono_ms).unwrap_or(TICK_MS).min(notes).min(TICK_MS)
    }

    // Sockets that come in.

    fn accept(&mut self) {
        if self.drains {
            return;
        }
        let mut failed = false;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.parts.door.accept() {
                Ok((socket, address)) => self.welcome(socket, address.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    // Out of file descriptors, most likely. Those who are served are not harmed; the door is tried again when some may have gone.
                    tracing::warn!(%error, "no connection can be accepted now");
                    failed = true;
                    break;
                }
            }
        }
        // The kernel says only once that somebody is at the door, so whoever is left is looked for again: in the next turn, or after a pause when the door failed.
        let pause_ms = if failed { ACCEPT_PAUSE_MS } else { 0 };
        self.door_opens_ms = Some(self.now.mono_ms + pause_ms);
    }

    fn welcome(&mut self, mut socket: TcpStream, address: IpAddr) {
        let Some(pass) = self.parts.gate.enter(address) else {
            let refusal = Refusal::new(ErrorCode::Overloaded, "too many connections");
            let mut out = Vec::new();
            whole(&mut out, &refusal, None, self.date.at(self.now.wall));
            // It fits into any socket's buffer; whoever does not take it is refused all the same.
            let _ = socket.write(&out);
            let _ = socket.shutdown(Shutdown::Write);
            return;
        };
        if let Some(key) = self.seat(Line::Socket(socket, pass), self.parts.patience.head_ms) {
            // Should it have hung up already, its first event will say so.
            self.readable(key, Until::Short);
        }
    }

    /// Gives a connection a place in the table.
    fn seat(&mut self, line: Line, patience_ms: u64) -> Option<Key> {
        let deadline_ms = self.now.mono_ms + patience_ms;
        let key = self.slots.insert(Slot { line, state: State::Head, deadline_ms, look_ms: 0, unsent: None, inbound: None });
        let slot = self.slots.get_mut(key)?;
        slot.look_ms = self.wheel.insert(deadline_ms, key.index);
        let registered = match &mut slot.line {
            Line::Socket(socket, _) => self.parts.poll.registry().register(socket, token(key), Interest::READABLE | Interest::WRITABLE),
            Line::Lent(lent) => {
                self.lent.insert(lent.id, key);
                Ok(())
            }
        };
        if let Err(error) = registered {
            tracing::warn!(%error, "a socket cannot be watched");
            self.slots.remove(key);
            return None;
        }
        Some(key)
    }

    // Sockets that are in the table.

    fn touched(&mut self, key: Key, event: &Event) {
        if event.is_writable() {
            self.writable(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let ends = event.is_read_closed() || event.is_error();
            self.readable(key, if ends { Until::Empty } else { Until::Short });
        }
    }

    /// Reads what there is, as the kernel tells only once that there is something.
    fn readable(&mut self, key: Key, until: Until) {
        loop {
            let Some(slot) = self.slots.get_mut(key) else { return };
            let hears = slot.hears();
            if hears == Hears::Later {
                return;
            }
            let drained = match slot.line.read(&mut self.inbound) {
                // Whoever ends its side of the connection is gone: a browser does not do so while it waits.
                Ok(0) => return self.free(key),
                Ok(count) => {
                    let drained = until == Until::Short && count < READ_BYTES && !slot.line.is_lent();
                    self.take_in(key, hears, count);
                    drained
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(_) => return self.free(key),
            };
            if drained {
                return;
            }
        }
    }

    /// Takes in what was read into the scratch buffer.
    fn take_in(&mut self, key: Key, hears: Hears, count: usize) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        match hears {
            Hears::Now => self.listen_to(key, count),
            // It should have nothing to say any more; whatever it is, it is taken in so that the socket can be closed.
            Hears::NoMore => {}
            Hears::Requests | Hears::Later => match (&slot.state, &mut slot.inbound) {
                // Nearly always a whole request, which is read where it is.
                (State::Head, None) => {
                    let inbound = std::mem::take(&mut self.inbound);
                    self.heard(key, &inbound[..count]);
                    self.inbound = inbound;
                }
                (State::Head, Some(held)) => {
                    held.extend_from_slice(&self.inbound[..count]);
                    self.hear(key);
                }
                // The next request of a client that does not wait for the answer to this one.
                (_, held) => {
                    let held = held.get_or_insert_default();
                    held.extend_from_slice(&self.inbound[..count]);
                    if held.len() > HEAD_MAX_BYTES {
                        self.free(key);
                    }
                }
            },
        }
    }

    /// Looks at what a connection between requests has sent before, if anything.
    fn hear(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(bytes) = slot.inbound.take() {
            self.heard(key, &bytes);
        }
    }

    /// Looks at all that a connection between requests has sent.
    fn heard(&mut self, key: Key, bytes: &[u8]) {
        if errand::may_be(bytes) {
            return self.heard_errand(key, bytes.to_vec());
        }
        match head::read(bytes) {
            head::Verdict::Stray => self.lead_away(key, bytes.to_vec()),
            head::Verdict::More => self.hear_more(key, bytes.to_vec()),
            head::Verdict::Waits(waiting, length) => {
                if let (rest @ [_, ..], Some(slot)) = (&bytes[length..], self.slots.get_mut(key)) {
                    slot.inbound = Some(Box::new(rest.to_vec()));
                }
                match self.parts.admit.decide(&waiting, self.now.wall) {
                    Verdict::Admitted(admission) => self.lead_home(key, admission),
                    verdict => self.carry_out_verdict(key, verdict),
                }
            }
        }
    }

    /// Keeps what is not yet a whole request.
    fn hear_more(&mut self, key: Key, bytes: Vec<u8>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.inbound = Some(Box::new(bytes));
        // Its time begins with its first byte; more bytes do not buy more time.
        if slot.deadline_ms > self.now.mono_ms + self.parts.patience.head_ms {
            self.set_deadline(key, self.parts.patience.head_ms);
        }
    }

    /// Gives a connection to the HTTP library, with what was read.
    fn lead_away(&mut self, key: Key, bytes: Vec<u8>) {
        let Some(Slot { line: Line::Socket(mut socket, pass), .. }) = self.slots.remove(key) else { return };
        if let Err(error) = self.parts.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a socket cannot be given away");
            return;
        }
        let stray = Stray { socket: socket.into(), bytes, pass };
        if let Err(mpsc::error::TrySendError::Full(stray)) = self.parts.strays.try_send(stray) {
            let mut out = Vec::new();
            whole(&mut out, &Refusal::new(ErrorCode::Overloaded, "too many requests at a time"), None, self.date.at(self.now.wall));
            let _ = (&stray.socket).write(&out);
        }
    }

    /// Serves a request in the shard where its user lives.
    fn lead_home(&mut self, key: Key, admission: Box<Admission>) {
        let home = self.parts.shards.home_index(&admission.user);
        if home == self.parts.index {
            return self.attach(key, *admission);
        }
        let Some(mut slot) = self.slots.remove(key) else { return };
        if let Line::Socket(socket, _) = &mut slot.line
            && self.parts.poll.registry().deregister(socket).is_err()
        {
            return;
        }
        let inbound = slot.inbound.map(|bytes| *bytes).unwrap_or_default();
        let verdict = Verdict::Admitted(admission);
        let arrival = Arrival { line: slot.line, inbound, verdict };
        // A shard that cannot take it drops it; the client comes back.
        let _ = self.parts.shards.at(home).post(Letter::Arrived(Box::new(arrival)));
    }

    fn arrived(&mut self, arrival: Arrival) {
        let Arrival { line, inbound, verdict } = arrival;
        let Some(key) = self.seat(line, self.parts.patience.idle_ms) else { return };
        if let Some(slot) = self.slots.get_mut(key)
            && !inbound.is_empty()
        {
            slot.inbound = Some(Box::new(inbound));
        }
        self.carry_out_verdict(key, verdict);
    }

    fn carry_out_verdict(&mut self, key: Key, verdict: Verdict) {
        match verdict {
            Verdict::Admitted(admission) => self.attach(key, *admission),
            Verdict::Refused(refusal, held) => self.refuse(key, &refusal, &held),
            Verdict::StayAway(held) => self.keep_away(key, &held),
        }
    }

    fn attach(&mut self, key: Key, admission: Admission) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Admission { transport, mut held, user, token_ends, session, fresh, lasting, start, channels, talk } = admission;
        held.plain |= slot.line.is_lent();
        let (nonce, number) = self.chance.numbers();
        held.nonce = nonce.to_be_bytes();
        slot.state = State::Waits(Service { transport, held, ready: false, queued: Queued::default(), talk });
        let patience_ms = match transport.pace() {
            // Whoever began to wait together should not all come back together.
            Pace::Once => {
                let hold_ms = u64::from(held.hold_s) * 1000;
                hold_ms - number % (hold_ms / 10 + 1)
            }
            // Whoever came together should not be written to together in each silence.
            Pace::Stream => {
                let heartbeat_ms = self.parts.patience.heartbeat_ms;
                heartbeat_ms - number % (heartbeat_ms / 4 + 1)
            }
        };
        self.set_deadline(key, patience_ms);
        let (conn, chance) = (conn_key(key), self.chance.bits());
        let fresh = fresh.unwrap_or(SessionId::from_bits(chance));
        let transport = transport.name();
        self.hub.attach(Attach { conn, session, fresh, user, transport, lasting, start, channels, token_ends }, self.now);
    }

    fn refuse(&mut self, key: Key, refusal: &Refusal, held: &Held) {
        self.outbound.clear();
        let origin = held.origin.and_then(|number| self.parts.admit.origins.get(usize::from(number))).map(String::as_str);
        let head = Head {
            status: refusal.code.status(),
            content_type: response::JSON,
            body: Body::None,
            keep_alive: held.keep_alive,
            origin,
            date: self.date.at(self.now.wall),
            retry_after: refusal.code.status() == 503,
            field: None,
        };
        with_body(&mut self.outbound, head, &refusal.json());
        self.send(key, if held.keep_alive { After::Done } else { After::Close });
    }

    fn keep_away(&mut self, key: Key, held: &Held) {
        self.outbound.clear();
        let origin = held.origin.and_then(|number| self.parts.admit.origins.get(usize::from(number))).map(String::as_str);
        let (content_type, date) = (response::JSON, self.date.at(self.now.wall));
        Head { status: 204, content_type, body: Body::None, keep_alive: held.keep_alive, origin, date, retry_after: false, field: None }
            .write(&mut self.outbound);
        self.send(key, if held.keep_alive { After::Done } else { After::Close });
    }

    // What the hub says.

    fn carry_out(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Begun { conn, .. } => {
                    self.turn(slot_key_of(conn), |service, exchange| service.begin(exchange));
                    self.resume(slot_key_of(conn));
                }
                Output::Ready { conn, wide } => {
                    let key = slot_key_of(conn);
                    if let Some(Slot { state: State::Waits(service), .. }) = self.slots.get_mut(key) {
                        service.ready = true;
                        if wide {
                            self.ready.put_wide(key, &mut service.queued, self.now.mono_ms);
                        } else {
                            self.ready.put_narrow(key, &mut service.queued);
                        }
                    }
                }
                Output::Ended { conn, mut ending } => {
                    self.spread.put_into(&mut ending, &mut self.chance);
                    self.ended(slot_key_of(conn), &ending);
                }
                Output::Open { key, channel } => self.wish(Wish::Open(key, channel)),
                Output::Read { key, channel, after } => self.wish(Wish::Read(key, channel, after)),
                Output::Handed { user, position } => self.note(Wish::Mark(user, ReceiptState::Delivered, position)),
                Output::Online(user) | Output::Offline(user) => self.wish(Wish::Seen(user)),
                // The engines of one node tell it everything; those of many will want to know.
                Output::Watch(_) | Output::Unwatch(_) => {}
                Output::Replied { ticket, reply } => {
                    if let Some(answer) = self.asked.remove(&ticket) {
                        // Whoever asked may have gone.
                        let _ = answer.send(reply);
                    }
                }
            }
        }
    }

    fn note(&mut self, note: Wish) {
        if self.notes.is_empty() {
            self.notes_due_ms = self.now.mono_ms + NOTES_MS;
        }
        self.notes.push(note);
        if self.notes.len() >= NOTES_MAX {
            self.hand_in_notes();
        }
    }

    fn hand_in_notes(&mut self) {
        for note in self.notes.drain(..) {
            let _ = self.parts.desk.send(note);
        }
    }

    fn wish(&mut self, wish: Wish) {
        // Whoever opens a user's channel is to find what was noted of it before.
        self.hand_in_notes();
        // The desk is there as long as the engine is; without it, there is nothing left to serve.
        let _ = self.parts.desk.send(wish);
    }

    fn ended(&mut self, key: Key, ending: &Ending) {
        let Some(slot) = self.slots.get(key) else { return };
        if matches!(slot.state, State::Parting(_) | State::HungUp) {
            return;
        }
        let slow = matches!(ending, Ending::Closed(farewell) if farewell.close.code == CloseCode::Slow);
        if slot.unsent.is_some() && !slow {
            // Its receiver takes nothing; the socket is freed at once, which says enough. Only who is slow still has its time to take what it was sent, and reads why behind that.
            return self.drop_slot(key);
        }
        self.turn(key, |service, exchange| service.ended(exchange, ending));
    }

    /// Serves those who have something to pull: whoever is alone first, and of the broadcasts a slice.
    fn serve_ready(&mut self) {
        let (narrow, wide) = self.ready.counts(self.now.mono_ms);
        for _ in 0..narrow.min(NARROW_PER_TURN) {
            let Some(key) = self.ready.next_narrow() else { break };
            self.serve(key, false);
        }
        for _ in 0..wide.min(WIDE_PER_TURN) {
            let Some(key) = self.ready.next_wide() else { break };
            self.serve(key, true);
        }
        self.ready.make_small();
        self.carry_out();
    }

    fn serve(&mut self, key: Key, wide: bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let State::Waits(service) = &mut slot.state else { return };
        *(if wide { &mut service.queued.wide } else { &mut service.queued.narrow }) = false;
        if slot.unsent.is_some() || !service.ready {
            return;
        }
        service.ready = false;
        let mut more = false;
        self.turn(key, |service, exchange| {
            let after = service.ready(exchange);
            more = after == After::More;
            after
        });
        if more && let Some(Slot { state: State::Waits(service), .. }) = self.slots.get_mut(key) {
            service.ready = true;
            self.ready.put_back(key, &mut service.queued, wide);
        }
        self.has_drained(key);
    }

    /// Gives a connection's transport its turn, and sends what it wrote.
    fn turn(&mut self, key: Key, act: impl FnOnce(&'static dyn Transport, &mut Exchange<'_>) -> After) {
        if let Some(after) = self.act(key, act) {
            self.send(key, after);
        }
    }

    /// Gives a connection's transport its turn; what it wrote is still to be sent.
    fn act(&mut self, key: Key, act: impl FnOnce(&'static dyn Transport, &mut Exchange<'_>) -> After) -> Option<After> {
        let service = self.slots.get_mut(key)?.state.service()?;
        self.outbound.clear();
        let mut exchange = Exchange {
            hub: &mut self.hub,
            conn: conn_key(key),
            held: &mut service.held,
            out: &mut self.outbound,
            cursor: &mut self.cursor,
            now: self.now,
            date: self.date.at(self.now.wall),
            origins: &self.parts.admit.origins,
            heartbeat_s: self.parts.patience.heartbeat_ms / 1000,
            talk: service.talk.as_deref_mut(),
            asked: None,
        };
        let after = act(service.transport, &mut exchange);
        if let Some(text) = exchange.asked.take() {
            let session = exchange.session();
            self.pass_on(key, session, text);
        }
        Some(after)
    }

    // Time.

    fn set_deadline(&mut self, key: Key, in_ms: u64) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.deadline_ms = self.now.mono_ms + in_ms;
        if slot.deadline_ms < slot.look_ms {
            slot.look_ms = self.wheel.insert(slot.deadline_ms, key.index);
        }
    }

    fn tick(&mut self) {
        for place in self.wheel.due(self.now.mono_ms) {
            if let Some(key) = self.slots.key_at(place) {
                self.look_at(key);
            }
        }
        if self.now.mono_ms >= self.hub_tick_ms {
            self.hub_tick_ms = self.now.mono_ms + HUB_TICK_MS;
            self.hub.tick(self.now);
        }
        if self.door_opens_ms.take_if(|opens| *opens <= self.now.mono_ms).is_some() {
            self.accept();
        }
    }

    fn look_at(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.look_ms > self.now.mono_ms {
            // It was put in again for an earlier time, which has been, or by one that stood here before; this is left over.
            return;
        }
        if slot.deadline_ms > self.now.mono_ms {
            slot.look_ms = self.wheel.insert(slot.deadline_ms, key.index);
            return;
        }
        // Whatever happens next sets a deadline of its own, or the slot is gone.
        slot.look_ms = u64::MAX;
        if self.look_at_laggard(key) {
            return;
        }
        let Some(slot) = self.slots.get(key) else { return };
        match &slot.state {
            State::Waits(_) => {
                // A service that the engine has not yet let begin is looked at again, like a stream at its next silence.
                self.set_deadline(key, self.parts.patience.heartbeat_ms);
                if self.hub.has_begun(conn_key(key)) {
                    self.turn(key, |service, exchange| service.elapsed(exchange));
                }
            }
            State::Head if slot.inbound.is_some() => {
                let refusal = Refusal::new(ErrorCode::RequestTimeout, "the request took too long to come");
                self.outbound.clear();
                whole(&mut self.outbound, &refusal, None, self.date.at(self.now.wall));
                self.send(key, After::Close);
            }
            _ => self.free(key),
        }
    }
}

/// Writes a refusal as a whole response, after which the connection ends.
fn whole(out: &mut Vec<u8>, refusal: &Refusal, origin: Option<&str>, date: &str) {
    let (status, retry_after) = (refusal.code.status(), refusal.code.status() == 503);
    let head = Head { status, content_type: response::JSON, body: Body::None, keep_alive: false, origin, date, retry_after, field: None };
    with_body(out, head, &refusal.json());
}

fn with_body(out: &mut Vec<u8>, head: Head<'_>, json: &str) {
    Head { body: Body::Length(json.len()), ..head }.write(out);
    out.extend_from_slice(json.as_bytes());
}

fn token(key: Key) -> Token {
    // Tokens are 64 bits wide on every platform that the table runs on; the upper half holds the generation.
    Token(((key.generation as usize) << 32) | (key.index as usize + FIRST_SLOT))
}

fn slot_key(token: usize) -> Key {
    let index = u32::try_from((token & 0xffff_ffff) - FIRST_SLOT).unwrap_or(u32::MAX);
    Key { index, generation: u32::try_from(token >> 32).unwrap_or(u32::MAX) }
}

fn conn_key(key: Key) -> ConnKey {
    ConnKey(u64::from(key.generation) << 32 | u64::from(key.index))
}

fn slot_key_of(conn: ConnKey) -> Key {
    Key { index: conn.0 as u32, generation: (conn.0 >> 32) as u32 }
}
