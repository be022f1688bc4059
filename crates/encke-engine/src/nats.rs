//! The engine of many nodes on NATS JetStream: logs are the subjects of one stream, and what is known of
//! users and receipts is in a second one (ADR 0018).
//!
//! Each message carries the extent of its log. A node appends by telling the stream which message it believes
//! to be the log's last; a node that was overtaken is refused, looks, and tries again. So no node has to own
//! a log, and offsets rise by one whichever node appends. What has to be stored together is one atomic batch.

mod answers;
mod append;
mod cancel;
mod cluster;
mod deleted;
mod deletion;
mod epoch;
mod expiry_index;
mod fault;
mod kept_times;
mod link;
mod log;
mod log_metadata;
mod marked;
mod marks;
mod names;
mod options;
mod page;
mod pieces;
mod produced;
mod receipt;
mod receipts;
mod recent;
mod record;
mod store;
mod stored;
mod streams;
mod sweep;
mod swept;
mod targets;
mod trim;
mod trimmed;
mod trimmer;
mod update;
mod update_work;
mod user_keys;
mod users;
mod watch;
mod writer;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use encke_proto::{ChannelName, MessageId, NameFilter, Position, Time, UserId};
use tokio::time::{Instant, sleep};

pub use self::options::{Login, NatsOptions, NatsOptionsError};
use self::{
    cluster::Member,
    epoch::Epochs,
    expiry_index::ExpiryIndex,
    fault::Fault,
    kept_times::KeptTimes,
    link::Link,
    names::Names,
    recent::Recent,
    store::Store,
    streams::Streams,
    swept::Swept,
    trimmer::Trimmer,
    user_keys::UserKeys,
    users::KNOWN_MAX,
    watch::Watches,
    writer::{Writer, WriterContext},
};
use crate::{
    Append, Appended, ChannelSummary, Engine, EngineError, EngineEvents, LogStatus, LogUpdate, LogUpdated,
    Mark, Mode, Page, PageLimit, ReadFrom, Receipt, RetentionTable, UserRecord,
};

/// How long a node that begins waits until the streams can be used.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it looks.
const BEGIN_PERIOD: Duration = Duration::from_millis(100);

/// All logs in JetStream streams, for any number of nodes.
pub struct NatsEngine {
    store: Arc<Store>,
    watches: Arc<Watches>,
    member: Member,
}

impl NatsEngine {
    /// Connects, and makes the streams if they are not there. `node_name` is what the operator calls this
    /// node.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when no server can be reached, or it refuses, or streams of these names
    /// are there that are not ours.
    pub async fn open(
        options: NatsOptions,
        events: EngineEvents,
        retention: RetentionTable,
        node_name: String,
    ) -> Result<Arc<Self>, EngineError> {
        let link = Link::open(&options, &node_name).await?;
        let names = Names::new(&options.prefix);
        let streams = Streams::new(&names, &options, &retention);
        let most_kept = streams.most_kept;
        let (retention, expiry_index) = (Arc::new(retention), Arc::new(ExpiryIndex::default()));
        let epochs = Arc::new(begin(&link, &names, &streams).await?);
        let trimmer = Trimmer::start(Arc::clone(&link), names.clone(), Arc::clone(&retention));
        let writer = Writer::start(WriterContext {
            link: Arc::clone(&link),
            names: names.clone(),
            epochs: Arc::clone(&epochs),
            retention: Arc::clone(&retention),
            expiry_index: Arc::clone(&expiry_index),
            trimmer: trimmer.clone(),
            most_kept,
        });
        let member = Member::new(Arc::clone(&link), names.clone(), node_name, events.messages);
        let store = Arc::new(Store {
            link,
            names,
            streams,
            epochs,
            retention,
            expiry_index,
            trimmer,
            writer,
            keys: KeptTimes::of_keys(),
            producers: KeptTimes::of_producers(),
            user_keys: UserKeys::default(),
            known: Mutex::new(Recent::new(KNOWN_MAX)),
            swept: tokio::sync::Mutex::new(Swept::default()),
        });
        let watches = Watches::start(Arc::clone(&store), events.feed);
        Ok(Arc::new(Self { store, watches, member }))
    }
}

/// Makes what is not there yet, and finds out the epoch. What another node is making at this moment is there
/// in name before it has a leader, and so is what servers have that have just begun.
async fn begin(link: &Arc<Link>, names: &Names, streams: &Streams) -> Result<Epochs, Fault> {
    let ends = Instant::now() + BEGIN_TIMEOUT;
    loop {
        let begun = async {
            streams.prepare(link).await?;
            Epochs::open(Arc::clone(link), names.clone(), streams.clone()).await
        };
        match begun.await {
            Err(Fault::Busy(_) | Fault::NoStream | Fault::Unknown(_)) if Instant::now() < ends => {
                sleep(BEGIN_PERIOD).await
            }
            done => return done,
        }
    }
}

/// An engine that was not stopped leaves no task behind.
impl Drop for NatsEngine {
    fn drop(&mut self) {
        self.store.link.stop();
        self.watches.stop();
    }
}

#[async_trait]
impl Engine for NatsEngine {
    fn mode(&self) -> Mode {
        Mode::Nats
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.append(append).await?)
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        self.store.link.connected().await?;
        self.watches.ready(channel).await?;
        Ok(self.store.page(channel, from, limit).await?)
    }

    fn watch(&self, channel: &ChannelName) {
        self.watches.watch(channel);
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.watches.unwatch(channel);
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.channels(after, limit).await?)
    }

    async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.channel_names(filter, after, limit).await?)
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.seen(user, at).await?)
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.user(user).await?)
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.users(after, limit).await?)
    }

    async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.user_ids(filter, after, limit).await?)
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.handed(user).await?)
    }

    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.mark(marks).await?)
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.receipts(push, after, limit, now).await?)
    }

    async fn update_log(&self, update: LogUpdate) -> Result<LogUpdated, EngineError> {
        update.check_channel()?;
        self.store.link.connected().await?;
        Ok(self.store.update(update).await?)
    }

    async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.log_status(channel).await?)
    }

    async fn delete(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.delete(channel).await?)
    }

    async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.cancel(push, at).await?)
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        self.store.link.connected().await?;
        Ok(self.store.sweep(now).await?)
    }

    async fn ready(&self) -> Result<(), EngineError> {
        self.store.link.check()?;
        self.store.epochs.sure().await?;
        // The leader answers, so there is one.
        self.store.link.info(&self.store.names.log, None).await?;
        Ok(())
    }

    async fn stop(&self) {
        self.store.link.stop();
        self.watches.stop();
        self.member.stop().await;
    }
}
