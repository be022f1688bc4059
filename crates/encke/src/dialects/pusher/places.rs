//! Where clients stood that are gone, each in a channel, and which of these places others have taken since.
//! They are written to a log for each browser or user, which all nodes read. What a server did not come to
//! write, as it was killed, its journal says; and of clients that are here it is looked whether they have
//! what there is, since one may be gone already.

use std::{collections::HashSet, sync::Arc, time::Duration};

use encke_engine::{Page, PageLimit, ReadFrom};
use encke_proto::{ChannelName, ErrorCode, Offset, Position, UserId};
use serde::Deserialize;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    NAME,
    application::Application,
    deadlines::Deadlines,
    journal::{Journal, runs, stood},
    living::{Answer, Living, Question, Stands},
    parts::Parts,
    place_records::{Record, What, all, write, write_of},
    tracked::Tracked,
};
use crate::{app::App, http::refusal::Refused};

/// How long it is waited, in milliseconds, before it is looked again whether clients that are here have what
/// there is, and what others have left is written; the last again and again.
const LOOKS_MS: [u64; 7] = [5, 10, 20, 40, 100, 200, 400];
/// Nothing is read but where the log ends.
const NOTHING: PageLimit = PageLimit { messages: 1, bytes: 1 };
/// After how long it is tried again to write where a client stood that left. As many seconds as a client may
/// be away it is tried.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// For the most clients at a time. Others' places are lost while the engine takes nothing.
const WRITTEN_AGAIN_MAX: usize = 16_384;

/// What is under way here.
#[derive(Debug)]
pub(super) struct Places {
    /// The clients that are here.
    pub(super) living: Arc<Living>,
    pub(super) journal: Arc<Journal>,
    /// Held while one takes a place, so that each is taken once.
    taking: Parts,
    writing_again: Semaphore,
}

/// From where a client goes on in a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Of several places that may have been its own, the first: what comes twice does no harm.
    pub(super) at: Position,
    /// The last message of the channel.
    pub(super) head: Offset,
    /// Whose place it has taken; none when it has taken none, but others of its browser or user are here, of
    /// whom one may be itself.
    pub(super) client: Option<UserId>,
    /// Whether no other place may have been its own.
    pub(super) is_sure: bool,
}

/// A client of which others of its browser or user may be here.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    pub(super) application: &'a Application,
    /// Where the places of its browser or user are kept.
    pub(super) log: &'a ChannelName,
    pub(super) channel: &'a ChannelName,
    /// How long it waits for others.
    pub(super) deadlines: &'a Deadlines,
}

/// What other nodes say.
#[derive(Debug, Default)]
struct Elsewhere {
    /// Who follows the channel there.
    clients: Vec<Stands>,
    /// The runs at which clients were of which none goes on.
    ended: Vec<String>,
}

/// What the records say of one channel.
#[derive(Debug, Default)]
struct Recorded {
    /// Who left less than the application's time ago, in that order.
    left: Vec<(UserId, Position)>,
    /// Who has left, or whose place is another's.
    done: HashSet<UserId>,
}

impl Places {
    pub(super) fn new(living: Arc<Living>) -> Self {
        let journal = Arc::new(Journal::new(Arc::clone(&living)));
        let writing_again = Semaphore::new(WRITTEN_AGAIN_MAX);
        Self { living, journal, taking: Parts::default(), writing_again }
    }

    /// A client is gone. Where it stood is written beside whatever is under way, and the server does not stop
    /// before.
    pub(super) fn leave(
        places: &Arc<Self>,
        runtime: &Handle,
        app: &Arc<App>,
        application: &Arc<Application>,
        client: Arc<Tracked>,
    ) {
        // When it left, and not when that is written.
        let at_ms = app.now().wall.0;
        let unfinished = app.unfinished.begin();
        let (places, app, application) = (Arc::clone(places), Arc::clone(app), Arc::clone(application));
        runtime.spawn(async move {
            places.write_left(&app, &application, &client, at_ms).await;
            drop(unfinished);
        });
    }

    /// Writes where a client stood that left then. Until that is written it counts among those who are here,
    /// also in the journal; so it is tried again as long as it may come back.
    pub(super) async fn write_left(
        &self,
        app: &App,
        application: &Application,
        client: &Arc<Tracked>,
        at_ms: u64,
    ) {
        let mut logs = client.followed().kept_in();
        let mut again = None;
        for tries_left in (0..=application.settings.recovery_s).rev() {
            let mut unwritten = Vec::new();
            for log in logs {
                let standing = client.followed().standing_in(&log);
                let left = What::Left(client.client.clone(), standing);
                match write_of(app, application, &log, at_ms, left).await {
                    Ok(()) => self.living.gone(client, &[log]),
                    Err(Refused(refusal)) => {
                        tracing::warn!(error = %refusal.message, "where a client stood is not written yet");
                        unwritten.push(log);
                    }
                }
            }
            if unwritten.is_empty() {
                return;
            }
            again = again.or_else(|| self.writing_again.try_acquire().ok());
            if again.is_none() || tries_left == 0 {
                tracing::warn!("what a client misses will not be sent to it");
                self.living.gone(client, &unwritten);
                return;
            }
            logs = unwritten;
            tokio::time::sleep(WRITE_AGAIN).await;
        }
    }

    /// Takes a place in a channel that was left less than the application's time ago. `enter` has the client
    /// stand there before the place is another's no more: so it is in the journal, or in another's answer,
    /// whenever this server is killed.
    pub(super) async fn take(
        &self,
        app: &App,
        coming: &Coming<'_>,
        enter: impl FnOnce(&Taken),
    ) -> Result<Option<Taken>, Refused> {
        let Coming { application, log, channel, deadlines } = *coming;
        let since_ms = app.now().wall.0.saturating_sub(application.settings.recovery_s * 1_000);
        let mut seen: Option<Page> = None;
        for look in 0.. {
            let Elsewhere { clients, ended } = self.elsewhere(app, coming).await?;
            let taking = self.taking.of(log).lock().await;
            let mut here = self.living.standing(log, channel);
            here.extend(clients);
            // Read behind that: who has left meanwhile was here, or has a record.
            let recorded = Recorded::of(all(app, application, log).await?, channel, since_ms);
            here.retain(|stands| !recorded.done.contains(&stands.client));
            if here.is_empty() && ended.is_empty() && recorded.left.is_empty() {
                return Ok(None);
            }
            // As it was when the client came: what comes meanwhile those have not yet who are here.
            let page = match seen.take() {
                Some(page) => page,
                None => app.engine.read(channel, ReadFrom::Head, NOTHING).await?,
            };
            let lags = |stands: &Stands| carry(&page, stands.at).is_some_and(|at| at.offset < page.head);
            if here.iter().any(|stands| stands.is_leaving || lags(stands)) && deadlines.waits() {
                let pause_ms = LOOKS_MS.get(look).or(LOOKS_MS.last()).copied().unwrap_or_default();
                seen = Some(page);
                drop(taking);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                continue;
            }
            let mut free = Vec::new();
            for run in &ended {
                free.extend(stood(app, application, run, (log, channel), since_ms).await?);
            }
            free.retain(|(client, _)| !recorded.done.contains(client));
            free.extend(recorded.left);
            // What was sent to these and is not acknowledged for so long they will not have.
            let gone = here.iter().filter(|stands| lags(stands));
            free.extend(gone.map(|stands| (stands.client.clone(), stands.at)));
            let taken = choose(free, &page);
            if let Some(taken @ Taken { client: Some(client), .. }) = &taken {
                enter(taken);
                self.journal.write(app, log).await?;
                write(app, application, log, What::Taken(client.clone(), channel.clone())).await?;
            }
            let head = Position { epoch: page.epoch, offset: page.head };
            let beside = || Taken { at: head, head: page.head, client: None, is_sure: false };
            return Ok(taken.or_else(|| (!here.is_empty()).then(beside)));
        }
        Ok(None)
    }

    /// The clients at other nodes that follow the channel; and the runs at which there were any that do not
    /// go on any more. A node that does not answer counts as one that does not.
    async fn elsewhere(&self, app: &App, coming: &Coming<'_>) -> Result<Elsewhere, Refused> {
        let Coming { application, log, channel, deadlines } = *coming;
        let runs = runs(app, application, log).await?.into_iter().map(|(run, _)| run);
        let mut elsewhere =
            Elsewhere { clients: Vec::new(), ended: runs.filter(|run| *run != self.living.run).collect() };
        if elsewhere.ended.is_empty() || app.sessions.nodes().is_none() {
            return Ok(elsewhere);
        }
        let question = Question { places_in: log.as_str().to_owned(), channel: channel.clone() };
        let question = serde_json::to_value(question).map_err(|_| Refused::from(ErrorCode::Internal))?;
        for answer in app.sessions.ask_dialects(NAME, &question, deadlines.for_nodes()).await {
            match answer {
                Ok(answer) => elsewhere.hear(&answer),
                Err(code) => {
                    tracing::debug!(code = code.as_str(), "a node does not say where clients stand");
                    deadlines.was_silent();
                }
            }
        }
        Ok(elsewhere)
    }
}

impl Elsewhere {
    /// A node that does not speak the dialect has none.
    fn hear(&mut self, answer: &serde_json::Value) {
        let Ok(Answer { run, clients }) = Answer::deserialize(answer) else { return };
        self.ended.retain(|ended| *ended != run);
        self.clients.extend(clients);
    }
}

/// Of these places, in the order in which they were left, the one that is taken: that which is farthest, the
/// last of several. So the first place is there until all have come, and each goes on from that.
fn choose(free: Vec<(UserId, Position)>, page: &Page) -> Option<Taken> {
    let in_log = |(client, at)| carry(page, at).map(|at| (client, at));
    let places: Vec<(UserId, Position)> = free.into_iter().filter_map(in_log).collect();
    let is_sure = places.len() == 1;
    let at = places.iter().map(|(_, at)| *at).min_by_key(|at| at.offset)?;
    let client = places.into_iter().max_by_key(|(_, at)| at.offset).map(|(client, _)| client);
    Some(Taken { at, head: page.head, client, is_sure })
}

/// Where a place stands in a log now; none when it is not in it.
fn carry(page: &Page, at: Position) -> Option<Position> {
    page.lineage.carry(at, page.epoch).filter(|at| at.offset <= page.head)
}

impl Recorded {
    fn of(records: Vec<Record>, channel: &ChannelName, since_ms: u64) -> Self {
        let (mut recorded, mut taken) = (Self::default(), HashSet::new());
        for Record { at_ms, what, .. } in records {
            match what {
                What::Left(client, standing) => {
                    recorded.done.insert(client.clone());
                    let at = standing.into_iter().find(|(log, _)| log == channel).map(|(_, at)| at);
                    recorded.left.extend(at.filter(|_| at_ms >= since_ms).map(|at| (client, at)));
                }
                What::Taken(client, log) if log == *channel => {
                    recorded.done.insert(client.clone());
                    taken.insert(client);
                }
                What::Taken(..) | What::Runs(_) | What::Here(_) | What::Lives => {}
            }
        }
        recorded.left.retain(|(client, _)| !taken.contains(client));
        recorded
    }
}

#[cfg(test)]
mod tests;
