//! The files of `auth.keys`, which are read again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    auth::{Authenticator, BadKey, FILE_MAX_BYTES, KeySet},
    config::Config,
    file_thread::FileThread,
    regular_file,
};

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);

/// What stood in each file when it was last looked at; none where it could not be read.
type Seen = Vec<Option<Vec<u8>>>;

/// Reads the files of keys again whenever one changes, until the server stops. As long as one cannot be used
/// all keys stay as they were.
pub async fn watch_files(config: Arc<Config>, auth: Arc<Authenticator>, mut stopping: watch::Receiver<bool>) {
    let files: Vec<PathBuf> = config.auth.keys.iter().filter_map(|key| key.file.clone()).collect();
    let thread = FileThread::new();
    // What changed between the start and here is found at once.
    let mut seen = Seen::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let look = async {
            looks.tick().await;
            let (config, files, before) = (Arc::clone(&config), files.clone(), seen.clone());
            thread.run(move || look(&config, &files, before)).await
        };
        tokio::select! {
            looked = look => match looked {
                Ok((now, Some(Ok(keys)))) => {
                    auth.keys().set_configured(keys);
                    seen = now;
                }
                Ok((now, Some(Err(error)))) => {
                    tracing::warn!(%error, "the keys for tokens stay as they were");
                    seen = now;
                }
                Ok((_, None)) => {}
                Err(error) => tracing::warn!(%error, "the keys for tokens stay as they were"),
            },
            // The sender is gone only when the server is.
            _ = stopping.wait_for(|stops| *stops) => return,
        }
    }
}

/// What stands in the files now, and the keys if it is something else than before.
fn look(config: &Config, files: &[PathBuf], before: Seen) -> (Seen, Option<Result<KeySet, BadKey>>) {
    let now: Seen = files.iter().map(|path| regular_file::read(path, FILE_MAX_BYTES).ok()).collect();
    let keys = (now != before).then(|| KeySet::load(config));
    (now, keys)
}
