//! The history of pushes: which were accepted, on whatever node, the newest first. It is kept in an internal
//! channel of the engine, whatever engine it is. What became of a push is the receipts' part.
//!
//! A push costs no append of its own for it: a node writes down together what it accepted in a round.

mod note;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_engine::{Append, Engine, EngineError, PUSH_LOG, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, Message, MessageId, Offset};
use serde_json::value::to_raw_value;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

pub use self::note::Note;
use crate::{clock::Clock, random};

/// How long a round is. A reader on the same node ends it early.
const ROUND: Duration = Duration::from_millis(100);
/// The pause before what the engine did not take is offered again.
const AGAIN: Duration = Duration::from_millis(500);
/// The most pushes that wait to be written; past it they are left out, and counted.
const WAITING_MAX: usize = 20_000;
/// The most pushes in one message.
const ROUND_MAX: usize = 250;
/// How much of the log is read at a time.
const PAGE: PageLimit = PageLimit { messages: 64, bytes: 1 << 20 };

/// Writes down which pushes this node has accepted, and reads which all nodes have.
pub struct PushHistory {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    waiting: Mutex<Waiting>,
    /// Held by the one that writes.
    writing: tokio::sync::Mutex<()>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    notes: Vec<Note>,
    /// How many were not kept for want of room.
    left_out: u64,
}

/// A place in the history: behind it are the pushes that are older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: Offset,
    /// How many pushes of the message at the offset are older.
    older: usize,
}

impl Place {
    /// Reads what [`Place`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (offset, older) = text.split_once('.')?;
        let place = Self { offset: offset.parse().ok()?, older: older.parse().ok()? };
        (place.to_string() == text).then_some(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.offset, self.older)
    }
}

/// A push that was accepted, and the place behind which the older ones are.
#[derive(Debug)]
pub struct Past {
    /// The push.
    pub note: Note,
    /// Where it stands.
    pub place: Place,
}

impl PushHistory {
    /// Nothing is noted yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (waiting, writing, news) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        Arc::new(Self { engine, clock, waiting, writing, news })
    }

    /// A push was accepted. It is written down soon.
    pub fn note(&self, note: Note) {
        let mut waiting = self.locked();
        if waiting.notes.len() >= WAITING_MAX {
            waiting.left_out += 1;
            return;
        }
        waiting.notes.push(note);
        if waiting.notes.len() == 1 {
            self.news.notify_one();
        }
    }

    /// Writes round after round until the server stops, which writes the last one itself.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut pause = ROUND;
        loop {
            let waits = async {
                if pause == ROUND {
                    self.news.notified().await;
                }
                sleep(pause).await;
            };
            tokio::select! {
                () = waits => {}
                _ = stop.wait_for(|stops| *stops) => return,
            }
            pause = match self.write().await {
                Ok(()) => ROUND,
                Err(error) => {
                    tracing::debug!(%error, "the history of pushes is not written yet");
                    AGAIN
                }
            };
        }
    }

    /// Writes down what was noted up to now, also when the one that waits for it goes away meanwhile.
    pub async fn settle(self: &Arc<Self>) {
        let history = Arc::clone(self);
        let written = tokio::spawn(async move { history.write().await }).await;
        if let Ok(Err(error)) = written {
            tracing::debug!(%error, "the history of pushes is not written yet");
        }
    }

    /// # Errors
    /// [`EngineError::Unavailable`]; what was not written is kept for the next time.
    async fn write(&self) -> Result<(), EngineError> {
        let _writing = self.writing.lock().await;
        loop {
            let Some(round) = self.take() else { return Ok(()) };
            if let Err(error) = self.append(&round).await {
                self.locked().notes.splice(..0, round);
                return Err(error);
            }
        }
    }

    /// The oldest of what waits, at most as much as one message has; none when nothing waits.
    fn take(&self) -> Option<Vec<Note>> {
        let mut waiting = self.locked();
        let left_out = std::mem::take(&mut waiting.left_out);
        if left_out > 0 {
            tracing::warn!(left_out, "the history of pushes has not all of them: too many at a time");
        }
        let count = waiting.notes.len().min(ROUND_MAX);
        (count > 0).then(|| waiting.notes.drain(..count).collect())
    }

    async fn append(&self, round: &[Note]) -> Result<(), EngineError> {
        let unwritten = |error: &dyn fmt::Display| EngineError::Unavailable(error.to_string());
        let now = self.clock.now().wall;
        let json = to_raw_value(round).map_err(|error| unwritten(&error))?;
        let bits = random::bits().map_err(|error| unwritten(&error))?;
        let append = Append {
            id: MessageId::fresh(now, bits),
            key: None,
            targets: Targets::Channels(vec![log()]),
            body: Body::Data(json.into()),
            from: None,
            time: now,
            expires: round.iter().map(|note| note.until).max(),
            trace: None,
        };
        self.engine.append(append).await.map(drop)
    }

    /// A part of the history behind a place, or from the newest on, the newest first; none when there is no
    /// older one. Pushes whose receipts are over are not in it, so it may be empty although there are older
    /// ones: the place says where to go on.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn page(&self, behind: Option<Place>) -> Result<Option<(Vec<Past>, Place)>, EngineError> {
        // What is left of the message at the place comes first.
        let end = match behind {
            None => Offset::MAX,
            Some(Place { offset, older: 0 }) => offset,
            Some(place) => place.offset.saturating_add(1),
        };
        let page = self.engine.read(&log(), ReadFrom::Before(end), PAGE).await?;
        let now = self.clock.now().wall;
        let Some(oldest) = page.entries.first() else { return Ok(None) };
        let end = Place { offset: oldest.message().position.offset, older: 0 };
        let mut found = Vec::new();
        for entry in page.entries.iter().rev() {
            let message = entry.message();
            let offset = message.position.offset;
            let cut = behind.filter(|place| place.offset == offset).map(|place| place.older);
            let pushes = pushes_of(message);
            let kept = cut.unwrap_or(pushes.len()).min(pushes.len());
            let pasts = pushes.into_iter().take(kept).enumerate().rev();
            let pasts = pasts.map(|(older, note)| Past { note, place: Place { offset, older } });
            found.extend(pasts.filter(|past| past.note.until > now));
        }
        Ok(Some((found, end)))
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pushes of a round, in the order in which they were accepted. What another version has written, and
/// this one does not read, has none.
fn pushes_of(message: &Message) -> Vec<Note> {
    let Body::Data(json) = &message.body else { return Vec::new() };
    serde_json::from_str(json.get()).unwrap_or_default()
}

fn log() -> ChannelName {
    ChannelName::internal(PUSH_LOG)
}

impl fmt::Debug for PushHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushHistory").field("waiting", &self.locked().notes.len()).finish_non_exhaustive()
    }
}
