//! Which users the other nodes find here, and which sessions were closed here.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use encke_engine::{Cluster, EngineError};
use encke_proto::{SessionId, UserId};
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};

/// The most users that leave in one call.
const LEAVE_MAX: usize = 1_024;
/// The most calls of the engine at a time that are about one user each.
const CALLS_AT_ONCE: usize = 256;
/// How long what the engine did not take is kept before it is offered again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a close waits until all nodes know of it.
const MARK_CLOSED_MAX: Duration = Duration::from_secs(1);
/// The most sessions whose end the engine has not taken yet; past it the oldest are known on this node alone.
const CLOSED_MARKS_MAX: usize = 65_536;

/// The users who are here, as far as others are to know. Who has sessions here stands in the shards; here
/// stands only what is under way.
pub(super) struct UserLocations {
    cluster: Arc<dyn Cluster>,
    /// For how long a closed session is remembered, in milliseconds.
    kept_ms: u64,
    state: Mutex<State>,
    /// There is something to do.
    news: Notify,
    /// A user may enter who was leaving.
    left: Notify,
    /// How many closed sessions were to be marked, and how many of them are.
    marked: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Users who are entering, and how often; bounded by the connections.
    claims: HashMap<UserId, u32>,
    /// Users who have no session here any more, and the others do not know it yet.
    leaving: HashSet<UserId>,
    /// Those of them of whom the engine is being told.
    on_the_way: HashSet<UserId>,
    /// Sessions that were closed, and the engine does not know it yet.
    closed_marks: HashMap<UserId, Vec<SessionId>>,
    /// How many sessions these are.
    closed_mark_count: usize,
    asked: u64,
    /// How many renewals do not know their users yet. Meanwhile no departure is told: a user who is entered
    /// after that would stay for ever.
    renewals: u32,
    /// Users who are being entered by renewals, and by how many. Their departures are told after that.
    entering: HashMap<UserId, u32>,
}

impl UserLocations {
    pub(super) fn new(cluster: Arc<dyn Cluster>, kept_ms: u64) -> Self {
        let (marked, _) = watch::channel(0);
        Self { cluster, kept_ms, state: Mutex::default(), news: Notify::new(), left: Notify::new(), marked }
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
        state.keep(user, [session]);
        drop(state);
        self.news.notify_one();
    }

    /// Waits until all nodes can know of the sessions that were closed before, for a bounded time.
    pub(super) async fn settled(&self) {
        let asked = self.lock().asked;
        let mut marked = self.marked.subscribe();
        let done = marked.wait_for(|count| *count >= asked);
        if tokio::time::timeout(MARK_CLOSED_MAX, done).await.is_err() {
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

    /// This node has begun another incarnation, in which no user is entered. Asked for before it is looked
    /// who is here, so that none of those leaves before being entered.
    pub(super) fn renew(self: &Arc<Self>) -> Renewal {
        let mut state = self.lock();
        state.renewals += 1;
        // They may have been entered in the incarnation before, and are not in the shards yet.
        let claimed = state.claims.keys().cloned().collect();
        Renewal { user_locations: Arc::clone(self), claimed }
    }

    /// Tells the engine what is to be told, for ever. What it does not take of one user holds up no other.
    pub(super) async fn run(&self) {
        loop {
            self.news.notified().await;
            loop {
                let marked = self.mark_all_closed().await;
                let left = self.let_go().await;
                if marked && left {
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Tells of the sessions that were closed; whether the engine took all.
    async fn mark_all_closed(&self) -> bool {
        let (closed_marks, asked) = {
            let mut state = self.lock();
            state.closed_mark_count = 0;
            (std::mem::take(&mut state.closed_marks), state.asked)
        };
        let mark_closed = |(user, sessions): (UserId, Vec<SessionId>)| async move {
            let error = self.cluster.mark_closed(&user, &sessions, self.kept_ms).await.err()?;
            self.lock().keep(user, sessions);
            Some(error)
        };
        let errors = stream::iter(closed_marks).map(mark_closed).buffer_unordered(CALLS_AT_ONCE);
        let mut errors = std::pin::pin!(errors.filter_map(|error| async { error }));
        let mut last = None;
        while let Some(error) = errors.next().await {
            last = Some(error);
        }
        if let Some(error) = last {
            tracing::warn!(%error, "sessions that were closed could not be remembered for the other nodes");
            return false;
        }
        self.marked.send_modify(|count| *count = asked.max(*count));
        true
    }

    /// Tells of the users who have left; whether the engine took all.
    async fn let_go(&self) -> bool {
        let mut failed = HashSet::new();
        loop {
            let users = self.lock().next_to_leave(&failed);
            if users.is_empty() {
                return failed.is_empty();
            }
            let mut results = vec![(users.clone(), self.cluster.leave(&users).await)];
            if users.len() > 1 && results[0].1.is_err() {
                // One of them may be the reason, and the others can be told of alone.
                let leave = |user: UserId| async move {
                    let result = self.cluster.leave(std::slice::from_ref(&user)).await;
                    (vec![user], result)
                };
                results = stream::iter(users).map(leave).buffer_unordered(CALLS_AT_ONCE).collect().await;
            }
            let mut last = None;
            let mut state = self.lock();
            for (users, result) in results {
                users.iter().for_each(|user| {
                    state.on_the_way.remove(user);
                });
                if let Err(error) = result {
                    last = Some(error);
                    failed.extend(users.iter().cloned());
                    state.leaving.extend(users);
                }
            }
            drop(state);
            if let Some(error) = last {
                tracing::warn!(%error, "users could not be taken out for the other nodes");
            }
            self.left.notify_waiters();
        }
    }

    /// A renewal enters this user, until the guard is dropped.
    fn enters(self: &Arc<Self>, user: UserId) -> Entering {
        *self.lock().entering.entry(user.clone()).or_default() += 1;
        Entering { user_locations: Arc::clone(self), user }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps closed sessions until the engine knows of them, as many as there is room for.
    fn keep(&mut self, user: UserId, sessions: impl IntoIterator<Item = SessionId>) {
        let room = CLOSED_MARKS_MAX.saturating_sub(self.closed_mark_count);
        let sessions: Vec<SessionId> = sessions.into_iter().take(room).collect();
        if !sessions.is_empty() {
            self.closed_mark_count += sessions.len();
            self.closed_marks.entry(user).or_default().extend(sessions);
        }
    }

    /// Users of whom the engine is to be told next that they have left, at most [`LEAVE_MAX`], without those
    /// of whom that has just `failed`.
    fn next_to_leave(&mut self, failed: &HashSet<UserId>) -> Vec<UserId> {
        if self.renewals > 0 {
            return Vec::new();
        }
        // As long as a closed session is not known as such, the other nodes have to find the user here and
        // ask.
        let may_leave = |user: &&UserId| {
            !self.claims.contains_key(*user)
                && !self.entering.contains_key(*user)
                && !self.closed_marks.contains_key(*user)
                && !failed.contains(*user)
        };
        let users: Vec<UserId> = self.leaving.iter().filter(may_leave).take(LEAVE_MAX).cloned().collect();
        for user in &users {
            self.leaving.remove(user);
            self.on_the_way.insert(user.clone());
        }
        users
    }
}

/// The users of this node are about to be entered in its new incarnation.
pub(super) struct Renewal {
    user_locations: Arc<UserLocations>,
    claimed: HashSet<UserId>,
}

impl Renewal {
    /// Enters all users who are `here`, and those that were about to be. Each is tried until the engine takes
    /// it, or the user has left.
    pub(super) async fn enter(mut self, here: impl IntoIterator<Item = UserId>) {
        let mut users = std::mem::take(&mut self.claimed);
        users.extend(here);
        let mut entering: Vec<Entering> =
            users.into_iter().map(|user| self.user_locations.enters(user)).collect();
        // From here on all others may leave.
        drop(self);
        while !entering.is_empty() {
            let tries = stream::iter(entering).map(Entering::enter).buffer_unordered(CALLS_AT_ONCE);
            let failed: Vec<(Entering, EngineError)> =
                tries.filter_map(|failed| async { failed }).collect().await;
            if let Some((_, error)) = failed.last() {
                tracing::warn!(
                    %error, users = failed.len(), "users could not be entered for the other nodes"
                );
                tokio::time::sleep(RETRY).await;
            }
            entering = failed.into_iter().map(|(entering, _)| entering).collect();
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.user_locations.lock().renewals -= 1;
        self.user_locations.news.notify_one();
    }
}

/// A user whom a renewal enters.
struct Entering {
    user_locations: Arc<UserLocations>,
    user: UserId,
}

impl Entering {
    /// Enters the user, unless it has left; the same once more when the engine did not take it.
    async fn enter(self) -> Option<(Self, EngineError)> {
        // While the user is claimed, a session may be here already of which is told behind the end of an
        // earlier one.
        let has_left =
            |state: &State| state.leaving.contains(&self.user) && !state.claims.contains_key(&self.user);
        if has_left(&self.user_locations.lock()) {
            return None;
        }
        let result = self.user_locations.cluster.enter(&self.user, None).await;
        result.err().map(|error| (self, error))
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        let mut state = self.user_locations.lock();
        if let Some(count) = state.entering.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                state.entering.remove(&self.user);
            }
        }
        let leaves = state.leaving.contains(&self.user);
        drop(state);
        if leaves {
            self.user_locations.news.notify_one();
        }
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
