//! `GET /api/stats` and `GET /api/stats/history`: how all nodes together are, and how that went.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ErrorCode, Histogram, Time};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{Refused, codes},
    },
    stats::{HISTORY_MAX_MINUTES, Levels, NodeReport, Point, Span, Totals, step_s},
};

/// How often things happened in a second, in the mean of a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rates {
    pushes: f64,
    publishes: f64,
    deliveries: f64,
    opened: f64,
    errors: f64,
}

impl Rates {
    pub(crate) fn of(span: &Span) -> Self {
        // To a thousandth; counts are far below what a float holds exactly.
        let rate = |count: u64| (count as f64 / span.seconds.max(1.0) * 1000.0).round() / 1000.0;
        let Totals { pushes, publishes, deliveries, opened, errors, .. } = span.totals;
        Self {
            pushes: rate(pushes),
            publishes: rate(publishes),
            deliveries: rate(deliveries),
            opened: rate(opened),
            errors: rate(errors),
        }
    }
}

/// How long something took, in milliseconds: so many of a hundred took no longer. It is told apart in steps
/// that double.
#[derive(Serialize, ToSchema)]
pub(crate) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl Latency {
    /// None when nothing happened.
    pub(crate) fn of(took_ms: &Histogram) -> Option<Self> {
        let share = |share| Some((took_ms.quantile(share)? * 10.0).round() / 10.0);
        Some(Self { p50: share(0.5)?, p90: share(0.9)?, p99: share(0.99)? })
    }
}

/// What happened within a time, of all nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lately {
    /// How long it is: less than it says when no node has been at work for as long.
    seconds: f64,
    /// In a second.
    rates: Rates,
    /// From when a message was accepted until it was delivered to connections that kept up; null when nothing
    /// was.
    latency_ms: Option<Latency>,
    /// From when a push was delivered until it was shown; null when nothing was.
    shown_ms: Option<Latency>,
}

impl Lately {
    fn of(span: &Span) -> Self {
        let seconds = (span.seconds * 10.0).round() / 10.0;
        let (latency_ms, shown_ms) = (Latency::of(&span.delivered_ms), Latency::of(&span.shown_ms));
        Self { seconds, rates: Rates::of(span), latency_ms, shown_ms }
    }
}

/// All nodes that answer, together.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// How many nodes have answered.
    nodes: usize,
    /// How many live and have not.
    silent: usize,
    #[serde(flatten)]
    levels: Levels,
    /// Since each node began.
    totals: Totals,
    minute: Lately,
    hour: Lately,
}

/// How far back.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsHistoryQuery {
    /// 1 to 1,440; 60 by default. Up to 60 are told minute by minute, more by quarters of an hour.
    minutes: Option<u32>,
}

/// How it went, step by step.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsHistory {
    /// How long a step is.
    step_s: u64,
    /// The steps that have ended, the oldest first; one in which no node was at work is missing.
    points: Vec<Step>,
}

/// One step.
#[derive(Serialize, ToSchema)]
pub(crate) struct Step {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    time: Time,
    #[serde(flatten)]
    levels: Levels,
    /// How often things happened in it.
    totals: Totals,
    /// As of the last minute.
    latency_ms: Option<Latency>,
    /// As of the last minute.
    shown_ms: Option<Latency>,
}

impl From<Point> for Step {
    fn from(point: Point) -> Self {
        let Point { time, levels, totals, delivered_ms, shown_ms } = point;
        let (latency_ms, shown_ms) = (Latency::of(&delivered_ms), Latency::of(&shown_ms));
        Self { time, levels, totals, latency_ms, shown_ms }
    }
}

/// How all nodes together are.
#[utoipa::path(
    get, path = "/api/stats", tag = "server API", security(("api_key" = [])),
    responses((
        status = 200, description = "Sums of all nodes that answer.", body = Stats,
        example = json!({
            "nodes": 2, "silent": 0, "connections": 2_400, "sessions": 2_500, "users": 1_800, "lag": 0,
            "totals": {
                "pushes": 10_000, "publishes": 200, "deliveries": 240_000, "opened": 18_000, "gaps": 0,
                "rate_limited": 0, "refused_credentials": 3, "errors": 0,
            },
            "minute": {
                "seconds": 60.0,
                "rates": {
                    "pushes": 3.0, "publishes": 0.0, "deliveries": 41.0, "opened": 0.2, "errors": 0.0,
                },
                "latency_ms": {"p50": 1.0, "p90": 1.0, "p99": 2.0},
                "shown_ms": {"p50": 180.0, "p90": 900.0, "p99": 4100.0},
            },
            "hour": {
                "seconds": 3600.0,
                "rates": {
                    "pushes": 2.5, "publishes": 0.1, "deliveries": 38.0, "opened": 0.2, "errors": 0.0,
                },
                "latency_ms": {"p50": 1.0, "p90": 1.0, "p99": 3.0},
                "shown_ms": {"p50": 180.0, "p90": 900.0, "p99": 4100.0},
            },
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, &[ErrorCode::Overloaded]])))),
)]
pub(crate) async fn stats(State(app): State<Arc<App>>, _: MayRead) -> Result<Answer<Stats>, Refused> {
    let (reports, silent) = app.reports.all().await?;
    let levels = reports.iter().map(|report| report.levels).fold(Levels::default(), Levels::plus);
    let totals = reports.iter().map(|report| report.totals).fold(Totals::default(), Totals::plus);
    let span = |of: fn(&NodeReport) -> &Span| reports.iter().map(of).fold(Span::default(), Span::plus);
    Ok(Answer(Stats {
        nodes: reports.len(),
        silent: silent.len(),
        levels,
        totals,
        minute: Lately::of(&span(|report| &report.minute)),
        hour: Lately::of(&span(|report| &report.hour)),
    }))
}

/// How it went over the last hour or day, on all nodes together.
#[utoipa::path(
    get, path = "/api/stats/history", tag = "server API", security(("api_key" = [])),
    params(StatsHistoryQuery),
    responses((
        status = 200, description = "Step by step.", body = StatsHistory,
        example = json!({
            "step_s": 60,
            "points": [{
                "time": "2026-01-02T03:04:00.000Z",
                "connections": 2_400, "sessions": 2_500, "users": 1_800, "lag": 0,
                "totals": {
                    "pushes": 180, "publishes": 0, "deliveries": 2_460, "opened": 12, "gaps": 0,
                    "rate_limited": 0, "refused_credentials": 0, "errors": 0,
                },
                "latency_ms": {"p50": 1.0, "p90": 1.0, "p99": 2.0},
                "shown_ms": {"p50": 180.0, "p90": 900.0, "p99": 4100.0},
            }],
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS])))),
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    _: MayRead,
    Query(asked): Query<StatsHistoryQuery>,
) -> Result<Answer<StatsHistory>, Refused> {
    let minutes = asked.minutes.unwrap_or(60);
    if !(1..=HISTORY_MAX_MINUTES).contains(&minutes) {
        return Err(Refused::bad(format!("`minutes` has to be from 1 to {HISTORY_MAX_MINUTES}")));
    }
    let points = app.reports.history(minutes).await.into_iter().map(Step::from).collect();
    Ok(Answer(StatsHistory { step_s: step_s(minutes), points }))
}
