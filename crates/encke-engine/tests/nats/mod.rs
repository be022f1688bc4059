//! Real NATS servers on free ports, with their data in temporary directories.
#![allow(dead_code, reason = "each test program uses some of it")]

#[path = "../ports/mod.rs"]
mod ports;
mod server;

use std::{
    fmt::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use encke_engine::{
    Engine, EngineEvents, Feed, RetentionTable,
    contract::{Bed, ClusterBed, TestNode},
    nats::{Login, NatsEngine, NatsOptions},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::server::LOOK_AGAIN;
pub use self::server::{Server, TIMEOUT};

const PASSWORD: &str = "s:ec@et";

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, waiting).await.is_ok(), "in vain: {what}");
}

/// Servers that know each other.
pub struct Servers {
    pub servers: Vec<Server>,
    /// On how many of them everything is kept.
    pub replicas: usize,
    _dir: TempDir,
}

static NEXT_PREFIX: AtomicU64 = AtomicU64::new(1);

impl Servers {
    pub fn start(count: usize) -> Self {
        Self::start_with(count, "", "{ publish: \">\", subscribe: \">\" }")
    }

    /// Starts them with more settings, and with these rights for the engine's user.
    pub fn start_with(count: usize, settings: &str, rights: &str) -> Self {
        let dir = TempDir::new().expect("there is room for a directory");
        let ports: Vec<u16> = (0..count * 2).map(|_| ports::free_port()).collect();
        let (ports, routes) = ports.split_at(count);
        let mut servers = Vec::new();
        for (at, &port) in ports.iter().enumerate() {
            let home = dir.path().join(format!("s{at}"));
            std::fs::create_dir(&home).expect("there is room for a directory");
            let mut conf = format!(
                "listen: 127.0.0.1:{port}\nserver_name: s{at}\nmax_payload: 1MB\n\
                 jetstream {{ store_dir: {:?}, sync_interval: always }}\n\
                 accounts {{ SYS: {{ users: [{{ user: sys, password: {PASSWORD:?} }}] }}, \
                 APP: {{ jetstream: enabled, \
                 users: [{{ user: app, password: {PASSWORD:?}, permissions: {rights} }}] }} }}\n\
                 system_account: SYS\n{settings}\n",
                home.join("js")
            );
            if count > 1 {
                let others: Vec<String> =
                    routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
                let _ = writeln!(
                    conf,
                    "cluster {{ name: test, listen: 127.0.0.1:{}, routes: {others:?} }}",
                    routes[at]
                );
            }
            std::fs::write(home.join("conf"), conf).expect("there is room for a file");
            servers.push(Server::start(&home, &format!("s{at}"), port));
        }
        Self { servers, replicas: count, _dir: dir }
    }

    /// Where a server keeps what it has.
    pub fn data(&self, at: usize) -> PathBuf {
        self.servers[at].dir.clone()
    }

    pub fn new_prefix() -> String {
        format!("t{}", NEXT_PREFIX.fetch_add(1, Ordering::Relaxed))
    }

    pub fn options(&self, prefix: &str) -> NatsOptions {
        let servers: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let password = PASSWORD.replace(':', "%3A").replace('@', "%40");
        let text = format!(
            "nats://app:{password}@{}/?replicas={}&prefix={prefix}",
            servers.join(","),
            self.replicas
        );
        let options = NatsOptions::parse(&text).expect("an address");
        assert_eq!(
            options.login,
            Some(Login::User { name: "app".to_owned(), password: PASSWORD.to_owned() })
        );
        options
    }

    /// Opens an engine; servers that have just begun take a moment to agree.
    pub async fn open(
        &self,
        prefix: &str,
        events: EngineEvents,
        retention: RetentionTable,
        name: &str,
    ) -> Arc<NatsEngine> {
        self.open_by(self.options(prefix), events, retention, name).await
    }

    pub async fn open_by(
        &self,
        options: NatsOptions,
        events: EngineEvents,
        retention: RetentionTable,
        name: &str,
    ) -> Arc<NatsEngine> {
        let end = tokio::time::Instant::now() + TIMEOUT;
        loop {
            match NatsEngine::open(options.clone(), events.clone(), retention.clone(), name.to_owned()).await
            {
                Ok(engine) => return engine,
                Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(LOOK_AGAIN * 5).await;
        }
    }

    /// A connection of the test's own.
    pub async fn client(&self, user: &str) -> async_nats::Client {
        let addresses: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let options =
            async_nats::ConnectOptions::new().user_and_password(user.to_owned(), PASSWORD.to_owned());
        options.connect(addresses).await.expect("a server is there")
    }

    /// Asks JetStream, which may have no leader at the moment.
    async fn ask(&self, subject: String, question: Value) -> Option<Value> {
        let client = self.client("app").await;
        let answer = client.request(format!("$JS.API.{subject}"), question.to_string().into()).await.ok()?;
        Some(serde_json::from_slice(&answer.payload).expect("JSON"))
    }

    /// Asks JetStream, which must answer.
    pub async fn api(&self, subject: String, question: Value) -> Value {
        self.ask(subject, question).await.expect("JetStream answers")
    }

    /// Which server leads a stream.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        let info = self.ask(format!("STREAM.INFO.{stream}"), Value::Null).await?;
        let name = info["cluster"]["leader"].as_str()?.to_owned();
        self.servers.iter().position(|server| server.name == name)
    }

    /// Whether all servers have all of a stream. One that was started again and has not: with another one
    /// dead there is no majority of those that have it.
    pub async fn all_have(&self, stream: &str) -> bool {
        let Some(info) = self.ask(format!("STREAM.INFO.{stream}"), Value::Null).await else { return false };
        let others = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        others.len() + 1 == self.replicas && others.iter().all(|other| other["current"] == true)
    }

    /// Breaks the connections whose name begins so.
    pub async fn kick(&self, name: &str) -> usize {
        let client = self.client("sys").await;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.expect("a subscription");
        let question = json!({ "auth": true, "limit": 4096 }).to_string();
        client
            .publish_with_reply("$SYS.REQ.SERVER.PING.CONNZ", inbox, question.into())
            .await
            .expect("a connection");
        let mut kicked = 0;
        for _ in 0..self.servers.len() {
            let answer = tokio::time::timeout(TIMEOUT, answers.next())
                .await
                .expect("servers answer")
                .expect("the connection holds");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            let server = answer["server"]["id"].as_str().expect("a server").to_owned();
            for connection in answer["data"]["connections"].as_array().into_iter().flatten() {
                if connection["name"].as_str().is_some_and(|known| known.starts_with(name)) {
                    let kick = json!({ "cid": connection["cid"] }).to_string();
                    client
                        .request(format!("$SYS.REQ.SERVER.{server}.KICK"), kick.into())
                        .await
                        .expect("the server kicks");
                    kicked += 1;
                }
            }
        }
        kicked
    }
}

/// Ears that hear only the feed.
pub fn events(feed: Arc<dyn Feed>) -> EngineEvents {
    EngineEvents { feed, messages: Arc::new(()) }
}

/// Makes engines on servers that all tests of a program share.
pub struct NatsBed {
    servers: &'static Servers,
    prefix: Mutex<String>,
}

impl NatsBed {
    pub fn new(servers: &'static Servers) -> Self {
        Self { servers, prefix: Mutex::default() }
    }

    fn prefix(&self) -> String {
        self.prefix.lock().expect("no test panics while it holds this").clone()
    }

    fn next_prefix(&self) -> String {
        let prefix = Servers::new_prefix();
        prefix.clone_into(&mut self.prefix.lock().expect("no test panics while it holds this"));
        prefix
    }
}

#[async_trait]
impl Bed for NatsBed {
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine> {
        self.servers.open(&self.next_prefix(), events(feed), retention, "alone").await
    }

    async fn reopen(
        &self,
        _: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine> {
        self.servers.open(&self.prefix(), events(feed), retention, "alone").await
    }
}

#[async_trait]
impl ClusterBed for NatsBed {
    async fn open(&self, events: Vec<EngineEvents>, retention: RetentionTable) -> Vec<TestNode> {
        let prefix = self.next_prefix();
        let mut nodes = Vec::new();
        for (at, events) in events.into_iter().enumerate() {
            let engine = self.servers.open(&prefix, events, retention.clone(), &format!("node-{at}")).await;
            nodes.push(TestNode { engine: Arc::clone(&engine) as Arc<dyn Engine>, cluster: engine });
        }
        nodes
    }

    async fn deafen(&self) {
        // Node 0 is the one that appends.
        let name = format!("encke {} node-1", self.prefix());
        until("the node was connected", || async { self.servers.kick(&name).await > 0 }).await;
    }

    async fn forget_nodes(&self) {
        let purged = self.servers.api(format!("STREAM.PURGE.{}-soft", self.prefix()), json!({})).await;
        assert_eq!(purged["success"], true, "{purged}");
    }
}
