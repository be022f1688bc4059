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
    let (token, claims) = match (login.user, login.token) {
        (Some(_), None) if !app.config.dev => return Err(ErrorCode::LoginDisabled.into()),
        // A foreign site can make its own name lead here (DNS rebinding), but it cannot be called localhost
        // or by an address.
        (Some(_), None) if !host_name.is_none_or(is_this_machine) => {
            return Err(Refused::new(
                ErrorCode::OriginForbidden,
                "login by id alone is for localhost, or this machine's address",
            ));
        }
        (Some(user), None) => app.auth.dev_token(validation::user(&user)?, now)?,
        (None, Some(token)) => {
            let attempts = app.auth.keys().attempts();
            let verified = match app.auth.verify(&token, now) {
                Err(refusal) => match app.auth.fetch_for(&refusal, attempts) {
                    Some(fetch) => {
                        fetch.over().await;
                        app.auth.verify(&token, now)
                    }
                    None => Err(refusal),
                },
                verified => verified,
            };
            verified.map(|claims| (token, claims))?
        }
        _ => return Err(Refused::bad("send either `user` or `token`")),
    };
    app.auth.permit(&claims.user, Some(&claims.info()), now)?;
    let left_s = claims.expires_s.saturating_sub(now.0 / 1000);
    let cookie = cookie::holding(&token, left_s, &path, by_https);
    let answer = LoggedIn { token, user: claims.user, expires: Time(claims.expires_s.saturating_mul(1000)) };
    Ok((cookie::alone(cookie, &path), Answer(answer)).into_response())
}
