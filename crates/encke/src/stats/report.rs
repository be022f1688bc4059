//! How one node is, as it tells operators and other nodes.

use encke_proto::{Histogram, Time};
use serde::{Deserialize, Serialize};

use super::{Levels, Totals};
use crate::hooks::HooksReport;

/// How a node is. Nodes write it to each other as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// What its operator calls it.
    pub node: String,
    /// Its incarnation, if it is one of several.
    pub id: Option<String>,
    /// Its version.
    pub version: String,
    /// The mode of its engine.
    pub engine: String,
    /// When it began.
    pub started: Time,
    /// For how many seconds it has been at work.
    pub uptime_s: u64,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// How much there is now.
    pub levels: Levels,
    /// How often things have happened since it began.
    pub totals: Totals,
    /// The last minute.
    pub minute: Span,
    /// The last hour, or as long as it has been at work.
    pub hour: Span,
    /// How the application's endpoint does. A node of a former version does not say it.
    #[serde(default)]
    pub hooks: HooksReport,
}

/// What happened within a time that has just ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// How often things happened.
    pub totals: Totals,
    /// The ages of messages when they were delivered, in milliseconds.
    pub delivered_ms: Histogram,
    /// How long delivered pushes were not shown, in milliseconds. A node of a former version does not say it.
    #[serde(default)]
    pub shown_ms: Histogram,
}

impl Span {
    /// Of two nodes together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.delivered_ms.add(&other.delivered_ms);
        self.shown_ms.add(&other.shown_ms);
        Self { seconds: self.seconds.max(other.seconds), totals: self.totals.plus(other.totals), ..self }
    }
}
