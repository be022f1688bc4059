//! How the application's endpoint does, as one node sees it: for operators, and from node to node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encke_proto::{Offset, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The last time that the endpoint did not do what it was to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointFailure {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Time,
    /// What was wrong.
    pub error: String,
}

/// Whether the endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It is.
    #[default]
    Closed,
    /// It has failed again and again, and is left alone for a while.
    Open,
    /// It was left alone, and the next question tries it.
    HalfOpen,
}

/// How the endpoint decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionsReport {
    /// Whether it is asked.
    pub circuit_breaker: BreakerState,
    /// How often in a row it has failed.
    pub failures: u32,
    /// The last failure since the node began.
    #[schema(required = true)]
    pub last_failure: Option<EndpointFailure>,
}

/// How events are delivered to the endpoint, by the node that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryReport {
    /// All messages with events up to this one were taken.
    pub cursor: Offset,
    /// How many messages with events were not taken yet, when it was looked at last.
    pub lag: u64,
    /// The last failure since this node delivers.
    #[schema(required = true)]
    pub last_failure: Option<EndpointFailure>,
    /// When the batch that was not taken is sent again; null when none waits for that.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub next_try: Option<Time>,
}

/// How a node delivers events, if it is the one that does; shared by who does and who tells of it.
#[derive(Clone, Debug, Default)]
pub struct DeliveryStatus(Arc<Mutex<Option<DeliveryReport>>>);

impl DeliveryStatus {
    /// How it does; none if another node delivers.
    #[must_use]
    pub fn report(&self) -> Option<DeliveryReport> {
        self.lock().clone()
    }

    /// The same, to be changed.
    pub fn lock(&self) -> MutexGuard<'_, Option<DeliveryReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the webhooks of a part of a dialect are delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhooksReport {
    /// Whose they are: the dialect, and what it calls that part.
    pub of: String,
    /// How they are delivered.
    pub delivery: DeliveryReport,
}

/// How the endpoint does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HooksReport {
    /// None when it decides nothing.
    pub decisions: Option<DecisionsReport>,
    /// None when another node delivers events, or there are none.
    pub delivery: Option<DeliveryReport>,
    /// The webhooks of dialects that this node delivers. A node of a former version does not say it.
    #[serde(default)]
    pub webhooks: Vec<WebhooksReport>,
}
