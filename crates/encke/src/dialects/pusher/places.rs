//! Where clients stood that are gone, each in a channel, and which of these places others have taken since.
//! They are written to a log for each browser or user, which all nodes read. What a server did not come to
//! write, as it was killed, its journal says; and of clients that are here it is looked whether they have
//! what there is, since one may be gone already.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use encke_engine::{Page, PageLimit, ReadFrom};
use encke_proto::{ChannelName, ErrorCode, Offset, Position, UserId};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::{
    NAME,
    application::Application,
    journal::EndedRuns,
    living::{Answer, Living, Question, Stands},
    place_records::{Record, What, all, write, write_of},
    tracked::Tracked,
};
use crate::{app::App, http::refusal::Refused};

/// So many can take places at a time, of different browsers and users.
const PARTS: usize = 256;
/// How long it is waited, in milliseconds, before it is looked again whether clients that are here have what
/// there is, and what others have left is written. Two seconds altogether.
const LOOKS_MS: [u64; 9] = [5, 10, 20, 40, 100, 200, 400, 600, 625];
/// The most runs of servers that ended whose journals are read, the last.
const RUNS_MAX: usize = 8;
/// Nothing is read but where the log ends.
const NOTHING: PageLimit = PageLimit { messages: 1, bytes: 1 };

/// What is under way here.
#[derive(Debug)]
pub(super) struct Places {
    /// The clients that are here.
    pub(super) living: Arc<Living>,
    ended: EndedRuns,
    /// Held while one takes a place, so that each is taken once.
    taking: [tokio::sync::Mutex<()>; PARTS],
    hasher: RandomState,
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
}

/// What the records say of one channel.
#[derive(Debug, Default)]
struct Recorded {
    /// Who left less than the application's time ago, in that order.
    left: Vec<(UserId, Position)>,
    /// Who has left, or whose place is another's.
    done: HashSet<UserId>,
    taken: HashSet<UserId>,
    /// Runs of servers at which clients were, the last at the end.
    runs: Vec<String>,
}

impl Places {
    pub(super) fn new(living: Arc<Living>) -> Self {
        Self {
            living,
            ended: EndedRuns::default(),
            taking: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// A client is gone. Where it stood is written beside whatever is under way, and the server does not stop
    /// before.
    pub(super) fn leave(
        &self,
        runtime: &Handle,
        app: &Arc<App>,
        application: &Arc<Application>,
        client: Arc<Tracked>,
    ) {
        // When it left, and not when that is written.
        let at_ms = app.now().wall.0;
        let unfinished = app.unfinished.begin();
        let (living, app, application) = (Arc::clone(&self.living), Arc::clone(app), Arc::clone(application));
        runtime.spawn(async move {
            write_left(&app, &living, &application, &client, at_ms).await;
            drop(unfinished);
        });
    }

    /// Takes a place in a channel that was left less than the application's time ago.
    pub(super) async fn take(&self, app: &App, coming: &Coming<'_>) -> Result<Option<Taken>, Refused> {
        let Coming { application, log, channel } = *coming;
        let part = usize::try_from(self.hasher.hash_one(log.as_str()) % PARTS as u64).unwrap_or(0);
        let since_ms = app.now().wall.0.saturating_sub(application.settings.recovery_s * 1_000);
        let mut seen: Option<Page> = None;
        let mut looks = LOOKS_MS.iter();
        loop {
            let taking = self.taking[part].lock().await;
            let recorded = Recorded::of(all(app, application, log).await?, channel, since_ms);
            let (here, ended) = self.here(app, coming, &recorded).await?;
            if here.is_empty() && ended.is_empty() && recorded.left.is_empty() {
                return Ok(None);
            }
            // As it was when the client came: what comes meanwhile those have not yet who are here.
            let page = match seen.take() {
                Some(page) => page,
                None => app.engine.read(channel, ReadFrom::Head, NOTHING).await?,
            };
            let lags = |stands: &Stands| carry(&page, stands.at).is_some_and(|at| at.offset < page.head);
            if here.iter().any(|stands| stands.is_leaving || lags(stands))
                && let Some(pause_ms) = looks.next()
            {
                seen = Some(page);
                drop(taking);
                tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
                continue;
            }
            let mut free = Vec::new();
            for run in ended.iter().rev().take(RUNS_MAX).rev() {
                free.extend(self.ended.stood(app, application, run, (log, channel), since_ms).await?);
            }
            free.retain(|(client, _)| !recorded.done.contains(client));
            free.extend(recorded.left);
            // What was sent to these and is not acknowledged for so long they will not have.
            let gone = here.iter().filter(|stands| lags(stands));
            free.extend(gone.map(|stands| (stands.client.clone(), stands.at)));
            let taken = choose(free, &page);
            if let Some(Taken { client: Some(client), .. }) = &taken {
                write(app, application, log, What::Taken(client.clone(), channel.clone())).await?;
            }
            let head = Position { epoch: page.epoch, offset: page.head };
            let beside = || Taken { at: head, head: page.head, client: None, is_sure: false };
            return Ok(taken.or_else(|| (!here.is_empty()).then(beside)));
        }
    }

    /// The clients that are here and follow the channel, on whatever node, but for those whose places are
    /// others' already; and the runs at which there were any that do not go on any more.
    async fn here(
        &self,
        app: &App,
        coming: &Coming<'_>,
        recorded: &Recorded,
    ) -> Result<(Vec<Stands>, Vec<String>), Refused> {
        let Coming { log, channel, .. } = *coming;
        let mut here = self.living.standing(log, channel);
        let mut ended: Vec<String> =
            recorded.runs.iter().filter(|run| **run != self.living.run).cloned().collect();
        if !ended.is_empty() && app.sessions.nodes().is_some() {
            let question = Question { places_in: log.as_str().to_owned(), channel: channel.clone() };
            let question = serde_json::to_value(question).map_err(|_| Refused::from(ErrorCode::Internal))?;
            let answers = app.sessions.ask_dialects(NAME, &question).await.unwrap_or_else(|code| {
                tracing::debug!(code = code.as_str(), "a node does not say where clients stand");
                ended.clear();
                Vec::new()
            });
            for answer in answers {
                // A node that does not speak the dialect has none.
                let Ok(Answer { run, clients }) = Answer::deserialize(answer) else { continue };
                ended.retain(|ended| *ended != run);
                here.extend(clients);
            }
        }
        here.retain(|stands| !recorded.taken.contains(&stands.client));
        Ok((here, ended))
    }
}

/// Writes where a client stood that left then.
pub(super) async fn write_left(
    app: &App,
    living: &Living,
    application: &Application,
    client: &Arc<Tracked>,
    at_ms: u64,
) {
    let logs = client.followed().kept_in();
    for log in logs {
        let standing = client.followed().standing_in(&log);
        let left = What::Left(client.client.clone(), standing);
        if let Err(Refused(refusal)) = write_of(app, application, &log, at_ms, left).await {
            tracing::warn!(error = %refusal.message, "what a client misses will not be sent to it");
        }
        living.gone(client, &[log]);
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
        let mut recorded = Self::default();
        for Record { at_ms, what, .. } in records {
            match what {
                What::Left(client, standing) => {
                    recorded.done.insert(client.clone());
                    let at = standing.into_iter().find(|(log, _)| log == channel).map(|(_, at)| at);
                    recorded.left.extend(at.filter(|_| at_ms >= since_ms).map(|at| (client, at)));
                }
                What::Taken(client, log) if log == *channel => {
                    recorded.done.insert(client.clone());
                    recorded.taken.insert(client);
                }
                What::Run(run) => {
                    recorded.runs.retain(|known| *known != run);
                    recorded.runs.push(run);
                }
                What::Taken(..) | What::Here(_) | What::Lives => {}
            }
        }
        recorded.left.retain(|(client, _)| !recorded.taken.contains(client));
        recorded
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::{Epoch, Lineage};

    use super::*;

    fn client(number: u64) -> UserId {
        UserId::new(&format!("pusher:1:{number}.1")).unwrap()
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(1), offset }
    }

    fn page(head: u64) -> Page {
        let (lineage, entries) = (Lineage::default(), Vec::new());
        Page { epoch: Epoch(1), lineage, tail: 1, head, closed: false, entries }
    }

    #[test]
    fn as_many_as_left_go_on_from_the_first_of_their_places() {
        let mut free = vec![(client(1), at(7)), (client(2), at(3)), (client(3), at(7)), (client(4), at(5))];
        for (number, is_sure) in [(3, false), (1, false), (4, false), (2, true)] {
            let taken = choose(free.clone(), &page(9)).unwrap();
            assert_eq!(taken, Taken { at: at(3), head: 9, client: Some(client(number)), is_sure });
            free.retain(|(left, _)| *left != client(number));
        }
        assert_eq!(choose(free, &page(9)), None);
    }

    #[test]
    fn a_place_that_is_alone_is_its_own_and_one_that_is_not_in_the_log_is_none() {
        let free = vec![(client(1), at(7)), (client(2), at(10))];
        let taken = choose(free, &page(9)).unwrap();
        assert_eq!(taken, Taken { at: at(7), head: 9, client: Some(client(1)), is_sure: true });
        assert_eq!(choose(vec![(client(2), at(10))], &page(9)), None);
    }

    #[test]
    fn what_was_taken_is_taken_also_if_its_client_leaves_it_later() {
        let channel = ChannelName::public("pusher:1:news").unwrap();
        let record = |at_ms, what| Record::for_test(at_ms, what);
        let left = |number, offset| What::Left(client(number), vec![(channel.clone(), at(offset))]);
        let records = vec![
            record(10, left(1, 1)),
            record(20, What::Run("a".into())),
            record(20, What::Taken(client(2), channel.clone())),
            record(21, left(2, 2)),
            record(22, left(3, 3)),
            record(22, What::Run("b".into())),
            record(23, What::Run("a".into())),
        ];
        let recorded = Recorded::of(records, &channel, 20);
        assert_eq!(recorded.left, [(client(3), at(3))], "the first has been away for too long");
        assert_eq!((recorded.done.len(), recorded.taken.len()), (3, 1));
        assert_eq!(recorded.runs, ["b", "a"]);
    }
}
