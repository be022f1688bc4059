//! The dialects: whose protocol is spoken. Each is a folder here and a line in [`BUILT_IN`]; its codec is in
//! `encke-proto`. The native protocol is one like the others. How bytes are framed, `transports` knows;
//! sessions, cursors and logs are the same for all.

mod bayeux;
mod classic;
#[cfg(feature = "conformance")]
mod echo;
pub(crate) mod native;
mod pusher;

use std::{fmt, sync::Arc};

use axum::Router;

use crate::{
    admission::{Admit, Answering, Asked, CommandHandler, Endpoint, Endpoints, Reply},
    app::App,
    config::Config,
    copies::Copies,
    hook_events::{Deliverer, EventWriter},
    hooks::ClientError,
    shards::SessionObserver,
};

/// Every dialect of this build.
static BUILT_IN: &[&dyn Dialect] = &[
    &native::Native,
    &classic::Classic,
    &bayeux::Bayeux,
    &pusher::Pusher,
    #[cfg(feature = "conformance")]
    &echo::Echo,
];

/// A protocol that clients may speak.
pub trait Dialect: Sync + fmt::Debug {
    /// Its name: the key in `[dialects]`, and what its transports say that they are of.
    fn name(&self) -> &'static str;

    /// Whether it is spoken.
    fn is_on(&self, config: &Config) -> bool {
        config.dialects.says(self.name()).unwrap_or(false)
    }

    /// Whether `[dialects]` says whether it is spoken.
    fn is_configured(&self) -> bool {
        true
    }

    /// Where its requests come in that may wait.
    fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Vec<Arc<dyn Endpoint>>;

    /// Its routes for requests that do not wait, and for what is wrong with those that might.
    fn routes(&self) -> Router<Arc<App>> {
        Router::new()
    }

    /// What it copies of all that is published.
    fn copies(&self) -> Option<&'static dyn Copies> {
        None
    }

    /// What it writes down of what happens, for its applications, and how they are told.
    ///
    /// # Errors
    /// [`ClientError`], when there can be no client for their endpoints.
    fn telling(&self, _app: &Arc<App>) -> Result<Telling, ClientError> {
        Ok(Telling::default())
    }

    /// Carries out what a client asks over the connection that it waits on; see
    /// [`crate::transports::TransportContext::ask`].
    fn answer(&self, _app: Arc<App>, _asked: Asked) -> Answering {
        // The answer is of no type that a transport of this dialect knows, which ends the connection.
        Box::pin(std::future::ready(Reply::new(())))
    }
}

/// What a dialect tells its applications.
#[derive(Default)]
pub struct Telling {
    /// Is told of sessions and channels.
    pub observer: Option<Arc<dyn SessionObserver>>,
    /// What writes it down.
    pub writers: Vec<Arc<EventWriter>>,
    /// What delivers it.
    pub deliverers: Vec<Deliverer>,
}

/// The dialects that a server knows.
#[derive(Clone, Debug)]
pub struct Registry(Vec<&'static dyn Dialect>);

impl Registry {
    /// Those of this build.
    #[must_use]
    pub fn built_in() -> Self {
        Self(BUILT_IN.to_vec())
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, dialect: &'static dyn Dialect) -> Self {
        self.0.push(dialect);
        self
    }

    /// The names that may stand in `[dialects]`.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().filter(|dialect| dialect.is_configured()).map(|dialect| dialect.name()).collect()
    }

    /// Where requests come in that may wait, in those that are spoken.
    #[must_use]
    pub fn endpoints(&self, app: &Arc<App>, admit: &Admit) -> Endpoints {
        let all = self.enabled(&app.config).flat_map(|dialect| dialect.endpoints(app, admit));
        Endpoints::new(admit.clone(), all.collect())
    }

    /// The routes of those that are spoken.
    pub fn routes(&self, config: &Config) -> Router<Arc<App>> {
        self.enabled(config).fold(Router::new(), |router, dialect| router.merge(dialect.routes()))
    }

    /// What those that are spoken copy of all that is published.
    #[must_use]
    pub fn copies(&self, config: &Config) -> Vec<&'static dyn Copies> {
        self.enabled(config).filter_map(Dialect::copies).collect()
    }

    /// What those that are spoken tell their applications.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tellings(&self, app: &Arc<App>) -> Result<Vec<Telling>, ClientError> {
        self.enabled(&app.config).map(|dialect| dialect.telling(app)).collect()
    }

    /// What answers what clients ask over connections that wait.
    #[must_use]
    pub fn command_handler(&self, app: &Arc<App>) -> CommandHandler {
        let (app, dialects) = (Arc::clone(app), self.0.clone());
        CommandHandler(Arc::new(move |asked| {
            let dialect = dialects.iter().find(|dialect| dialect.name() == asked.dialect);
            match dialect {
                Some(dialect) => dialect.answer(Arc::clone(&app), asked),
                None => Box::pin(std::future::ready(Reply::new(()))),
            }
        }))
    }

    fn enabled<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'static dyn Dialect> + 'a {
        self.0.iter().copied().filter(|dialect| dialect.is_on(config))
    }
}

/// The native transport of a request, for tests of shards.
#[cfg(test)]
pub(crate) fn native_transport(path: &str, query: &str) -> &'static dyn crate::transports::Transport {
    native::transport_at(path, query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_has_a_name_of_its_own_and_native_is_always_spoken() {
        let registry = Registry::built_in();
        let mut names: Vec<&str> = registry.0.iter().map(|dialect| dialect.name()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(registry.enabled(&Config::default()).any(|dialect| dialect.name() == native::NAME));
        assert!(!registry.names().contains(&native::NAME));
    }
}
