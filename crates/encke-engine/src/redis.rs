//! The engine in Redis 7 or Valkey, for many nodes: one server, one that sentinels look after, or a cluster.
//!
//! Channels are divided into partitions, whose keys lie in one slot each; whatever is done in a partition is
//! one script, and so is done whole or not at all. A stream for each channel is the truth. Sharded pub/sub
//! tells the nodes that watch a channel of what came in, and may lose it: the nodes compare positions all the
//! time. See ADR 0017.

mod append;
mod cancel;
mod delete;
mod link;
mod merge;
mod multi_partition_append;
mod name_list;
mod names;
mod nodes;
mod options;
mod ordered_calls;
mod placement;
mod read;
mod receipts;
mod reply;
mod row;
mod script;
mod server_map;
mod sweep;
mod update;
mod user_locations;
mod watching;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use encke_proto::{ChannelName, MessageId, NameFilter, Position, Time, UserId};
use redis::{Cmd, Value};
use tokio::{task::JoinHandle, time::timeout};

pub use self::options::{OptionsError, RedisOptions};
use self::{
    names::Names,
    nodes::Incarnations,
    ordered_calls::OrderedCalls,
    script::Lua,
    server_map::{Call, ServerMap},
    sweep::Sweeper,
    watching::Watching,
};
use crate::{
    Append, Appended, ChannelSummary, Engine, EngineError, EngineEvents, LogStatus, LogUpdate, LogUpdated,
    Mark, Mode, Page, PageLimit, ReadFrom, Receipt, RetentionTable, UserRecord,
};

/// For how long Redis keeps what was written to see whether it takes writes, in milliseconds.
const TRIAL_KEPT_MS: u64 = 60_000;
/// The largest number that a script can tell from its neighbours. Times and sizes past it count as it.
const NUMBER_MAX: u64 = (1 << 53) - 1;
/// How long opening waits until Redis is there.
const OPENING: Duration = Duration::from_secs(5);

/// All logs in Redis.
pub struct RedisEngine {
    server_map: Arc<ServerMap>,
    names: Arc<Names>,
    retention: RetentionTable,
    watching: Arc<Watching>,
    ordered_calls: OrderedCalls,
    lives: Incarnations,
    sweeper: Sweeper,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// 64 random bits, as the 16 digits that a script takes for an epoch.
fn fresh_bits() -> String {
    format!("{:016x}", chance())
}

/// 64 random bits that no other node will come by, from the keys that the standard library's maps have: there
/// is nothing to gain by guessing them.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn bounded(number: u64) -> u64 {
    number.min(NUMBER_MAX)
}

impl RedisEngine {
    /// Connects to Redis. A store that is new begins with the first append; a Redis that comes late is waited
    /// for a little.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] says why Redis cannot be worked with.
    pub async fn open(
        options: RedisOptions,
        events: EngineEvents,
        retention: RetentionTable,
        node_name: String,
    ) -> Result<Arc<Self>, EngineError> {
        let names = Arc::new(Names::new(&options));
        let server_map = Arc::new(ServerMap::new(Arc::new(options), Arc::clone(&names)));
        let watching = Watching::new(Arc::clone(&server_map), Arc::clone(&names), events);
        let tasks = watching.start();
        let ordered_calls = OrderedCalls::start(Arc::clone(&server_map));
        let engine = Arc::new(Self {
            server_map,
            names,
            retention,
            watching,
            ordered_calls,
            lives: Incarnations::new(node_name),
            sweeper: Sweeper::default(),
            tasks: Mutex::new(tasks.into()),
        });
        let ready = async {
            while engine.ready().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(OPENING, ready).await.is_err() {
            let why = engine.ready().await;
            engine.stop().await;
            why?;
        }
        Ok(engine)
    }

    /// A call of a partition's script; `more` are keys besides those that every script has.
    fn scripted(&self, script: &Lua, partition: u16, more: &[String]) -> Cmd {
        let mut command = script.call(self.names.keys(partition), more);
        command.arg(fresh_bits());
        command
    }

    async fn calls(&self, calls: Vec<Call>) -> Result<Vec<Value>, EngineError> {
        self.server_map.calls(calls).await.into_iter().collect()
    }
}

#[async_trait]
impl Engine for RedisEngine {
    fn mode(&self) -> Mode {
        Mode::Redis
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        self.append_to_targets(append).await
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        self.read_page(channel, from, limit).await
    }

    fn watch(&self, channel: &ChannelName) {
        self.watching.watch(channel);
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.watching.unwatch(channel);
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        self.channels_page(after, limit).await
    }

    async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        self.matching_channels(filter, after, limit).await
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        self.seen_at(user, at).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        self.one_user(user).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        self.users_page(after, limit).await
    }

    async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        self.matching_users(filter, after, limit).await
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        self.handed_to(user).await
    }

    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
        self.mark_all(&marks).await
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        self.receipts_page(push, after, limit, now).await
    }

    // Each page asks all partitions.
    fn receipts_at_a_time(&self) -> usize {
        5_000
    }

    async fn delete(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        self.delete_log(channel).await
    }

    async fn update_log(&self, update: LogUpdate) -> Result<LogUpdated, EngineError> {
        self.change_log(update).await
    }

    async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        self.status_of(channel).await
    }

    async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        self.cancel_push(push, at).await
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        self.sweep_all(now).await
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.server_map.ready()?;
        // A server that is connected may still be silent, or answer and take no writes: for want of memory,
        // of a disk, or of replicas.
        let tried =
            self.server_map.shares().into_iter().filter_map(|(_, partitions)| partitions.first().copied());
        let tries = tried.map(|partition| {
            let mut command = redis::cmd("SET");
            command.arg(self.names.trial(partition)).arg(1).arg("PX").arg(TRIAL_KEPT_MS);
            Call { partition, command }
        });
        self.calls(tries.collect()).await.map(drop)
    }

    async fn stop(&self) {
        if self.server_map.check().is_err() {
            return;
        }
        self.release_sweeping().await;
        self.end_incarnation().await;
        self.server_map.stop();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for RedisEngine {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
