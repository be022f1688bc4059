//! A shard that is given its turns by hand, with a clock that stands still and receivers that take what they
//! are told to.

mod ahead;
mod fleeting;
mod posts;
mod prefaces;
mod reader;
mod revoked;
mod secure;
mod slow;
mod unclaimed;
mod unfinished;

use std::{
    io::Read,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll as Polled, Waker},
};

use axum::body::HttpBody;
use encke_engine::memory::MemoryEngine;
use encke_hub::{Opening, Start};
use encke_proto::{
    Body as MessageBody, ChannelName, Cursor, Entry, Epoch, Lineage, Message, MessageId, Page, Position,
    Time, UserId, json,
};
use http::Response;
use mio::net::{TcpListener, TcpStream};
use serde_json::{Value, value::RawValue};

use self::reader::Reader;
use super::{outputs::BROADCAST_PER_TURN, *};
use crate::{
    admission::{Admission, Reply as CommandReply, Verdict},
    app::App,
    clock::TestClock,
    config::{Config, Secret, SlowPolicy},
    dialects::{Registry, native_transport},
    shards::{
        Arrival, Counts, EngineRequest, HyperBody, Mailbox, Resting, Sink, StreamListener, body_sink, mailbox,
    },
    transports::{CompressionPolicy, RequestState},
};

mod stalled;

/// How many messages the engine gives at a time.
const PAGE: u64 = 100;

/// The most turns until what must come has come.
const TURNS_MAX: usize = 10_000;

struct World {
    shard: Shard,
    _runtime: tokio::runtime::Runtime,
    events: Events,
    mailbox: Mailbox<ShardCommand>,
    wishes: mpsc::UnboundedReceiver<EngineRequest>,
    clock: Arc<TestClock>,
    log: HashMap<ChannelName, Vec<Arc<Entry>>>,
}

/// A client that waits by NDJSON on a body sink.
struct Receiver {
    body: HyperBody,
    head: oneshot::Receiver<Response<()>>,
    text: String,
    over: bool,
}

impl World {
    /// Where it listens.
    fn address(&self) -> SocketAddr {
        match &self.shard.parts.listener {
            StreamListener::Tcp(listener) => listener.local_addr().unwrap(),
            StreamListener::Unix(_) => panic!("a world listens at a port"),
        }
    }

    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            dev: true,
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let clock = Arc::new(TestClock::at(Time(1_700_000_000_000)));
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(mio::Waker::new(poll.registry(), WAKER).unwrap());
        let shards = Shards::new(vec![mailbox.clone()]);
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), config.retention_table(), Epoch(1)));
        let (slow, linger_ms, batched_sends) = (config.slow, config.linger_ms, config.batched_sends);
        let app = App::new(Arc::new(config), engine, shards.clone(), clock.clone()).unwrap();
        let (engine_io, wishes) = mpsc::unbounded_channel();
        let admit = admit(&app);
        let shard = Shard::new(Parts {
            poll,
            listener: StreamListener::Tcp(TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap()),
            tls: None,
            admin: None,
            commands,
            shards,
            proxy_protocol: false,
            index: 0,
            engine_io,
            handoffs: mpsc::channel(1).0,
            endpoints: Arc::new(Registry::built_in().endpoints(&app, &admit)),
            admit,
            peers: None,
            observer: None,
            tracer: None,
            command_handler: CommandHandler(Arc::new(|_| {
                Box::pin(async { CommandReply::new(String::new()) })
            })),
            connection_limit: ConnectionLimit::new(0, None),
            clock: clock.clone(),
            hub: HubConfig { broadcast_members: if linger_ms > 0 { 1 } else { 64 }, ..HubConfig::default() },
            access_log: None,
            timeouts: Timeouts {
                head_ms: 10_000,
                idle_ms: 75_000,
                stalled_ms: slow.deadline_s * 1000,
                heartbeat_ms: 20_000,
            },
            redirects: false,
            slow,
            linger_ms,
            batched_sends,
            spread_ms: 10_000,
            inline: InlineRoutes::new(Vec::new()),
            runtime: runtime.handle().clone(),
        });
        Self {
            shard: shard.unwrap(),
            _runtime: runtime,
            events: Events::with_capacity(64),
            mailbox,
            wishes,
            clock,
            log: HashMap::new(),
        }
    }

    /// One turn, and what the engine says to the engine requests that it brings.
    fn step(&mut self) -> Counts {
        let (answer, mut counts) = oneshot::channel();
        // A command keeps the turn from waiting for something to happen.
        self.mailbox.post(ShardCommand::Counts { answer }).unwrap();
        self.shard.step(&mut self.events).unwrap();
        while let Ok(request_engine) = self.wishes.try_recv() {
            let command = match request_engine {
                EngineRequest::Open(key, channel) => {
                    let handed = channel.is_own().then_some(Position { epoch: Epoch(1), offset: 0 });
                    ShardCommand::Opened(key, Some(Opening { page: self.page(&channel, u64::MAX), handed }))
                }
                EngineRequest::Read(key, channel, after) => {
                    ShardCommand::Read(key, Some(self.page(&channel, after)))
                }
                EngineRequest::Handed(_)
                | EngineRequest::Seen(_)
                | EngineRequest::Reached(_)
                | EngineRequest::Place(_)
                | EngineRequest::Settle(_)
                | EngineRequest::Work(_) => continue,
            };
            self.mailbox.post(command).unwrap();
        }
        *counts.try_recv().unwrap()
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn page(&self, channel: &ChannelName, after: u64) -> Page {
        let log = self.log.get(channel).map(Vec::as_slice).unwrap_or_default();
        let head = log.len() as u64;
        let first = after.min(head.saturating_sub(if after == u64::MAX { PAGE } else { 0 }));
        let entries = log.iter().skip(first as usize).take(PAGE as usize).cloned().collect();
        let lineage = Lineage::default();
        Page { epoch: Epoch(1), lineage, tail: 1, head, closed: false, entries }
    }

    /// Puts a message into the log, and tells the shard.
    fn publish(&mut self, channel: &str, data: &str) {
        let channel = ChannelName::any(channel).unwrap();
        let log = self.log.entry(channel.clone()).or_default();
        let position = Position { epoch: Epoch(1), offset: log.len() as u64 + 1 };
        let body =
            MessageBody::Data(json::compact(serde_json::from_str::<&RawValue>(data).unwrap()).unwrap());
        let time = self.clock.now().wall;
        let message = Message {
            id: MessageId::from_bits(1),
            channel,
            position,
            time,
            body,
            from: None,
            expires: None,
            trace: None,
        };
        let entry = Arc::new(Entry::new(message));
        log.push(Arc::clone(&entry));
        self.mailbox.post(ShardCommand::Appended(entry)).unwrap();
    }

    /// A client that follows `news`, from there on.
    fn come(&mut self, user: &str, start: Start) -> Receiver {
        let (body_sink, head, body) =
            body_sink(self.shard.parts.shards.body_sink_id(), self.mailbox.clone(), None);
        self.arrive(Sink::Body(Box::new(body_sink)), user, start);
        Receiver { body, head, text: String::new(), over: false }
    }

    /// The same by a socket for which the kernel keeps little on either side.
    fn come_by_socket(&mut self, user: &str) -> std::net::TcpStream {
        let (sink, client) = self.narrow_line();
        self.arrive(sink, user, Start::Absent);
        client
    }

    /// Both ends of a socket for which the kernel keeps little on either side.
    fn narrow_line(&self) -> (Sink, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (socket, address) = listener.accept().unwrap();
        socket2::SockRef::from(&socket).set_send_buffer_size(4096).unwrap();
        socket.set_nonblocking(true).unwrap();
        let permit = self.shard.parts.connection_limit.enter(address.ip()).unwrap();
        (Sink::Socket(TcpStream::from_std(socket), permit), client.into())
    }

    fn arrive(&mut self, sink: Sink, user: &str, start: Start) {
        self.admit(sink, admission(user, start));
    }

    fn admit(&mut self, sink: Sink, admission: Admission) {
        let arrival = Arrival {
            sink,
            inbound: Vec::new(),
            verdict: Verdict::Admitted(Box::new(admission)),
            unsent: None,
        };
        self.mailbox.post(ShardCommand::Arrived(Box::new(arrival))).unwrap();
    }

    /// All that there is for a client that takes it.
    fn all_for(&mut self, receiver: &mut Receiver) -> Vec<Value> {
        let (mut told, mut silence) = (Vec::new(), 0);
        // What the engine has to be asked for comes some turns later.
        while silence < 8 {
            self.step();
            let events = receiver.events();
            silence = if events.is_empty() { silence + 1 } else { 0 };
            told.extend(events);
        }
        told
    }

    /// Goes on until a client has read so many messages.
    fn until_read(&mut self, reader: &mut Reader, count: usize) {
        let enough = (0..TURNS_MAX).any(|_| {
            self.step();
            reader.offsets().len() >= count
        });
        assert!(enough, "{count} messages do not come");
    }

    /// All clients are served, and have read the beginning.
    fn begin(&mut self, receivers: &mut [Receiver]) {
        self.steps(4);
        for receiver in receivers {
            assert_eq!(receiver.events()[0]["event"], "open");
        }
    }
}

impl Receiver {
    /// Takes one write. False when there is none.
    fn take(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut context) {
            Polled::Ready(Some(Ok(frame))) => {
                self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
                true
            }
            other => {
                self.over |= matches!(other, Polled::Ready(None));
                false
            }
        }
    }

    /// What it was told since it was asked last.
    fn events(&mut self) -> Vec<Value> {
        while self.take() {}
        self.read()
    }

    /// What is whole in the writes that were taken, without taking more.
    fn read(&mut self) -> Vec<Value> {
        let rest = self.text.split_off(self.text.rfind('\n').map_or(0, |last| last + 1));
        std::mem::replace(&mut self.text, rest)
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// What lets everything in that the application lets in.
fn admit(app: &App) -> Admit {
    Admit {
        auth: Arc::clone(&app.auth),
        stopping: app.stopping.clone(),
        hold_s: 25,
        compression: CompressionPolicy::default(),
        decisions: None,
        rate_limits: Arc::default(),
    }
}

fn offsets(events: &[Value], channel: &str) -> Vec<u64> {
    let of = |event: &&Value| event["event"] == "message" && event["channel"] == channel;
    events.iter().filter(of).map(|event| event["offset"].as_u64().unwrap()).collect()
}

/// Who follows `news` by NDJSON on a line whose response ends with it.
fn admission(user: &str, start: Start) -> Admission {
    let request_state = RequestState {
        hold_s: 25,
        origin: None,
        keep_alive: true,
        plain: true,
        began: false,
        tally: 0,
        scratch: [0; 8],
        embedder: None,
    };
    Admission {
        transport: native_transport("/v1/stream", "as=ndjson"),
        request_state,
        user: UserId::new(user).unwrap(),
        token_ends: Time(0),
        token: None,
        granted: encke_proto::Grant::all(),
        session: None,
        fresh: None,
        lasting: true,
        start,
        device: None,
        channels: vec![ChannelName::public("news").unwrap()],
        state: None,
        ticket: None,
        looks_on: None,
    }
}

fn from(offset: u64) -> Start {
    let mut cursor = Cursor::default();
    cursor.set(&ChannelName::public("news").unwrap(), Position { epoch: Epoch(1), offset });
    Start::Cursor(cursor)
}

/// A message of which four fill a write.
fn large() -> String {
    format!("\"{}\"", "x".repeat(8_200))
}

#[test]
fn a_push_waits_behind_one_batch_of_a_broadcast_whatever_its_user() {
    let mut world = World::new(|_| {});
    let mut crowd: Vec<Receiver> =
        (0..2_000).map(|number| world.come(&format!("user {number}"), Start::Absent)).collect();
    world.begin(&mut crowd);
    world.publish("news", "1");
    world.step();
    let got = crowd.iter_mut().map(|receiver| receiver.events().len()).sum::<usize>();
    assert_eq!(got, BROADCAST_PER_TURN);
    // The last in the row follows the broadcast too, and its turn for that is far off.
    world.publish("@user 1999", "2");
    world.step();
    let told = crowd[1999].events();
    assert_eq!((offsets(&told, "@user 1999"), offsets(&told, "news")), (vec![1], vec![1]));
    let others = crowd[..1999].iter_mut().map(|receiver| receiver.events().len()).sum::<usize>();
    assert_eq!(got + others, 2 * BROADCAST_PER_TURN, "the broadcast is not held up either");
    world.steps(2_000 / BROADCAST_PER_TURN);
    let rest: usize = crowd.iter_mut().map(|receiver| receiver.events().len()).sum();
    assert_eq!(got + others + rest, 1_999, "all clients got it, once");
}

#[test]
fn broadcasts_gather_while_they_linger_and_pushes_do_not_wait() {
    let mut world = World::new(|config| config.linger_ms = 5);
    let mut crowd: Vec<Receiver> =
        (0..3).map(|number| world.come(&format!("user {number}"), Start::Absent)).collect();
    world.begin(&mut crowd);
    for number in 1..=3 {
        world.publish("news", &number.to_string());
        world.step();
        world.clock.advance_ms(1);
    }
    assert!(crowd.iter_mut().all(|receiver| !receiver.take()), "nothing is written yet");
    world.publish("@user 1", "1");
    world.step();
    let told = crowd[1].events();
    assert_eq!(
        (offsets(&told, "@user 1"), offsets(&told, "news")),
        (vec![1], vec![1, 2, 3]),
        "what is there already goes along"
    );
    world.clock.advance_ms(2);
    world.step();
    for number in [0, 2] {
        assert!(crowd[number].take() && !crowd[number].take(), "all of it is one write");
        assert_eq!(offsets(&crowd[number].read(), "news"), [1, 2, 3]);
    }
    assert!(!crowd[1].take(), "it has it");
}

#[test]
fn broadcasts_that_come_faster_than_they_are_written_gather_and_pushes_do_not_wait() {
    let mut world = World::new(|_| {});
    let mut crowd: Vec<Receiver> =
        (0..100).map(|number| world.come(&format!("user {number}"), Start::Absent)).collect();
    world.begin(&mut crowd);
    let told = |crowd: &mut [Receiver]| {
        crowd.iter_mut().map(|receiver| offsets(&receiver.events(), "news")).collect::<Vec<_>>()
    };
    world.publish("news", "1");
    world.steps(2);
    assert_eq!(told(&mut crowd), vec![vec![1]; 100], "a first message waits for nothing");
    for number in 2..=3 {
        world.publish("news", &number.to_string());
        world.steps(2);
    }
    assert!(crowd.iter_mut().all(|receiver| !receiver.take()), "nothing is written yet");
    world.publish("@user 1", "1");
    world.step();
    let pushed = crowd[1].events();
    assert_eq!(
        (offsets(&pushed, "@user 1"), offsets(&pushed, "news")),
        (vec![1], vec![2, 3]),
        "what is there already goes along"
    );
    world.clock.advance_ms(1);
    world.steps(2);
    for (number, receiver) in crowd.iter_mut().enumerate().filter(|(number, _)| *number != 1) {
        assert!(receiver.take() && !receiver.take(), "{number}: both are one write");
        assert_eq!(offsets(&receiver.read(), "news"), [2, 3]);
    }
    assert!(!crowd[1].take(), "it has them");
    // The others were sent a broadcast just now. She was not: her push took along what there was.
    world.publish("news", "4");
    world.steps(2);
    let only_hers: Vec<Vec<u64>> =
        (0..100).map(|number| if number == 1 { vec![4] } else { Vec::new() }).collect();
    assert_eq!(told(&mut crowd), only_hers);
    world.clock.advance_ms(100);
    world.publish("news", "5");
    world.steps(2);
    let told = told(&mut crowd);
    assert_eq!((&told[0], &told[1], &told[99]), (&vec![4, 5], &vec![5], &vec![4, 5]));
}

#[test]
fn two_thousand_a_second_for_a_hundred_are_a_third_of_the_writes_and_no_client_is_five_milliseconds_behind() {
    let mut world = World::new(|_| {});
    let mut crowd: Vec<Receiver> =
        (0..100).map(|number| world.come(&format!("user {number}"), Start::Absent)).collect();
    world.begin(&mut crowd);
    let (mut writes, mut got, mut published) = (0, Vec::new(), Vec::new());
    for ms in 0..200 {
        for _ in 0..2 {
            published.push(ms);
            world.publish("news", &ms.to_string());
            world.steps(3);
        }
        for receiver in &mut crowd[..99] {
            receiver.events();
        }
        let last = &mut crowd[99];
        while last.take() {
            writes += 1;
        }
        got.extend(offsets(&last.read(), "news"));
        assert!(
            published.get(got.len()).is_none_or(|waits_since| ms - waits_since < 5),
            "{} of {} at {ms}",
            got.len(),
            published.len()
        );
        world.clock.advance_ms(1);
    }
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    assert!((390..=400).contains(&got.len()), "{}", got.len());
    assert!((100..=150).contains(&writes), "{writes}");
}

#[test]
fn who_takes_nothing_costs_a_part_of_what_is_sent_and_ends_after_the_deadline() {
    let mut world = World::new(|config| config.slow.max_messages = 1_000_000);
    let mut receivers = [world.come("alice", Start::Absent), world.come("bob", Start::Absent)];
    world.begin(&mut receivers);
    let [mut alice, mut bob] = receivers;
    let mut got = Vec::new();
    for _ in 0..80 {
        world.publish("news", &large());
        world.step();
        got.extend(offsets(&bob.events(), "news"));
    }
    got.extend(offsets(&world.all_for(&mut bob), "news"));
    assert_eq!(got, (1..=80).collect::<Vec<_>>(), "no other client is held up");
    let counts = world.step();
    assert_eq!(counts.slow, 1);
    assert!((1..100_000).contains(&counts.unsent_bytes), "{}", counts.unsent_bytes);
    world.clock.advance_ms(9_900);
    world.steps(2);
    assert_eq!(world.step().held, 2);
    world.clock.advance_ms(200);
    world.steps(2);
    let counts = world.step();
    assert_eq!(
        (counts.held, counts.sessions, counts.slow, counts.unsent_bytes),
        (1, 2, 0, 0),
        "the session stays for the grace time"
    );
    // What was sent it may read; the rest it asks for by its cursor. That may be a part of the first.
    let last = offsets(&alice.events(), "news").pop().unwrap_or(0);
    assert!(last < 80 && alice.over);
    let mut again = world.come("alice", from(last));
    assert_eq!(offsets(&world.all_for(&mut again), "news"), (last + 1..=80).collect::<Vec<_>>());
}

#[test]
fn of_clients_written_to_together_each_gets_its_own_whichever_other_is_full_or_gone() {
    for batched in [true, false] {
        let mut world = World::new(|config| config.batched_sends = batched);
        let mut readers: Vec<_> =
            (0..7).map(|number| Reader::new(world.come_by_socket(&format!("user{number}")))).collect();
        world.steps(4);
        drop(readers.pop());
        let mut late = readers.pop().unwrap();
        // More than the kernel keeps for a socket, and less than is too far behind.
        for number in 1..=60 {
            world.publish("news", &large());
            world.step();
            for reader in &mut readers {
                // What the kernel could not take at once comes when there is room.
                world.until_read(reader, number);
            }
        }
        let counts = world.step();
        assert_eq!((counts.held, counts.slow), (6, 1), "one is gone, and one takes nothing");
        world.until_read(&mut late, 60);
        for reader in readers.iter_mut().chain([&mut late]) {
            assert_eq!(reader.offsets(), (1..=60).collect::<Vec<_>>());
        }
        let counts = world.step();
        assert_eq!((counts.held, counts.slow, counts.unsent_bytes), (6, 0, 0));
    }
}

#[test]
fn a_little_now_and_then_buys_no_time() {
    let mut world = World::new(|config| config.slow.max_messages = 1_000_000);
    let mut client = world.come_by_socket("alice");
    world.steps(4);
    for _ in 0..20 {
        world.publish("news", &large());
    }
    world.steps(4);
    let (mut taken, mut halves) = (0, 0);
    while halves < 30 && world.step().held == 1 {
        // In this way it would need longer for what is kept than it has.
        let mut some = [0; 1024];
        taken += io::Read::read(&mut client, &mut some).unwrap();
        world.clock.advance_ms(500);
        halves += 1;
        world.steps(2);
    }
    assert_eq!(halves, 20);
    assert!(taken > 15_000, "it took some all the time: {taken}");
}

#[test]
fn a_client_that_arrives_when_all_were_sent_away_is_not_kept() {
    let mut world = World::new(|_| {});
    let mut early = world.come("alice", Start::Absent);
    world.begin(std::slice::from_mut(&mut early));
    world.mailbox.post(ShardCommand::Drain { elsewhere: true }).unwrap();
    let mut late = world.come("bob", Start::Absent);
    world.steps(4);
    while late.take() {}
    assert!(late.over, "it is not served, and is told so");
    assert_eq!(world.step().held, 1, "who was there before has the time that a stop gives");
}

#[test]
fn a_connection_that_hyper_gives_back_rests_as_long_as_any_other() {
    let mut world = World::new(|_| {});
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut clients = Vec::new();
    for (inbound, is_new) in [(&b""[..], false), (b"GET /v1/po", false), (b"", true)] {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, address) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let permit = world.shard.parts.connection_limit.enter(address.ip()).unwrap();
        let sink = Sink::Socket(TcpStream::from_std(socket), permit);
        world
            .mailbox
            .post(ShardCommand::Rests(Box::new(Resting { sink, inbound: inbound.to_vec(), is_new })))
            .unwrap();
        clients.push(client);
    }
    world.steps(2);
    let mut open_at = |seconds: u64| {
        world.clock.advance_ms(seconds * 1000 - world.shard.now.mono_ms.min(seconds * 1000));
        world.steps(3);
        world.step().sockets
    };
    assert_eq!(open_at(9), 3);
    // A head has its time from its first byte, which was there; the first of all, from the beginning.
    assert_eq!(open_at(11), 1);
    assert_eq!(open_at(74), 1);
    assert_eq!(open_at(76), 0);
    let mut rest = String::new();
    clients[0].read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "the end is clean, and nothing is said");
    clients[1].read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
}
