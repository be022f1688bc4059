//! Operators who look on at users: how many of each key, and their end when their key is not in use any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_hub::{CloseTarget, ControlRequest};
use encke_proto::{Close, CloseCode, SessionId, UserId};
use futures_util::future::BoxFuture;

use crate::{
    auth::{ApiKeys, KeyDigest},
    clock::Clock,
    config::{Config, Scope},
    reload::{Change, Problem, Reload},
    shards::Shards,
};

/// The most that there are on a node at a time.
pub const LOOKS_MAX: usize = 1_024;
/// The most of one key.
pub const LOOKS_PER_KEY_MAX: usize = 256;

/// All that there are on this node. Cheap to clone.
#[derive(Clone)]
pub struct Looks(Arc<Shared>);

struct Shared {
    api_keys: Arc<ApiKeys>,
    clock: Arc<dyn Clock>,
    shards: Shards,
    held: Mutex<HashMap<SessionId, Held>>,
}

/// One of them.
struct Held {
    user: UserId,
    key: KeyDigest,
}

/// The place that one has as long as this is not dropped.
pub(crate) struct LookPlace {
    looks: Looks,
    id: SessionId,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LooksFull {
    /// One key has too many.
    #[error("a key looks on at most {LOOKS_PER_KEY_MAX} times at a time on a node")]
    OfKey,
    /// There are too many.
    #[error("operators look on at most {LOOKS_MAX} times at a time on a node")]
    Altogether,
}

impl Looks {
    pub(crate) fn new(api_keys: Arc<ApiKeys>, clock: Arc<dyn Clock>, shards: Shards) -> Self {
        Self(Arc::new(Shared { api_keys, clock, shards, held: Mutex::default() }))
    }

    /// A place for one more.
    pub(crate) fn enter(&self, id: SessionId, user: UserId, key: KeyDigest) -> Result<LookPlace, LooksFull> {
        let mut held = self.lock();
        if held.len() >= LOOKS_MAX {
            return Err(LooksFull::Altogether);
        }
        if held.values().filter(|other| other.key == key).count() >= LOOKS_PER_KEY_MAX {
            return Err(LooksFull::OfKey);
        }
        held.insert(id, Held { user, key });
        Ok(LookPlace { looks: self.clone(), id })
    }

    /// Those whose key does not allow it any more.
    fn orphans(&self) -> Vec<CloseTarget> {
        let now = self.0.clock.now().wall;
        let lasts = |key: &KeyDigest| self.0.api_keys.still_allows(key, Scope::Read, now);
        let held = self.lock();
        let orphans = held.iter().filter(|(_, held)| !lasts(&held.key));
        orphans.map(|(id, held)| CloseTarget::Look(*id, held.user.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        // Each change is whole, so that it is right even after a panic.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LookPlace {
    fn drop(&mut self) {
        self.looks.lock().remove(&self.id);
    }
}

/// It is registered behind the keys, so that those are in use by then that are read.
impl Reload for Looks {
    fn keys(&self) -> &'static [&'static str] {
        &["api_key", "api_keys"]
    }

    fn prepare(&self, _: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let looks = self.clone();
        Box::pin(async move {
            Ok(Box::new(move || {
                let orphans = looks.orphans();
                if !orphans.is_empty() {
                    tokio::spawn(end(looks.0.shards.clone(), orphans));
                }
            }) as Change)
        })
    }
}

async fn end(shards: Shards, orphans: Vec<CloseTarget>) {
    let reason = "the API key is not in use any more".to_owned();
    let close = Close { code: CloseCode::Revoked, reason, reconnect: false, retry_ms: None };
    for target in orphans {
        let request = ControlRequest::Close { target, close: close.clone() };
        if let Err(code) = shards.request(request).await {
            tracing::error!(code = code.as_str(), "an operator whose key is gone may still look on");
        }
    }
}
