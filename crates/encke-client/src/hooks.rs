//! How the application's endpoint does, as the server API tells it.

use serde::{Deserialize, Serialize};

/// The last time that the endpoint did not do what it was to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndpointFailure {
    /// When: RFC 3339, UTC.
    pub time: String,
    /// What was wrong.
    pub error: String,
}

/// How the endpoint decides, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookDecisions {
    /// The node.
    pub node: String,
    /// `closed` (it is asked), `open` (it has failed again and again, and is left alone for a while) or
    /// `half_open` (the next question tries it).
    pub circuit_breaker: String,
    /// How often in a row it has failed.
    pub failures: u32,
    /// The last failure since the node began.
    pub last_failure: Option<EndpointFailure>,
}

/// How events are delivered to the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookEvents {
    /// The node that delivers them.
    pub node: String,
    /// All messages with events up to this one were taken.
    pub cursor: u64,
    /// How many messages with events were not taken yet.
    pub lag: u64,
    /// The last failure since the node delivers.
    pub last_failure: Option<EndpointFailure>,
    /// When the batch that was not taken is sent again: RFC 3339, UTC; none when none waits for that.
    pub next_try: Option<String>,
}

/// How the webhooks of an application of a dialect are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookEvents {
    /// Whose they are: the dialect, a colon, and the id of the application.
    pub of: String,
    /// How they are delivered.
    #[serde(flatten)]
    pub delivery: HookEvents,
}

/// How the application's endpoint does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HooksStatus {
    /// How it decides, as each node that answers sees it; empty when it decides nothing.
    pub decisions: Vec<HookDecisions>,
    /// How events are delivered to it; none when there are none, or no node that answers delivers them now.
    pub events: Option<HookEvents>,
    /// How the webhooks of dialects' applications are delivered, by the nodes that do. A server of a former
    /// version does not say it.
    #[serde(default)]
    pub webhooks: Vec<WebhookEvents>,
    /// How many nodes live and have not answered.
    pub silent: usize,
}
