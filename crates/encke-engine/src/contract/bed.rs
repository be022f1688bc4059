//! What an engine has to provide to be tested against the contract: how it is opened and reopened.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Engine, Feed, RetentionTable};

/// Where an engine is put to the test.
#[async_trait]
pub trait Bed: Send + Sync {
    /// An engine with an empty store, another one each time.
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine>;

    /// What comes after `engine`, which has been stopped: an engine that opens the same store if there is one
    /// that lasts, else one with a new epoch.
    async fn reopen(
        &self,
        engine: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine>;
}
