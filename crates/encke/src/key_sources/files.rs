//! The keys of the configuration that tokens are verified with: `auth.keys`, and the files that they name,
//! which are read again when they change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    auth::{Authenticator, BadKey, FILE_MAX_BYTES, KeySet},
    config::Config,
    file_thread::FileThread,
    regular_file,
    reload::{Change, Problem, Reload},
};

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);

/// What stood in each file when it was last looked at; none where it could not be read.
type Seen = Vec<Option<Vec<u8>>>;

/// The keys that the configuration names, as it is now. Cheap to clone.
#[derive(Clone)]
pub struct ConfiguredKeys(Arc<Inner>);

struct Inner {
    auth: Arc<Authenticator>,
    /// With the secret that tokens are signed with as long as the server runs.
    config: Mutex<Arc<Config>>,
    thread: FileThread,
}

impl ConfiguredKeys {
    /// Those of this configuration.
    #[must_use]
    pub fn new(auth: Arc<Authenticator>, config: Arc<Config>) -> Self {
        Self(Arc::new(Inner { auth, config: Mutex::new(config), thread: FileThread::new() }))
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files of keys again whenever one changes, until the server stops. As long as one cannot be
    /// used all keys stay as they were.
    pub async fn watch(self, mut stopping: watch::Receiver<bool>) {
        // What changed between the start and here is found at once.
        let mut seen = Seen::new();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = async {
                looks.tick().await;
                self.look(&mut seen).await;
            };
            tokio::select! {
                () = look => {}
                // The sender is gone only when the server is.
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }

    async fn look(&self, seen: &mut Seen) {
        let (config, before) = (self.config(), seen.clone());
        let asked = Arc::clone(&config);
        match self.0.thread.run(move || look(&asked, before)).await {
            Ok((now, Some(Ok(keys)))) => {
                // Those of a configuration that another has taken the place of meanwhile are too late.
                let current = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
                if Arc::ptr_eq(&current, &config) {
                    self.0.auth.keys().set_configured(keys);
                    *seen = now;
                }
            }
            Ok((now, Some(Err(error)))) => {
                tracing::warn!(%error, "the keys for tokens stay as they were");
                *seen = now;
            }
            Ok((_, None)) => {}
            Err(error) => tracing::warn!(%error, "the keys for tokens stay as they were"),
        }
    }
}

/// What stands in the files now, and the keys if it is something else than before.
fn look(config: &Config, before: Seen) -> (Seen, Option<Result<KeySet, BadKey>>) {
    let files = config.auth.keys.iter().filter_map(|key| key.file.as_ref());
    let now: Seen = files.map(|path: &PathBuf| regular_file::read(path, FILE_MAX_BYTES).ok()).collect();
    let keys = (now != before).then(|| KeySet::load(config));
    (now, keys)
}

impl Reload for ConfiguredKeys {
    fn keys(&self) -> &'static [&'static str] {
        &["auth.keys"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let this = self.clone();
        Box::pin(async move {
            let before = this.config();
            if before.auth.keys == config.auth.keys {
                return Ok(Box::new(|| {}) as Change);
            }
            let next = Config { token_secret: before.token_secret.clone(), ..(*config).clone() };
            let next = Arc::new(next);
            let read = Arc::clone(&next);
            let keys = this.0.thread.run(move || KeySet::load(&read)).await??;
            Ok(Box::new(move || {
                let mut current = this.0.config.lock().unwrap_or_else(PoisonError::into_inner);
                *current = next;
                this.0.auth.keys().set_configured(keys);
            }) as Change)
        })
    }
}
