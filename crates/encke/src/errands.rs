//! Errands: requests that are answered at once, and so often that a shard which has read one whole answers it itself, without the HTTP library. Their handlers are the library's own.

use std::{pin::Pin, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{api, app::App, body, refusal::Refused};

/// What came of an errand.
pub type Outcome = Result<Done, Refused>;
/// An errand under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The answer to an errand.
#[derive(Debug)]
pub struct Done {
    /// The HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub json: Vec<u8>,
}

/// A kind of errand: a POST of JSON by somebody who has the key of the server API.
#[derive(Debug)]
pub struct Errand {
    /// Its address; there is no query.
    pub path: &'static str,
    /// Runs it with a body.
    pub run: fn(Arc<App>, Vec<u8>) -> Running,
}

/// All errands. What else a path takes (other methods, other bodies) is the library's business.
pub static ERRANDS: [Errand; 2] = [
    Errand { path: "/api/push", run: |app, body| Box::pin(async move { accepted(&api::push::accept(&app, parsed(&body)?).await?) }) },
    Errand { path: "/api/publish", run: |app, body| Box::pin(async move { accepted(&api::publish::accept(&app, parsed(&body)?).await?) }) },
];

/// The errand with this address.
#[must_use]
pub fn asked_for(path: &str) -> Option<&'static Errand> {
    ERRANDS.iter().find(|errand| errand.path == path)
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    body::parse(body)
}

fn accepted(answer: &impl Serialize) -> Outcome {
    match serde_json::to_vec(answer) {
        Ok(json) => Ok(Done { status: 202, json }),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            Err(encke_proto::ErrorCode::Internal.into())
        }
    }
}
