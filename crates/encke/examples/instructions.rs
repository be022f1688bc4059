//! A fixed load on one shard, for counting the processor's instructions: `tests/instructions/count` runs it
//! under callgrind, which counts within [`counted`] only.
//!
//! The shard, its hub and its sockets are the product's own. Everything happens in one thread and in an order
//! of its own, on a clock that is moved by hand, so that a count comes out the same each time.

use std::{
    error::Error,
    hint::black_box,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use encke::{
    admission::{Admit, CommandHandler, Reply},
    app::App,
    clock::{Clock, TestClock},
    config::{Config, EngineUrl, Secret},
    connection::ConnectionLimit,
    dialects::Registry,
    shards::{
        EVENTS_PER_TURN, Mailbox, Parts, Shard, ShardCommand, Shards, StreamListener, Timeouts, mailbox,
        open_engine_io,
    },
};
use encke_engine::{Append, Engine, ReceiptState, Targets, memory::MemoryEngine};
use encke_hub::HubConfig;
use encke_proto::{Body, ChannelName, Epoch, MessageId, SessionId, Time, UserId};
use mio::{Events, Poll, Token, Waker, net::TcpListener};
use serde_json::value::RawValue;
use socket2::SockRef;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

/// How many wait. All of them fit into one turn's events.
const SUBSCRIBERS: usize = 250;
/// How many messages each of them gets while it is counted.
const MESSAGES: usize = 20;
/// The most turns of the shard until something that must happen has happened.
const TURNS_MAX: usize = 1_000;
/// How much time goes by between two messages, in milliseconds: so much that none waits for the next one to
/// be written together.
const REST_MS: u64 = 5;
/// How many pushes have their receipts written down together: as many as come in the 20 ms for which a shard
/// gathers them, at a push each millisecond.
const PUSHES_PER_MARK: usize = 20;
/// The bytes of a message, which is a JSON string.
const PAYLOAD_BYTES: usize = 100;

/// What is counted: everything that the shard does from the first message on.
#[inline(never)]
fn counted(shard: &mut Shard, events: &mut Events) -> io::Result<()> {
    let done = shard.step(events);
    // What stands behind the call keeps the compiler from making a jump of it, which would not be counted.
    black_box(&done);
    done
}

/// What is counted of pushes besides: the engine I/O task, which writes their receipts down.
#[inline(never)]
fn counted_io(runtime: &Runtime) {
    runtime.block_on(tokio::task::yield_now());
    black_box(runtime);
}

/// What is counted of a guess: the comparison with the secret.
#[inline(never)]
fn counted_guess(is_right: impl Fn() -> bool) -> bool {
    let right = is_right();
    black_box(&right);
    right
}

/// Compares a secret with one of which a single byte is another, the `first` or the `last`.
fn guess(app: &App, secret: &str, place: &str) -> Result<(), Box<dyn Error>> {
    let (auth, now) = (&app.auth, app.now().wall);
    let wrong = |right: &str| -> String {
        // Of base64 the very last character has fewer bits than the others.
        let at = if place == "first" { 0 } else { right.len().saturating_sub(2) };
        let other = |c| if c == 'A' { 'B' } else { 'A' };
        right.chars().enumerate().map(|(index, c)| if index == at { other(c) } else { c }).collect()
    };
    let is_right = match secret {
        "key" => {
            let guess = wrong(&"k".repeat(32));
            counted_guess(|| auth.api_keys().name_of(&guess).is_some())
        }
        "close-key" => {
            let session = SessionId::from_bits(7);
            let guess = wrong(auth.close_keys().of_session(session).text().as_str());
            counted_guess(|| auth.close_keys().fits(session, &guess))
        }
        "token" => {
            let (token, _) = auth.dev_token(UserId::new("alice")?, now)?;
            let (text, signature) = token.rsplit_once('.').ok_or("no signature")?;
            let guess = format!("{text}.{}", wrong(signature));
            counted_guess(|| auth.verify(&guess, now).is_ok())
        }
        _ => return Err(format!("no such secret: {secret}").into()),
    };
    if is_right { Err("the guess is right".into()) } else { Ok(()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let kind = std::env::args().nth(1).unwrap_or_default();
    let mut world = World::new()?;
    let runtime = world.runtime.handle().clone();
    let _within = runtime.enter();
    if kind == "guess" {
        let (secret, place) = (std::env::args().nth(2), std::env::args().nth(3));
        return guess(&world.app, &secret.unwrap_or_default(), &place.unwrap_or_default());
    }
    if kind == "push" {
        let mut clients = world.connect("sse")?;
        let mut backend = world.backend()?;
        for _ in 0..MESSAGES {
            world.push_to_each(&mut backend, &mut clients)?;
        }
    } else {
        let mut clients = world.connect(&kind)?;
        for _ in 0..MESSAGES {
            world.publish()?;
            world.deliver(&mut clients)?;
        }
    }
    println!("{}", SUBSCRIBERS * MESSAGES);
    Ok(())
}

/// A shard, and what it needs of a server.
struct World {
    runtime: Runtime,
    app: Arc<App>,
    clock: Arc<TestClock>,
    shard: Shard,
    events: Events,
    mailbox: Mailbox<ShardCommand>,
    address: SocketAddr,
    next_id: u128,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let config = Arc::new(Config {
            dev: true,
            engine: EngineUrl::local("memory"),
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        });
        let test_clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&test_clock);
        let poll = Poll::new()?;
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0))?);
        let shards = Shards::new(vec![mailbox.clone()]);
        let engine: Arc<dyn Engine> =
            Arc::new(MemoryEngine::new(Arc::new(shards.clone()), config.retention_table(), Epoch(1 << 39)));
        let app = App::new(Arc::clone(&config), Arc::clone(&engine), shards.clone(), Arc::clone(&clock))?;
        let listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        let address = listener.local_addr()?;
        let (engine_io, work) = open_engine_io(engine, Arc::clone(&clock), mailbox.clone(), None);
        runtime.spawn(work);
        let admit = Admit {
            auth: Arc::clone(&app.auth),
            stopping: app.stopping.clone(),
            hold_s: config.hold_s,
            rate_limits: Arc::default(),
            compression: encke::transports::CompressionPolicy::default(),
            decisions: None,
        };
        let shard = Shard::new(Parts {
            poll,
            listener: StreamListener::Tcp(listener),
            tls: None,
            admin: None,
            commands,
            shards,
            proxy_protocol: false,
            index: 0,
            inline: encke::inline_routes(&app),
            engine_io,
            // Nothing is sent that is not for the table.
            handoffs: mpsc::channel(1).0,
            peers: None,
            observer: None,
            tracer: None,
            endpoints: Arc::new(Registry::built_in().endpoints(&app, &admit)),
            admit,
            runtime: runtime.handle().clone(),
            // No client asks anything.
            command_handler: CommandHandler(Arc::new(|_| Box::pin(async { Reply::new(String::new()) }))),
            connection_limit: ConnectionLimit::new(0, None),
            clock,
            hub: HubConfig::default(),
            access_log: None,
            timeouts: Timeouts {
                head_ms: 10_000,
                idle_ms: 75_000,
                stalled_ms: 10_000,
                heartbeat_ms: config.heartbeat_s * 1000,
            },
            slow: config.slow,
            linger_ms: config.linger_ms,
            batched_sends: config.batched_sends,
            redirects: false,
            spread_ms: config.shutdown_spread_s * 1000,
        })?;
        let events = Events::with_capacity(EVENTS_PER_TURN);
        Ok(Self { runtime, app, clock: test_clock, shard, events, mailbox, address, next_id: 1 })
    }

    /// Connects all clients, by a transport of the name `kind`, up to where they wait for the first message.
    fn connect(&mut self, kind: &str) -> Result<Vec<Client>, Box<dyn Error>> {
        let mut clients = Vec::with_capacity(SUBSCRIBERS);
        for number in 0..SUBSCRIBERS {
            let (token, _) = self.app.auth.dev_token(UserId::new(&user(number))?, self.app.now().wall)?;
            let fields = format!("Host: {}\r\nAuthorization: Bearer {token}\r\n", self.address);
            let fields = match kind {
                "ws" => format!(
                    "{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                ),
                _ => fields,
            };
            let socket = TcpStream::connect(self.address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut client = Client { socket, polls: kind == "poll", fields, answer: Vec::new() };
            // The first poll only asks where the log ends.
            client.ask(kind, if client.polls { "channels=news&hold_s=0" } else { "channels=news" })?;
            clients.push(client);
            // Not so many fit in before the door at once.
            self.shard.step(&mut self.events)?;
        }
        for client in &mut clients {
            self.until(|world| client.read(if world.next_id == 1 { "1~" } else { "" }))?;
            client.go_on()?;
        }
        Ok(clients)
    }

    fn publish(&mut self) -> Result<(), Box<dyn Error>> {
        self.clock.advance_ms(REST_MS);
        // All clients wait before the message comes.
        loop {
            counted(&mut self.shard, &mut self.events)?;
            let (answer, mut counts) = oneshot::channel();
            self.mailbox.post(ShardCommand::Counts { answer })?;
            self.shard.step(&mut self.events)?;
            if counts.try_recv()?.held == SUBSCRIBERS {
                break;
            }
        }
        let append = Append {
            id: MessageId::from_bits(self.next_id),
            key: None,
            targets: Targets::Channels(vec![ChannelName::public("news")?]),
            body: Body::Data(RawValue::from_string(format!("\"{}\"", "x".repeat(PAYLOAD_BYTES - 2)))?.into()),
            from: None,
            time: self.app.now().wall,
            expires: None,
            trace: None,
        };
        self.next_id += 1;
        self.runtime.block_on(self.app.engine.append(append))?;
        Ok(())
    }

    /// Lets the shard work until all clients have the message, and have asked for the next.
    fn deliver(&mut self, clients: &mut [Client]) -> Result<(), Box<dyn Error>> {
        for client in clients {
            let mut turns = 0;
            while !client.read("xxx\"")? {
                counted(&mut self.shard, &mut self.events)?;
                turns += 1;
                assert!(turns < TURNS_MAX, "a message does not come");
            }
            client.go_on()?;
        }
        Ok(())
    }

    /// A connection that pushes are sent by.
    fn backend(&mut self) -> Result<Client, Box<dyn Error>> {
        let fields = format!(
            "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept: */*\r\n",
            self.address,
            "k".repeat(32)
        );
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        self.shard.step(&mut self.events)?;
        Ok(Client { socket, polls: false, fields, answer: Vec::new() })
    }

    /// Pushes to one client after the other. Each push is answered and delivered before the next, and in the
    /// end all have their receipts.
    fn push_to_each(&mut self, backend: &mut Client, clients: &mut [Client]) -> Result<(), Box<dyn Error>> {
        let mut pushes = Vec::with_capacity(clients.len());
        for (number, client) in clients.iter_mut().enumerate() {
            self.clock.advance_ms(1);
            backend.push(number)?;
            let (mut answered, mut delivered) = (false, false);
            for _ in 0..TURNS_MAX {
                counted(&mut self.shard, &mut self.events)?;
                answered = answered || backend.read("]}")?;
                delivered = delivered || client.read("xxx\"")?;
                if answered && delivered {
                    break;
                }
            }
            assert!(answered && delivered, "a push is not answered, or does not come");
            client.acknowledge()?;
            pushes.push((number, backend.pushed()?));
            client.go_on()?;
            if number % PUSHES_PER_MARK == 0 {
                counted_io(&self.runtime);
            }
        }
        for _ in 0..TURNS_MAX {
            let all = pushes.iter().all(|(number, push)| self.is_delivered(*number, push));
            if all {
                return Ok(());
            }
            self.clock.advance_ms(REST_MS);
            counted(&mut self.shard, &mut self.events)?;
            counted_io(&self.runtime);
        }
        Err("a receipt does not come".into())
    }

    fn is_delivered(&self, number: usize, push: &MessageId) -> bool {
        let receipts = self.app.engine.receipts(push, None, 2, self.app.now().wall);
        let Ok(Some(receipts)) = self.runtime.block_on(receipts) else { return false };
        matches!(receipts.as_slice(), [receipt]
            if receipt.state == ReceiptState::Delivered && receipt.user.as_str() == user(number))
    }

    /// Lets the shard and its engine I/O task work, uncounted, until something is so.
    fn until(&mut self, mut holds: impl FnMut(&Self) -> io::Result<bool>) -> Result<(), Box<dyn Error>> {
        for _ in 0..TURNS_MAX {
            if holds(self)? {
                return Ok(());
            }
            self.mailbox.post(ShardCommand::Drained(encke::shards::BodySinkId(u64::MAX)))?;
            self.shard.step(&mut self.events)?;
            self.runtime.block_on(tokio::task::yield_now());
        }
        Err("it does not come to that".into())
    }
}

/// The user of this number.
fn user(number: usize) -> String {
    format!("user{number}")
}

/// A connection that waits, or the backend's.
struct Client {
    socket: TcpStream,
    polls: bool,
    fields: String,
    answer: Vec<u8>,
}

impl Client {
    fn ask(&mut self, kind: &str, query: &str) -> io::Result<()> {
        self.answer.clear();
        let head = format!("GET /v1/{kind}?{query} HTTP/1.1\r\n{}\r\n", self.fields);
        self.socket.write_all(head.as_bytes())
    }

    fn push(&mut self, number: usize) -> io::Result<()> {
        self.answer.clear();
        let body =
            format!("{{\"to\":[\"{}\"],\"data\":\"{}\"}}", user(number), "x".repeat(PAYLOAD_BYTES - 2));
        let fields = format!("{}Content-Length: {}", self.fields, body.len());
        self.socket.write_all(format!("POST /api/push HTTP/1.1\r\n{fields}\r\n\r\n{body}").as_bytes())
    }

    /// The id of the push that was answered.
    fn pushed(&self) -> Result<MessageId, Box<dyn Error>> {
        let text = String::from_utf8_lossy(&self.answer);
        let id = text.split_once("{\"id\":\"").and_then(|(_, rest)| rest.split('"').next());
        Ok(id.ok_or("the push is refused")?.parse()?)
    }

    /// Acknowledges what was read without the delay that kernels put before it.
    fn acknowledge(&self) -> io::Result<()> {
        SockRef::from(&self.socket).set_tcp_quickack(true)
    }

    /// Reads what is there. True when `wanted` has come, and what belongs to it.
    fn read(&mut self, wanted: &str) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.answer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let text = String::from_utf8_lossy(&self.answer);
        // The first answer of a session has its key behind that.
        let is_whole = text.contains("\"close\":null") && text.ends_with('}');
        Ok(text.contains(wanted) && (!self.polls || is_whole))
    }

    /// Asks for what comes next, where that is to be asked for.
    fn go_on(&mut self) -> io::Result<()> {
        if !self.polls {
            self.answer.clear();
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.answer);
        let member = |name: &str| {
            text.split_once(&format!("\"{name}\":\""))
                .and_then(|(_, rest)| rest.split('"').next())
                .map(str::to_owned)
        };
        let (session, cursor) = (member("session"), member("cursor"));
        let query = format!(
            "session={}&cursor={}&hold_s=25",
            session.unwrap_or_default(),
            cursor.unwrap_or_default()
        );
        self.ask("poll", &query)
    }
}
