//! Where clients stood that are gone, each in a channel, and which of these places others have taken since.
//! They are written to a log for each browser or user, which all nodes read. Only this server's own words
//! count there, so a record is signed with the application's secret; the log is named by a digest, since what
//! it is named by entitles to the places.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_engine::{Append, PLACE_LOGS, PLACES_MAX, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, ErrorCode, MessageId, Position, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::{application::Application, followed::Place};
use crate::{app::App, http::refusal::Refused, random};

/// All records of a log.
const RECORDS: PageLimit = PageLimit { messages: PLACES_MAX, bytes: 4 << 20 };
/// So many can take places at a time, of different browsers and users.
const PARTS: usize = 64;
/// How often it is looked whether what a client has left is written, and how many times at most.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: usize = 400;

/// What is under way here.
#[derive(Debug)]
pub(super) struct Places {
    /// How many clients have left whose places are not written yet, by their logs.
    leaving: Mutex<HashMap<ChannelName, usize>>,
    /// Held while one takes a place, so that each is taken once.
    taking: [tokio::sync::Mutex<()>; PARTS],
    hasher: RandomState,
}

/// What is written, between the dots.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The log that it is in, by its name: an internal one, which is not read as a channel's from outside.
    log: String,
    /// The client.
    client: UserId,
    /// When it was written, in milliseconds since 1970.
    at_ms: u64,
    what: What,
}

#[derive(Serialize, Deserialize)]
enum What {
    /// The client is gone, and stood here.
    Left(Vec<(ChannelName, Position)>),
    /// Its place in this channel is another's now.
    Taken(ChannelName),
}

/// A place that a client goes on from.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) at: Position,
    /// Which client's it was.
    pub(super) client: UserId,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            leaving: Mutex::default(),
            taking: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Places {
    fn leaving(&self) -> MutexGuard<'_, HashMap<ChannelName, usize>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is gone that stood here. It is written beside whatever is under way, and the server does not
    /// stop before.
    pub(super) fn leave(
        self: &Arc<Self>,
        runtime: &Handle,
        app: &Arc<App>,
        application: &Arc<Application>,
        client: UserId,
        places: Vec<Place>,
    ) {
        let mut by_log: HashMap<ChannelName, Vec<(ChannelName, Position)>> = HashMap::new();
        for Place { log, kept_in, at } in places {
            for kept_in in kept_in {
                by_log.entry(kept_in).or_default().push((log.clone(), at));
            }
        }
        for log in by_log.keys() {
            *self.leaving().entry(log.clone()).or_default() += 1;
        }
        // When it left, and not when that is written.
        let at_ms = app.now().wall.0;
        let unfinished = app.unfinished.begin();
        let (all, app, application) = (Arc::clone(self), Arc::clone(app), Arc::clone(application));
        runtime.spawn(async move {
            for (log, places) in by_log {
                let record = record(&log, &client, at_ms, What::Left(places));
                if let Err(Refused(refusal)) = write(&app, &application, &log, record).await {
                    tracing::warn!(error = %refusal.message, "what a client misses will not be sent to it");
                }
                all.has_left(&log);
            }
            drop(unfinished);
        });
    }

    fn has_left(&self, log: &ChannelName) {
        let mut leaving = self.leaving();
        if let Some(count) = leaving.get_mut(log) {
            *count -= 1;
            if *count == 0 {
                leaving.remove(log);
            }
        }
    }

    /// Takes a place in a channel that was left less than the application's time ago. Of several it is one of
    /// a client of whom others were taken already, or else the last that was left.
    pub(super) async fn take(
        &self,
        app: &App,
        application: &Application,
        log: &ChannelName,
        channel: &ChannelName,
        formers: &[UserId],
    ) -> Result<Option<Taken>, Refused> {
        for _ in 0..LOOKS_MAX {
            if !self.leaving().contains_key(log) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let part = usize::try_from(self.hasher.hash_one(log.as_str()) % PARTS as u64).unwrap_or(0);
        let _taking = self.taking[part].lock().await;
        let page = app.engine.read(log, ReadFrom::Before(u64::MAX), RECORDS).await?;
        let records = page.entries.iter().filter_map(|entry| {
            let Body::Data(data) = &entry.message().body else { return None };
            let text = serde_json::from_str::<String>(data.get()).ok()?;
            application.places.read::<Record>(&text).filter(|record| record.log == log.as_str())
        });
        let since_ms = app.now().wall.0.saturating_sub(application.settings.recovery_s * 1_000);
        let mut free = free(records, channel, since_ms);
        let Some(last) = free.len().checked_sub(1) else { return Ok(None) };
        let index = free.iter().rposition(|taken| formers.contains(&taken.client)).unwrap_or(last);
        let taken = free.swap_remove(index);
        let record = record(log, &taken.client, app.now().wall.0, What::Taken(channel.clone()));
        write(app, application, log, record).await?;
        Ok(Some(taken))
    }
}

/// The places in a channel that are free, in the order in which they were left.
fn free(records: impl Iterator<Item = Record>, channel: &ChannelName, since_ms: u64) -> Vec<Taken> {
    let mut free: Vec<Taken> = Vec::new();
    for Record { client, at_ms, what, .. } in records {
        match what {
            What::Left(places) if at_ms >= since_ms => {
                let at = places.into_iter().find(|(log, _)| log == channel).map(|(_, at)| at);
                free.extend(at.map(|at| Taken { at, client }));
            }
            What::Taken(log) if log == *channel => free.retain(|taken| taken.client != client),
            What::Left(_) | What::Taken(_) => {}
        }
    }
    free
}

fn record(log: &ChannelName, client: &UserId, at_ms: u64, what: What) -> Record {
    Record { log: log.as_str().to_owned(), client: client.clone(), at_ms, what }
}

async fn write(
    app: &App,
    application: &Application,
    log: &ChannelName,
    record: Record,
) -> Result<(), Refused> {
    let text = application.places.write(&record).ok_or_else(|| Refused::from(ErrorCode::Internal))?;
    let data = to_raw_value(&text).map_err(|_| Refused::from(ErrorCode::Internal))?;
    let time = app.now().wall;
    let append = Append {
        id: MessageId::fresh(time, random::pooled_bits()?),
        key: None,
        targets: Targets::Channels(vec![log.clone()]),
        body: Body::Data(data.into()),
        from: None,
        time,
        expires: None,
        trace: None,
    };
    app.engine.append(append).await?;
    Ok(())
}

/// The log for the places of a browser or a user of an application: an internal channel, so that no client
/// can follow it or write to it.
pub(super) fn log(application: &Application, whose: &[&str]) -> ChannelName {
    let mut digest = Sha256::new();
    for part in [application.settings.id.as_str()].iter().chain(whose) {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    let text: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    ChannelName::internal(&format!("{PLACE_LOGS}pusher/{text}"))
}
