//! What is written down of each application for its webhooks: in a log of its own, so that those of one never
//! carry what happened in another, and an endpoint that takes nothing holds up no other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use encke_engine::{EngineError, Mark};
use encke_proto::{
    ChannelName, UserId,
    codec::pusher::{self, Member},
};
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::{
    NAME,
    announcer::{About, Announcer},
    webhook_endpoint::WebhookEndpoint,
};
use crate::{
    app::App,
    config::{PusherApp, WebhookEvent},
    hook_events::{Deliverer, Delivering, EventWriter, Lives, LogNames, Subject, WriterSettings},
    hooks::{ClientError, DeliveryStatus, EndpointClient},
    metrics::Metrics,
    random::NoRandomness,
    shards::SessionObserver,
};

/// How long the endpoint may take for a request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// For how long it is not told that a channel has no subscribers any more: a page that is loaded again comes
/// back to it.
const HOLD_MS: u64 = 3_000;
/// For how long who was on a node that has died counts as being there: clients come back to others.
const GRACE_MS: u64 = 5_000;

/// What is written down, by the ids of applications.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    writing: HashMap<String, Writing>,
    /// Whether there are several nodes, of which one tells for all who is in presence channels.
    among: bool,
}

/// What is written down of one application.
#[derive(Debug)]
struct Writing {
    events: Vec<WebhookEvent>,
    writer: Arc<EventWriter>,
}

impl Writing {
    fn new(app: &App, settings: &PusherApp) -> Result<Self, NoRandomness> {
        let events = if settings.webhook.is_some() { settings.webhook_events.clone() } else { Vec::new() };
        let tells = |event| events.contains(&event);
        let writes = WriterSettings {
            names: LogNames::of_dialect(&format!("{NAME}/{}", settings.id)),
            events: Vec::new(),
            tells_users: false,
            tells_channels: tells(WebhookEvent::ChannelOccupied) || tells(WebhookEvent::ChannelVacated),
            kept_s: app.config.hooks.events_kept_s,
            hold_ms: HOLD_MS,
            lost: Metrics::global().webhook_events_lost.of(settings.id.clone()),
        };
        let (engine, clock) = (Arc::clone(&app.engine), Arc::clone(&app.clock));
        let lives = Lives::of(app.sessions.nodes())?;
        let writer = EventWriter::with(writes, engine, clock, lives, app.stopping.clone());
        Ok(Self { events, writer })
    }

    fn tells(&self, event: WebhookEvent) -> bool {
        self.events.contains(&event)
    }

    fn tells_members(&self) -> bool {
        self.tells(WebhookEvent::MemberAdded) || self.tells(WebhookEvent::MemberRemoved)
    }

    /// Delivers what is written.
    fn deliverer(&self, app: &App, settings: &PusherApp, url: &str) -> Result<Deliverer, ClientError> {
        let client = EndpointClient::new(url, settings.webhook_allow_private, TIMEOUT)?;
        let status = self.writer.status().clone();
        app.reports.stats().reads_webhooks(format!("{NAME}:{}", settings.id), status.clone());
        let recipient = Arc::new(WebhookEndpoint::new(settings, client));
        let delivering = Delivering { recipient, reader: "", status, grace_ms: GRACE_MS };
        let (engine, clock) = (Arc::clone(&app.engine), Arc::clone(&app.clock));
        Ok(Deliverer::to(delivering, engine, clock, Arc::clone(&self.writer)))
    }

    /// Tells subscribers, for all nodes, who comes and goes.
    fn announcer(&self, app: &Arc<App>) -> Deliverer {
        let (recipient, status) = (Arc::new(Announcer::new(app)), DeliveryStatus::default());
        let delivering = Delivering { recipient, reader: "members/", status, grace_ms: GRACE_MS };
        let (engine, clock) = (Arc::clone(&app.engine), Arc::clone(&app.clock));
        Deliverer::to(delivering, engine, clock, Arc::clone(&self.writer))
    }
}

impl Webhooks {
    /// Of all applications that have an endpoint; among several nodes, of all.
    pub(super) fn new(app: &App) -> Self {
        let among = app.sessions.nodes().is_some();
        let told = app.config.pusher_apps.iter().filter(|settings| among || settings.webhook.is_some());
        let writing = told.filter_map(|settings| match Writing::new(app, settings) {
            Ok(writing) => Some((settings.id.clone(), writing)),
            Err(error) => {
                tracing::error!(app = settings.id, %error, "no webhooks are sent");
                None
            }
        });
        Self { writing: writing.collect(), among }
    }

    /// Of no application, at one node of several.
    #[cfg(test)]
    pub(super) fn among_nodes() -> Self {
        Self { writing: HashMap::new(), among: true }
    }

    /// What writes, and what delivers, for as long as the server runs.
    pub(super) fn work(
        &self,
        app: &Arc<App>,
    ) -> Result<(Vec<Arc<EventWriter>>, Vec<Deliverer>), ClientError> {
        let writers = self.writing.values().map(|writing| Arc::clone(&writing.writer)).collect();
        let mut deliverers = Vec::new();
        for settings in &app.config.pusher_apps {
            let Some(writing) = self.writing.get(&settings.id) else { continue };
            if let Some(url) = &settings.webhook {
                deliverers.push(writing.deliverer(app, settings, url)?);
            }
            if self.among {
                deliverers.push(writing.announcer(app));
            }
        }
        Ok((writers, deliverers))
    }

    /// Whether nothing is told.
    pub(super) fn is_empty(&self) -> bool {
        self.writing.is_empty()
    }

    /// Whether one node tells for all who is in presence channels, by what is written down.
    pub(super) fn announces(&self) -> bool {
        self.among
    }

    /// Whose channel this is the log of, if it is a channel's and is told of; and what the channel is called.
    fn of<'a>(&self, log: &'a ChannelName) -> Option<(&Writing, &'a str)> {
        let (app, channel) = pusher::app_and_channel(log.as_str())?;
        // What is for users and connections is in logs of no channel.
        if channel.starts_with('#') {
            return None;
        }
        Some((self.writing.get(app)?, channel))
    }

    /// Whose channel this is the log of, if it is written down who is there.
    fn of_members(&self, log: &ChannelName) -> Option<&Writing> {
        self.of(log).map(|(writing, _)| writing).filter(|writing| self.among || writing.tells_members())
    }

    /// A user has the first connection in a presence channel on this node.
    pub(super) fn member_came(&self, log: &ChannelName, member: &Member, from: &UserId) {
        if let Some(writing) = self.of_members(log) {
            let about = if self.among { About::text(member, from) } else { None };
            writing.writer.member_came(Subject::member(log.clone(), &member.user_id), about);
        }
    }

    /// A user has none there any more.
    pub(super) fn member_went(&self, log: &ChannelName, user_id: &str) {
        if let Some(writing) = self.of_members(log) {
            writing.writer.member_went(Subject::member(log.clone(), user_id));
        }
    }

    /// Writes something down that is told as it is.
    fn say(&self, log: &ChannelName, event: WebhookEvent, form: impl FnOnce(&str) -> String) {
        if let Some((writing, channel)) = self.of(log).filter(|(writing, _)| writing.tells(event)) {
            writing.writer.say(form(channel).into());
        }
    }

    /// A client has sent an event.
    pub(super) fn client_event(
        &self,
        log: &ChannelName,
        (name, data): (&str, &RawValue),
        socket_id: &str,
        user_id: Option<&str>,
    ) {
        self.say(log, WebhookEvent::ClientEvent, |channel| {
            pusher::webhook_client_event(channel, name, data, socket_id, user_id)
        });
    }

    /// A client has subscribed to a cache channel that holds no event.
    pub(super) fn cache_miss(&self, log: &ChannelName) {
        self.say(log, WebhookEvent::CacheMiss, pusher::webhook_cache_miss);
    }

    /// The subscribers of a channel are told that they are so many.
    pub(super) fn subscription_count(&self, log: &ChannelName, count: usize) {
        self.say(log, WebhookEvent::SubscriptionCount, |channel| {
            pusher::webhook_subscription_count(channel, count)
        });
    }
}

impl SessionObserver for Webhooks {
    fn came(&self, channel: &ChannelName) {
        if let Some((writing, _)) = self.of(channel) {
            writing.writer.came(channel);
        }
    }

    fn went(&self, channel: &ChannelName) {
        if let Some((writing, _)) = self.of(channel) {
            writing.writer.went(channel);
        }
    }

    fn subscribed(&self, _: &UserId, _: &[ChannelName]) {}

    fn delivering<'a>(&'a self, _: &'a [Mark]) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
