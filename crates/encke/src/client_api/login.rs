//! `POST /v1/login`: sets the cookie for a token, or in dev mode for a user id alone.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use encke_proto::{ErrorCode, Time, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cookie;
use crate::{
    app::App,
    auth::{Authenticated, Identity},
    extractors::{CLIENT, credentials},
    http::{
        body::{self, Json},
        client_address::ClientAddress,
        host::is_this_machine,
        refusal::{Refused, codes},
    },
    validation,
};

/// Exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// Who to be; in dev mode only.
    user: Option<String>,
    /// A token that the application gave.
    token: Option<String>,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// The token, for clients that send it themselves.
    token: String,
    /// The user.
    #[schema(value_type = String)]
    user: UserId,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    expires: Time,
}

/// Logs in: by a token, or in dev mode by an id alone; sets the cookie.
#[utoipa::path(
    post, path = "/v1/login", tag = "tokens", security(()),
    request_body(content = Login, examples(
        ("user" = (summary = "In dev mode", value = json!({"user": "alice"}))),
        ("token" = (
            summary = "By a token",
            value = json!({"token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"})
        )),
    )),
    responses((
        status = 200, description = "Logged in; the cookie is set.", body = LoggedIn,
        example = json!({
            "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
            "user": "alice",
            "expires": "2026-01-02T03:04:05.678Z"
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, body::ERRORS, validation::ERRORS, &[ErrorCode::LoginDisabled, ErrorCode::Internal]
    ])))),
)]
pub(crate) async fn login(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    if let Some(ClientAddress(address)) = parts.extensions.get() {
        app.rate_limits.login(*address, app.now().wall)?;
    }
    let credentials = credentials(&parts);
    if credentials.query_token {
        return Err(Refused::new(
            ErrorCode::Unauthorized,
            "a token does not belong into an address; send it in the body",
        ));
    }
    // A foreign page must not log a user in as another.
    if !app.auth.own_or_allowed(&credentials) {
        return Err(ErrorCode::OriginForbidden.into());
    }
    let (by_https, path) = (credentials.is_https(), cookie::path(&parts.headers));
    let host = credentials.host.map(str::to_owned);
    let host_name = host.as_deref();
    let Json(login) = Json::<Login>::from_request(Request::from_parts(parts, body), &()).await?;
    let now = app.now().wall;
    let (token, known) = match (login.user, login.token) {
        (Some(_), None) if !app.config.dev => return Err(ErrorCode::LoginDisabled.into()),
        // A foreign site can make its own name lead here (DNS rebinding), but it cannot be called localhost
        // or by an address.
        (Some(_), None) if !host_name.is_none_or(is_this_machine) => {
            return Err(Refused::new(
                ErrorCode::OriginForbidden,
                "login by id alone is for localhost, or this machine's address",
            ));
        }
        (Some(user), None) => {
            let (token, claims) = app.auth.dev_token(validation::user(&user)?, now)?;
            app.auth.permit(&claims.user, Some(&claims.info()), now)?;
            (token, Authenticated::new(claims, false))
        }
        (None, Some(token)) => {
            let known = app.auth.know_fetching(&token, now).await?;
            (token, known)
        }
        _ => return Err(Refused::bad("send either `user` or `token`")),
    };
    let Identity { user, expires, .. } = known.identity;
    let cookie = cookie::setting(&token, (expires, now), &path, by_https);
    let answer = LoggedIn { token, user, expires };
    Ok((cookie, Answer(answer)).into_response())
}
