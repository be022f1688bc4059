//! The most sessions of a user on all nodes together. Each hub keeps that bound for itself, and at once; over
//! several nodes it is kept here, a moment later.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use encke_engine::NodeId;
use encke_hub::{CloseTarget, ControlReply, ControlRequest, SessionView};
use encke_proto::{Close, CloseCode, ErrorCode, UserId};
use tokio::sync::Notify;

use super::{Nodes, sessions::pages};

/// A node asks the others about a user who has more sessions there than this part of the node's share: those
/// who have fewer cost nothing, and all of them together are beyond the bound by this part of it at most.
const SHARE_PART: usize = 10;
/// The most users who wait to be asked about. One more is asked about at the next of the user's sessions.
const WAITING_MAX: usize = 1_024;

/// The bound, and the users who may be beyond it.
pub(super) struct SessionLimit {
    max: AtomicUsize,
    waiting: Mutex<HashSet<UserId>>,
    news: Notify,
}

impl SessionLimit {
    /// At most `max` sessions of a user.
    pub(super) fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), waiting: Mutex::default(), news: Notify::new() }
    }

    /// At most `max` from the next session on that begins.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// A session of a user has begun on this node, one of so many `nodes`; the user has so many `here`.
    pub(super) fn began(&self, user: &UserId, here: usize, nodes: usize) {
        if nodes < 2 || here.saturating_mul(nodes).saturating_mul(SHARE_PART) <= self.max() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.len() < WAITING_MAX && waiting.insert(user.clone()) {
            self.news.notify_one();
        }
    }

    /// Ends the oldest sessions of those who have too many, for ever.
    pub(super) async fn run(&self, nodes: &Nodes) {
        loop {
            self.news.notified().await;
            while let Some(user) = self.next() {
                if let Err(code) = self.keep(nodes, &user).await {
                    tracing::warn!(%code, "it is not known whether a user has too many sessions");
                }
            }
        }
    }

    fn next(&self) -> Option<UserId> {
        let mut waiting = self.lock();
        let user = waiting.iter().next().cloned()?;
        waiting.remove(&user);
        Some(user)
    }

    /// Nothing stops halfway while it is held.
    fn lock(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a user's oldest sessions, as many as there are too many of them. Two nodes that do so at a time
    /// end the same.
    async fn keep(&self, nodes: &Nodes, user: &UserId) -> Result<(), ErrorCode> {
        let (max, others) = (self.max(), nodes.others_of(user).await?);
        if others.is_empty() {
            return Ok(());
        }
        let count = ControlRequest::CountSessions { users: vec![user.clone()] };
        let mut counted = vec![nodes.shards.request(count.clone()).await?];
        counted.extend(nodes.rpc.ask_all(&others, &count).await?);
        let ControlReply::Users(users) = count.merge(counted) else { return Err(ErrorCode::Internal) };
        if users.iter().map(|(_, count)| count).sum::<usize>() <= max {
            return Ok(());
        }
        let mut all = of_user(nodes, &others, user).await?;
        all.sort_unstable_by_key(|(_, session)| (session.since, session.session));
        all.truncate(all.len().saturating_sub(max));
        for (node, session) in all {
            let target = CloseTarget::SessionOf(session.session, user.clone());
            let request = ControlRequest::Close { target, close: too_many() };
            match node {
                None => drop(nodes.shards.request(request).await?),
                Some(node) => drop(nodes.rpc.ask(node, request).await?),
            }
        }
        Ok(())
    }
}

/// All sessions of a user, each with the other node that has it.
async fn of_user(
    nodes: &Nodes,
    others: &[NodeId],
    user: &UserId,
) -> Result<Vec<(Option<NodeId>, SessionView)>, ErrorCode> {
    let request = ControlRequest::ListSessions { user: Some(user.clone()), after: None, limit: usize::MAX };
    let mut all = Vec::new();
    let mut take = |node, reply| {
        let ControlReply::Sessions(sessions) = reply else { return Err(ErrorCode::Internal) };
        all.extend(sessions.into_iter().map(|session| (node, session)));
        Ok(())
    };
    take(None, nodes.shards.request(request.clone()).await?)?;
    for node in others {
        take(Some(*node), pages(nodes, *node, &request).await?)?;
    }
    Ok(all)
}

fn too_many() -> Close {
    Close {
        code: CloseCode::TooManySessions,
        reason: "the user has too many sessions".into(),
        reconnect: false,
        retry_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_may_have_too_many_are_asked_about() {
        let limit = SessionLimit::new(1_000);
        let user = |number: usize| UserId::new(&format!("user-{number}")).unwrap();
        for (here, nodes, is_asked) in [(1_000, 1, false), (25, 4, false), (26, 4, true), (51, 2, true)] {
            limit.began(&user(here), here, nodes);
            assert_eq!(limit.next().is_some(), is_asked, "{here} of {nodes}");
        }
        for (max, is_asked) in [(100, true), (1_000, false)] {
            limit.set_max(max);
            limit.began(&user(1), 25, 4);
            assert_eq!(limit.next().is_some(), is_asked, "at most {max} from now on");
        }
        for number in 0..WAITING_MAX + 5 {
            limit.began(&user(number), 900, 2);
        }
        assert_eq!(std::iter::from_fn(|| limit.next()).count(), WAITING_MAX);
    }
}
