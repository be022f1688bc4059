//! Answers that pages of other origins may read (CORS): only those of the origins that are listed, and never
//! by reflecting the origin of the request.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use encke_proto::ErrorCode;
use http::{HeaderValue, Method, StatusCode, header};

use crate::{
    app::App,
    http::{readable, refusal::Refused},
};

/// Around everything that clients use.
pub(crate) async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| app.auth.allowed_origin(origin)));
    let asks_before = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (asks_before, &allowed) {
        (true, Some(_)) => may(),
        (true, None) => Refused::from(ErrorCode::OriginForbidden).into_response(),
        (false, _) => next.run(request).await,
    };
    let headers = response.headers_mut();
    // A cache must not give one origin's answer to another, whether or not this one was allowed.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        readable::open(headers, origin);
    }
    response
}

/// What a page may send, for a browser that asks before it does.
fn may() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Last-Event-ID, Cache-Control"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
