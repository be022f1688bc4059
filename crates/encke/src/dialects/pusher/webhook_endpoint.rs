//! Where the webhooks of one application are sent, and in which form: as Pusher's libraries for backends
//! verify them.

use std::fmt;

use encke_proto::{
    Time,
    codec::pusher::{app_and_channel, webhook_body, webhook_change},
};
use futures_util::future::BoxFuture;

use super::signature;
use crate::{
    config::{PusherApp, Secret, WebhookEvent},
    hook_events::{Batch, Change, DeliveryMetrics, Fact, NotTaken, Place, Presence, Recipient, Subject},
    hooks::EndpointClient,
    metrics::Metrics,
};

/// The endpoint of an application.
pub(super) struct WebhookEndpoint {
    app: String,
    key: String,
    secret: Secret,
    events: Vec<WebhookEvent>,
    client: EndpointClient,
}

impl WebhookEndpoint {
    pub(super) fn new(settings: &PusherApp, client: EndpointClient) -> Self {
        let PusherApp { id, key, secret, webhook_events, .. } = settings.clone();
        Self { app: id, key, secret, events: webhook_events, client }
    }

    /// What is told of a change, if that is told.
    fn of_change(&self, (subject, change): (Subject, Change)) -> Option<String> {
        let (app, channel) = app_and_channel(subject.channel.as_str())?;
        let event = match (&subject.member, change) {
            (None, Change::First) => WebhookEvent::ChannelOccupied,
            (None, Change::Last) => WebhookEvent::ChannelVacated,
            (Some(_), Change::First) => WebhookEvent::MemberAdded,
            (Some(_), Change::Last) => WebhookEvent::MemberRemoved,
        };
        let is_told = app == self.app && self.events.contains(&event);
        is_told.then(|| webhook_change(channel, subject.member.as_deref(), change == Change::First))
    }
}

impl Recipient for WebhookEndpoint {
    fn events(&self, fact: Fact, _: Place, presence: &mut Presence) -> Vec<String> {
        let changes = presence.apply(&fact);
        match fact {
            Fact::Said { event } => vec![event.to_string()],
            _ => changes.into_iter().filter_map(|change| self.of_change(change)).collect(),
        }
    }

    fn tell<'a>(&'a self, batch: &'a Batch, now: Time) -> BoxFuture<'a, Result<(), NotTaken>> {
        // Some libraries refuse what is older than five minutes, also when it is sent again.
        let body = webhook_body(now, &batch.events);
        let fields = [
            ("x-pusher-key", self.key.clone()),
            ("x-pusher-signature", signature::sign(self.secret.expose(), body.as_bytes())),
            ("webhook-id", batch.id.clone()),
        ];
        Box::pin(async move {
            let posted = self.client.post(&fields, body.into_bytes()).await;
            posted.map(drop).map_err(|error| NotTaken(error.to_string()))
        })
    }

    fn metrics(&self) -> DeliveryMetrics {
        let metrics = Metrics::global();
        DeliveryMetrics {
            events: metrics.webhook_events.of(self.app.clone()),
            delivered: metrics.webhook_batches(&self.app, "delivered"),
            failed: metrics.webhook_batches(&self.app, "failed"),
            lost: metrics.webhook_events_lost.of(self.app.clone()),
            lag: metrics.webhook_events_lag.of(self.app.clone()),
        }
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint").field("app", &self.app).finish_non_exhaustive()
    }
}
