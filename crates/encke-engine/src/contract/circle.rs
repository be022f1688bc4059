//! The fixture of the cluster tests: several nodes on one store, with a record of every message and feed
//! event that each received. The fixture for a single engine is in `lab.rs`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use encke_proto::{SessionId, UserId};
use tokio::sync::Notify;

use super::{ClusterBed, TestNode, lab::Listener};
use crate::{EngineEvents, Feed, LiveNodes, NodeId, NodeInbox, RetentionTable};

/// How long the suite waits for what is promised to come soon.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// How often it looks again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until something is so. A macro, since what a future borrows from a closure is not general enough for
/// a task.
macro_rules! until {
    ($what:literal, $is_so:expr) => {{
        let waiting = async {
            while !$is_so {
                tokio::time::sleep($crate::contract::circle::LOOK_AGAIN).await;
            }
        };
        assert!(
            tokio::time::timeout($crate::contract::circle::TIMEOUT, waiting).await.is_ok(),
            concat!("in vain: ", $what)
        );
    }};
}

pub(super) use until;

/// Remembers what a node was told from outside.
#[derive(Default)]
pub(super) struct Hearing {
    pub(super) feed: Arc<Listener>,
    inbox: Arc<Messages>,
}

#[derive(Default)]
struct Messages {
    received: Mutex<Vec<Bytes>>,
    news: Notify,
}

impl NodeInbox for Messages {
    fn receive(&self, message: Bytes) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.news.notify_one();
    }
}

impl Hearing {
    fn events(&self) -> EngineEvents {
        EngineEvents {
            feed: Arc::clone(&self.feed) as Arc<dyn Feed>,
            messages: Arc::clone(&self.inbox) as Arc<dyn NodeInbox>,
        }
    }

    /// Waits until `count` messages were received, and returns all that were.
    pub(super) async fn messages(&self, count: usize) -> Vec<Bytes> {
        let received = || self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let enough = async {
            while received().len() < count {
                self.inbox.news.notified().await;
            }
        };
        let waited = tokio::time::timeout(TIMEOUT, enough).await;
        assert!(waited.is_ok(), "{} messages were received, not {count}", received().len());
        received()
    }
}

/// Nodes on one store, and what each was told.
pub(super) struct Circle {
    pub(super) nodes: Vec<TestNode>,
    pub(super) events: Vec<Hearing>,
}

impl Circle {
    pub(super) async fn open(bed: &dyn ClusterBed, nodes: usize) -> Self {
        let events: Vec<Hearing> = (0..nodes).map(|_| Hearing::default()).collect();
        let nodes = bed.open(events.iter().map(Hearing::events).collect(), RetentionTable::default()).await;
        assert_eq!(nodes.len(), events.len(), "a node for each");
        Self { nodes, events }
    }

    /// What a bed calls its nodes.
    pub(super) fn name(at: usize) -> String {
        format!("node-{at}")
    }

    pub(super) async fn beat(&self, at: usize) -> LiveNodes {
        self.nodes[at].cluster.beat().await.expect("a healthy engine beats")
    }

    /// The places of users, those of each in order.
    pub(super) async fn places(&self, at: usize, users: &[UserId]) -> Vec<Vec<NodeId>> {
        let mut places = self.nodes[at].cluster.places(users).await.expect("a healthy engine finds places");
        for lives in &mut places {
            lives.sort_unstable();
        }
        places
    }

    /// Enters a user with a session, and says whether the session is marked as closed.
    pub(super) async fn closed(&self, at: usize, user: &UserId, session: Option<SessionId>) -> bool {
        self.nodes[at].cluster.enter(user, session).await.expect("a healthy engine enters").closed
    }
}
