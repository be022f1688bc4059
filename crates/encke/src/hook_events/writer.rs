//! What a node writes of its hubs: who has come and gone, as a difference to what it wrote before, so that
//! nothing is lost while the engine takes nothing; and what has happened besides.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_engine::{Append, Engine, EngineError, Mark, NodeId, PageLimit, ReadFrom, ReceiptState, Targets};
use encke_proto::{Body, ChannelName, MessageId, Time, UserId};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use prometheus_client::metrics::counter::Counter;
use serde_json::value::to_raw_value;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{
    expiry_log,
    fact::{Fact, Run},
    log_names::LogNames,
    subject::Subject,
};
use crate::{
    clock::Clock,
    cluster::Nodes,
    config::{HookEvent, Hooks},
    hooks::{DeliveryStatus, takes_part_in},
    metrics::Metrics,
    random::{self, NoRandomness},
    shards::SessionObserver,
    stopping::Stopping,
};

/// The most facts in one message.
pub(super) const FACTS_MAX: usize = 500;
/// The most facts that wait besides who has come and gone; past it they are lost, and counted.
const WAITING_MAX: usize = 65_536;
/// The most bytes of one message, but for one fact that is larger.
const FACTS_MAX_BYTES: usize = 256 << 10;
/// What a fact takes, besides what a dialect has put into it.
const FACT_BYTES: usize = 400;
/// The most bytes that a dialect tells by itself and that wait; past it they are lost, and counted.
const WAITING_MAX_BYTES: usize = 16 << 20;
/// The pause before what the engine did not take is offered again.
const AGAIN: Duration = Duration::from_millis(250);
/// How often it is looked whether this node has begun another incarnation.
const LOOK: Duration = Duration::from_millis(500);
/// For how long it is not written that a channel has no followers any more, among several nodes, in
/// milliseconds.
const HAND_OVER_MS: u64 = 2_000;
/// How many rounds begin while facts are kept: so whatever part of them is delivered, all who are there are
/// said in it.
const ROUNDS_WHILE_KEPT: u64 = 3;
/// The most receipts of a push that are read at a time. They are in the order of the users.
const RECEIPTS_PAGE: usize = 1_000;
/// The most marks whose pushes are read at a time.
const READS_MAX: usize = 64;
/// The most of a user's log that is read at a time for one mark.
const PUSHES: PageLimit = PageLimit { messages: 1_000, bytes: 4 << 20 };

/// Who lives, of the nodes that share an engine.
#[derive(Clone)]
pub enum Lives {
    /// This node is alone, in this incarnation.
    Alone(NodeId),
    /// These nodes.
    Among(Arc<Nodes>),
}

impl Lives {
    /// Of a node that is alone, or among these.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn of(nodes: Option<&Arc<Nodes>>) -> Result<Self, NoRandomness> {
        Ok(match nodes {
            Some(nodes) => Self::Among(Arc::clone(nodes)),
            None => Self::Alone(NodeId::from_bits(u64::try_from(random::bits()? >> 64).unwrap_or_default())),
        })
    }

    /// This node's incarnation, once it has one.
    pub(super) fn me(&self) -> Option<NodeId> {
        match self {
            Self::Alone(me) => Some(*me),
            Self::Among(nodes) => nodes.me(),
        }
    }

    /// All that live, in the order of their ids.
    pub(super) fn all(&self) -> Vec<NodeId> {
        match self {
            Self::Alone(me) => vec![*me],
            Self::Among(nodes) => nodes.living(),
        }
    }

    /// Whether this node does what one of all does: it has the lowest id.
    pub(super) fn is_chosen(&self) -> bool {
        let me = self.me();
        me.is_some() && self.all().into_iter().min() == me
    }
}

/// Writes down what happens on this node.
pub struct EventWriter {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    lives: Lives,
    stopping: Stopping,
    settings: WriterSettings,
    waiting: Mutex<Waiting>,
    /// Held by the one that writes.
    progress: tokio::sync::Mutex<Progress>,
    news: Notify,
    /// How often something was written.
    written: watch::Sender<u64>,
    /// How this node delivers events, if it is the one that does.
    status: DeliveryStatus,
}

/// What is written.
#[derive(Debug)]
pub struct WriterSettings {
    /// Where it stands.
    pub names: LogNames,
    /// What is told of sessions and pushes.
    pub events: Vec<HookEvent>,
    /// Whether it is told who has sessions.
    pub tells_users: bool,
    /// Whether it is told which channels have followers.
    pub tells_channels: bool,
    /// For how long it is kept, in seconds.
    pub kept_s: u64,
    /// For how long it is not written that a channel has no followers any more, in milliseconds.
    pub hold_ms: u64,
    /// Counts what is lost.
    pub lost: Counter,
}

impl WriterSettings {
    /// For the application's own endpoint.
    fn of(hooks: &Hooks, lives: &Lives) -> Self {
        let tells = |kinds: [HookEvent; 2]| kinds.iter().any(|kind| hooks.events.contains(kind));
        Self {
            names: LogNames::default(),
            events: hooks.events.clone(),
            tells_users: tells([HookEvent::Connected, HookEvent::Disconnected]),
            tells_channels: tells([HookEvent::ChannelOccupied, HookEvent::ChannelVacated]),
            kept_s: hooks.events_kept_s,
            hold_ms: if matches!(lives, Lives::Among(_)) { HAND_OVER_MS } else { 0 },
            lost: Metrics::global().hook_events_lost.clone(),
        }
    }
}

#[derive(Default)]
struct Waiting {
    /// Where it has changed whether a channel has followers. Bounded by what the hubs hold, and what they
    /// held when the engine last took something.
    channels: HashMap<Subject, There>,
    others: Vec<Fact>,
    /// How many bytes dialects have put into them.
    bytes: usize,
}

/// Whether a channel has followers, or a member connections.
enum There {
    /// It has; what a dialect knows of the member.
    Yes(Option<Arc<str>>),
    /// Not since then, in milliseconds of the clock that never goes back.
    NotSince(u64),
}

/// How far it was written.
#[derive(Default)]
struct Progress {
    /// What is there, as it was written, each with what a dialect knows of it.
    told: HashMap<Subject, Option<Arc<str>>>,
    /// For which incarnation of this node.
    run: Option<Run>,
    /// In which round who is there is said, and when it began, by the clock that never goes back.
    round: u64,
    round_ms: u64,
    /// Who is still to be said in the round under way, if one is.
    unsaid: Option<Vec<Subject>>,
    /// What the engine has not taken yet.
    unwritten: Vec<Fact>,
}

impl EventWriter {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(
        hooks: &Hooks,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        lives: Lives,
        stopping: Stopping,
    ) -> Arc<Self> {
        let settings = WriterSettings::of(hooks, &lives);
        Self::with(settings, engine, clock, lives, stopping)
    }

    /// The same, of what is told to another than the application's one endpoint.
    #[must_use]
    pub fn with(
        settings: WriterSettings,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        lives: Lives,
        stopping: Stopping,
    ) -> Arc<Self> {
        let progress = Progress { round_ms: clock.now().mono_ms, ..Progress::default() };
        let progress = tokio::sync::Mutex::new(progress);
        Arc::new(Self {
            engine,
            clock,
            lives,
            stopping,
            settings,
            waiting: Mutex::default(),
            progress,
            news: Notify::new(),
            status: DeliveryStatus::default(),
            written: watch::Sender::new(0),
        })
    }

    /// How this node delivers events; none if another does.
    #[must_use]
    pub fn status(&self) -> &DeliveryStatus {
        &self.status
    }

    /// Where it writes.
    pub(super) fn names(&self) -> &LogNames {
        &self.settings.names
    }

    /// Who lives.
    pub(super) fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Tells when something was written here.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// A member has its first connection here, as a dialect says. `about` is what the dialect knows of it:
    /// JSON.
    pub fn member_came(&self, member: Subject, about: Option<Arc<str>>) {
        self.put(member, There::Yes(about));
    }

    /// A member has none here any more.
    pub fn member_went(&self, member: Subject) {
        if !self.stopping.has_begun() {
            self.put(member, There::NotSince(self.clock.now().mono_ms));
        }
    }

    /// Something has happened that a dialect tells by itself: JSON, as it is told.
    pub fn say(&self, event: Arc<str>) {
        let mut waiting = self.lock();
        if waiting.others.len() >= WAITING_MAX || waiting.bytes + event.len() > WAITING_MAX_BYTES {
            self.settings.lost.inc();
            return;
        }
        waiting.bytes += event.len();
        waiting.others.push(Fact::Said { event });
        drop(waiting);
        self.news.notify_one();
    }

    fn put(&self, subject: Subject, there: There) {
        self.lock().channels.insert(subject, there);
        self.news.notify_one();
    }

    /// A session of a user has begun to follow these channels.
    pub fn subscribed<'a>(&self, user: &UserId, channels: impl IntoIterator<Item = &'a ChannelName>) {
        if !self.tells(HookEvent::Subscribed) {
            return;
        }
        let told = channels.into_iter().filter(|channel| takes_part_in(Some(user), channel));
        let mut waiting = self.lock();
        for channel in told {
            if waiting.others.len() >= WAITING_MAX {
                self.settings.lost.inc();
                continue;
            }
            waiting.others.push(Fact::Subscribed { user: user.clone(), channel: channel.clone() });
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Writes until the server has stopped.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep(LOOK) => {}
                _ = stopping.changed() => return,
            }
            loop {
                match self.write_on().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "what happened cannot be written down for hooks now");
                        sleep(AGAIN).await;
                    }
                }
                if *stopping.borrow() {
                    return;
                }
            }
        }
    }

    /// Writes what has happened up to now, and one message of the round that is due, if one is. Gives whether
    /// there is more of that. Receipts, for which clients wait, are written between two messages of a round.
    async fn write_on(&self) -> Result<bool, EngineError> {
        let mut progress = self.progress.lock().await;
        self.flush(&mut progress).await?;
        progress.unwritten = self.next_of_round(&mut progress);
        self.flush(&mut progress).await?;
        Ok(progress.unsaid.is_some())
    }

    /// Writes what has happened up to now.
    async fn flush(&self, progress: &mut Progress) -> Result<(), EngineError> {
        let me = self.lives.me().map(Run);
        let me = me.ok_or_else(|| EngineError::Unavailable("the other nodes do not hear this one".into()))?;
        loop {
            // While the engine takes nothing, who comes and goes is not written one by one.
            if progress.unwritten.is_empty() {
                let before = progress.run.replace(me);
                progress.unwritten = self.next(progress, before, me);
            }
            if progress.unwritten.is_empty() {
                return Ok(());
            }
            let count = count_of_message(&progress.unwritten);
            self.append(&progress.unwritten[..count]).await?;
            progress.unwritten.drain(..count);
            self.written.send_modify(|times| *times += 1);
        }
    }

    /// What is to be written next: who has come, what has happened, who has gone.
    fn next(&self, progress: &mut Progress, before: Option<Run>, run: Run) -> Vec<Fact> {
        let now_ms = self.clock.now().mono_ms;
        let (channels, others) = self.take(now_ms);
        let (mut came, mut went) = (Vec::new(), Vec::new());
        let Progress { told, round, unsaid, .. } = progress;
        let came_of = |(channel, about): (&Subject, &Option<Arc<str>>)| {
            let (channel, about) = (channel.clone(), about.clone());
            Fact::Came { channel, run, round: *round, about }
        };
        let before = before.filter(|before| *before != run);
        if let Some(before) = before {
            // The others took this node for dead. Each is there in its new incarnation before it goes in the
            // old one, so that no user seems to have left. All are said by that, so a round goes no further.
            *unsaid = None;
            came.extend(told.iter().map(came_of));
            went.extend(told.keys().map(|channel| Fact::Went { channel: channel.clone(), run: before }));
        }
        for (channel, there) in channels {
            match there {
                There::Yes(about) if !told.contains_key(&channel) => {
                    came.push(came_of((&channel, &about)));
                    told.insert(channel, about);
                }
                There::NotSince(_) if told.remove(&channel).is_some() => {
                    went.push(Fact::Went { channel, run });
                }
                There::Yes(_) | There::NotSince(_) => {}
            }
        }
        came.into_iter().chain(others).chain(went).collect()
    }

    /// What is to be written next of the round under way, once all else is written. The last message of it
    /// says that it is complete.
    fn next_of_round(&self, progress: &mut Progress) -> Vec<Fact> {
        self.begin_due_round(progress);
        let Progress { told, run: Some(run), round, unsaid, .. } = progress else { return Vec::new() };
        let Some(channels) = unsaid else { return Vec::new() };
        let (run, round) = (*run, *round);
        // There is room for one fact besides.
        let rest = channels.len().saturating_sub(FACTS_MAX - 1);
        // Who has gone meanwhile is not there, and who has come was said in this round with that.
        let there = channels.drain(rest..).filter_map(|channel| Some((told.get(&channel)?.clone(), channel)));
        let mut facts: Vec<Fact> =
            there.map(|(about, channel)| Fact::Came { channel, run, round, about }).collect();
        if channels.is_empty() {
            *unsaid = None;
            facts.push(Fact::Round { run, round, said: told.len() });
        }
        facts
    }

    /// Begins to say again who is there, when it is time: what was not delivered for as long as it is kept is
    /// lost, and who came or went in it would never be told, or twice.
    fn begin_due_round(&self, progress: &mut Progress) {
        let (now_ms, every_ms) = (self.clock.now().mono_ms, self.settings.kept_s * 1000 / ROUNDS_WHILE_KEPT);
        let (users, channels) = (self.settings.tells_users, self.settings.tells_channels);
        let tells_presence = users || channels || !progress.told.is_empty();
        if tells_presence && progress.unsaid.is_none() && now_ms >= progress.round_ms + every_ms {
            progress.round += 1;
            progress.round_ms = now_ms;
            progress.unsaid = Some(progress.told.keys().cloned().collect());
        }
    }

    /// Takes what is to be written by now. A session that goes to another node leaves this one before that
    /// one has written that it is there.
    fn take(&self, now_ms: u64) -> (Vec<(Subject, There)>, Vec<Fact>) {
        let is_due = |subject: &Subject, there: &There| match there {
            There::Yes(_) => true,
            // A member does not move: those who see it are told at once.
            There::NotSince(_) if subject.member.is_some() => true,
            There::NotSince(since_ms) => now_ms >= since_ms + self.settings.hold_ms,
        };
        let mut waiting = self.lock();
        let due = waiting.channels.extract_if(|subject, there| is_due(subject, there)).collect();
        waiting.bytes = 0;
        (due, std::mem::take(&mut waiting.others))
    }

    /// Appends facts.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub(super) async fn append(&self, facts_of: &[Fact]) -> Result<(), EngineError> {
        let unwritten = |error: &dyn fmt::Display| EngineError::Unavailable(error.to_string());
        let now = self.clock.now().wall;
        let json = to_raw_value(facts_of).map_err(|error| unwritten(&error))?;
        let bits = random::bits().map_err(|error| unwritten(&error))?;
        let append = Append {
            id: MessageId::fresh(now, bits),
            key: None,
            targets: Targets::Channels(vec![self.settings.names.facts()]),
            body: Body::Data(json.into()),
            from: None,
            time: now,
            expires: Some(now.plus_seconds(self.settings.kept_s)),
            trace: None,
        };
        self.engine.append(append).await.map(drop)
    }

    /// Appends facts behind what has happened up to now: a user has come before anything reaches the user.
    async fn write(&self, facts: &[Fact]) -> Result<(), EngineError> {
        if facts.is_empty() {
            return Ok(());
        }
        let mut progress = self.progress.lock().await;
        self.flush(&mut progress).await?;
        for facts in facts.chunks(FACTS_MAX) {
            self.append(facts).await?;
        }
        self.written.send_modify(|times| *times += 1);
        Ok(())
    }

    /// The pushes that a mark is about to make delivered.
    async fn delivered_by(&self, mark: &Mark) -> Result<Vec<Fact>, EngineError> {
        let before = self.engine.handed(&mark.user).await?;
        let mut after = if before.epoch == mark.position.epoch {
            before.offset
        } else {
            mark.position.offset.saturating_sub(1)
        };
        let channel = mark.user.channel();
        let mut facts = Vec::new();
        while after < mark.position.offset {
            let page = self.engine.read(&channel, ReadFrom::After(after), PUSHES).await?;
            let Some(last) = page.entries.last() else { break };
            after = last.message().position.offset;
            let handed = page.entries.iter().map(|entry| entry.message()).filter(|message| {
                message.position.offset <= mark.position.offset
                    && message.expires.is_none_or(|expires: Time| expires > mark.at)
            });
            let push = handed.map(|message| message.id.clone());
            facts.extend(push.map(|push| Fact::Delivered { user: mark.user.clone(), push }));
        }
        Ok(facts)
    }

    /// The pushes that a mark is about to make shown.
    async fn shown_by(&self, mark: &Mark) -> Result<Vec<Fact>, EngineError> {
        let channel = mark.user.channel();
        let mut before = mark.position.offset.saturating_add(1);
        let mut facts = Vec::new();
        'log: loop {
            let page = self.engine.read(&channel, ReadFrom::Before(before), PUSHES).await?;
            let Some(first) = page.entries.first() else { break };
            before = first.message().position.offset;
            for entry in page.entries.iter().rev() {
                let push = entry.message().id.clone();
                match self.state_of(&push, mark).await? {
                    // All before it are too.
                    Some(ReceiptState::Shown) => break 'log,
                    Some(ReceiptState::Queued | ReceiptState::Delivered) => {
                        facts.push(Fact::Shown { user: mark.user.clone(), push });
                    }
                    // It had expired, or was called back.
                    _ => {}
                }
            }
        }
        facts.reverse();
        Ok(facts)
    }

    /// Pushes are about to be marked as shown.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; they are not to be marked then.
    pub async fn showing(&self, mark: &Mark) -> Result<(), EngineError> {
        if !self.tells(HookEvent::PushShown) {
            return Ok(());
        }
        // Read without the lock, which all shards share.
        self.write(&self.shown_by(mark).await?).await
    }

    /// Whether it is noted when pushes end, so that [`Self::pushing`] is called before they are appended.
    #[must_use]
    pub fn notes_ends(&self) -> bool {
        self.tells(HookEvent::PushExpired)
    }

    /// Pushes are about to be appended: notes when they end. Of one that is not appended after all, or that
    /// repeats another, nothing comes of it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; they are not to be appended then.
    pub async fn pushing<'a>(&self, pushes: impl IntoIterator<Item = &'a Append>) -> Result<(), EngineError> {
        if !self.notes_ends() {
            return Ok(());
        }
        expiry_log::keep(&self.engine, &*self.clock, pushes).await
    }

    /// What has become of a push for the user of a mark.
    async fn state_of(&self, push: &MessageId, mark: &Mark) -> Result<Option<ReceiptState>, EngineError> {
        let mut after = None;
        loop {
            let receipts = self.engine.receipts(push, after.as_ref(), RECEIPTS_PAGE, mark.at).await?;
            let Some(receipts) = receipts.filter(|receipts| !receipts.is_empty()) else { return Ok(None) };
            if let Some(receipt) = receipts.iter().find(|receipt| receipt.user == mark.user) {
                return Ok(Some(receipt.state));
            }
            after = receipts.last().map(|receipt| receipt.user.clone()).filter(|last| *last < mark.user);
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    pub(super) fn tells(&self, event: HookEvent) -> bool {
        self.settings.events.contains(&event)
    }

    /// Whether it is told who has followers, of users' own channels or of others.
    fn tells_of(&self, own: bool) -> bool {
        if own { self.settings.tells_users } else { self.settings.tells_channels }
    }

    fn change(&self, channel: ChannelName, there: There) {
        if !channel.is_own() && !takes_part_in(None, &channel) {
            return;
        }
        if self.tells_of(channel.is_own()) {
            self.put(channel.into(), there);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of these facts are one message.
fn count_of_message(facts: &[Fact]) -> usize {
    let mut bytes = 0;
    let fits = facts.iter().take(FACTS_MAX).take_while(|fact| {
        let of_dialect = match fact {
            Fact::Said { event } => event.len(),
            Fact::Came { about: Some(about), .. } => about.len(),
            _ => 0,
        };
        bytes += FACT_BYTES + of_dialect;
        bytes <= FACTS_MAX_BYTES
    });
    fits.count().max(1)
}

impl SessionObserver for EventWriter {
    fn came(&self, channel: &ChannelName) {
        self.change(channel.clone(), There::Yes(None));
    }

    fn went(&self, channel: &ChannelName) {
        // Clients that are sent away by a stop come back, here or elsewhere. Of those that do not, it is told
        // as of the users of a node that has died.
        if !self.stopping.has_begun() {
            self.change(channel.clone(), There::NotSince(self.clock.now().mono_ms));
        }
    }

    fn subscribed(&self, user: &UserId, channels: &[ChannelName]) {
        Self::subscribed(self, user, channels);
    }

    fn delivering<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            if !self.tells(HookEvent::PushDelivered) {
                return Ok(());
            }
            // Read without the lock, which all shards share.
            let reads: Vec<_> = marks.iter().map(|mark| self.delivered_by(mark)).collect();
            let facts: Vec<Fact> = stream::iter(reads).buffered(READS_MAX).try_concat().await?;
            self.write(&facts).await
        })
    }
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWriter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
