//! Requests that wait on a connection that has to stay with the HTTP library: the table writes the answer, the library sends it.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse};
use encke_proto::ErrorCode;
use http::Response;

use super::{Admit, Verdict};
use crate::{
    clock::Clock,
    refusal::Refused,
    shards::{Arrival, Letter, Shards},
    table::{Line, head::Waiting, lend},
};

/// Holds requests whose connection the library keeps. Cheap to clone.
#[derive(Clone)]
pub struct Holder {
    admit: Admit,
    shards: Shards,
    clock: Arc<dyn Clock>,
}

impl Holder {
    /// Decides by `admit`.
    #[must_use]
    pub fn new(admit: Admit, shards: Shards, clock: Arc<dyn Clock>) -> Self {
        Self { admit, shards, clock }
    }

    /// Decides on a request, and holds it.
    pub async fn hold(&self, waiting: &Waiting) -> Response<Body> {
        if waiting.transport.talks() {
            // Nothing that a client says comes in on a response.
            return Refused::from(ErrorCode::UpgradeRequired).into_response();
        }
        hold(&self.shards, self.admit.decide(waiting, self.clock.now().wall)).await
    }
}

/// Holds a request on which was decided until the table answers it. Dropping the future, or the body of the response, tells the table that nobody waits any more.
pub async fn hold(shards: &Shards, verdict: Verdict) -> Response<Body> {
    let home = match &verdict {
        Verdict::Admitted(admission) => shards.home(&admission.user),
        Verdict::Refused(..) | Verdict::StayAway(_) => shards.any(),
    };
    let (lent, head, body) = lend(shards.lent_id(), home.clone());
    let arrival = Arrival { line: Line::Lent(Box::new(lent)), inbound: Vec::new(), verdict };
    if home.post(Letter::Arrived(Box::new(arrival))).is_err() {
        return Refused::new(ErrorCode::Overloaded, "too many requests at a time").into_response();
    }
    match head.await {
        Ok(response) => response.map(|()| Body::new(body)),
        // The table let go of it without a word, as it does with who takes nothing.
        Err(_) => Refused::new(ErrorCode::ShuttingDown, "the server stops").into_response(),
    }
}
