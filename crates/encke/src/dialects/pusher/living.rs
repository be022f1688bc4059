//! The clients of this server that may be known again, by the logs in which their places are kept: where each
//! stands, for others who come, and which of that is to be written down anew. All of them have one lock, so
//! that nothing is done behind it that takes longer where there are more of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use encke_proto::{ChannelName, Position, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{application::Application, place_records::Standing, tracked::Tracked};

/// How often it is written anew where the clients of a browser or user stand that move, in milliseconds.
const WRITE_EVERY_MS: u64 = 1_000;
/// How often it is written where they stand that do not, in milliseconds: before it is forgotten.
const RENEW_EVERY_MS: u64 = 1_500_000;
/// The most clients and the most places of one browser or user that are written. Others' are only known when
/// they leave.
const CLIENTS_MAX: usize = 64;
const STANDS_MAX: usize = 256;

/// The clients, and what is to be written.
#[derive(Debug)]
pub(super) struct Living {
    /// What this run of the server is called.
    pub(super) run: String,
    /// Whether it is written down where they stand.
    is_written: bool,
    came: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// As many as clients have: one or two for each channel that they follow.
    logs: HashMap<ChannelName, Kept>,
    /// When each of them is to be written at the latest, in milliseconds of the clock that never goes back.
    due: BTreeSet<(u64, ChannelName)>,
    /// The applications that have any, by their ids, and how many.
    applications: HashMap<String, (Arc<Application>, usize)>,
}

/// Those whose places are kept in one log.
#[derive(Debug)]
struct Kept {
    application: Arc<Application>,
    /// In the order in which they came.
    clients: BTreeMap<u64, Arc<Tracked>>,
    /// When it is to be written, if it is.
    due_ms: Option<u64>,
    /// When it was written last where they stand, and that they are here.
    written_ms: Option<u64>,
    named_ms: Option<u64>,
}

/// What is to be written of one log.
pub(super) struct Due {
    pub(super) application: Arc<Application>,
    /// Whether it is to be said that clients are here.
    pub(super) is_named: bool,
    pub(super) clients: Vec<(UserId, Standing)>,
}

/// A client that follows a channel here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stands {
    pub(super) client: UserId,
    pub(super) at: Position,
    /// Whether its places are about to be written.
    pub(super) is_leaving: bool,
}

/// What a node asks another: who follows a channel there, of those whose places are kept in a log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// By its name: an internal one.
    pub(super) places_in: String,
    pub(super) channel: ChannelName,
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) run: String,
    pub(super) clients: Vec<Stands>,
}

impl Living {
    pub(super) fn new(run: String, is_written: bool) -> Self {
        Self { run, is_written, came: AtomicU64::new(0), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that comes.
    pub(super) fn track(&self, client: UserId) -> Arc<Tracked> {
        Arc::new(Tracked::new(self.came.fetch_add(1, Ordering::Relaxed), client))
    }

    /// A client is here whose places are kept in these logs, or it is already and has moved.
    pub(super) fn enter(
        &self,
        application: &Arc<Application>,
        client: &Arc<Tracked>,
        logs: &[ChannelName],
        now_ms: u64,
    ) {
        let mut state = self.lock();
        for log in logs {
            let kept = state.kept(application, log);
            kept.clients.insert(client.number, Arc::clone(client));
            let at_ms = kept.written_ms.map_or(now_ms, |written_ms| written_ms + WRITE_EVERY_MS);
            if self.is_written {
                state.write_by(log, at_ms);
            }
        }
    }

    /// A client follows a channel no more whose places were kept in these logs. It is forgotten where none of
    /// its places is kept any more.
    pub(super) fn unfollowed(&self, client: &Arc<Tracked>, logs: &[ChannelName]) {
        let mut state = self.lock();
        // One that comes to follow another meanwhile is taken in again behind this lock.
        let kept_in = client.followed().kept_in();
        let (kept, over): (Vec<_>, Vec<_>) = logs.iter().cloned().partition(|log| kept_in.contains(log));
        state.forget(client, &over, self.is_written);
        if self.is_written {
            state.moved(&kept);
        }
    }

    /// A client has moved whose places are kept in these logs.
    pub(super) fn moved(&self, logs: &[ChannelName]) {
        if self.is_written {
            self.lock().moved(logs);
        }
    }

    /// A client is gone, and what there was to be written of it in a log is.
    pub(super) fn gone(&self, client: &Arc<Tracked>, logs: &[ChannelName]) {
        self.lock().forget(client, logs, self.is_written);
    }

    /// Who follows a channel, of those whose places are kept in a log: the last who came.
    pub(super) fn standing(&self, log: &ChannelName, channel: &ChannelName) -> Vec<Stands> {
        let clients = self.lock().logs.get(log).map(Kept::last).unwrap_or_default();
        let stands = clients.iter().filter_map(|client| {
            let at = client.followed().stands_at(channel)?;
            Some(Stands { client: client.client.clone(), at, is_leaving: client.is_leaving() })
        });
        stands.collect()
    }

    /// Answers what another node asks.
    pub(super) fn answer(&self, question: &Question) -> Value {
        let log = ChannelName::internal(question.places_in.trim_start_matches('\0'));
        let answer = Answer { run: self.run.clone(), clients: self.standing(&log, &question.channel) };
        serde_json::to_value(answer).unwrap_or_default()
    }

    /// The logs that are to be written now, at most so many, those first that have waited longest.
    pub(super) fn take_due(&self, max: usize, now_ms: u64) -> Vec<ChannelName> {
        let mut state = self.lock();
        let mut logs = Vec::new();
        while logs.len() < max
            && let Some((_, log)) = state.due.first().filter(|(due_ms, _)| *due_ms <= now_ms).cloned()
        {
            state.done(&log);
            logs.push(log);
        }
        logs
    }

    /// What is to be written of a log now, if anything is: nothing of those who have come and gone meanwhile.
    /// A log is forgotten with that in which nothing is kept any more.
    pub(super) fn begin(&self, log: &ChannelName, now_ms: u64) -> Option<Due> {
        let mut state = self.lock();
        state.done(log);
        let kept = state.logs.get_mut(log).filter(|_| self.is_written)?;
        let was_written = kept.written_ms.is_some();
        let is_named = kept.named_ms.is_none_or(|named_ms| now_ms >= named_ms + RENEW_EVERY_MS);
        if is_named {
            kept.named_ms = Some(now_ms);
        }
        kept.written_ms = Some(now_ms);
        let (application, last) = (Arc::clone(&kept.application), kept.last());
        if last.is_empty() {
            state.remove(log);
        } else {
            state.write_by(log, now_ms + RENEW_EVERY_MS);
        }
        drop(state);
        if last.is_empty() && !was_written {
            return None;
        }
        let (mut left, mut clients) = (STANDS_MAX, Vec::new());
        for client in last {
            let mut standing = client.followed().standing_in(log);
            standing.truncate(left);
            left -= standing.len();
            if !standing.is_empty() {
                clients.push((client.client.clone(), standing));
            }
        }
        Some(Due { application, is_named, clients })
    }

    /// It could not be written what was to be.
    pub(super) fn failed(&self, log: &ChannelName) {
        let mut state = self.lock();
        if let Some(kept) = state.logs.get_mut(log) {
            kept.named_ms = None;
        }
        state.moved(std::slice::from_ref(log));
    }

    /// The applications that have clients here.
    pub(super) fn applications(&self) -> Vec<Arc<Application>> {
        self.lock().applications.values().map(|(application, _)| Arc::clone(application)).collect()
    }
}

impl State {
    /// What is kept of a log, from now on at the latest.
    fn kept(&mut self, application: &Arc<Application>, log: &ChannelName) -> &mut Kept {
        let Self { logs, applications, .. } = self;
        logs.entry(log.clone()).or_insert_with(|| {
            let id = application.settings.id.clone();
            applications.entry(id).or_insert_with(|| (Arc::clone(application), 0)).1 += 1;
            Kept {
                application: Arc::clone(application),
                clients: BTreeMap::new(),
                due_ms: None,
                written_ms: None,
                named_ms: None,
            }
        })
    }

    /// Takes a client out of these logs. Where it is written down who is here, one that is empty stays until
    /// that is.
    fn forget(&mut self, client: &Arc<Tracked>, logs: &[ChannelName], is_written: bool) {
        for log in logs {
            let Some(kept) = self.logs.get_mut(log) else { continue };
            kept.clients.remove(&client.number);
            if kept.clients.is_empty() && !is_written {
                self.remove(log);
            }
        }
        if is_written {
            self.moved(logs);
        }
    }

    fn remove(&mut self, log: &ChannelName) {
        self.done(log);
        let Some(kept) = self.logs.remove(log) else { return };
        let id = &kept.application.settings.id;
        if let Some((_, count)) = self.applications.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.applications.remove(id);
            }
        }
    }

    /// Has these written when it is time to.
    fn moved(&mut self, logs: &[ChannelName]) {
        for log in logs {
            let written_ms = self.logs.get(log).and_then(|kept| kept.written_ms);
            self.write_by(log, written_ms.map_or(0, |written_ms| written_ms + WRITE_EVERY_MS));
        }
    }

    /// Has one written then, if not before.
    fn write_by(&mut self, log: &ChannelName, at_ms: u64) {
        let Some(kept) = self.logs.get_mut(log) else { return };
        if kept.due_ms.is_some_and(|due_ms| due_ms <= at_ms) {
            return;
        }
        if let Some(due_ms) = kept.due_ms.replace(at_ms) {
            self.due.remove(&(due_ms, log.clone()));
        }
        self.due.insert((at_ms, log.clone()));
    }

    /// One is written now, or not any more.
    fn done(&mut self, log: &ChannelName) {
        let due_ms = self.logs.get_mut(log).and_then(|kept| kept.due_ms.take());
        if let Some(due_ms) = due_ms {
            self.due.remove(&(due_ms, log.clone()));
        }
    }
}

impl Kept {
    /// Those who came last, who are those who come back.
    fn last(&self) -> Vec<Arc<Tracked>> {
        self.clients.values().rev().take(CLIENTS_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::Epoch;

    use super::*;
    use crate::dialects::pusher::{application::tests::application, followed::Follows};

    fn log(number: usize) -> ChannelName {
        ChannelName::internal(&format!("places/{number}"))
    }

    fn channel(number: usize) -> ChannelName {
        ChannelName::public(&format!("pusher:1:{number}")).unwrap()
    }

    /// A client that follows so many channels, whose places are kept in one log.
    fn client(living: &Living, channels: usize, kept_in: &ChannelName) -> Arc<Tracked> {
        let number = living.came.load(Ordering::Relaxed);
        let client = living.track(UserId::new(&format!("pusher:1:{number}")).unwrap());
        for number in 0..channels {
            let at = Position { epoch: Epoch(1), offset: 7 };
            let (log, kept_in) = (channel(number), vec![kept_in.clone()]);
            client.followed().follow(Follows { log, kept_in, at, until: 0, former: None });
        }
        client
    }

    /// What is written then.
    fn written(living: &Living, max: usize, now_ms: u64) -> Vec<(bool, Vec<(UserId, Standing)>)> {
        let due = living.take_due(max, now_ms);
        let due = due.iter().filter_map(|log| living.begin(log, now_ms));
        due.map(|due| (due.is_named, due.clients)).collect()
    }

    #[test]
    fn where_a_client_stands_is_written_when_it_has_moved_and_not_all_the_time() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(&living, 2, &log(0));
        assert!(written(&living, 9, 0).is_empty());
        living.enter(&application, &client, &[log(0)], 100);
        assert!(written(&living, 9, 99).is_empty());
        let stands = vec![(client.client.clone(), client.followed().standing_in(&log(0)))];
        assert_eq!((stands[0].1.len(), written(&living, 9, 100)), (2, vec![(true, stands.clone())]));
        assert!(written(&living, 9, 5_000).is_empty(), "it has not moved");
        living.moved(&[log(0)]);
        living.moved(&[log(0)]);
        assert_eq!(written(&living, 9, 5_000), [(false, stands.clone())]);
        living.moved(&[log(0)]);
        assert!(written(&living, 9, 5_000 + WRITE_EVERY_MS - 1).is_empty());
        living.failed(&log(0));
        assert_eq!(written(&living, 9, 5_000 + WRITE_EVERY_MS), [(true, stands)]);
        assert!(living.applications().iter().all(|known| Arc::ptr_eq(known, &application)));
        living.gone(&client, &[log(0)]);
        assert_eq!(written(&living, 9, 5_000 + 2 * WRITE_EVERY_MS), [(false, vec![])]);
        let state = living.lock();
        assert!(state.logs.is_empty() && state.due.is_empty() && state.applications.is_empty());
    }

    #[test]
    fn where_nothing_is_written_nothing_is_left_of_who_is_gone() {
        let (living, application) = (Living::new("run".into(), false), application());
        let client = client(&living, 1, &log(0));
        living.enter(&application, &client, &[log(0)], 0);
        living.moved(&[log(0)]);
        assert_eq!(living.standing(&log(0), &channel(0)).len(), 1);
        living.gone(&client, &[log(0)]);
        let state = living.lock();
        assert!(state.logs.is_empty() && state.due.is_empty() && state.applications.is_empty());
    }

    #[test]
    fn nothing_is_left_of_who_follows_no_channel_any_more() {
        for is_written in [false, true] {
            let living = Living::new("run".into(), is_written);
            let client = client(&living, 2, &log(0));
            living.enter(&application(), &client, &[log(0)], 0);
            for (number, left) in [(0, 1), (1, 0)] {
                client.followed().unfollow(&channel(number));
                living.unfollowed(&client, &[log(0)]);
                let kept = living.lock().logs.get(&log(0)).map_or(0, |kept| kept.clients.len());
                assert_eq!(kept, left, "{is_written}");
            }
            assert!(written(&living, 9, 0).is_empty());
            assert!(living.lock().logs.is_empty(), "{is_written}");
        }
    }

    #[test]
    fn who_does_not_move_is_written_again_before_it_is_forgotten() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(&living, 1, &log(0));
        living.enter(&application, &client, &[log(0)], 0);
        assert_eq!(written(&living, 9, 0).len(), 1);
        assert!(written(&living, 9, RENEW_EVERY_MS - 1).is_empty());
        assert!(written(&living, 9, RENEW_EVERY_MS).pop().unwrap().0, "that it is here is said again too");
    }

    #[test]
    fn so_many_clients_and_places_of_a_log_are_written_and_so_many_logs_at_a_time() {
        let (living, application) = (Living::new("run".into(), true), application());
        let clients: Vec<_> = (0..CLIENTS_MAX + 1).map(|_| client(&living, 1, &log(0))).collect();
        clients.iter().for_each(|client| living.enter(&application, client, &[log(0)], 0));
        let last = &clients[CLIENTS_MAX].client;
        let (_, due) = written(&living, 9, 0).pop().unwrap();
        assert_eq!((due.len(), &due[0].0), (CLIENTS_MAX, last));
        assert_eq!(living.standing(&log(0), &channel(0)).len(), CLIENTS_MAX);
        for _ in 1..4 {
            let client = client(&living, 100, &log(1));
            living.enter(&application, &client, &[log(1), log(2)], 0);
        }
        let due = written(&living, 1, 0);
        let counts: Vec<usize> = due[0].1.iter().map(|(_, standing)| standing.len()).collect();
        assert_eq!((due.len(), counts), (1, vec![100, 100, STANDS_MAX - 200]));
        assert_eq!(living.take_due(9, 0), [log(2)]);
    }

    #[test]
    fn of_many_logs_those_are_written_first_that_waited_longest_and_no_other_is_looked_at() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(&living, 1, &log(0));
        for number in 0..1_000 {
            living.enter(&application, &client, &[log(number)], number as u64);
            assert!(living.begin(&log(number), number as u64).is_some());
        }
        let in_order = |from: usize, count| (from..from + count).map(log).collect::<Vec<_>>();
        let all: Vec<_> = (0..1_000).rev().map(log).collect();
        living.moved(&all);
        living.moved(&all);
        assert_eq!(living.lock().due.len(), 1_000, "each is in it once");
        assert_eq!(living.take_due(9, WRITE_EVERY_MS - 1), []);
        assert_eq!(living.take_due(9, 2_000), in_order(0, 9));
        assert_eq!(living.take_due(9, 2_000), in_order(9, 9));
        assert_eq!(living.take_due(9, WRITE_EVERY_MS + 20), in_order(18, 3));
        assert_eq!(living.lock().due.len(), 1_000 - 21);
    }

    #[test]
    fn another_node_is_told_who_follows_a_channel_and_who_leaves_until_that_is_written() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(&living, 1, &log(0));
        living.enter(&application, &client, &[log(0)], 0);
        let asked = |place: usize, number| {
            let (places_in, channel) = (log(place).as_str().to_owned(), channel(number));
            let answer = living.answer(&Question { places_in, channel });
            let Answer { run, clients } = serde_json::from_value(answer).unwrap();
            assert_eq!(run, "run");
            clients.into_iter().map(|stands| (stands.at.offset, stands.is_leaving)).collect::<Vec<_>>()
        };
        assert_eq!((asked(0, 0), asked(1, 0), asked(0, 1)), (vec![(7, false)], vec![], vec![]));
        client.leave();
        assert_eq!(asked(0, 0), [(7, true)]);
        living.gone(&client, &[log(0)]);
        assert_eq!(asked(0, 0), []);
    }
}
