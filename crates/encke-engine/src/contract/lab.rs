//! The fixture of the contract's tests: an engine, a record of what its feed was told, and short ways to make
//! and read messages.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_proto::{Body, ChannelName, Entry, MessageId, Offset, Position, Time, UserId};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::Bed;
use crate::{
    Append, Appended, Engine, Feed, LogUpdate, LogUpdated, Mark, Page, PageLimit, ReadFrom, ReceiptState,
    Retention, RetentionTable, Targets,
};

/// When the suite's messages are appended, unless a sentence is about time.
pub(super) const NOON: Time = Time(1_763_800_000_000);
/// More than any log of the suite holds.
pub(super) const ALL: PageLimit = PageLimit { messages: 100_000, bytes: 1 << 30 };
/// How long the suite waits for what is promised to come soon, in seconds.
const TIMEOUT_S: u64 = 30;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An id that no other message of this process has.
pub(super) fn new_id() -> MessageId {
    MessageId::from_bits(u128::from(NEXT_ID.fetch_add(1, Ordering::Relaxed)))
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::public(name).expect("the suite's names are names")
}

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).expect("the suite's users are users")
}

pub(super) fn data(json: &str) -> Body {
    let raw = RawValue::from_string(json.to_owned()).expect("the suite's JSON is JSON");
    Body::Data(raw.into())
}

/// A message to `targets`, appended at noon.
pub(super) fn message(targets: Targets) -> Append {
    Append {
        id: new_id(),
        key: None,
        targets,
        body: data("1"),
        from: None,
        time: NOON,
        expires: None,
        trace: None,
    }
}

pub(super) fn to_channel(name: &str) -> Append {
    message(Targets::Channels(vec![channel(name)]))
}

pub(super) fn to_users(users: &[&str]) -> Append {
    message(Targets::Users(users.iter().map(|name| user(name)).collect()))
}

/// A change of a public channel's log without parts, at noon.
pub(super) fn update(name: &str) -> LogUpdate {
    LogUpdate::new(channel(name), NOON)
}

/// Rules that let everything grow to `retention`.
pub(super) fn everywhere(retention: Retention) -> RetentionTable {
    RetentionTable { rules: Vec::new(), public: retention, own: retention }
}

/// Remembers what the feed was told.
#[derive(Default)]
pub(super) struct Listener {
    heard: Mutex<Vec<Arc<Entry>>>,
    behind: Mutex<Vec<ChannelName>>,
    retracted: Mutex<Vec<ChannelName>>,
    news: Notify,
}

impl Feed for Listener {
    fn appended(&self, entries: &[Arc<Entry>]) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(entries);
        self.news.notify_one();
    }

    fn behind(&self, channels: &[ChannelName]) {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(channels);
        self.news.notify_one();
    }

    fn retracted(&self, channels: &[ChannelName]) {
        self.retracted.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(channels);
        self.news.notify_one();
    }
}

impl Listener {
    pub(super) fn heard(&self) -> Vec<Arc<Entry>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The channels that were found to be further than was told.
    pub(super) fn behind_of(&self) -> Vec<ChannelName> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` messages were told, and returns all that were.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Arc<Entry>> {
        let enough = async {
            while self.heard().len() < count {
                self.news.notified().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(TIMEOUT_S), enough).await;
        assert!(waited.is_ok(), "the feed was told of {} messages, not of {count}", self.heard().len());
        self.heard()
    }
}

impl Listener {
    /// The channels of which it was told that messages were retracted, each time once.
    pub(super) fn retracted_of(&self) -> Vec<ChannelName> {
        self.retracted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was told that a channel's log is further, or another: receivers look for themselves.
    pub(super) async fn wait_for_behind(&self, channel: &ChannelName) {
        let is_told = || [self.behind_of(), self.retracted_of()].concat().contains(channel);
        let told = async {
            while !is_told() {
                self.news.notified().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(TIMEOUT_S), told).await;
        assert!(waited.is_ok(), "the feed was not told of {channel}");
    }

    /// Waits until it was told so often that messages of a channel were retracted.
    pub(super) async fn wait_for_retracted(&self, channel: &ChannelName, times: usize) {
        let told = async {
            while self.retracted_of().iter().filter(|told| *told == channel).count() < times {
                self.news.notified().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(TIMEOUT_S), told).await;
        assert!(waited.is_ok(), "the feed was not told that messages of {channel} were retracted");
    }
}

/// An engine with a listener at its feed.
pub(super) struct Lab {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) feed: Arc<Listener>,
}

impl Lab {
    pub(super) async fn open(bed: &dyn Bed) -> Self {
        Self::with(bed, RetentionTable::default()).await
    }

    pub(super) async fn with(bed: &dyn Bed, retention: RetentionTable) -> Self {
        let feed = Arc::new(Listener::default());
        Self { engine: bed.open(Arc::clone(&feed) as Arc<dyn Feed>, retention).await, feed }
    }

    pub(super) async fn append(&self, append: Append) -> Appended {
        self.engine.append(append).await.expect("a healthy engine appends")
    }

    pub(super) async fn update(&self, update: LogUpdate) -> LogUpdated {
        self.engine.update_log(update).await.expect("a healthy engine changes a log")
    }

    /// Appends `count` messages to a public channel one after the other, and returns their ids.
    pub(super) async fn fill(&self, name: &str, count: usize) -> Vec<MessageId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.append(to_channel(name)).await.id);
        }
        ids
    }

    /// Watches channels, and waits until the feed is told of what is appended to them from now on.
    pub(super) async fn watch(&self, channels: impl IntoIterator<Item = ChannelName>) {
        for channel in channels {
            self.engine.watch(&channel);
            self.read(&channel, ReadFrom::Head, ALL).await;
        }
    }

    pub(super) async fn read(&self, channel: &ChannelName, from: ReadFrom, limit: PageLimit) -> Page {
        self.engine.read(channel, from, limit).await.expect("a healthy engine reads")
    }

    /// Everything that is kept of a log.
    pub(super) async fn all(&self, channel: &ChannelName) -> Page {
        self.read(channel, ReadFrom::After(0), ALL).await
    }

    /// Deletes the log with this name, a user's own included; whether there was one.
    pub(super) async fn delete(&self, name: &str) -> bool {
        let name = ChannelName::any(name).expect("the suite's names are names");
        self.engine.delete(&name).await.expect("a healthy engine deletes")
    }

    pub(super) async fn sweep(&self, now: Time) {
        self.engine.sweep(now).await.expect("a healthy engine sweeps");
    }

    pub(super) async fn mark(&self, name: &str, offset: Offset, state: ReceiptState, at: Time) {
        let epoch = self.read(&user(name).channel(), ReadFrom::Head, ALL).await.epoch;
        let mark = Mark { user: user(name), position: Position { epoch, offset }, state, at };
        self.engine.mark(vec![mark]).await.expect("a healthy engine marks");
    }

    /// The state of a push's only receipt, and since when.
    pub(super) async fn receipt(&self, push: &MessageId, now: Time) -> (ReceiptState, Time) {
        let receipts = self.receipts(push, now).await;
        assert_eq!(receipts.len(), 1, "one receipt for one user");
        (receipts[0].1, receipts[0].2)
    }

    /// The receipts of a push to a few users: by user, each with its state and since when.
    pub(super) async fn receipts(&self, push: &MessageId, now: Time) -> Vec<(String, ReceiptState, Time)> {
        let receipts =
            self.engine.receipts(push, None, 10, now).await.expect("a healthy engine reads receipts");
        let receipts = receipts.expect("the push is known").into_iter();
        receipts.map(|receipt| (receipt.user.as_str().to_owned(), receipt.state, receipt.at)).collect()
    }
}

/// The ids of a page's messages.
pub(super) fn ids(page: &Page) -> Vec<MessageId> {
    page.entries.iter().map(|entry| entry.message().id.clone()).collect()
}

/// The offsets of a page's messages.
pub(super) fn offsets(page: &Page) -> Vec<Offset> {
    page.entries.iter().map(|entry| entry.message().position.offset).collect()
}
