//! What this node wants to hear of. The stream tells each message once more when it is stored, on a subject
//! of its channel, and the node listens to those of the channels that it has receivers for. That is a wake-up
//! and may be lost; so the ends of all these logs are compared with what was heard, round and round, within
//! [`crate::UNHEARD_MAX_S`].

use std::{
    collections::{HashMap, hash_map::Entry as Place},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::Message;
use encke_proto::{ChannelName, Epoch};
use futures_util::StreamExt as _;
use tokio::{sync::watch, task::AbortHandle, time::MissedTickBehavior};

use super::{
    fault::Fault,
    link::chunks,
    record::Record,
    store::Store,
    stored::{HEAD, Stored, number, text},
};
use crate::{Feed, UNHEARD_MAX_S};

/// In how many parts the logs are compared, one after the other.
const SLICES: usize = 64;
/// How long each part may take so that all have their turn twice within the promised time, in milliseconds:
/// what is missing at one turn may just be on its way, and has until the next.
const TURN_MS: u64 = (UNHEARD_MAX_S - 1) * 1_000 / SLICES as u64;
/// After how many turns the epoch is looked at, and how far the stream has come.
const LOOK_TURNS: u64 = 32;
/// The most messages of one channel that are handed on at once.
const TOLD_MAX_MESSAGES: usize = 64;

/// A channel that is listened to.
struct Watch {
    listening: AbortHandle,
    /// Whether the subscription was sent; what is asked afterwards is answered by servers that know of it.
    ready: watch::Receiver<bool>,
    heard: Arc<Heard>,
}

/// What was heard of a channel's log.
struct Heard {
    /// The highest sequence that was heard, or that was known before.
    seq: AtomicU64,
    /// The most retractions that a message or a note told of. A listener that begins has heard of none, so
    /// it may say once too often that there was one.
    retractions: AtomicU64,
}

impl Heard {
    fn up_to(seq: u64) -> Self {
        Self { seq: AtomicU64::new(seq), retractions: AtomicU64::new(0) }
    }

    fn lacks(&self, seq: u64) -> bool {
        self.seq.load(Ordering::SeqCst) < seq
    }

    /// The log tells of so many retractions: whether some were not heard of before.
    fn retractions(&self, told: u64) -> bool {
        self.retractions.fetch_max(told, Ordering::SeqCst) < told
    }
}

/// The end of a log that was not heard of.
struct Unheard {
    channel: ChannelName,
    seq: u64,
    retractions: u64,
}

#[derive(Default)]
struct Slice {
    channels: HashMap<ChannelName, Watch>,
    /// From which sequence on the ends of the logs were not compared yet.
    since: u64,
    /// What had not been heard at the last turn.
    missing: Vec<Unheard>,
}

/// All channels that are listened to.
pub(super) struct Watches {
    slices: Vec<Mutex<Slice>>,
    hasher: RandomState,
    feed: Arc<dyn Feed>,
    store: Arc<Store>,
    /// Of the task that compares; none before it was started.
    comparing: Mutex<Option<AbortHandle>>,
}

impl Watches {
    pub(super) fn start(store: Arc<Store>, feed: Arc<dyn Feed>) -> Arc<Self> {
        let slices = (0..SLICES)
            .map(|_| Mutex::new(Slice { since: store.epochs.highest(), ..Slice::default() }))
            .collect();
        let watches =
            Arc::new(Self { slices, hasher: RandomState::new(), feed, store, comparing: Mutex::new(None) });
        let comparing = tokio::spawn(compare(Arc::downgrade(&watches))).abort_handle();
        *watches.comparing.lock().unwrap_or_else(PoisonError::into_inner) = Some(comparing);
        watches
    }

    fn slice(&self, channel: &ChannelName) -> MutexGuard<'_, Slice> {
        let place = self.hasher.hash_one(channel) as usize % SLICES;
        lock(&self.slices[place])
    }

    /// Listens to a channel from now on.
    pub(super) fn watch(&self, channel: &ChannelName) {
        if self.store.link.is_stopped() {
            return;
        }
        let mut slice = self.slice(channel);
        let Place::Vacant(vacant) = slice.channels.entry(channel.clone()) else { return };
        let heard = Arc::new(Heard::up_to(self.store.epochs.highest()));
        let (ready, is_ready) = watch::channel(false);
        let listener = Listener {
            channel: channel.clone(),
            store: Arc::clone(&self.store),
            feed: Arc::clone(&self.feed),
            heard: Arc::clone(&heard),
        };
        let listening = tokio::spawn(listener.listen(ready)).abort_handle();
        vacant.insert(Watch { listening, ready: is_ready, heard });
    }

    /// Listens no more.
    pub(super) fn unwatch(&self, channel: &ChannelName) {
        if let Some(watch) = self.slice(channel).channels.remove(channel) {
            watch.listening.abort();
        }
    }

    /// Returns when everything that is appended to the channel from now on will be heard, if it is watched.
    pub(super) async fn ready(&self, channel: &ChannelName) -> Result<(), Fault> {
        let ready = self.slice(channel).channels.get(channel).map(|watch| watch.ready.clone());
        let Some(mut ready) = ready else { return Ok(()) };
        if *ready.borrow() {
            return Ok(());
        }
        let deadline = Duration::from_millis(super::link::DEADLINE_MS);
        match tokio::time::timeout(deadline, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Fault::Refused("the subscription failed".into())),
            Err(_) => Err(Fault::Unknown("the subscription was not sent in time".into())),
        }
    }

    /// Listens to nothing any more.
    pub(super) fn stop(&self) {
        if let Some(comparing) = self.comparing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            comparing.abort();
        }
        for slice in &self.slices {
            lock(slice).channels.drain().for_each(|(_, watch)| watch.listening.abort());
        }
    }

    /// Every log is another one now.
    fn all_are_behind(&self) {
        let highest = self.store.epochs.highest();
        for slice in &self.slices {
            let channels: Vec<ChannelName> = {
                let mut slice = lock(slice);
                slice.since = highest;
                slice.missing.clear();
                for watch in slice.channels.values() {
                    watch.heard.seq.store(highest, Ordering::SeqCst);
                    watch.heard.retractions.store(0, Ordering::SeqCst);
                }
                slice.channels.keys().cloned().collect()
            };
            if !channels.is_empty() {
                self.feed.behind(&channels);
            }
        }
    }

    /// Compares the ends of one part of the logs with what was heard.
    async fn compare(&self, place: usize) -> Result<(), Fault> {
        let (subjects, since) = {
            let slice = lock(&self.slices[place]);
            if slice.missing.is_empty() && slice.since > self.store.epochs.highest() {
                // As far as this node has heard, nothing was stored since.
                return Ok(());
            }
            let subjects: Vec<String> =
                slice.channels.keys().map(|channel| self.store.names.channel(channel)).collect();
            (subjects, slice.since)
        };
        if subjects.is_empty() {
            return Ok(());
        }
        let mut compared_to = u64::MAX;
        let mut ends: Vec<Unheard> = Vec::new();
        for chunk in chunks(&subjects) {
            // Only what was stored since the last turn is sent, so quiet channels cost their names.
            let (stored, up_to) = self.store.link.lasts_since(&self.store.names.log, chunk, since).await?;
            compared_to = compared_to.min(up_to.unwrap_or(since.saturating_sub(1)));
            ends.extend(stored.iter().filter_map(|stored| self.end_of(stored)));
        }
        let (behind, retracted) = self.settle(place, compared_to, ends);
        if !behind.is_empty() {
            tracing::debug!(channels = behind.len(), "messages were not heard of");
            self.feed.behind(&behind);
        }
        if !retracted.is_empty() {
            self.feed.retracted(&retracted);
        }
        Ok(())
    }

    fn end_of(&self, stored: &Stored) -> Option<Unheard> {
        let channel = self.store.names.channel_of(&stored.subject)?;
        // What cannot be understood is found by the channel's readers.
        let retractions = Record::parse(stored).map_or(0, |record| record.extent.retractions);
        Some(Unheard { channel, seq: stored.seq, retractions })
    }

    /// Keeps what was not heard of until the next turn, and says which of those that were kept are not heard
    /// of yet: the channels that are further, and those of which something was retracted as well.
    fn settle(
        &self,
        place: usize,
        compared_to: u64,
        mut ends: Vec<Unheard>,
    ) -> (Vec<ChannelName>, Vec<ChannelName>) {
        let mut slice = lock(&self.slices[place]);
        slice.since = slice.since.max(compared_to.saturating_add(1));
        let missed = std::mem::take(&mut slice.missing);
        let (mut behind, mut retracted) = (Vec::new(), Vec::new());
        for Unheard { channel, seq, retractions } in missed {
            let Some(watch) = slice.channels.get(&channel).filter(|watch| watch.heard.lacks(seq)) else {
                continue;
            };
            watch.heard.seq.fetch_max(seq, Ordering::SeqCst);
            let names = if watch.heard.retractions(retractions) { &mut retracted } else { &mut behind };
            names.push(channel);
        }
        ends.retain(|end| slice.channels.get(&end.channel).is_some_and(|watch| watch.heard.lacks(end.seq)));
        slice.missing = ends;
        (behind, retracted)
    }
}

/// Compares round and round, until the engine is gone.
async fn compare(watches: Weak<Watches>) {
    let mut turns = tokio::time::interval(Duration::from_millis(TURN_MS / 2));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turn, mut breaks, mut epoch): (u64, Option<u64>, Option<Epoch>) = (0, None, None);
    loop {
        turns.tick().await;
        let Some(watches) = watches.upgrade() else { return };
        let store = &watches.store;
        if store.link.check().is_err() {
            continue;
        }
        turn += 1;
        let now = store.link.breaks();
        let broken = breaks.is_some_and(|before| before != now);
        if (turn.is_multiple_of(LOOK_TURNS) || broken)
            && let Err(fault) = store.epochs.look().await
        {
            tracing::debug!(%fault, "the epoch could not be looked at");
            continue;
        }
        breaks = Some(now);
        let present = store.epochs.now();
        if epoch.is_some_and(|before| before != present) {
            store.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
            watches.all_are_behind();
        }
        epoch = Some(present);
        // After the connection was broken all are looked at, twice: what was missing at the first look is
        // told at the second.
        let places = if broken { 0..SLICES * 2 } else { 0..1 };
        for place in places {
            if let Err(fault) = watches.compare((turn as usize + place) % SLICES).await {
                tracing::debug!(%fault, "what was heard could not be compared");
                break;
            }
        }
    }
}

fn lock(slice: &Mutex<Slice>) -> MutexGuard<'_, Slice> {
    slice.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears one channel.
struct Listener {
    channel: ChannelName,
    store: Arc<Store>,
    feed: Arc<dyn Feed>,
    heard: Arc<Heard>,
}

impl Listener {
    async fn listen(self, ready: watch::Sender<bool>) {
        let subscribed = self.store.link.client().subscribe(self.store.names.wake(&self.channel)).await;
        let messages = match subscribed {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(channel = %self.channel, %error, "a channel cannot be listened to");
                return;
            }
        };
        let _ = ready.send(true);
        let mut messages = messages.ready_chunks(TOLD_MAX_MESSAGES);
        while let Some(messages) = messages.next().await {
            if let Err(fault) = self.tell(messages).await {
                tracing::warn!(channel = %self.channel, %fault, "what was heard is not understood");
                self.feed.behind(std::slice::from_ref(&self.channel));
            }
        }
    }

    async fn tell(&self, messages: Vec<Message>) -> Result<(), Fault> {
        let mut entries = Vec::with_capacity(messages.len());
        let (mut retracted, mut closed) = (false, false);
        for message in messages {
            let record = Record::parse(&told(message)?)?;
            self.store.epochs.seen(record.seq);
            self.heard.seq.fetch_max(record.seq, Ordering::SeqCst);
            if record.extent.epoch > self.store.epochs.now() {
                // Another node made an epoch; this one hears of it here first.
                self.store.epochs.look().await?;
            }
            retracted |= self.heard.retractions(record.extent.retractions);
            closed |= record.extent.is_closed();
            entries.extend(record.entry(&self.channel, self.store.epochs.now()));
        }
        if !entries.is_empty() {
            self.feed.appended(&entries);
        }
        if retracted {
            self.feed.retracted(std::slice::from_ref(&self.channel));
        } else if closed {
            // Who follows the log finds its end by reading.
            self.feed.behind(std::slice::from_ref(&self.channel));
        }
        Ok(())
    }
}

/// A message as it was told once more when it was stored.
fn told(message: Message) -> Result<Stored, Fault> {
    let headers = message.headers.as_ref().ok_or_else(|| Fault::damaged("a wake-up without headers"))?;
    Ok(Stored {
        subject: text(headers, "Nats-Subject")?.to_owned(),
        seq: number(headers, "Nats-Sequence")?,
        taken_ms: 0,
        head: text(headers, HEAD)?.to_owned(),
        payload: message.payload,
    })
}
