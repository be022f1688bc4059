//! The audit trail of requests that the router answers: what is known of each when it is answered.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use encke_proto::ErrorCode;
use http::{HeaderMap, Method, StatusCode, header};

use crate::{
    app::App,
    auth::{Audit, AuditRecord, COOKIE, TOKEN_IN_BODY},
    http::{client_address::ClientAddress, discard::ReadsOn},
};

/// The name of the key that a request has, as an extension of the request; its extractor puts it in.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyName(pub(crate) Arc<OnceLock<Box<str>>>);

/// What a request was about, as an extension of the answer; its handler puts it in.
#[derive(Clone, Debug)]
pub(crate) struct What(pub(crate) Box<str>);

/// What an operation is called in the audit trail; none of those that only read what is here.
pub(crate) fn action(method: &Method, route: &str) -> Option<&'static str> {
    match (method.as_str(), route) {
        ("POST", "/api/push") => Some("push"),
        ("POST", "/api/publish") => Some("publish"),
        ("POST", "/api/close") => Some("close"),
        ("POST", "/api/revoke") => Some("revoke"),
        // Changes nothing here, and has the server ask another one.
        ("POST", "/api/check-url") => Some("check_url"),
        ("DELETE", "/api/push/{id}") => Some("cancel_push"),
        ("DELETE", "/api/users/{user}") => Some("delete_user"),
        ("DELETE", "/api/channels/{channel}") => Some("delete_channel"),
        _ => None,
    }
}

/// Around all that asks for a key or a token.
pub(crate) async fn audited(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let audit = app.auth.audit();
    if !audit.is_on() {
        return next.run(request).await;
    }
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown".to_owned(), |path| path.as_str().to_owned());
    let action = action(request.method(), &route);
    let deleted = (request.method() == Method::DELETE)
        .then(|| request.uri().path().rsplit('/').next().unwrap_or_default().into());
    let from = request.extensions().get::<ClientAddress>().map(|peer| peer.0);
    let has_credentials = TOKEN_IN_BODY.contains(&route.as_str()) || brings_credentials(request.headers());
    let key_name = KeyName::default();
    request.extensions_mut().insert(key_name.clone());
    let mut response = next.run(request).await;
    let who = || key_name.0.get().cloned().unwrap_or_else(|| "-".into());
    let code = response.extensions().get::<ErrorCode>().copied();
    let is_refused = code.is_some_and(Audit::is_about);
    if is_refused && has_credentials {
        audit.refuse(who(), &route, code.map_or("unauthorized", ErrorCode::as_str), from);
        return response;
    }
    let is_message = matches!(action, Some("push" | "publish"));
    let Some(action) = action.filter(|_| !is_refused && (!is_message || audit.has_messages())) else {
        return response;
    };
    if is_message && code.is_none() && response.extensions().get::<ReadsOn>().is_some() {
        // A stream of requests: each has a line of its own.
        return response;
    }
    let what = response.extensions_mut().remove::<What>().map(|What(what)| what);
    let what = what.or(deleted).unwrap_or_else(|| "".into());
    let outcome = match code {
        Some(code) => code.as_str(),
        None if response.status() < StatusCode::BAD_REQUEST => "ok",
        None => "bad_request",
    };
    audit.record(AuditRecord { who: who(), action, what, outcome, from, left_out: 0 });
    response
}

/// Whether a request wants to prove who sends it.
fn brings_credentials(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || headers.get_all(header::COOKIE).iter().any(|cookie| {
            let name = COOKIE.as_bytes();
            cookie.as_bytes().windows(name.len()).any(|part| part == name)
        })
}
