use std::sync::{PoisonError, RwLock};

use encke_engine::{Census, Node, NodeId};

/// Who lives, as this node last heard.
#[derive(Debug, Default)]
pub(super) struct Roster {
    census: RwLock<Option<Census>>,
}

impl Roster {
    pub(super) fn update(&self, census: Census) {
        *self.census.write().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }

    /// This node's life, once it has one.
    pub(super) fn me(&self) -> Option<NodeId> {
        self.census.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|census| census.me)
    }

    /// All other nodes that live.
    pub(super) fn others(&self) -> Vec<NodeId> {
        self.read(|census| census.nodes.iter().map(|node| node.id).filter(|id| *id != census.me).collect())
    }

    /// Those of `nodes` that live and are others.
    pub(super) fn others_of(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let is_other = |census: &Census, id: NodeId| id != census.me && census.nodes.iter().any(|node| node.id == id);
        self.read(|census| nodes.iter().copied().filter(|id| is_other(census, *id)).collect())
    }

    pub(super) fn lives(&self, id: NodeId) -> bool {
        self.census.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|census| lives(&census.nodes, id))
    }

    /// How many nodes live.
    pub(super) fn count(&self) -> usize {
        self.census.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |census| census.nodes.len())
    }

    fn read(&self, look: impl FnOnce(&Census) -> Vec<NodeId>) -> Vec<NodeId> {
        self.census.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look).unwrap_or_default()
    }
}

fn lives(nodes: &[Node], id: NodeId) -> bool {
    nodes.iter().any(|node| node.id == id)
}
