//! What an engine of several nodes has to provide to be tested against the contract: nodes on one store, and
//! a way to make them miss messages and forget each other.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Cluster, Engine, EngineEvents, RetentionTable};

/// A node that is put to the test: one connection, seen from both sides.
#[derive(Clone)]
pub struct TestNode {
    /// Its logs.
    pub engine: Arc<dyn Engine>,
    /// Its way to the others.
    pub cluster: Arc<dyn Cluster>,
}

/// Where the nodes of an engine of many nodes are put to the test.
#[async_trait]
pub trait ClusterBed: Send + Sync {
    /// A node for each of `events`, all on one empty store, another store each time.
    async fn open(&self, events: Vec<EngineEvents>, retention: RetentionTable) -> Vec<TestNode>;

    /// Makes the nodes of the store that was opened last miss what is told at this moment, as a broken
    /// connection does. They are not told of it.
    async fn deafen(&self);

    /// Takes away everything that the nodes of that store know of each other, and nothing else, as a loss of
    /// what is soft would.
    async fn forget_nodes(&self);
}
