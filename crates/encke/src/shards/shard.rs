//! One shard: a thread that serves the connections of its table and runs its hub.
//!
//! Each turn it takes in what sockets and commands bring, hands it to the hub, carries out what the hub says,
//! and writes. Everything is bounded by the turn, so that no connection waits for long.

mod accept;
mod access;
mod claims;
mod commands;
mod decisions;
mod fresh_token;
mod handshakes;
mod inline;
mod listen;
mod outputs;
mod pending_marks;
mod places;
mod prefaces;
mod read_budget;
mod receipts;
mod reconnect_jitter;
mod requests;
mod scheduler;
mod send;
mod send_batch;
mod slow;
#[cfg(test)]
mod tests;
mod time;
mod traced;
mod unclaimed;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use encke_hub::{ConnKey, ControlReply, Hub, HubConfig, Key, Now, Receipt, Slab, Wheel};
use mio::{Events, Interest, Poll, Token};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

pub use self::handshakes::{count_failed_handshake, count_handshake};
use self::{
    accept::AcceptResumes, access::HeldAccess, handshakes::Handshakes, inline::Tallies, prefaces::Prefaces,
    read_budget::ReadBudget, receipts::Receipts, reconnect_jitter::ReconnectJitter, scheduler::Scheduler,
    send_batch::SendBatch, slow::Laggards, traced::TracedPushes,
};
use super::{
    AdminListener, Commands, EngineIo, Handoff, Peers, SessionObserver, ShardCommand, Shards, StreamListener,
    TlsListener,
};
use crate::{
    access_log::AccessLog,
    admission::{Admit, CommandHandler, Endpoints},
    clock::Clock,
    config::Slow,
    connection::{ConnectionLimit, RememberedHeads, tls::RecordBuffer},
    http::DateLine,
    inline::InlineRoutes,
    random::RandomPool,
    shards::{BodySinkId, Slot},
    traces::Tracer,
    transports::Site,
};

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const TLS_LISTENER: Token = Token(2);
const ADMIN_LISTENER: Token = Token(3);
/// Slots' tokens come behind those of the waker and the listeners.
const FIRST_SLOT: usize = 4;

/// The table's ticks, in milliseconds.
const TICK_MS: u64 = 100;
/// One turn of the table's wheel: 51.2 seconds.
const WHEEL_BUCKETS: usize = 512;
/// The most that the kernel's poll tells in one turn.
pub const EVENTS_PER_TURN: usize = 1_024;
/// The most commands taken out in one turn.
const COMMANDS_PER_TURN: usize = 4_096;
/// How long the client of a duplex connection may take to finish, and to hang up, in milliseconds.
const PART_MS: u64 = 2_000;

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A request's head, from its first byte.
    pub head_ms: u64,
    /// A connection between two requests.
    pub idle_ms: u64,
    /// A receiver with what it was sent and its socket could not take.
    pub stalled_ms: u64,
    /// A stream's silence.
    pub heartbeat_ms: u64,
}

/// What a shard is made of.
pub struct Parts {
    /// The poll that the mailbox's waker belongs to.
    pub poll: Poll,
    /// Where sockets come in.
    pub listener: StreamListener,
    /// Where sockets come in that are to speak TLS, if there are to be any.
    pub tls: Option<TlsListener>,
    /// Where sockets of operators come in, if they have a listener of their own.
    pub admin: Option<AdminListener>,
    /// What it is told and asked.
    pub commands: Commands<ShardCommand>,
    /// The way to the other shards.
    pub shards: Shards,
    /// Whether trusted proxies begin each connection with a preface of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Which of them it is.
    pub index: usize,
    /// The engine I/O task before the engine.
    pub engine_io: EngineIo,
    /// Requests that the shard answers by itself.
    pub inline: InlineRoutes,
    /// The runtime within which they run.
    pub runtime: Handle,
    /// Where connections for hyper go.
    pub handoffs: mpsc::Sender<Handoff>,
    /// Whose pages may read answers, and who has the key.
    pub admit: Admit,
    /// Where requests come in that may wait, and what decides on them.
    pub endpoints: Arc<Endpoints>,
    /// The other nodes, if there are any.
    pub peers: Option<Arc<dyn Peers>>,
    /// Who is told of sessions, if they are written down.
    pub observer: Option<Arc<dyn SessionObserver>>,
    /// What records traces, if they are recorded.
    pub tracer: Option<Arc<Tracer>>,
    /// Who answers what clients ask over connections that wait.
    pub command_handler: CommandHandler,
    /// How many sockets may be open.
    pub connection_limit: Arc<ConnectionLimit>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds and times of the hub.
    pub hub: HubConfig,
    /// Where a line goes for each request, if there is such a log.
    pub access_log: Option<AccessLog>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Whether requests in plain text are led to https, which hyper does.
    pub redirects: bool,
    /// How far a receiver may be behind.
    pub slow: Slow,
    /// How long broadcasts gather before they are written, in milliseconds; with 0, only as long as their
    /// cost asks for it.
    pub linger_ms: u64,
    /// Whether sends to several sockets are made by one call of the kernel, where it has that.
    pub batched_sends: bool,
    /// Over how long the clients that a stop sends away are spread at most, in milliseconds.
    pub spread_ms: u64,
}

/// How long a socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until less comes than there was room for: then there is nothing more, and what comes later is told by
    /// an event of its own (epoll(7), of edge-triggered files), as is the end.
    Short,
    /// Until the kernel says that there is nothing: where that event may have been before.
    Empty,
}

/// A shard at work.
pub struct Shard {
    parts: Parts,
    hub: Hub,
    slots: Slab<Slot>,
    /// When slots are looked at, by their places: the slot that stands there by then is looked at, and knows
    /// whether it was meant.
    wheel: Wheel<u32>,
    now: Now,
    date: DateLine,
    site: Site,
    hub_tick_ms: u64,
    accept_resumes: AcceptResumes,
    reads: ReadBudget,
    handshakes: Handshakes,
    prefaces: Prefaces,
    scheduler: Scheduler,
    laggards: Laggards,
    receipts: Receipts,
    traced: TracedPushes,
    /// What users were handed and the engine is still to be told, and when it is to be on its way.
    pending_marks: Vec<Receipt>,
    pending_marks_due_ms: u64,
    /// Control requests that wait for the hub's reply.
    asked: HashMap<u64, oneshot::Sender<ControlReply>>,
    /// Where the responses are that hyper sends.
    body_sink: HashMap<BodySinkId, Key>,
    next_ticket: u64,
    tallies: Tallies,
    access: HeldAccess,
    /// Bytes that were read from sockets and written for them, under TLS in the form in which they are sent.
    read_bytes: u64,
    written_bytes: u64,
    heads: RememberedHeads,
    /// Scratch, shared by all connections.
    inbound: RecordBuffer,
    outbound: Vec<u8>,
    send_batch: SendBatch,
    cursor: String,
    random_pool: RandomPool,
    reconnect_jitter: ReconnectJitter,
    drains: bool,
    stops: bool,
}

impl Shard {
    /// A shard, not yet at work.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub fn new(mut parts: Parts) -> io::Result<Self> {
        let now = parts.clock.now();
        parts.poll.registry().register(&mut parts.listener, LISTENER, Interest::READABLE)?;
        if let Some(tls) = &mut parts.tls {
            parts.poll.registry().register(&mut tls.listener, TLS_LISTENER, Interest::READABLE)?;
        }
        if let Some(admin) = &mut parts.admin {
            parts.poll.registry().register(&mut admin.listener, ADMIN_LISTENER, Interest::READABLE)?;
        }
        let site = Site {
            origins: parts.admit.auth.origins().clone(),
            heartbeat_s: parts.timeouts.heartbeat_ms / 1000,
            close_keys: parts.admit.auth.close_keys().clone(),
            compression: parts.admit.compression,
        };
        Ok(Self {
            site,
            hub: Hub::new(parts.hub.clone(), now),
            slots: Slab::default(),
            wheel: Wheel::new(TICK_MS, WHEEL_BUCKETS, now.mono_ms),
            now,
            date: DateLine::default(),
            hub_tick_ms: now.mono_ms,
            accept_resumes: AcceptResumes::default(),
            reads: ReadBudget::default(),
            handshakes: Handshakes::new(),
            prefaces: Prefaces::default(),
            scheduler: Scheduler::new(parts.linger_ms),
            laggards: Laggards::new(),
            receipts: Receipts::default(),
            traced: TracedPushes::default(),
            pending_marks: Vec::new(),
            pending_marks_due_ms: 0,
            asked: HashMap::new(),
            body_sink: HashMap::new(),
            next_ticket: 0,
            tallies: Tallies::new(&parts.inline),
            access: HeldAccess::default(),
            read_bytes: 0,
            written_bytes: 0,
            heads: RememberedHeads::default(),
            inbound: RecordBuffer::new(),
            outbound: Vec::new(),
            send_batch: SendBatch::new(parts.batched_sends),
            cursor: String::new(),
            random_pool: RandomPool::default(),
            reconnect_jitter: ReconnectJitter::default(),
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
        // Now, while there are file descriptors.
        self.send_batch.make_ring();
        while !self.stops {
            self.step(&mut events)?;
        }
        self.settle_all_receipts();
        self.leave_all();
        self.carry_out();
        self.write_pending_marks();
        Ok(())
    }

    /// One turn: waits for at most a tick until there is something to do, and does a bounded part of it.
    /// `events` is scratch.
    ///
    /// # Errors
    /// When the kernel's poll fails.
    pub fn step(&mut self, events: &mut Events) -> io::Result<()> {
        let accept_is_due = self.accept_resumes.is_due(self.now.mono_ms);
        let is_behind = self.reads.has_deferred() || self.handshakes.has_waiting();
        let rest_ms = if accept_is_due || is_behind { 0 } else { self.rest_ms() };
        let wait = Duration::from_millis(if rest_ms > 0 && self.parts.commands.rest() { rest_ms } else { 0 });
        match self.parts.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        self.parts.commands.rise();
        self.now = self.parts.clock.now();
        self.scheduler.begin_turn(self.now.mono_ms);
        self.read_deferred();
        self.advance_handshakes();
        for event in &*events {
            match event.token() {
                WAKER => {}
                LISTENER => self.accept_resumes.plain_has_some(self.now.mono_ms),
                TLS_LISTENER => self.accept_resumes.tls_has_some(self.now.mono_ms),
                ADMIN_LISTENER => self.accept_resumes.admin_has_some(self.now.mono_ms),
                Token(token) => self.touched(slot_key(token), event),
            }
        }
        self.take_commands();
        self.tick();
        self.carry_out();
        self.serve_ready();
        if self.now.mono_ms >= self.pending_marks_due_ms {
            self.write_pending_marks();
        }
        Ok(())
    }

    /// How long the shard may rest if nothing comes.
    fn rest_ms(&self) -> u64 {
        let pending_marks = if self.pending_marks.is_empty() {
            TICK_MS
        } else {
            self.pending_marks_due_ms.saturating_sub(self.now.mono_ms)
        };
        let receipts = self.receipts.rests_ms(self.now.mono_ms).unwrap_or(TICK_MS);
        let ready = self.scheduler.rests_ms(self.now.mono_ms).unwrap_or(TICK_MS);
        ready.min(pending_marks).min(receipts).min(TICK_MS)
    }
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
