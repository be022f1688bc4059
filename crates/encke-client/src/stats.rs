//! How nodes are, as the server API tells it.

use serde::{Deserialize, Serialize};

/// How often things have happened since a node began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Totals {
    /// Pushes that were accepted.
    pub pushes: u64,
    /// Messages to channels that were accepted.
    pub publishes: u64,
    /// Messages that connections were handed.
    pub deliveries: u64,
    /// Connections that have begun to serve a session.
    pub opened: u64,
    /// Gaps that receivers were told of.
    pub gaps: u64,
    /// Requests that were refused as `rate_limited`.
    pub rate_limited: u64,
    /// Keys, tokens and session ids that were refused and were none.
    pub refused_credentials: u64,
    /// Requests that were answered with a status of 500 or above.
    pub errors: u64,
}

/// How often things happened in a second, in the mean of a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rates {
    /// Pushes that were accepted.
    pub pushes: f64,
    /// Messages to channels that were accepted.
    pub publishes: f64,
    /// Messages that connections were handed.
    pub deliveries: f64,
    /// Connections that have begun to serve a session.
    pub opened: f64,
    /// Requests that were answered with a status of 500 or above.
    pub errors: f64,
}

/// How long something took, in milliseconds: so many of a hundred took no longer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// Half of them.
    pub p50: f64,
    /// 90 of a hundred.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// What its operator calls it.
    pub node: String,
    /// Its incarnation; none of a node that is alone.
    pub id: Option<String>,
    /// Its version.
    pub version: String,
    /// How safe an accepted message is: `memory`, `log`, `redis` or `nats`.
    pub engine: String,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// For how many seconds it has been at work.
    pub uptime_s: u64,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Connections that serve a session.
    pub connections: u64,
    /// Sessions, those in their grace time among them.
    pub sessions: u64,
    /// Users who have one.
    pub users: u64,
    /// How many messages the slow receiver is behind that is the farthest.
    pub lag: u64,
    /// Since it began.
    pub totals: Totals,
    /// Over the last minute.
    pub rates: Rates,
    /// From when a message was accepted until connections that kept up were handed it, of the last minute;
    /// none when nothing was delivered.
    pub latency_ms: Option<Latency>,
    /// From when a push was delivered until it was shown, of the last minute; none when nothing was.
    #[serde(default)]
    pub shown_ms: Option<Latency>,
}

/// A node that lives and has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SilentNode {
    /// What its operator calls it.
    pub node: String,
    /// Its incarnation.
    pub id: String,
    /// Why there is no answer, as the code of an error.
    pub error: String,
}

/// All nodes that live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Nodes {
    /// By name.
    pub nodes: Vec<Node>,
    /// Those that have not answered.
    #[serde(default)]
    pub silent: Vec<SilentNode>,
}

/// What happened within a time that has just ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lately {
    /// How long it is.
    pub seconds: f64,
    /// How often things happened in a second.
    pub rates: Rates,
    /// From when a message was accepted until connections that kept up were handed it; none when nothing was
    /// delivered.
    pub latency_ms: Option<Latency>,
    /// From when a push was delivered until it was shown; none when nothing was.
    #[serde(default)]
    pub shown_ms: Option<Latency>,
}

/// All nodes that answer, together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many nodes have answered.
    pub nodes: usize,
    /// How many live and have not.
    pub silent: usize,
    /// Connections that serve a session.
    pub connections: u64,
    /// Sessions, those in their grace time among them.
    pub sessions: u64,
    /// Users who have one; those with sessions on two nodes count twice.
    pub users: u64,
    /// How many messages the slow receiver is behind that is the farthest.
    pub lag: u64,
    /// Since each node began.
    pub totals: Totals,
    /// The last minute.
    pub minute: Lately,
    /// The last hour, or as long as the nodes have been at work.
    pub hour: Lately,
}
