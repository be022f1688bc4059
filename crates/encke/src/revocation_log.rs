//! Where revocations are kept, and how each node learns of them: in internal channels of the engine, whatever
//! engine it is (ADR 0026). Which are in force is in `auth/revocations.rs`.
//!
//! Each is appended, at once, to the log of news and to a log of its own. A node follows the news. One that
//! begins, or missed some, reads each log of its own that is not over.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use encke_engine::{Append, Engine, EngineError, Feed, PageLimit, ReadFrom, Targets};
use encke_hub::{CloseTarget, ControlReply, ControlRequest};
use encke_proto::{
    Body, ChannelName, Close, CloseCode, Entry, ErrorCode, MessageId, Offset, Position, Revocation, Time,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    auth::{REVOCATIONS_MAX, RevocationRecord, Revocations},
    clock::Clock,
    http::refusal::Refused,
    random,
    shards::Shards,
};

/// The log of news.
const NEWS: &str = "revocations";
/// What the name of each log of its own begins with.
const OWN_LOGS: &str = "revoked/";
/// Logs are named by the week in which they are over, so that none is appended to again that is deleted.
const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
/// The most that is read in one page.
const PAGE: PageLimit = PageLimit { messages: 1_000, bytes: 1 << 20 };
/// The most logs that are named in one page, read at a time, and deleted at a time.
const LOGS_PAGE: usize = 1_000;
const READS_MAX: usize = 64;
/// Of so many revocations it is known for a while how many sessions each ended.
const CLOSED_KEPT: usize = 256;
/// The pause before what could not be read is read again.
const AGAIN: Duration = Duration::from_millis(250);
/// For how long a server that begins tries to read what is in force.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How often what is over is let go of.
const SWEEP: Duration = Duration::from_secs(600);

/// The log of revocations, as this node follows it.
pub struct RevocationLog {
    engine: Arc<dyn Engine>,
    shards: Shards,
    clock: Arc<dyn Clock>,
    revocations: Arc<Revocations>,
    followed: Mutex<Followed>,
}

/// How far it was followed.
#[derive(Default)]
struct Followed {
    /// In the news; none as long as nothing was read.
    at: Option<Position>,
    /// Whose sessions are to be ended, with their places in the news; at most as many as are in force.
    pending: VecDeque<(RevocationRecord, Offset)>,
    /// How many sessions were ended, by the place in the news.
    closed: VecDeque<(Offset, usize)>,
}

impl RevocationLog {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, shards: Shards, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (revocations, followed) = (Arc::default(), Mutex::default());
        Arc::new(Self { engine, shards, clock, revocations, followed })
    }

    /// What is in force, as far as it was followed.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Enters a revocation that is kept until `kept`, and tells where it stands in the news. It is as safe as
    /// the engine's mode says.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when too many are in force, [`ErrorCode::EngineUnavailable`],
    /// [`ErrorCode::Internal`].
    pub async fn append(&self, record: &RevocationRecord, kept: Time) -> Result<Offset, ErrorCode> {
        let now = self.clock.now().wall;
        // What takes all tokens back, or ends a ban, is never one more.
        let is_more = !matches!(record.revocation, Revocation::Before { .. }) && record.until_ms > now.0;
        if is_more && self.revocations.len() >= REVOCATIONS_MAX {
            return Err(ErrorCode::Overloaded);
        }
        let time = match &record.revocation {
            // The latest word on a ban counts, whatever the clocks of the nodes that say it.
            Revocation::Ban { user } => {
                self.catch_up().await?;
                self.revocations.ban_at(user).map_or(now, |at| now.max(Time(at.0.saturating_add(1))))
            }
            _ => now,
        };
        let json = to_raw_value(record).map_err(|_| ErrorCode::Internal)?;
        let bits = random::bits().map_err(|_| ErrorCode::Internal)?;
        let append = Append {
            id: MessageId::fresh(now, bits),
            key: None,
            targets: Targets::Channels(vec![news(), own_log(&record.revocation, kept)]),
            body: Body::Data(json.into()),
            from: None,
            time,
            expires: Some(kept),
            trace: None,
        };
        let appended = self.engine.append(append).await.map_err(refused)?;
        appended.positions.first().map(|(_, position)| position.offset).ok_or(ErrorCode::Internal)
    }

    /// Follows the news to their end: what is there is in force when this returns, and the sessions that it
    /// concerns have ended on this node.
    ///
    /// # Errors
    /// [`ErrorCode::EngineUnavailable`] when it cannot be read, [`ErrorCode::Overloaded`] when a shard does
    /// not answer. What is left is done the next time.
    pub async fn catch_up(&self) -> Result<(), ErrorCode> {
        let mut followed = self.followed.lock().await;
        self.read_news(&mut followed).await?;
        while let Some((record, at)) = followed.pending.front().cloned() {
            let closed = self.end_sessions(&record, at).await?;
            if followed.closed.len() >= CLOSED_KEPT {
                followed.closed.pop_front();
            }
            followed.closed.push_back((at, closed));
            followed.pending.pop_front();
        }
        Ok(())
    }

    /// How many sessions were ended on this node by what stands at this place of the news.
    pub async fn closed_by(&self, at: Offset) -> usize {
        let followed = self.followed.lock().await;
        followed.closed.iter().filter(|(of, _)| *of == at).map(|(_, closed)| closed).sum()
    }

    /// Reads what is in force before the first client comes.
    ///
    /// # Errors
    /// When the engine cannot be read for [`LOAD_TIMEOUT`].
    pub async fn load(&self) -> Result<(), EngineError> {
        self.engine.watch(&news());
        let ends = tokio::time::Instant::now() + LOAD_TIMEOUT;
        loop {
            let mut followed = self.followed.lock().await;
            match self.read_all(&mut followed).await {
                Err(error) if tokio::time::Instant::now() < ends => {
                    tracing::info!(%error, "what was revoked cannot be read yet");
                }
                read => {
                    // There is no session yet.
                    followed.pending.clear();
                    return read;
                }
            }
            drop(followed);
            sleep(AGAIN).await;
        }
    }

    /// Follows the news, until the server stops.
    pub async fn follow(self: Arc<Self>, told: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = told.notified() => {}
                _ = sweeps.tick() => self.sweep().await,
                _ = stopping.changed() => return,
            }
            while let Err(code) = self.catch_up().await {
                tracing::warn!(%code, "what was revoked cannot be followed now");
                sleep(AGAIN).await;
                if *stopping.borrow() {
                    return;
                }
            }
        }
    }

    async fn read_news(&self, followed: &mut Followed) -> Result<(), ErrorCode> {
        loop {
            let Some(at) = followed.at else {
                return self.read_all(followed).await.map_err(refused);
            };
            let page = self.engine.read(&news(), ReadFrom::After(at.offset), PAGE).await;
            let page = page.map_err(refused)?;
            if page.epoch != at.epoch || page.tail > at.offset + 1 {
                // Some of them are not there any more.
                followed.at = None;
                continue;
            }
            let Some(last) = page.entries.last() else { return Ok(()) };
            followed.at = Some(last.message().position);
            for entry in &page.entries {
                if let Some((record, _)) = self.enter(entry) {
                    followed.pending.push_back((record, entry.message().position.offset));
                }
            }
        }
    }

    /// Reads all that is in force, and where the news end.
    async fn read_all(&self, followed: &mut Followed) -> Result<(), EngineError> {
        let head = self.engine.read(&news(), ReadFrom::Head, PAGE).await?;
        let mut after = self.first_log();
        loop {
            let listed = self.engine.channels(Some(&after), LOGS_PAGE).await?;
            let (count, last) = (listed.len(), listed.last().map(|summary| summary.channel.clone()));
            let own = listed.into_iter().map(|summary| summary.channel).filter(ChannelName::is_internal);
            let read = own.map(|log| async move { self.engine.read(&log, ReadFrom::After(0), PAGE).await });
            let mut pages = stream::iter(read).buffer_unordered(READS_MAX);
            while let Some(page) = pages.try_next().await? {
                // One that was known already has ended its sessions.
                let news = page.entries.iter().filter_map(|entry| self.enter(entry));
                let pending = news.filter(|(_, is_news)| *is_news).map(|(record, _)| (record, 0));
                followed.pending.extend(pending);
            }
            match last {
                Some(last) if count == LOGS_PAGE && last.is_internal() => after = last,
                _ => break,
            }
        }
        followed.at = Some(Position { epoch: head.epoch, offset: head.head });
        Ok(())
    }

    /// Enters what a message says; what that is, unless it is over, and whether it was not known.
    fn enter(&self, entry: &Entry) -> Option<(RevocationRecord, bool)> {
        let message = entry.message();
        let Body::Data(json) = &message.body else { return None };
        let record: RevocationRecord = serde_json::from_str(json.get())
            .inspect_err(|error| tracing::error!(%error, "a revocation is not understood"))
            .ok()?;
        let kept = message.expires.unwrap_or(Time(record.until_ms));
        let is_news = self.revocations.enter(&record, message.time, kept);
        (record.until_ms > self.clock.now().wall.0).then_some((record, is_news))
    }

    async fn end_sessions(&self, record: &RevocationRecord, at: Offset) -> Result<usize, ErrorCode> {
        match self.shards.request(close_of(record, at)).await? {
            ControlReply::Closed(count) => Ok(count),
            _ => Err(ErrorCode::Internal),
        }
    }

    /// Lets go of what is over, in this node's memory and in the engine.
    async fn sweep(&self) {
        self.revocations.expire(self.clock.now().wall);
        // Behind the news, which come first.
        let listed = self.engine.channels(Some(&ChannelName::internal(OWN_LOGS)), LOGS_PAGE).await;
        let first = self.first_log();
        for summary in listed.unwrap_or_default() {
            if summary.channel >= first || !summary.channel.is_internal() {
                return;
            }
            if let Err(error) = self.engine.delete(&summary.channel).await {
                return tracing::info!(%error, "a revocation that is over cannot be deleted now");
            }
        }
    }

    /// Behind this come the logs that are not over, and none that was over a week ago.
    fn first_log(&self) -> ChannelName {
        ChannelName::internal(&format!("{OWN_LOGS}{:08}", week(self.clock.now().wall)))
    }
}

/// What ends the sessions that a revocation concerns, which stands at this place of the news.
#[must_use]
pub fn close_of(record: &RevocationRecord, at: Offset) -> ControlRequest {
    let is_ban = matches!(record.revocation, Revocation::Ban { .. });
    let (code, words) = match is_ban {
        true => (CloseCode::Banned, "the user is kept away for a time"),
        false => (CloseCode::Revoked, "the token was revoked"),
    };
    let reason = if record.reason.is_empty() { words.to_owned() } else { record.reason.clone() };
    ControlRequest::Close {
        target: CloseTarget::Revoked { revocation: record.revocation.clone(), at },
        close: Close { code, reason, reconnect: false, retry_ms: None },
    }
}

fn news() -> ChannelName {
    ChannelName::internal(NEWS)
}

/// Whether this is the log of news, of all internal channels.
fn is_news(channel: &ChannelName) -> bool {
    channel.is_internal() && channel.as_str().ends_with(NEWS)
}

fn week(time: Time) -> u64 {
    time.0 / WEEK_MS
}

/// The log of a revocation, which it shares with others of the same. A name has no room for that of a user
/// besides, so it is hashed.
fn own_log(revocation: &Revocation, kept: Time) -> ChannelName {
    let what = match revocation {
        Revocation::User { user, .. } => format!("user {user}"),
        Revocation::Token { id } => format!("token {}", id.0),
        Revocation::Before { .. } => "all".to_owned(),
        Revocation::Ban { user } => format!("ban {user}"),
    };
    let digest = Sha256::digest(what.as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    ChannelName::internal(&format!("{OWN_LOGS}{:08}/{hash}", week(kept)))
}

fn refused(error: EngineError) -> ErrorCode {
    Refused::from(error).0.code
}

impl fmt::Debug for RevocationLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLog").field("revocations", &self.revocations.len()).finish_non_exhaustive()
    }
}

/// What an engine tells the shards; of the news, only that there are some.
#[derive(Debug)]
pub struct RevocationFeed {
    /// The shards.
    pub shards: Shards,
    /// Woken by news.
    pub told: Arc<Notify>,
}

impl RevocationFeed {
    /// For these shards.
    #[must_use]
    pub fn new(shards: Shards) -> Self {
        Self { shards, told: Arc::default() }
    }
}

impl Feed for RevocationFeed {
    fn appended(&self, entries: &[Arc<Entry>]) {
        if entries.iter().any(|entry| is_news(&entry.message().channel)) {
            self.told.notify_one();
        }
        self.shards.appended(entries);
    }

    fn behind(&self, channels: &[ChannelName]) {
        if channels.iter().any(is_news) {
            self.told.notify_one();
        }
        self.shards.behind(channels);
    }

    // News are never taken back.
    fn retracted(&self, channels: &[ChannelName]) {
        self.shards.retracted(channels);
    }
}
