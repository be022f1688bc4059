//! What this node watches: the table of it, that it is told, and that what it was not told is found.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use encke_proto::{ChannelName, Entry, Position};
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection, aio::SendError};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    fresh_bits,
    link::{DEADLINE, Link, backoff, next_generation},
    names::{NODES, Names, Topic, partition_of},
    reply::{Fields, epoch},
    row, script,
    server_map::{Call, ServerMap},
};
use crate::{EngineError, EngineEvents, NodeId};

/// How often a part of the watched channels is looked at.
const CHECK_TICK: Duration = Duration::from_millis(100);
/// In how many ticks each of them is looked at once: three of the five seconds of [`crate::UNHEARD_MAX_S`];
/// the others are for a Redis that is slow, and for what is on its way.
const CHECK_TICKS: usize = 30;
/// The most channels that one tick looks at: 100,000 in a round. With more a round takes longer.
const CHECK_MAX_CHANNELS: usize = 3_334;
/// The most channels that one call looks at.
const CALL_MAX_CHANNELS: usize = 512;
/// How long what is found to be further may still be on its way.
const SETTLE: Duration = Duration::from_millis(300);
/// The most topics in one command.
const TOPICS_MAX: usize = 64;
/// How often a listening connection is asked whether it is alive, and whether a subscription went unanswered.
const PING_TICK: Duration = Duration::from_millis(1_000);

/// Channels with their topics.
type Topics = Vec<(Arc<str>, ChannelName)>;

/// A topic that is to be listened to.
#[derive(Default)]
struct Watched {
    /// The connection over which it was subscribed to last; 0 for none.
    asked: u64,
    asked_at: Option<Instant>,
    /// Whether that was confirmed.
    confirmed: bool,
    /// How far the feed was told; before that, how far the log went when it was read first.
    told: Option<Position>,
    /// Whether the feed was told of anything.
    heard: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Table {
    topics: HashMap<Arc<str>, Watched>,
    /// The same, by partition and name.
    by_partition: Vec<BTreeSet<Arc<str>>>,
    /// What may have to be subscribed to, or not to be any more, by partition.
    dirty: Vec<HashSet<Arc<str>>>,
    /// Partitions whose topics were listened to anew, and that have to be looked at soon.
    hurry: BTreeSet<u16>,
    /// Where the round goes on.
    round: (u16, Option<Arc<str>>),
    /// Channels that were found to be further than told.
    suspects: Vec<(Arc<str>, Position, Instant)>,
}

/// What this node watches.
pub(super) struct Watching {
    table: Mutex<Table>,
    /// Rises when something is dirty.
    news: watch::Sender<u64>,
    server_map: Arc<ServerMap>,
    names: Arc<Names>,
    events: EngineEvents,
}

/// A topic's partition.
fn partition_of_topic(topic: &str) -> Option<u16> {
    match Names::read_topic(topic)? {
        Topic::Channel(channel) => Some(partition_of(channel.as_str())),
        Topic::Incarnation(_) => Some(NODES),
    }
}

/// Whether a listener that was told of `told` knows that the log goes up to `found`.
fn covers(told: Position, found: Position) -> bool {
    told.epoch == found.epoch && told.offset >= found.offset
}

impl Watching {
    pub(super) fn new(server_map: Arc<ServerMap>, names: Arc<Names>, events: EngineEvents) -> Arc<Self> {
        let partitions = usize::from(NODES) + 1;
        let table = Table {
            by_partition: vec![BTreeSet::new(); partitions],
            dirty: vec![HashSet::new(); partitions],
            ..Table::default()
        };
        Arc::new(Self { table: Mutex::new(table), news: watch::Sender::new(0), server_map, names, events })
    }

    /// The tasks that listen and look; they end when they are aborted.
    pub(super) fn start(self: &Arc<Self>) -> [JoinHandle<()>; 2] {
        [tokio::spawn(Arc::clone(self).listen()), tokio::spawn(Arc::clone(self).look())]
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self, channel: &ChannelName) {
        self.begin(self.names.topic(channel), partition_of(channel.as_str()));
    }

    pub(super) fn unwatch(&self, channel: &ChannelName) {
        self.end(&self.names.topic(channel), partition_of(channel.as_str()));
    }

    /// Listens to what comes for an incarnation of this node, and waits until it does.
    pub(super) async fn watch_incarnation(&self, incarnation: NodeId) -> Result<(), EngineError> {
        let topic = self.names.incarnation_topic(incarnation);
        self.begin(topic.clone(), NODES);
        self.confirmed(&topic).await
    }

    pub(super) fn unwatch_incarnation(&self, incarnation: NodeId) {
        self.end(&self.names.incarnation_topic(incarnation), NODES);
    }

    /// Waits until a channel that is watched is listened to. At once for one that is not watched.
    pub(super) async fn confirmed_channel(&self, channel: &ChannelName) -> Result<(), EngineError> {
        // Most reads are of channels that this node does not watch, or that are listened to long since.
        self.confirmed(&self.names.topic(channel)).await
    }

    async fn confirmed(&self, topic: &str) -> Result<(), EngineError> {
        let waiting = {
            let mut table = self.table();
            match table.topics.get_mut(topic) {
                Some(watched) if !watched.confirmed => {
                    let (done, waiting) = oneshot::channel();
                    watched.waiting.retain(|other| !other.is_closed());
                    watched.waiting.push(done);
                    waiting
                }
                _ => return Ok(()),
            }
        };
        match timeout(DEADLINE, waiting).await {
            // It is not watched any more, so there is nothing to confirm.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(EngineError::Unavailable("Redis did not confirm a subscription in time".into())),
        }
    }

    /// A reader saw how far a channel's log goes. The reader that opens it to listen goes on from there. It
    /// cannot be told from other readers, so what was seen least counts, and whatever is seen later changes
    /// nothing: listeners need not know of it.
    pub(super) fn saw(&self, channel: &ChannelName, head: Position) {
        if let Some(watched) = self.table().topics.get_mut(self.names.topic(channel).as_str())
            && !watched.heard
            && watched.told.is_none_or(|told| told.epoch == head.epoch && head.offset < told.offset)
        {
            watched.told = Some(head);
        }
    }

    fn begin(&self, topic: String, partition: u16) {
        let topic: Arc<str> = topic.into();
        let mut table = self.table();
        table.topics.insert(Arc::clone(&topic), Watched::default());
        table.by_partition[usize::from(partition)].insert(Arc::clone(&topic));
        table.dirty[usize::from(partition)].insert(topic);
        drop(table);
        self.news.send_modify(|count| *count += 1);
    }

    fn end(&self, topic: &str, partition: u16) {
        let mut table = self.table();
        let Some((topic, _)) = table.topics.remove_entry(topic) else { return };
        table.by_partition[usize::from(partition)].remove(&topic);
        table.dirty[usize::from(partition)].insert(topic);
        drop(table);
        self.news.send_modify(|count| *count += 1);
    }

    // What comes in. Called from the connections' tasks.

    fn told(&self, generation: u64, push: PushInfo) {
        let mut fields = push.data.into_iter();
        let Some(Value::BulkString(topic)) = fields.next() else { return };
        let Ok(topic) = String::from_utf8(topic) else { return };
        match push.kind {
            PushKind::SMessage => {
                let Some(Value::BulkString(said)) = fields.next() else { return };
                self.message(&topic, said);
            }
            PushKind::SSubscribe => self.confirm(generation, &topic),
            PushKind::SUnsubscribe => self.lost(generation, &topic),
            _ => {}
        }
    }

    fn message(&self, topic: &str, said: Vec<u8>) {
        let channel = match Names::read_topic(topic) {
            Some(Topic::Channel(channel)) => channel,
            Some(Topic::Incarnation(_)) => {
                if self.table().topics.contains_key(topic) {
                    self.events.messages.receive(said.into());
                }
                return;
            }
            None => return,
        };
        let Some(told) = read_told(&channel, &said) else {
            // The look finds that the channel is further.
            tracing::error!(%channel, "what was told of a channel cannot be read");
            return;
        };
        {
            let mut table = self.table();
            let Some(watched) = table.topics.get_mut(topic) else { return };
            // What is cancelled was told before.
            watched.told = told.position().or(watched.told);
            watched.heard = true;
        }
        match told {
            Told::Appended(entry) => self.events.feed.appended(&[entry]),
            Told::Deleted(_) | Told::Cancelled => self.events.feed.retracted(&[channel]),
        }
    }

    fn confirm(&self, generation: u64, topic: &str) {
        let mut table = self.table();
        let Some(watched) = table.topics.get_mut(topic) else { return };
        if watched.asked != generation {
            return;
        }
        watched.confirmed = true;
        for waiting in mem::take(&mut watched.waiting) {
            // Who does not wait any more need not be told.
            let _ = waiting.send(());
        }
        if watched.told.is_some()
            && let Some(partition) = partition_of_topic(topic)
        {
            table.hurry.insert(partition);
        }
    }

    /// The server does not tell of a topic any more, asked or not: its slot moved.
    fn lost(&self, generation: u64, topic: &str) {
        let mut table = self.table();
        let Some((topic, watched)) = table.topics.get_key_value(topic) else { return };
        // The answer to an earlier wish, which another one followed.
        if watched.asked != generation || !watched.confirmed {
            return;
        }
        let topic = Arc::clone(topic);
        table.again(&topic);
        drop(table);
        self.server_map.doubt();
        self.news.send_modify(|count| *count += 1);
    }

    // Listening.

    /// Keeps a listening connection to each server that has partitions.
    async fn listen(self: Arc<Self>) {
        let mut changes = self.server_map.changes();
        let mut listeners: Vec<Listener> = Vec::new();
        loop {
            let shares = self.server_map.shares();
            listeners
                .retain(|listener| shares.iter().any(|(link, partitions)| listener.is_for(link, partitions)));
            for (link, partitions) in shares {
                if !listeners.iter().any(|listener| listener.is_for(&link, &partitions)) {
                    listeners.push(Listener::start(Arc::downgrade(&self), link, partitions));
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A connection is there: everything in these partitions has to be subscribed to.
    fn all_again(&self, partitions: &[u16]) {
        let mut table = self.table();
        for partition in partitions {
            let topics: Vec<Arc<str>> = table.by_partition[usize::from(*partition)].iter().cloned().collect();
            for topic in topics {
                table.again(&topic);
            }
        }
    }

    /// What is to be subscribed to now, and what not any more.
    fn wishes(&self, partitions: &[u16], generation: u64) -> Vec<(bool, Vec<Arc<str>>)> {
        let mut table = self.table();
        let now = Instant::now();
        let mut wishes = Vec::new();
        for partition in partitions {
            let dirty = mem::take(&mut table.dirty[usize::from(*partition)]);
            let (mut begin, mut end) = (Vec::new(), Vec::new());
            for topic in dirty {
                match table.topics.get_mut(&topic) {
                    Some(watched) if watched.asked == generation => {}
                    Some(watched) => {
                        watched.asked = generation;
                        watched.asked_at = Some(now);
                        watched.confirmed = false;
                        begin.push(topic);
                    }
                    None => end.push(topic),
                }
            }
            // A command is for one slot, hence for one partition.
            wishes.extend(end.chunks(TOPICS_MAX).map(|topics| (false, topics.to_vec())));
            wishes.extend(begin.chunks(TOPICS_MAX).map(|topics| (true, topics.to_vec())));
        }
        wishes
    }

    /// Whether some subscription has waited for too long. It is wished for again.
    fn unanswered(&self, partitions: &[u16]) -> bool {
        let mut table = self.table();
        let now = Instant::now();
        let mut late = Vec::new();
        for partition in partitions {
            for topic in &table.by_partition[usize::from(*partition)] {
                let Some(watched) = table.topics.get(topic) else { continue };
                if !watched.confirmed && watched.asked_at.is_some_and(|at| at + DEADLINE < now) {
                    late.push(Arc::clone(topic));
                }
            }
        }
        for topic in &late {
            table.again(topic);
        }
        !late.is_empty()
    }

    // Looking.

    /// Compares where channels are with what was told, all the time.
    async fn look(self: Arc<Self>) {
        let mut ticks = interval(CHECK_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.name_those_behind();
            let looked_at = self.table().next_to_look_at();
            if looked_at.is_empty() {
                continue;
            }
            let mut calls = Vec::new();
            let mut asked = Vec::new();
            for (partition, topics) in looked_at {
                let mut command = script::POSITIONS.call(self.names.keys(partition), &[]);
                command.arg(fresh_bits());
                for (_, channel) in &topics {
                    command.arg(channel.as_str());
                }
                calls.push(Call { partition, command });
                asked.push(topics);
            }
            for (answer, topics) in self.server_map.calls(calls).await.into_iter().zip(asked) {
                // A server that was not reached is asked in the next round.
                if let Ok(positions) = answer.and_then(read_positions) {
                    self.compare(&topics, &positions);
                }
            }
        }
    }

    fn compare(&self, topics: &[(Arc<str>, ChannelName)], positions: &[Position]) {
        let mut table = self.table();
        let now = Instant::now();
        for ((topic, _), found) in topics.iter().zip(positions) {
            let Some(watched) = table.topics.get(topic) else { continue };
            if watched.told.is_some_and(|told| !covers(told, *found)) {
                table.suspects.push((Arc::clone(topic), *found, now));
            }
        }
    }

    /// Tells the feed of the channels whose news did not come meanwhile.
    fn name_those_behind(&self) {
        let mut behind = Vec::new();
        {
            let mut table = self.table();
            let now = Instant::now();
            let suspects = mem::take(&mut table.suspects);
            for (topic, found, since) in suspects {
                let Some(watched) = table.topics.get_mut(&topic) else { continue };
                if watched.told.is_some_and(|told| covers(told, found)) {
                    continue;
                }
                if since + SETTLE > now {
                    table.suspects.push((topic, found, since));
                    continue;
                }
                watched.told = Some(found);
                watched.heard = true;
                if let Some(Topic::Channel(channel)) = Names::read_topic(&topic) {
                    behind.push(channel);
                }
            }
        }
        if !behind.is_empty() {
            tracing::debug!(channels = behind.len(), "channels are further than was told");
            self.events.feed.behind(&behind);
        }
    }
}

impl Table {
    /// A topic has to be subscribed to once more.
    fn again(&mut self, topic: &Arc<str>) {
        let Some(watched) = self.topics.get_mut(topic) else { return };
        watched.asked = 0;
        watched.asked_at = None;
        watched.confirmed = false;
        if let Some(partition) = partition_of_topic(topic) {
            self.dirty[usize::from(partition)].insert(Arc::clone(topic));
        }
    }

    /// The channels whose turn it is, by partition.
    fn next_to_look_at(&mut self) -> Vec<(u16, Topics)> {
        let mut left = self.topics.len().div_ceil(CHECK_TICKS).min(CHECK_MAX_CHANNELS);
        let mut chosen = Vec::new();
        for partition in mem::take(&mut self.hurry) {
            let mut after = None;
            while let Some(last) = self.choose(partition, after.as_ref(), CALL_MAX_CHANNELS, &mut chosen) {
                after = Some(last);
            }
        }
        // Each partition once at most: there may be few channels.
        for _ in 0..=NODES {
            if left == 0 {
                break;
            }
            let (partition, after) = mem::take(&mut self.round);
            let before: usize = chosen.iter().map(|(_, topics): &(u16, Topics)| topics.len()).sum();
            let last = self.choose(partition, after.as_ref(), left.min(CALL_MAX_CHANNELS), &mut chosen);
            let after: usize = chosen.iter().map(|(_, topics)| topics.len()).sum();
            left -= (after - before).min(left);
            self.round = match last {
                Some(last) => (partition, Some(last)),
                None => ((partition + 1) % NODES, None),
            };
        }
        chosen
    }

    /// Chooses channels of a partition behind `after`, and says which was the last if there may be more.
    fn choose(
        &self,
        partition: u16,
        after: Option<&Arc<str>>,
        most: usize,
        chosen: &mut Vec<(u16, Topics)>,
    ) -> Option<Arc<str>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(Arc::clone(after)));
        let topics: Vec<Arc<str>> = self.by_partition[usize::from(partition)]
            .range((from, Bound::Unbounded))
            .take(most)
            .cloned()
            .collect();
        let last = (topics.len() == most).then(|| topics.last().cloned()).flatten();
        let channels: Topics = topics
            .into_iter()
            .filter_map(|topic| match Names::read_topic(&topic) {
                Some(Topic::Channel(channel)) => Some((topic, channel)),
                _ => None,
            })
            .collect();
        if !channels.is_empty() {
            chosen.push((partition, channels));
        }
        last
    }
}

fn read_positions(value: Value) -> Result<Vec<Position>, EngineError> {
    let mut fields = Fields::of(value)?;
    let epoch = fields.epoch()?;
    let mut positions = Vec::new();
    while !fields.is_empty() {
        positions.push(Position { epoch, offset: fields.number()? });
    }
    Ok(positions)
}

/// What is told of a channel: `EPOCH OFFSET`, a line's end, and the message as the stream has it; nothing
/// when the channel was deleted, and `-` when that message was cancelled.
enum Told {
    Appended(Arc<Entry>),
    /// It was deleted, and goes on behind this.
    Deleted(Position),
    /// A message was cancelled.
    Cancelled,
}

impl Told {
    /// Up to where it says that the channel goes.
    fn position(&self) -> Option<Position> {
        match self {
            Self::Appended(entry) => Some(entry.message().position),
            Self::Deleted(position) => Some(*position),
            Self::Cancelled => None,
        }
    }
}

/// What is told in the place of a message's text when it was cancelled, as `cancel.lua` has it.
const CANCELLED_TEXT: &[u8] = b"-";

fn read_told(channel: &ChannelName, said: &[u8]) -> Option<Told> {
    let (place, row) = row::split_line(said)?;
    let (bits, offset) = place.split_once(' ')?;
    let position = Position { epoch: epoch(bits).ok()?, offset: offset.parse().ok()? };
    if row.is_empty() {
        return Some(Told::Deleted(position));
    }
    if row == CANCELLED_TEXT {
        return Some(Told::Cancelled);
    }
    row::read(row, channel, position).ok().map(|message| Told::Appended(Arc::new(Entry::new(message))))
}

/// Keeps a listening connection to one server.
struct Listener {
    link: Arc<Link>,
    partitions: Vec<u16>,
    listening: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Listener {
    fn start(watching: Weak<Watching>, link: Arc<Link>, partitions: Vec<u16>) -> Self {
        let listening = tokio::spawn(keep_listening(watching, Arc::clone(&link), partitions.clone()));
        Self { link, partitions, listening }
    }

    fn is_for(&self, link: &Arc<Link>, partitions: &[u16]) -> bool {
        Arc::ptr_eq(&self.link, link) && self.partitions == partitions
    }
}

async fn keep_listening(watching: Weak<Watching>, link: Arc<Link>, partitions: Vec<u16>) {
    let mut failures = 0;
    loop {
        let generation = next_generation();
        let gone = Arc::new(Notify::new());
        let heard = {
            let (watching, gone) = (Weak::clone(&watching), Arc::clone(&gone));
            move |push: PushInfo| {
                if matches!(push.kind, PushKind::Disconnection) {
                    gone.notify_one();
                } else if let Some(watching) = watching.upgrade() {
                    watching.told(generation, push);
                }
                Ok::<(), SendError>(())
            }
        };
        match link.listen(heard).await {
            Ok(connection) => {
                failures = 0;
                let Some(watching) = watching.upgrade() else { return };
                watching.all_again(&partitions);
                let why = serve(&watching, connection, generation, &gone, &partitions).await;
                watching.all_again(&partitions);
                tracing::warn!(why, "Redis has to be listened to anew");
            }
            Err(why) => {
                failures += 1;
                tracing::debug!(why, "Redis cannot be listened to");
            }
        }
        // One that broke may be made again at once, once.
        if failures > 0 {
            sleep(backoff(failures)).await;
        } else {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Subscribes as is wished, until the connection is of no use any more.
async fn serve(
    watching: &Watching,
    mut connection: MultiplexedConnection,
    generation: u64,
    gone: &Notify,
    partitions: &[u16],
) -> &'static str {
    let mut news = watching.news.subscribe();
    let mut pings = interval(PING_TICK);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for (begin, topics) in watching.wishes(partitions, generation) {
            let mut command = redis::cmd(if begin { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" });
            for topic in &topics {
                command.arg(&**topic);
            }
            // What is answered comes as it was pushed, one answer for each topic.
            command.set_no_response(true);
            if !matches!(timeout(DEADLINE, connection.send_packed_command(&command)).await, Ok(Ok(_))) {
                return "it takes no subscriptions";
            }
        }
        tokio::select! {
            () = gone.notified() => return "the connection was closed",
            changed = news.changed() => {
                if changed.is_err() {
                    return "the engine was stopped";
                }
            }
            _ = pings.tick() => {
                // The answer may be taken for one to a subscription, or the other way round. Either shows
                // that the server is there.
                let ping = redis::cmd("PING");
                if !matches!(timeout(DEADLINE, connection.send_packed_command(&ping)).await, Ok(Ok(_))) {
                    return "the server does not answer";
                }
                if watching.unanswered(partitions) {
                    watching.server_map.doubt();
                    return "a subscription was not confirmed";
                }
            }
        }
    }
}
