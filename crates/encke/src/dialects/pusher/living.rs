//! The clients of this server that may be known again, by the logs in which their places are kept: where each
//! stands, for others who come, and which of that is to be written down anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_proto::{ChannelName, Position, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{application::Application, place_records::Standing, tracked::Tracked};

/// How often it is written anew where the clients of a browser or user stand that move, in milliseconds.
const WRITE_EVERY_MS: u64 = 1_000;
/// How often it is written where they stand that do not, in milliseconds: before it is forgotten.
const RENEW_EVERY_MS: u64 = 1_500_000;
/// The most clients and the most places of one browser or user that are written. Of so many clients others
/// are told. Of more it is only known when they leave.
const CLIENTS_MAX: usize = 64;
const STANDS_MAX: usize = 256;

/// The clients, and what is to be written.
#[derive(Debug)]
pub(super) struct Living {
    /// What this run of the server is called.
    pub(super) run: String,
    /// Whether it is written down where they stand.
    is_written: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: HashMap<ChannelName, Kept>,
    /// Those that are to be written, each once, in the order in which that was found.
    moved: VecDeque<ChannelName>,
}

/// Those whose places are kept in one log.
#[derive(Debug)]
struct Kept {
    application: Arc<Application>,
    clients: Vec<Arc<Tracked>>,
    is_moved: bool,
    /// When it was written last where they stand, and that they are here, in milliseconds of the clock that
    /// never goes back.
    written_ms: Option<u64>,
    named_ms: Option<u64>,
}

/// What is to be written of one log.
pub(super) struct Due {
    pub(super) log: ChannelName,
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
        Self { run, is_written, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is here whose places are kept in these logs, or it is already and has moved.
    pub(super) fn enter(&self, application: &Arc<Application>, client: &Arc<Tracked>, logs: &[ChannelName]) {
        let mut state = self.lock();
        for log in logs {
            let kept = state.logs.entry(log.clone()).or_insert_with(|| Kept {
                application: Arc::clone(application),
                clients: Vec::new(),
                is_moved: false,
                written_ms: None,
                named_ms: None,
            });
            if !kept.clients.iter().any(|known| Arc::ptr_eq(known, client)) {
                kept.clients.push(Arc::clone(client));
            }
        }
        if self.is_written {
            state.note(logs);
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
            state.note(&kept);
        }
    }

    /// A client has moved whose places are kept in these logs.
    pub(super) fn moved(&self, logs: &[ChannelName]) {
        if self.is_written {
            self.lock().note(logs);
        }
    }

    /// A client is gone, and what there was to be written of it in a log is.
    pub(super) fn gone(&self, client: &Arc<Tracked>, logs: &[ChannelName]) {
        self.lock().forget(client, logs, self.is_written);
    }

    /// Who follows a channel, of those whose places are kept in a log: the last who came.
    pub(super) fn standing(&self, log: &ChannelName, channel: &ChannelName) -> Vec<Stands> {
        let last = |kept: &Kept| kept.clients.iter().rev().take(CLIENTS_MAX).cloned().collect::<Vec<_>>();
        let clients = self.lock().logs.get(log).map(last).unwrap_or_default();
        let stands = clients.iter().filter_map(|client| {
            client.ask();
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

    /// What is to be written now, at most `max` logs of it. Those in which nothing is kept any more are
    /// forgotten with that.
    pub(super) fn take_due(&self, max: usize, now_ms: u64) -> Vec<Due> {
        let mut state = self.lock();
        let mut due = Vec::new();
        for _ in 0..state.moved.len() {
            if due.len() >= max {
                break;
            }
            let Some(log) = state.moved.pop_front() else { break };
            let Some(kept) = state.logs.get_mut(&log).filter(|kept| kept.is_moved) else { continue };
            if kept.written_ms.is_some_and(|written_ms| now_ms < written_ms + WRITE_EVERY_MS) {
                state.moved.push_back(log);
                continue;
            }
            let taken = kept.take(log.clone(), now_ms);
            if kept.clients.is_empty() {
                state.logs.remove(&log);
            }
            due.extend(taken);
        }
        due
    }

    /// It could not be written what was to be.
    pub(super) fn failed(&self, log: &ChannelName) {
        let mut state = self.lock();
        if let Some(kept) = state.logs.get_mut(log) {
            kept.named_ms = None;
        }
        state.note(std::slice::from_ref(log));
    }

    /// Has it written again where those stand who do not move, when it is time to. The applications that have
    /// any.
    pub(super) fn renew(&self, now_ms: u64) -> Vec<Arc<Application>> {
        let mut state = self.lock();
        let mut applications: Vec<Arc<Application>> = Vec::new();
        let mut old = Vec::new();
        for (log, kept) in &state.logs {
            if !applications.iter().any(|known| Arc::ptr_eq(known, &kept.application)) {
                applications.push(Arc::clone(&kept.application));
            }
            if kept.written_ms.is_some_and(|written_ms| now_ms >= written_ms + RENEW_EVERY_MS) {
                old.push(log.clone());
            }
        }
        state.note(&old);
        applications
    }
}

impl State {
    /// Takes a client out of these logs. Where it is written down who is here, one that is empty stays until
    /// that is.
    fn forget(&mut self, client: &Arc<Tracked>, logs: &[ChannelName], is_written: bool) {
        for log in logs {
            let Some(kept) = self.logs.get_mut(log) else { continue };
            kept.clients.retain(|known| !Arc::ptr_eq(known, client));
            if kept.clients.is_empty() && !is_written {
                self.logs.remove(log);
            }
        }
        if is_written {
            self.note(logs);
        }
    }

    fn note(&mut self, logs: &[ChannelName]) {
        for log in logs {
            if let Some(kept) = self.logs.get_mut(log)
                && !std::mem::replace(&mut kept.is_moved, true)
            {
                self.moved.push_back(log.clone());
            }
        }
    }
}

impl Kept {
    /// What is to be written; nothing of those who have come and gone meanwhile.
    fn take(&mut self, log: ChannelName, now_ms: u64) -> Option<Due> {
        self.is_moved = false;
        if self.clients.is_empty() && self.written_ms.is_none() {
            return None;
        }
        let is_named = self.named_ms.is_none_or(|named_ms| now_ms >= named_ms + RENEW_EVERY_MS);
        if is_named {
            self.named_ms = Some(now_ms);
        }
        self.written_ms = Some(now_ms);
        let mut left = STANDS_MAX;
        let mut clients = Vec::new();
        // Those who came last are those who come back.
        for client in self.clients.iter().rev().take(CLIENTS_MAX) {
            let mut standing = client.followed().standing_in(&log);
            standing.truncate(left);
            left -= standing.len();
            if !standing.is_empty() {
                clients.push((client.client.clone(), standing));
            }
        }
        Some(Due { log, application: Arc::clone(&self.application), is_named, clients })
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
    fn client(number: usize, channels: usize, kept_in: &ChannelName) -> Arc<Tracked> {
        let client = Tracked::new(UserId::new(&format!("pusher:1:{number}")).unwrap());
        for number in 0..channels {
            let at = Position { epoch: Epoch(1), offset: 7 };
            let (log, kept_in) = (channel(number), vec![kept_in.clone()]);
            client.followed().follow(Follows { log, kept_in, at, until: 0, former: None });
        }
        Arc::new(client)
    }

    #[test]
    fn where_a_client_stands_is_written_when_it_has_moved_and_not_all_the_time() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(1, 2, &log(0));
        let mut now_ms = 0;
        let mut due = |now: u64| {
            now_ms += now;
            living.take_due(9, now_ms).into_iter().map(|due| (due.is_named, due.clients)).collect::<Vec<_>>()
        };
        assert!(due(0).is_empty());
        living.enter(&application, &client, &[log(0)]);
        let stands = vec![(client.client.clone(), client.followed().standing_in(&log(0)))];
        assert_eq!((stands[0].1.len(), due(0)), (2, vec![(true, stands.clone())]));
        assert!(due(5_000).is_empty(), "it has not moved");
        living.moved(&[log(0)]);
        living.moved(&[log(0)]);
        assert_eq!(due(0), [(false, stands.clone())]);
        living.moved(&[log(0)]);
        assert!(due(WRITE_EVERY_MS - 1).is_empty());
        living.failed(&log(0));
        assert_eq!(due(1), [(true, stands)]);
        assert!(living.renew(now_ms).iter().all(|known| Arc::ptr_eq(known, &application)));
        living.gone(&client, &[log(0)]);
        assert_eq!(living.take_due(9, now_ms + 1_000).pop().unwrap().clients, []);
        assert!(living.lock().logs.is_empty() && living.renew(now_ms).is_empty());
    }

    #[test]
    fn where_nothing_is_written_nothing_is_left_of_who_is_gone() {
        let (living, client) = (Living::new("run".into(), false), client(1, 1, &log(0)));
        living.enter(&application(), &client, &[log(0)]);
        living.moved(&[log(0)]);
        assert_eq!(living.standing(&log(0), &channel(0)).len(), 1);
        living.gone(&client, &[log(0)]);
        let state = living.lock();
        assert!(state.logs.is_empty() && state.moved.is_empty());
    }

    #[test]
    fn nothing_is_left_of_who_follows_no_channel_any_more() {
        for is_written in [false, true] {
            let (living, client) = (Living::new("run".into(), is_written), client(1, 2, &log(0)));
            living.enter(&application(), &client, &[log(0)]);
            for (number, left) in [(0, 1), (1, 0)] {
                client.followed().unfollow(&channel(number));
                living.unfollowed(&client, &[log(0)]);
                let kept = living.lock().logs.get(&log(0)).map_or(0, |kept| kept.clients.len());
                assert_eq!(kept, left, "{is_written}");
            }
            assert!(living.take_due(9, 0).is_empty());
            assert!(living.lock().logs.is_empty(), "{is_written}");
        }
    }

    #[test]
    fn who_does_not_move_is_written_again_before_it_is_forgotten() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(1, 1, &log(0));
        living.enter(&application, &client, &[log(0)]);
        assert_eq!(living.take_due(9, 0).len(), 1);
        assert_eq!(living.renew(RENEW_EVERY_MS - 1).len(), 1);
        assert!(living.take_due(9, RENEW_EVERY_MS - 1).is_empty());
        living.renew(RENEW_EVERY_MS);
        assert!(living.take_due(9, RENEW_EVERY_MS).pop().unwrap().is_named);
    }

    #[test]
    fn so_many_clients_and_places_of_a_log_are_written_and_so_many_logs_at_a_time() {
        let (living, application) = (Living::new("run".into(), true), application());
        let clients: Vec<_> = (0..CLIENTS_MAX + 1).map(|number| client(number, 1, &log(0))).collect();
        clients.iter().for_each(|client| living.enter(&application, client, &[log(0)]));
        let last = &clients[CLIENTS_MAX].client;
        let due = living.take_due(9, 0).pop().unwrap();
        assert_eq!((due.clients.len(), &due.clients[0].0), (CLIENTS_MAX, last));
        assert_eq!(living.standing(&log(0), &channel(0)).len(), CLIENTS_MAX);
        for number in 1..4 {
            let client = client(number, 100, &log(1));
            living.enter(&application, &client, &[log(1), log(2)]);
        }
        let due = living.take_due(1, 0);
        let counts: Vec<usize> = due[0].clients.iter().map(|(_, standing)| standing.len()).collect();
        assert_eq!((due.len(), counts), (1, vec![100, 100, STANDS_MAX - 200]));
        assert_eq!(living.take_due(9, 0).pop().unwrap().log, log(2));
    }

    #[test]
    fn another_node_is_told_who_follows_a_channel_and_who_leaves_until_that_is_written() {
        let (living, application) = (Living::new("run".into(), true), application());
        let client = client(1, 1, &log(0));
        living.enter(&application, &client, &[log(0)]);
        let asked = |place: usize, number| {
            let (places_in, channel) = (log(place).as_str().to_owned(), channel(number));
            let answer = living.answer(&Question { places_in, channel });
            let Answer { run, clients } = serde_json::from_value(answer).unwrap();
            assert_eq!(run, "run");
            clients.into_iter().map(|stands| (stands.at.offset, stands.is_leaving)).collect::<Vec<_>>()
        };
        assert_eq!((asked(0, 0), asked(1, 0), asked(0, 1)), (vec![(7, false)], vec![], vec![]));
        assert!(client.take_asked() && !client.take_asked());
        client.leave();
        assert_eq!(asked(0, 0), [(7, true)]);
        living.gone(&client, &[log(0)]);
        assert_eq!(asked(0, 0), []);
    }
}
