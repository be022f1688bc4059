//! Which users the other nodes find here, and which sessions were closed here.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_engine::Cluster;
use encke_proto::{SessionId, UserId};
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};

/// The most users that leave in one call.
const LEAVE_MAX: usize = 1_024;
/// The most users that are entered at a time after this node was taken for dead.
const ENTER_AT_ONCE: usize = 256;
/// How long what the engine did not take is kept before it is offered again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a close waits until all nodes know of it.
const BURY_MAX: Duration = Duration::from_secs(1);
/// The most sessions whose end the engine has not taken yet; past it the oldest are known on this node alone.
const GRAVES_MAX: usize = 65_536;

/// The users who are here, as far as others are to know. Who has sessions here stands in the shards; here
/// stands only what is under way.
pub(super) struct UserLocations {
    cluster: Arc<dyn Cluster>,
    /// For how long a closed session is remembered, in milliseconds.
    kept_ms: u64,
    state: Mutex<State>,
    /// There is something to do.
    news: Notify,
    /// Somebody may enter who was leaving.
    left: Notify,
    /// How many burials were asked for, and how many of them are done.
    buried: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Users who are entering, and how often; bounded by the connections.
    claims: HashMap<UserId, u32>,
    /// Users who have no session here any more, and the others do not know it yet.
    leaving: HashSet<UserId>,
    /// Those of them of whom the engine is being told.
    on_the_way: HashSet<UserId>,
    graves: Vec<(UserId, SessionId)>,
    asked: u64,
    /// How many renewals are under way. Meanwhile nobody leaves: who was overtaken by being entered would
    /// stay for ever.
    renewals: u32,
}

impl UserLocations {
    pub(super) fn new(cluster: Arc<dyn Cluster>, kept_ms: u64) -> Self {
        let (buried, _) = watch::channel(0);
        Self { cluster, kept_ms, state: Mutex::default(), news: Notify::new(), left: Notify::new(), buried }
    }

    /// A user has a session here.
    pub(super) fn came(&self, user: &UserId) {
        self.lock().leaving.remove(user);
    }

    /// A user has none any more.
    pub(super) fn went(&self, user: UserId) {
        self.lock().leaving.insert(user);
        self.news.notify_one();
    }

    /// A session was closed on purpose.
    pub(super) fn mark_closed(&self, user: UserId, session: SessionId) {
        let mut state = self.lock();
        state.asked += 1;
        if state.graves.len() < GRAVES_MAX {
            state.graves.push((user, session));
        }
        drop(state);
        self.news.notify_one();
    }

    /// Waits until all nodes can know of the sessions that were closed before, for a bounded time.
    pub(super) async fn settled(&self) {
        let asked = self.lock().asked;
        let mut buried = self.buried.subscribe();
        let done = buried.wait_for(|count| *count >= asked);
        if tokio::time::timeout(BURY_MAX, done).await.is_err() {
            tracing::warn!("other nodes may not know yet of sessions that were closed");
        }
    }

    /// A user is about to have a session here; until the guard is dropped it does not count that there is
    /// none yet.
    pub(super) async fn claim(self: &Arc<Self>, user: &UserId) -> Claiming {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.on_the_way.contains(user) {
                    state.leaving.remove(user);
                    *state.claims.entry(user.clone()).or_default() += 1;
                    return Claiming { user_locations: Arc::clone(self), user: user.clone() };
                }
            }
            // What was told first must be done first: or the user would be gone for the others.
            left.await;
        }
    }

    /// This node has begun another incarnation, in which nobody is entered. Asked for before it is looked who
    /// is here, so that none of those leaves before being entered.
    pub(super) fn renew(self: &Arc<Self>) -> Renewal {
        let mut state = self.lock();
        state.renewals += 1;
        // They may have been entered in the incarnation before, and are not in the shards yet.
        let claimed = state.claims.keys().cloned().collect();
        Renewal { user_locations: Arc::clone(self), claimed }
    }

    /// Tells the engine what is to be told, for ever.
    pub(super) async fn run(&self) {
        loop {
            self.news.notified().await;
            while !(self.mark_all_closed().await && self.let_go().await) {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn mark_all_closed(&self) -> bool {
        let (graves, asked) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.graves), state.asked)
        };
        let mut by_user: HashMap<&UserId, Vec<SessionId>> = HashMap::new();
        for (user, session) in &graves {
            by_user.entry(user).or_default().push(*session);
        }
        let all =
            by_user.iter().map(|(user, sessions)| self.cluster.mark_closed(user, sessions, self.kept_ms));
        let results = futures_util::future::join_all(all).await;
        if let Some(error) = results.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "sessions that were closed could not be remembered for the other nodes");
            let mut state = self.lock();
            let room = GRAVES_MAX.saturating_sub(state.graves.len());
            state.graves.extend(graves.into_iter().take(room));
            return false;
        }
        self.buried.send_modify(|count| *count = asked.max(*count));
        true
    }

    async fn let_go(&self) -> bool {
        loop {
            let users: Vec<UserId> = {
                let mut state = self.lock();
                if state.renewals > 0 {
                    return true;
                }
                let State { claims, leaving, on_the_way, .. } = &mut *state;
                let users: Vec<_> = leaving
                    .iter()
                    .filter(|user| !claims.contains_key(*user))
                    .take(LEAVE_MAX)
                    .cloned()
                    .collect();
                users.iter().for_each(|user| {
                    leaving.remove(user);
                });
                on_the_way.extend(users.iter().cloned());
                users
            };
            if users.is_empty() {
                return true;
            }
            let result = self.cluster.leave(&users).await;
            let mut state = self.lock();
            users.iter().for_each(|user| {
                state.on_the_way.remove(user);
            });
            if let Err(error) = result {
                tracing::warn!(%error, "users could not be taken out for the other nodes");
                state.leaving.extend(users);
                drop(state);
                self.left.notify_waiters();
                return false;
            }
            drop(state);
            self.left.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The users of this node are about to be entered in its new incarnation.
pub(super) struct Renewal {
    user_locations: Arc<UserLocations>,
    claimed: HashSet<UserId>,
}

impl Renewal {
    /// Enters all of them: those who are `here`, and those who were about to be.
    pub(super) async fn enter(mut self, here: impl IntoIterator<Item = UserId>) {
        let mut users = std::mem::take(&mut self.claimed);
        users.extend(here);
        let user_locations = &self.user_locations;
        let enter = |user: UserId| async move {
            while let Err(error) = user_locations.cluster.enter(&user, None).await {
                tracing::warn!(%error, "a user could not be entered for the other nodes");
                tokio::time::sleep(RETRY).await;
            }
        };
        stream::iter(users).map(enter).buffer_unordered(ENTER_AT_ONCE).for_each(|()| async {}).await;
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.user_locations.lock().renewals -= 1;
        self.user_locations.news.notify_one();
    }
}

/// A user who is about to have a session here.
pub struct Claiming {
    user_locations: Arc<UserLocations>,
    user: UserId,
}

impl Drop for Claiming {
    fn drop(&mut self) {
        let mut state = self.user_locations.lock();
        if let Some(count) = state.claims.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                state.claims.remove(&self.user);
            }
        }
        let leaves = state.leaving.contains(&self.user);
        drop(state);
        if leaves {
            self.user_locations.news.notify_one();
        }
    }
}

impl fmt::Debug for Claiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claiming").field("user", &self.user).finish_non_exhaustive()
    }
}
