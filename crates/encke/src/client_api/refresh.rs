//! `POST /v1/refresh`: a fresh token in the place of the one with which a session would end. What it does is
//! in `commands.rs`.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use encke_proto::{ErrorCode, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::cookie;
use crate::{
    app::App,
    auth::Credentials,
    commands::{self, Refreshed},
    extractors::{CLIENT, credentials},
    http::{
        body::{self, Json},
        refusal::{ENGINE, Refused, SESSION, codes},
    },
    validation,
};

/// Which session is to go on, and with what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    session: String,
    /// A JWT of the session's user. Without it, the one that the request brings as every other does, in
    /// `Authorization` or in a cookie that was renewed.
    token: Option<String>,
}

/// Lets a session of the token's user go on with a fresh token, without a break in its data connection. What
/// it does not grant is not followed any more. The cookie of a login of this user is renewed.
#[utoipa::path(
    post, path = "/v1/refresh", tag = "tokens", security((), ("token" = []), ("cookie" = [])),
    request_body(content = Refresh, examples(
        ("token" = (
            summary = "With a token",
            value = json!({
                "session": "3q2-7wABCDEFGHIJKLMNOQ",
                "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
            })
        )),
        ("without" = (
            summary = "With the token that the request brings",
            value = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ"})
        )),
    )),
    responses((
        status = 200, description = "The session has the token.", body = Refreshed,
        example = json!({"expires": "2026-01-02T03:04:05.000Z"}),
    )),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, body::ERRORS, SESSION, ENGINE])))),
)]
pub(crate) async fn refresh(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let brought = credentials(&parts).choosing(&parts.headers, app.auth.chosen_headers());
    if brought.query_token {
        return Err(Refused::new(
            ErrorCode::Unauthorized,
            "a token does not belong into an address; send it in the body",
        ));
    }
    // As everywhere, before its body is read.
    app.auth.refuse_foreign(&brought)?;
    let request = Request::from_parts(parts.clone(), body);
    let Json(Refresh { session, token }) = Json::from_request(request, &()).await?;
    let now = app.now().wall;
    let fresh = match &token {
        Some(token) => app.auth.know_fetching(token, now).await?,
        None => app.auth.identify_fetching(&brought, now).await?,
    };
    let session = validation::session(&session)?;
    // A cookie that came with the request is renewed if it is one of the same user's logins: another's tab
    // may have made it.
    let logged_in = Credentials { authorization: None, ticket: None, chosen: Vec::new(), ..brought.clone() };
    let is_logged_in = |user: &UserId| {
        let by_cookie = app.auth.identify(&logged_in, now);
        by_cookie.is_ok_and(|known| known.identity.user == *user)
    };
    let cookie = token.filter(|_| is_logged_in(&fresh.identity.user)).map(|token| {
        let path = cookie::path(&parts.headers);
        let ends = fresh.identity.expires;
        cookie::setting(&token, (ends, now), &path, brought.is_https())
    });
    let refreshed = commands::refresh(&app, session, fresh).await?;
    Ok((cookie, Answer(refreshed)).into_response())
}
