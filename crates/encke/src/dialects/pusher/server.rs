//! What the dialect keeps for the whole server: the applications, who is in presence channels, and which
//! counts of subscribers have changed.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;

use super::{
    NAME,
    application::Applications,
    journal,
    living::{Living, Question},
    members_elsewhere,
    places::Places,
    presence_members::PresenceMembers,
    publish::announce,
    subscription_counts::SubscriptionCounts,
    webhooks::Webhooks,
};
use crate::{app::App, random};

/// How often it is looked which counts have changed.
const LOOK: Duration = Duration::from_millis(250);
const SUBSCRIPTION_COUNT: &str = "pusher_internal:subscription_count";

/// The state of the dialect.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) applications: Applications,
    pub(super) members: PresenceMembers,
    pub(super) counts: SubscriptionCounts,
    pub(super) places: Arc<Places>,
    /// What applications are told.
    pub(super) webhooks: Arc<Webhooks>,
    /// For what is done beside the shards, whose threads have none; absent in tests of single parts.
    pub(super) runtime: Option<Handle>,
}

impl Server {
    /// The one of this server.
    pub(super) fn of(app: &App) -> Arc<Self> {
        app.dialect_states.of(|| {
            let webhooks = Arc::new(Webhooks::new(app));
            Self {
                applications: Applications::new(&app.config.pusher_apps),
                members: PresenceMembers::new(Arc::clone(&webhooks)),
                counts: SubscriptionCounts::default(),
                places: Arc::new(Places::new(Arc::new(Living::new(run(), journal::outlives(app))))),
                webhooks,
                runtime: Handle::try_current().ok(),
            }
        })
    }

    /// Tells what has to be told in time, as long as the server runs.
    pub(super) fn start(server: &Arc<Self>, app: &Arc<App>) {
        let knowing = Arc::downgrade(server);
        app.sessions.answers_for(NAME, move |question| {
            let answer =
                knowing.upgrade().map_or(Value::Null, |server| match Question::deserialize(&question) {
                    Ok(question) => server.places.living.answer(&question),
                    Err(_) => members_elsewhere::answer(&server.members, &question),
                });
            std::future::ready(answer)
        });
        if server.runtime.is_none() {
            return;
        }
        if server.applications.recover() {
            journal::start(app, &server.places.journal);
        }
        let stopping = app.stopping.clone();
        let work = Self::tell_counts(Arc::downgrade(server), Arc::downgrade(app));
        app.supervisor.spawn("pusher subscription counts", async move {
            tokio::select! {
                () = work => {}
                () = stopping.begun() => {}
            }
        });
    }

    async fn tell_counts(server: Weak<Self>, app: Weak<App>) {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let (Some(server), Some(app)) = (server.upgrade(), app.upgrade()) else { return };
            let now_ms = app.now().mono_ms;
            let due = server.counts.take_due(now_ms);
            if due.is_empty() {
                continue;
            }
            let Ok(counts) = app.sessions.followers(&due).await else {
                due.into_iter().for_each(|log| server.counts.changed(log));
                continue;
            };
            for (log, count) in due.into_iter().zip(counts) {
                server.counts.told(&log, count, now_ms);
                if count > 0 {
                    server.webhooks.subscription_count(&log, count);
                    let data = format!("{{\"subscription_count\":{count}}}");
                    announce(&app, log, SUBSCRIPTION_COUNT, &data, None).await;
                }
            }
        }
    }
}

/// What this run of the server is called: nothing that has to be secret.
fn run() -> String {
    let bits = random::bits().unwrap_or_else(|_| RandomState::new().hash_one(0).into());
    format!("{bits:032x}")
}
