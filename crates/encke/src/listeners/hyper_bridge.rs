//! Requests that wait on a connection that has to stay with hyper: the table writes the answer,
//! hyper sends it.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse};
use encke_proto::ErrorCode;
use http::{HeaderValue, Response};
use tokio::sync::oneshot;

use crate::{
    admission::{Admit, Endpoints, Verdict},
    clock::Clock,
    connection::Given,
    http::{readable, refusal::Refused},
    shards::{Arrival, BodySink, Mailbox, ShardCommand, Shards, Sink, body_sink},
};

/// Holds requests whose connection hyper keeps. Cheap to clone.
#[derive(Clone)]
pub struct HyperBridge {
    pub(super) admit: Admit,
    pub(super) endpoints: Arc<Endpoints>,
    shards: Shards,
    pub(super) clock: Arc<dyn Clock>,
}

impl HyperBridge {
    /// Holds what the endpoints let wait.
    #[must_use]
    pub fn new(admit: Admit, endpoints: Arc<Endpoints>, shards: Shards, clock: Arc<dyn Clock>) -> Self {
        Self { admit, endpoints, shards, clock }
    }

    /// Lets the page of a request read its answer, if its origin is allowed: what the table has not written
    /// is not open yet.
    #[must_use]
    pub fn open(&self, origin: Option<HeaderValue>, mut response: Response<Body>) -> Response<Body> {
        let allowed = origin.filter(|origin| self.admit.readable_by(origin.to_str().ok()).is_some());
        if let Some(origin) = allowed {
            readable::open(response.headers_mut(), origin);
        }
        response
    }

    /// Holds a request.
    pub async fn hold(&self, verdict: Verdict, given: Arc<Given>) -> Response<Body> {
        let verdict = settled(verdict).await;
        let home = home(&self.shards, &verdict);
        let (body_sink, head, body) = body_sink(self.shards.body_sink_id(), home.clone(), Some(given));
        match answer(home, body_sink, verdict, head).await {
            Ok(response) => response.map(|()| Body::new(body)),
            Err(refused) => refused.into_response(),
        }
    }
}

fn home<'a>(shards: &'a Shards, verdict: &Verdict) -> &'a Mailbox<ShardCommand> {
    match verdict {
        Verdict::Admitted(admission) => shards.home(&admission.user),
        _ => shards.any(),
    }
}

/// What comes of a verdict that takes a while.
async fn settled(mut verdict: Verdict) -> Verdict {
    while let Verdict::Later(later) = verdict {
        verdict = later.0.await;
    }
    verdict
}

/// The head of the table's answer.
async fn answer(
    home: &Mailbox<ShardCommand>,
    body_sink: BodySink,
    verdict: Verdict,
    head: oneshot::Receiver<Response<()>>,
) -> Result<Response<()>, Refused> {
    let arrival =
        Arrival { sink: Sink::Body(Box::new(body_sink)), inbound: Vec::new(), verdict, unsent: None };
    home.post(ShardCommand::Arrived(Box::new(arrival)))
        .map_err(|_| Refused::new(ErrorCode::Overloaded, "too many requests at a time"))?;
    // The table may let go of it without a word, as it does with who takes nothing.
    head.await.map_err(|_| Refused::new(ErrorCode::ShuttingDown, "the server stops"))
}
