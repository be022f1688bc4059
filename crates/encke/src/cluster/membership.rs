//! Which nodes are alive, as of the last heartbeat, and which are known to be dead. It asks nothing itself.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use encke_engine::{LiveNodes, NODE_LIVES_MS, Node, NodeId};
use tokio::time::Instant;

/// The most dead nodes that are remembered as such; past it they are asked for once more.
const DEAD_MAX: usize = 4_096;

/// Who lives, as this node last heard.
#[derive(Debug, Default)]
pub(super) struct Membership {
    live: RwLock<Option<LiveNodes>>,
    /// When that was.
    heard: Mutex<Option<Instant>>,
    /// Nodes that were asked for and do not live any more. None of them comes back under its id.
    dead: Mutex<HashSet<NodeId>>,
}

impl Membership {
    pub(super) fn update(&self, live: LiveNodes) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Some(live);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the others count this node as living, as far as it can know.
    pub(super) fn is_heard(&self) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() < Duration::from_millis(NODE_LIVES_MS))
    }

    /// This node's incarnation, once it has one.
    pub(super) fn me(&self) -> Option<NodeId> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|live| live.me)
    }

    /// All other nodes that live.
    pub(super) fn others(&self) -> Vec<NodeId> {
        self.read(|live| live.nodes.iter().map(|node| node.id).filter(|id| *id != live.me).collect())
    }

    /// Those of `nodes` that live and are others.
    pub(super) fn others_of(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let is_other =
            |live: &LiveNodes, id: NodeId| id != live.me && live.nodes.iter().any(|node| node.id == id);
        self.read(|live| nodes.iter().copied().filter(|id| is_other(live, *id)).collect())
    }

    /// Whether one of `nodes` may have begun to live since the others were asked last.
    pub(super) fn has_news(&self, nodes: &[NodeId]) -> bool {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.iter().any(|id| !self.lives(*id) && !dead.contains(id))
    }

    /// Those of `nodes` that do not live now will not live again.
    pub(super) fn mark_dead(&self, nodes: &[NodeId]) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() > DEAD_MAX {
            dead.clear();
        }
        dead.extend(nodes.iter().filter(|id| !self.lives(**id)));
    }

    pub(super) fn lives(&self, id: NodeId) -> bool {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|live| lives(&live.nodes, id))
    }

    /// What the operator of a node that lives calls it.
    pub(super) fn name(&self, id: NodeId) -> Option<String> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref()?.nodes.iter().find(|node| node.id == id).map(|node| node.name.clone())
    }

    /// How many nodes live.
    pub(super) fn count(&self) -> usize {
        self.live.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |live| live.nodes.len())
    }

    fn read(&self, look: impl FnOnce(&LiveNodes) -> Vec<NodeId>) -> Vec<NodeId> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look).unwrap_or_default()
    }
}

fn lives(nodes: &[Node], id: NodeId) -> bool {
    nodes.iter().any(|node| node.id == id)
}
