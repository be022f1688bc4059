//! Requests that wait, over raw sockets: what the table does with bytes, whatever their shape.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use encke::{
    clock::TestClock,
    config::{Config, EngineUrl, Secret},
    connection::RESERVED_PER_ADDRESS_MAX,
    wire::{Backing, Server, WireError, wire, wire_on},
};
use encke_engine::{Append, EngineEvents, Targets, memory::MemoryEngine};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId, json};
use serde_json::{Value, value::RawValue};

/// A server of its own for each test, in this process, at a free port.
struct World {
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    /// Where to connect in plain text: the server, or a forwarder that speaks TLS with it (see
    /// [`forwarder`]).
    address: SocketAddr,
    next_id: u128,
    certificate: Option<tempfile::TempDir>,
}

fn config() -> Config {
    Config {
        dev: true,
        listen: "127.0.0.1:0".parse().unwrap(),
        engine: EngineUrl::local("memory"),
        api_key: Some(Secret::new("k".repeat(32))),
        token_secret: Some(Secret::new("s".repeat(32))),
        workers: 2,
        ..Config::default()
    }
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(change, async |config| wire(config).await)
    }

    /// The server that `wire` makes of the configuration.
    fn of(
        change: impl FnOnce(&mut Config),
        wire: impl AsyncFnOnce(Config) -> Result<Server, WireError>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut config = config();
        change(&mut config);
        let mut certificate = None;
        if forwarder::is_asked_for() && config.tls_listen.is_none() {
            let dir = tempfile::tempdir().unwrap();
            forwarder::configure(&mut config, dir.path());
            certificate = Some(dir);
        }
        let server = runtime.block_on(wire(config)).unwrap();
        let address = match (&certificate, server.tls_address) {
            (Some(dir), Some(address)) => runtime.block_on(forwarder::start(address, dir.path())),
            _ => server.main.address.tcp().unwrap(),
        };
        Self { runtime, server: Some(server), address, next_id: 1, certificate }
    }

    /// A server whose time is that of the clock, with a log in memory.
    fn clocked(change: impl FnOnce(&mut Config)) -> (Self, Arc<TestClock>) {
        let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
        let time = Arc::clone(&clock);
        let world = Self::of(change, async move |config: Config| {
            let retention = config.retention_table();
            let open = async move |events: EngineEvents| {
                let engine = MemoryEngine::new(events.feed, retention, Epoch(1));
                Ok(Backing { engine: Arc::new(engine), cluster: None })
            };
            wire_on(Arc::new(config), time, open).await
        });
        (world, clock)
    }

    fn app(&self) -> &Arc<encke::app::App> {
        &self.server.as_ref().unwrap().app
    }

    fn token(&self, user: &str) -> String {
        let app = self.app();
        app.auth.dev_token(UserId::new(user).unwrap(), app.now().wall).unwrap().0
    }

    fn append(&mut self, targets: Targets, data: &str) {
        self.append_from(targets, data, None);
    }

    fn append_from(&mut self, targets: Targets, data: &str, from: Option<UserId>) {
        let append = Append {
            id: MessageId::from_bits(self.next_id),
            key: None,
            targets,
            body: Body::Data(json::compact(serde_json::from_str::<&RawValue>(data).unwrap()).unwrap()),
            from,
            time: self.app().now().wall,
            expires: None,
            trace: None,
        };
        self.next_id += 1;
        let engine = Arc::clone(&self.app().engine);
        self.runtime.block_on(engine.append(append)).unwrap();
    }

    fn push(&mut self, user: &str, data: &str) {
        self.append(Targets::Users(vec![UserId::new(user).unwrap()]), data);
    }

    fn publish(&mut self, channel: &str, data: &str) {
        self.append(Targets::Channels(vec![ChannelName::public(channel).unwrap()]), data);
    }

    /// The scheme by which pages of this server are reached.
    fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    fn connect(&self) -> Wire {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Wire { socket, seen: Vec::new() }
    }

    fn head(&self, user: &str, target: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.address,
            self.token(user)
        )
    }

    /// One whole poll on a connection of its own.
    fn poll(&self, user: &str, query: &str) -> (u16, Value) {
        let mut wire = self.connect();
        wire.send(&self.head(user, &format!("/v1/poll?{query}")));
        wire.response()
    }

    /// Waits until so many sessions of `user` are served by a connection.
    fn until_held(&self, user: &str, count: usize) {
        let user = UserId::new(user).unwrap();
        self.until(|| {
            let sessions =
                self.runtime.block_on(self.app().sessions.list(Some(&user), None, usize::MAX)).unwrap();
            sessions.iter().filter(|listed| listed.session.connected).count() == count
        });
    }

    fn until(&self, holds: impl Fn() -> bool) {
        for _ in 0..4000 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not come to that within 20 seconds");
    }

    fn sessions(&self, user: &str) -> usize {
        self.runtime.block_on(self.app().sessions.count_of(&UserId::new(user).unwrap())).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.app.shards.stop();
        for thread in server.threads {
            thread.join().unwrap();
        }
    }
}

/// A client that sees bytes.
struct Wire {
    socket: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until what has been seen holds `mark`; returns everything up to its end.
    fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.seen.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let rest = self.seen.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
            }
            let mut buffer = [0; 4096];
            let count = self.socket.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed; seen so far: {}", String::from_utf8_lossy(&self.seen));
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }

    fn response(&mut self) -> (u16, Value) {
        let head = self.until("\r\n\r\n");
        let status = head[9..12].parse().unwrap();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
        };
        let length: usize = field("content-length").map_or(0, |length| length.parse().unwrap());
        while self.seen.len() < length {
            let mut buffer = [0; 4096];
            let count = self.socket.read(&mut buffer).unwrap();
            assert!(count > 0);
            self.seen.extend_from_slice(&buffer[..count]);
        }
        let rest = self.seen.split_off(length);
        let body = std::mem::replace(&mut self.seen, rest);
        (
            status,
            if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(Value::Null) },
        )
    }

    /// Reads to the end of the stream; false when it ended in an error.
    fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        let ended = self.socket.read_to_end(&mut rest).is_ok();
        self.seen.extend_from_slice(&rest);
        ended
    }

    fn event(&mut self) -> (String, Value, String) {
        let block = self.until("\n\n");
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap_or_default()
        };
        (field("event: "), serde_json::from_str(&field("data: ")).unwrap_or(Value::Null), field("id: "))
    }
}

fn data(answer: &Value) -> Vec<i64> {
    answer["messages"].as_array().unwrap().iter().map(|message| message["data"].as_i64().unwrap()).collect()
}

mod bayeux;
mod classic;
mod devices;
mod dialects;
mod event_source;
mod expiring;
mod failing;
mod fairness;
mod floods;
mod forwarded;
mod forwarder;
mod hand_over;
#[path = "../hook_endpoint/mod.rs"]
mod hook_endpoint;
mod hooks;
mod https;
mod inline;
mod jwks;
mod long_cursors;
mod looking;
mod metrics;
mod new_keys;
mod polls;
mod pusher;
mod pusher_recovery;
mod queries;
mod receipts;
mod regranted;
mod ruled;
mod sample;
mod settings;
mod short;
mod slow;
mod smuggling;
mod stop;
mod streams;
mod tls;
mod unavailable;
mod ws;
