//! Rules for channels that change while the server runs.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{
    auth::ChannelAccess,
    config::Config,
    reload::{Change, Problem, Reload},
    shards::Shards,
};

/// Lets new rules hold for what clients ask from now on, and for what their sessions follow already.
pub struct RulesReload {
    /// What is asked at each request.
    pub access: Arc<ChannelAccess>,
    /// Where the sessions are.
    pub shards: Shards,
}

impl Reload for RulesReload {
    fn keys(&self) -> &'static [&'static str] {
        &["rules"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let (access, shards) = (Arc::clone(&self.access), self.shards.clone());
        Box::pin(async move {
            // The channel of the audit is the one that is written to, as long as the server runs.
            let closed = access.rules().closed().cloned();
            let rules = Arc::new(config.channel_rules().closing(closed));
            if *access.rules() == *rules {
                return Ok(Box::new(|| {}) as Change);
            }
            Ok(Box::new(move || {
                // Requests first: what a shard is asked for behind its command was allowed by these.
                access.set_rules(Arc::clone(&rules));
                shards.set_rules(&rules);
            }) as Change)
        })
    }
}

impl fmt::Debug for RulesReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulesReload").finish_non_exhaustive()
    }
}
