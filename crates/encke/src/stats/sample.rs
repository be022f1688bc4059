//! How much there is and how often things have happened, at one moment.

use encke_hub::Now;
use encke_proto::{Histogram, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{metrics::Metrics, shards::Counts};

/// How much there is of everything now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Levels {
    /// Connections that serve a session.
    pub connections: u64,
    /// Sessions, those in their grace time among them.
    pub sessions: u64,
    /// Users who have one; of several nodes, those who have one on two count twice.
    pub users: u64,
    /// How many messages the slow receiver is behind that is the farthest.
    pub lag: u64,
}

/// How often things have happened since the node began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// Both at one moment, and how old messages were when they were delivered until then.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was.
    pub at: Now,
    /// How much there was.
    pub levels: Levels,
    /// How often things had happened.
    pub totals: Totals,
    /// The ages of messages when they were delivered, in milliseconds.
    pub delivered_ms: Histogram,
    /// How long delivered pushes were not shown, in milliseconds.
    pub shown_ms: Histogram,
}

impl Levels {
    /// Of two nodes together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            sessions: self.sessions + other.sessions,
            users: self.users + other.users,
            lag: self.lag.max(other.lag),
        }
    }
}

impl Totals {
    /// Of two nodes together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, |one, other| one + other)
    }

    /// What happened since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    fn with(self, other: Self, put: fn(u64, u64) -> u64) -> Self {
        Self {
            pushes: put(self.pushes, other.pushes),
            publishes: put(self.publishes, other.publishes),
            deliveries: put(self.deliveries, other.deliveries),
            opened: put(self.opened, other.opened),
            gaps: put(self.gaps, other.gaps),
            rate_limited: put(self.rate_limited, other.rate_limited),
            refused_credentials: put(self.refused_credentials, other.refused_credentials),
            errors: put(self.errors, other.errors),
        }
    }
}

impl Sample {
    /// Of a node that has just begun: nothing has happened.
    #[must_use]
    pub fn at(at: Now) -> Self {
        let (levels, totals) = (Levels::default(), Totals::default());
        Self { at, levels, totals, delivered_ms: Histogram::default(), shown_ms: Histogram::default() }
    }

    pub(super) fn of(at: Now, counts: &Counts, metrics: &Metrics) -> Self {
        let Counts { users, sessions, held, lag, traffic, .. } = counts;
        let levels =
            Levels { connections: *held as u64, sessions: *sessions as u64, users: *users as u64, lag: *lag };
        let totals = Totals {
            pushes: metrics.pushes.get(),
            publishes: metrics.publishes.get(),
            deliveries: traffic.delivered(),
            opened: traffic.transports.iter().map(|transport| transport.opened).sum(),
            gaps: traffic.gaps.iter().map(|(_, count)| count).sum(),
            rate_limited: metrics.rate_limited_sum(),
            refused_credentials: metrics.refused_credentials.get(),
            errors: metrics.server_errors.get(),
        };
        Self { at, levels, totals, delivered_ms: traffic.delivered_ms, shown_ms: traffic.shown_ms }
    }

    /// The second of its time, of all that began at once since 1970.
    pub(super) fn second(&self) -> u64 {
        let Time(ms) = self.at.wall;
        ms / 1000
    }
}
