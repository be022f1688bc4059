//! An application: its settings, what its connections are granted, and how many there are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use encke_proto::{ChannelName, Grant, UserId, codec::pusher};

use super::signature;
use crate::{
    auth::{Grants, SignedText},
    config::PusherApp,
    http::refusal::Refused,
};

/// What places are signed for.
const PLACES: &str = "encke pusher places";

/// An application.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) settings: PusherApp,
    /// Its connections may follow its own logs, and publish to them what the dialect lets them.
    pub(super) grants: Arc<Grants>,
    /// Reads and writes what is kept of places of its clients.
    pub(super) places: SignedText,
    connections: AtomicU64,
}

/// All applications.
#[derive(Debug, Default)]
pub(super) struct Applications(Vec<Arc<Application>>);

impl Applications {
    pub(super) fn new(settings: &[PusherApp]) -> Self {
        Self(settings.iter().map(|settings| Arc::new(Application::new(settings.clone()))).collect())
    }

    /// Whether clients of any are sent what they missed.
    pub(super) fn recover(&self) -> bool {
        self.0.iter().any(|application| application.settings.recovery)
    }

    /// The one that clients name so.
    pub(super) fn by_key(&self, key: &str) -> Option<&Arc<Application>> {
        self.0.iter().find(|application| application.settings.key == key)
    }

    /// The one that backends name so.
    pub(super) fn by_id(&self, id: &str) -> Option<&Arc<Application>> {
        self.0.iter().find(|application| application.settings.id == id)
    }
}

impl Application {
    fn new(settings: PusherApp) -> Self {
        let logs = Grant::of(vec![pusher::pattern_of(&settings.id)]);
        let grants = Arc::new(Grants { channels: logs.clone(), publish: logs });
        let places = SignedText::new(PLACES, &settings.secret);
        Self { settings, grants, places, connections: AtomicU64::new(0) }
    }

    /// The log of a channel.
    pub(super) fn log(&self, channel: &str) -> Result<ChannelName, Refused> {
        Ok(pusher::log_of(&self.settings.id, channel)?)
    }

    /// The user that a connection is.
    pub(super) fn user(&self, socket_id: &str) -> Result<UserId, Refused> {
        Ok(UserId::new(&format!("pusher:{}:{socket_id}", self.settings.id))?)
    }

    /// The signature of a text, behind the key: as backends give it to clients.
    fn signature<'a>(&self, auth: &'a str) -> Option<&'a str> {
        auth.split_once(':').filter(|(key, _)| *key == self.settings.key).map(|(_, signature)| signature)
    }

    /// Whether `auth`, which is `KEY:SIGNATURE`, is this application's for this text.
    pub(super) fn has_signed(&self, auth: &str, text: &str) -> bool {
        let secret = self.settings.secret.expose();
        self.signature(auth).is_some_and(|given| signature::verify(secret, text.as_bytes(), given))
    }

    /// Counts a connection more; false when there are as many as may be.
    pub(super) fn enter(&self) -> bool {
        let count = self.connections.fetch_add(1, Ordering::Relaxed);
        let fits = self.settings.max_connections == 0 || count < self.settings.max_connections;
        if !fits {
            self.leave();
        }
        fits
    }

    /// Counts one less.
    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// One that tests of other parts use.
    pub(in crate::dialects::pusher) fn application() -> Arc<Application> {
        application_of("1")
    }

    pub(in crate::dialects::pusher) fn application_of(id: &str) -> Arc<Application> {
        let settings = json!({
            "id": id, "key": "app-key", "secret": "app-secret", "client_events": false,
            "client_events_per_s": 10, "subscription_count": false, "activity_timeout_s": 120,
            "event_max_bytes": 10_240, "presence_max_members": 100, "max_connections": 0,
            "cache_ttl_s": 1_800, "recovery": true, "recovery_s": 120, "webhook_events": [],
            "webhook_allow_private": false,
        });
        Arc::new(Application::new(serde_json::from_value(settings).unwrap()))
    }
}
