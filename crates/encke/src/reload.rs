//! Settings that change while the server runs. On SIGHUP the configuration is read again. All parts that take
//! a new one prepare for it first; only when each of them can is it taken, by all. So a mistake changes
//! nothing.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;

use crate::config::{Config, ConfigError, Said};

/// What makes a prepared configuration the one in use. It cannot fail.
pub type Change = Box<dyn FnOnce() + Send>;
/// Why a part cannot take a configuration.
pub type Problem = Box<dyn Error + Send + Sync>;

/// A part of the server that takes new settings while it runs.
pub trait Reload: Send + Sync {
    /// The keys that it takes, with their table in front; a table's name stands for all keys in it.
    fn keys(&self) -> &'static [&'static str];

    /// Gets ready for a configuration that was checked, and changes nothing. It is asked even if none of its
    /// keys has changed, since files that they name may have.
    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>>;
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is refused, or cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part cannot take it.
    #[error("`{0}`: {1}")]
    Part(&'static str, Problem),
    /// The files give no answer.
    #[error(transparent)]
    Files(#[from] std::io::Error),
}

/// What a new configuration has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys whose new values are in use.
    pub changed: Vec<String>,
    /// The keys that need a restart for their new values; the old ones stay.
    pub left: Vec<String>,
}

/// The parts that take new settings. Cheap to clone.
#[derive(Clone)]
pub struct Reloads(Arc<Mutex<State>>);

struct State {
    parts: Vec<Arc<dyn Reload>>,
    /// What is in use.
    said: Said,
}

impl Reloads {
    /// For a server with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Arc::new(Mutex::new(State { parts: Vec::new(), said: config.said.clone() })))
    }

    /// The keys that its parts take.
    #[must_use]
    pub fn keys(&self) -> Vec<&'static str> {
        self.lock().parts.iter().flat_map(|part| part.keys()).copied().collect()
    }

    /// Adds a part.
    pub fn register(&self, part: Arc<dyn Reload>) {
        self.lock().parts.push(part);
    }

    /// Lets all parts take a configuration, or none.
    ///
    /// # Errors
    /// [`ReloadError::Part`] of the first that cannot.
    pub async fn take(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let (parts, config) = (self.lock().parts.clone(), Arc::new(config));
        let mut changes = Vec::with_capacity(parts.len());
        for part in &parts {
            let prepared = part.prepare(Arc::clone(&config)).await;
            changes.push(prepared.map_err(|problem| {
                ReloadError::Part(part.keys().first().copied().unwrap_or("part"), problem)
            })?);
        }
        changes.into_iter().for_each(|change| change());
        let takes = |key: &str| parts.iter().flat_map(|part| part.keys()).any(|taken| is_in(key, taken));
        let mut state = self.lock();
        let differences = state.said.differences(&config.said);
        let (changed, left) = differences.into_iter().partition::<Vec<_>, _>(|key| takes(key));
        for key in &changed {
            state.said.take(key, &config.said);
        }
        Ok(Reloaded { changed, left })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

/// Whether a key is another one, or in its table.
fn is_in(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::config::Layers;

    /// Takes how long polls are held, unless that is forbidden.
    struct Part(Arc<AtomicU64>, u64);

    impl Reload for Part {
        fn keys(&self) -> &'static [&'static str] {
            &["hold_s", "slow"]
        }

        fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
            let (held, forbidden) = (Arc::clone(&self.0), self.1);
            Box::pin(async move {
                if config.hold_s == forbidden {
                    return Err("it is forbidden".into());
                }
                Ok(Box::new(move || held.store(config.hold_s, Ordering::Relaxed)) as Change)
            })
        }
    }

    fn config(said: &[(&str, i64)]) -> Config {
        let layers = Layers::new(Vec::new());
        said.iter().fold(layers, |layers, (key, value)| layers.option(key, "--x", *value)).load().unwrap()
    }

    #[tokio::test]
    async fn all_parts_take_it_or_none_and_what_needs_a_restart_is_named() {
        let held: [Arc<AtomicU64>; 2] = Default::default();
        let seen = || held.each_ref().map(|held| held.load(Ordering::Relaxed));
        let reloads = Reloads::new(&config(&[("hold_s", 10), ("workers", 1)]));
        reloads.register(Arc::new(Part(Arc::clone(&held[0]), 0)));
        reloads.register(Arc::new(Part(Arc::clone(&held[1]), 30)));
        let said = [("hold_s", 20), ("workers", 2), ("slow.deadline_s", 7)];
        for changed in [vec!["hold_s", "slow.deadline_s"], vec![]] {
            let reloaded = reloads.take(config(&said)).await.unwrap();
            // What is left is named each time, as long as it is not in use.
            assert_eq!(
                (reloaded.changed, reloaded.left),
                (changed.iter().map(|key| (*key).to_owned()).collect(), vec!["workers".to_owned()])
            );
        }
        assert_eq!(seen(), [20, 20]);
        let error = reloads.take(config(&[("hold_s", 30)])).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), seen()), ("`hold_s`: it is forbidden", [20, 20]));
        // Without a word it is the default, in which a table is as good as its key is.
        let reloaded = reloads.take(config(&[("workers", 1), ("slow.deadline_s", 10)])).await.unwrap();
        assert_eq!(
            (reloaded.changed, reloaded.left),
            (vec!["hold_s".to_owned(), "slow.deadline_s".to_owned()], vec![])
        );
        assert_eq!(seen(), [25, 25]);
        assert_eq!(reloads.take(config(&[("workers", 1)])).await.unwrap(), Reloaded::default());
    }
}
