//! Where the tests put the engine in Redis.
#![allow(dead_code, reason = "each test program uses some of it")]

pub mod node;
#[path = "../ports/mod.rs"]
mod ports;
pub mod server;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use encke_engine::{
    Engine, EngineEvents, Feed, RetentionTable,
    contract::{Bed, ClusterBed, TestNode},
    redis::{RedisEngine, RedisOptions},
};

use self::server::RedisServer;

static NEXT_PREFIX: AtomicU64 = AtomicU64::new(1);

/// What begins the names of a store's keys, another one each time.
pub fn new_prefix() -> String {
    format!("t{}", NEXT_PREFIX.fetch_add(1, Ordering::Relaxed))
}

/// Opens an engine that must open.
pub async fn open(
    url: &str,
    events: EngineEvents,
    retention: RetentionTable,
    name: &str,
) -> Arc<RedisEngine> {
    let options = RedisOptions::parse(url).expect("the test's URL is one");
    RedisEngine::open(options, events, retention, name.to_owned()).await.expect("Redis is there")
}

/// Makes engines on servers that all beds share, each with a store of its own.
pub struct RedisBed {
    servers: &'static [RedisServer],
    /// The URL without its settings, and what its settings begin with.
    url: String,
    settings: &'static str,
    last: Mutex<String>,
}

impl RedisBed {
    /// On one server.
    pub fn one(servers: &'static [RedisServer]) -> Self {
        Self {
            servers,
            url: format!("redis://127.0.0.1:{}", servers[0].port),
            settings: "?",
            last: Mutex::default(),
        }
    }

    /// On a cluster, of which one server is named.
    pub fn cluster(servers: &'static [RedisServer]) -> Self {
        Self {
            servers,
            url: format!("redis://127.0.0.1:{}", servers[0].port),
            settings: "?cluster=true&",
            last: Mutex::default(),
        }
    }

    fn last(&self) -> String {
        self.last.lock().expect("no test panics while it holds this").clone()
    }

    fn next(&self) -> String {
        let prefix = new_prefix();
        self.last.lock().expect("no test panics while it holds this").clone_from(&prefix);
        prefix
    }

    fn address(&self, prefix: &str) -> String {
        format!("{}/{}prefix={prefix}", self.url, self.settings)
    }
}

fn deaf(feed: Arc<dyn Feed>) -> EngineEvents {
    EngineEvents { feed, messages: Arc::new(()) }
}

#[async_trait]
impl Bed for RedisBed {
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine> {
        open(&self.address(&self.next()), deaf(feed), retention, "node-0").await
    }

    async fn reopen(
        &self,
        _: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine> {
        open(&self.address(&self.last()), deaf(feed), retention, "node-0").await
    }
}

#[async_trait]
impl ClusterBed for RedisBed {
    async fn open(&self, events: Vec<EngineEvents>, retention: RetentionTable) -> Vec<TestNode> {
        let url = self.address(&self.next());
        let mut nodes = Vec::new();
        for (at, events) in events.into_iter().enumerate() {
            let engine = open(&url, events, retention.clone(), &format!("node-{at}")).await;
            nodes.push(TestNode { engine: Arc::clone(&engine) as _, cluster: engine });
        }
        nodes
    }

    async fn deafen(&self) {
        // Only those of this store: other tests use the same servers.
        let name = format!(" name=encke:{} ", self.last());
        for server in self.servers {
            for client in server
                .ask(&["CLIENT", "LIST", "TYPE", "pubsub"])
                .lines()
                .filter(|client| client.contains(&name))
            {
                let id = client
                    .strip_prefix("id=")
                    .and_then(|rest| rest.split(' ').next())
                    .expect("a client has an id");
                server.ask(&["CLIENT", "KILL", "ID", id]);
            }
        }
    }

    async fn forget_nodes(&self) {
        let prefix = self.last();
        for what in ["lives", "nodes", "ended"] {
            for server in self.servers {
                server.ask(&["DEL", &format!("{{{prefix}:nodes}}:{what}")]);
            }
        }
    }
}
