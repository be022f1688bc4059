//! Who is told what follows from facts: the application's endpoint, or what a dialect makes of them.

use encke_proto::Time;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{
    event::{Event, Place},
    fact::Fact,
    presence::Presence,
};
use crate::{config::HookEvent, hooks::HookClient, metrics::Metrics};

/// Events that are told together; the same each time, on whatever node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tells it from all others.
    pub id: String,
    /// Each as JSON.
    pub events: Vec<String>,
}

/// What is counted of a delivery.
#[derive(Clone, Debug, Default)]
pub struct DeliveryMetrics {
    /// Events that were taken.
    pub events: Counter,
    /// Batches that were taken.
    pub delivered: Counter,
    /// Batches that were not; each is sent again.
    pub failed: Counter,
    /// Messages with events that were not delivered.
    pub lost: Counter,
    /// Messages with events that were not taken yet.
    pub lag: Gauge,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotTaken(pub String);

/// Who is told.
pub trait Recipient: Send + Sync + 'static {
    /// What follows from a fact, as far as that is something to tell: JSON. Takes the fact into who is there.
    fn events(&self, fact: Fact, place: Place, presence: &mut Presence) -> Vec<String>;

    /// Tells a batch, once.
    ///
    /// # Errors
    /// [`NotTaken`]; it is told again.
    fn tell<'a>(&'a self, batch: &'a Batch, now: Time) -> BoxFuture<'a, Result<(), NotTaken>>;

    /// What is counted of it.
    fn metrics(&self) -> DeliveryMetrics;
}

/// The application's endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: HookClient,
    pub(super) events: Vec<HookEvent>,
}

impl Recipient for Endpoint {
    fn events(&self, fact: Fact, place: Place, presence: &mut Presence) -> Vec<String> {
        let told = Event::of(fact, place, presence).into_iter();
        let told = told.filter(|event| self.events.contains(&event.kind()));
        told.filter_map(|event| serde_json::to_string(&event).ok()).collect()
    }

    fn tell<'a>(&'a self, batch: &'a Batch, now: Time) -> BoxFuture<'a, Result<(), NotTaken>> {
        let body = format!(r#"{{"type":"events","events":[{}]}}"#, batch.events.join(","));
        Box::pin(async move {
            let posted = self.client.post(&batch.id, now, body.into_bytes()).await;
            posted.map(drop).map_err(|error| NotTaken(error.to_string()))
        })
    }

    fn metrics(&self) -> DeliveryMetrics {
        let metrics = Metrics::global();
        DeliveryMetrics {
            events: metrics.hook_events.clone(),
            delivered: metrics.hook_batches.of("delivered"),
            failed: metrics.hook_batches.of("failed"),
            lost: metrics.hook_events_lost.clone(),
            lag: metrics.hook_events_lag.clone(),
        }
    }
}
