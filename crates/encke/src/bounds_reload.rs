//! Bounds for each user and rules of retention that change while the server runs.

use std::sync::Arc;

use encke_engine::{Engine, EngineError, RetentionTable};
use futures_util::future::BoxFuture;

use crate::{
    cluster::Nodes,
    config::Config,
    new_channels::NewChannels,
    reload::{Change, Problem, Reload},
    shards::Shards,
};

/// Lets other bounds hold for what users ask from now on.
pub(crate) struct UserBoundsReload {
    pub(crate) shards: Shards,
    pub(crate) new_channels: Arc<NewChannels>,
    /// The other nodes, if there are any.
    pub(crate) nodes: Option<Arc<Nodes>>,
}

impl Reload for UserBoundsReload {
    fn keys(&self) -> &'static [&'static str] {
        &["max_sessions_per_user", "max_channels_per_user", "max_new_channels_per_hour"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let (shards, new_channels) = (self.shards.clone(), Arc::clone(&self.new_channels));
        let nodes = self.nodes.clone();
        Box::pin(async move {
            Ok(Box::new(move || {
                let bound = |number| usize::try_from(number).unwrap_or(usize::MAX);
                let max_sessions = bound(config.max_sessions_per_user).max(1);
                shards.set_user_bounds(max_sessions, bound(config.max_channels_per_user));
                if let Some(nodes) = nodes {
                    nodes.set_max_sessions_per_user(max_sessions);
                }
                new_channels.set_max_per_hour(config.max_new_channels_per_hour);
            }) as Change)
        })
    }
}

/// Lets other rules say how much of each log is kept, by an engine that can change them.
pub(crate) struct RetentionReload {
    engine: Arc<dyn Engine>,
    /// How long pushes wait, in seconds, which changes with a restart only.
    push_ttl_s: u64,
}

/// Why other rules of retention are not taken.
#[derive(Debug, thiserror::Error)]
enum RetentionReloadError {
    /// Pushes would be trimmed while they wait: what is kept of users' own channels, and how long they wait.
    #[error("retention_users.max_age_s ({0}) must be at least the push_ttl_s in force ({1})")]
    PushesTrimmed(u64, u64),
}

impl RetentionReload {
    /// None if the engine keeps to the rules that it was opened with, which are those of this configuration.
    pub(crate) async fn of(engine: &Arc<dyn Engine>, config: &Config) -> Option<Self> {
        let answer = engine.set_retention(config.retention_table()).await;
        // One that cannot do it now can later.
        let can = !matches!(answer, Err(EngineError::Unsupported(_)));
        can.then(|| Self { engine: Arc::clone(engine), push_ttl_s: config.push_ttl_s })
    }

    /// The rules that a configuration says, with pushes waiting as long as they do now.
    fn table(&self, config: &Config) -> Result<RetentionTable, RetentionReloadError> {
        let table = config.retention_table_with(self.push_ttl_s);
        if table.own.max_age_s < self.push_ttl_s {
            return Err(RetentionReloadError::PushesTrimmed(table.own.max_age_s, self.push_ttl_s));
        }
        Ok(table)
    }
}

impl Reload for RetentionReload {
    fn keys(&self) -> &'static [&'static str] {
        &["retention", "retention_default", "retention_users"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let (engine, table) = (Arc::clone(&self.engine), self.table(&config));
        Box::pin(async move {
            let table = table?;
            Ok(Box::new(move || {
                // It may wait for a disk. What that refuses is told, and holds with the next reading.
                tokio::spawn(async move {
                    if let Err(error) = engine.set_retention(table).await {
                        tracing::error!(%error, "the rules of retention are still those of before");
                    }
                });
            }) as Change)
        })
    }
}

#[cfg(test)]
mod tests {
    use encke_engine::memory::MemoryEngine;
    use encke_proto::Epoch;

    use super::*;
    use crate::config::RetentionSection;

    #[tokio::test]
    async fn pushes_are_kept_as_long_as_they_wait_until_a_restart() {
        let began = Config { push_ttl_s: 1_000, ..Config::default() };
        let engine: Arc<dyn Engine> =
            Arc::new(MemoryEngine::new(Arc::new(()), began.retention_table(), Epoch(1)));
        let reload = RetentionReload::of(&engine, &began).await.unwrap();
        for (push_ttl_s, max_age_s, kept_s) in [
            (1_000, None, Some(1_000)),
            (10, None, Some(1_000)),
            (5_000, None, Some(1_000)),
            (10, Some(2_000), Some(2_000)),
            (10, Some(999), None),
        ] {
            let retention_users = RetentionSection { max_age_s, ..RetentionSection::default() };
            let config = Config { push_ttl_s, retention_users, ..Config::default() };
            let kept = reload.table(&config).ok().map(|table| table.own.max_age_s);
            assert_eq!(kept, kept_s, "{push_ttl_s} {max_age_s:?}");
            assert_eq!(reload.prepare(Arc::new(config)).await.is_ok(), kept_s.is_some());
        }
    }
}
