//! The files of `auth.keys`, which are read again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::interval};

use crate::{
    auth::{Authenticator, FILE_MAX_BYTES, KeySet},
    config::Config,
};

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(5);

/// What stood in each file when it was last looked at; none where it could not be read.
type Seen = Vec<Option<Vec<u8>>>;

/// Reads the files of keys again whenever one changes, until the server stops. As long as one cannot be used
/// all keys stay as they were.
pub async fn watch_files(config: Arc<Config>, auth: Arc<Authenticator>, mut stopping: watch::Receiver<bool>) {
    let files: Vec<PathBuf> = config.auth.keys.iter().filter_map(|key| key.file.clone()).collect();
    let mut seen = see(&files);
    // What changed between the start and here is found at once.
    take(&config, &auth);
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            // The sender is gone only when the server is.
            _ = stopping.wait_for(|stops| *stops) => return,
        }
        let now = see(&files);
        if now != seen {
            seen = now;
            take(&config, &auth);
        }
    }
}

fn take(config: &Config, auth: &Authenticator) {
    match KeySet::load(config) {
        Ok(keys) => auth.keys().set_configured(keys),
        Err(error) => tracing::warn!(%error, "the keys for tokens stay as they were"),
    }
}

fn see(files: &[PathBuf]) -> Seen {
    use std::io::Read;
    let read = |path: &PathBuf| {
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    files.iter().map(read).collect()
}
