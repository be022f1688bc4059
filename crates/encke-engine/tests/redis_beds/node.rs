//! A node for tests of faults: an engine, and what it was told.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_engine::{
    Append, Appended, Engine, EngineError, EngineEvents, Feed, Page, PageLimit, ReadFrom, RetentionTable,
    Targets, redis::RedisEngine,
};
use encke_proto::{Body, ChannelName, Entry, MessageId, Position, Time};
use serde_json::value::RawValue;

use super::{open, server::TIMEOUT};

/// More than any log of these tests holds.
const ALL: PageLimit = PageLimit { messages: 100_000, bytes: 1 << 30 };
pub const NOON: Time = Time(1_763_800_000_000);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub fn channel(name: &str) -> ChannelName {
    ChannelName::public(name).expect("the tests' names are names")
}

pub fn message(channels: Vec<ChannelName>) -> Append {
    let body = RawValue::from_string("\"x\"".to_owned()).expect("this is JSON");
    Append {
        id: MessageId::from_bits(u128::from(NEXT_ID.fetch_add(1, Ordering::Relaxed))),
        key: None,
        targets: Targets::Channels(channels),
        body: Body::Data(body.into()),
        from: None,
        time: NOON,
        expires: None,
        trace: None,
    }
}

#[derive(Default)]
pub struct Heard {
    /// Up to where each channel was told.
    pub told: HashMap<ChannelName, Position>,
    /// How often each was found to be behind.
    pub behind: HashMap<ChannelName, usize>,
}

#[derive(Default)]
pub struct Listener(pub Mutex<Heard>);

impl Feed for Listener {
    fn appended(&self, entries: &[Arc<Entry>]) {
        let mut heard = self.0.lock().expect("no thread panics while holding this");
        for message in entries.iter().map(|entry| entry.message()) {
            heard.told.insert(message.channel.clone(), message.position);
        }
    }

    fn behind(&self, channels: &[ChannelName]) {
        let mut heard = self.0.lock().expect("no thread panics while holding this");
        for channel in channels {
            *heard.behind.entry(channel.clone()).or_default() += 1;
        }
    }

    fn retracted(&self, channels: &[ChannelName]) {
        self.behind(channels);
    }
}

pub struct Node {
    pub engine: Arc<RedisEngine>,
    pub feed: Arc<Listener>,
}

/// Waits until something is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, waiting).await.is_ok(), "in vain: {what}");
}

impl Node {
    pub async fn open(url: &str) -> Self {
        let feed = Arc::new(Listener::default());
        let events = EngineEvents { feed: Arc::clone(&feed) as Arc<dyn Feed>, messages: Arc::new(()) };
        Self { engine: open(url, events, RetentionTable::default(), "node").await, feed }
    }

    pub async fn try_append(&self, name: &str) -> Result<Appended, EngineError> {
        self.engine.append(message(vec![channel(name)])).await
    }

    pub async fn append(&self, name: &str) -> Position {
        self.try_append(name).await.expect("a healthy engine appends").positions[0].1
    }

    pub async fn fill(&self, name: &str, count: usize) -> Position {
        let mut last = None;
        for _ in 0..count {
            last = Some(self.append(name).await);
        }
        last.expect("something was appended")
    }

    pub async fn all(&self, name: &str) -> Page {
        self.engine.read(&channel(name), ReadFrom::After(0), ALL).await.expect("a healthy engine reads")
    }

    /// Watches a channel, and waits until it is told.
    pub async fn watch(&self, name: &str) {
        self.engine.watch(&channel(name));
        self.all(name).await;
    }

    pub async fn ready(&self) {
        eventually("the engine is ready", async || self.engine.ready().await.is_ok()).await;
    }

    pub fn behind(&self, name: &str) -> usize {
        self.feed
            .0
            .lock()
            .expect("no thread panics while holding this")
            .behind
            .get(&channel(name))
            .copied()
            .unwrap_or_default()
    }

    pub fn told(&self, name: &str) -> Option<Position> {
        self.feed.0.lock().expect("no thread panics while holding this").told.get(&channel(name)).copied()
    }
}
