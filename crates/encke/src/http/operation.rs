//! The addresses that operators and probes need, in any state of the server.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use encke_proto::ErrorCode;

use super::refusal::Refused;

/// Whether operators and probes need this address, so that it is served when the server is full: the server
/// API and what tells how the process is.
#[must_use]
pub fn is_operation(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics" || is_probe(path)
}

/// Whether it is what tells supervisors and balancers how the process is: answered to any client, in few
/// bytes.
#[must_use]
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Marks a request that came in one of the places that are kept for operators, and does not belong there. Its
/// answer is still one that the pages of allowed origins may read.
#[derive(Clone, Copy, Debug)]
pub struct Full;

/// Refuses what came in a place that is kept for operators and is not for it. A preflight is answered before,
/// so that a page of an allowed origin may read why.
pub(crate) async fn refuse_when_full(request: Request, next: Next) -> Response {
    if request.extensions().get::<Full>().is_some() {
        return Refused::new(ErrorCode::Overloaded, "too many connections").into_response();
    }
    next.run(request).await
}
