//! `POST /v1/logout`: clears the cookie. It ends no session and revokes no token.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use encke_proto::ErrorCode;

use super::cookie;
use crate::{
    app::App,
    commands::Done,
    extractors::credentials,
    http::{
        body::{self, Nothing},
        refusal::{Refused, codes},
    },
};

/// Clears the cookie. The token itself stays good until it ends.
#[utoipa::path(
    post, path = "/v1/logout", tag = "tokens", security(()),
    responses((
        status = 200, description = "The cookie is cleared.", body = Done,
        example = json!({"ok": true}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        body::ERRORS,
        &[ErrorCode::OriginForbidden, ErrorCode::ShuttingDown]
    ])))),
)]
pub(crate) async fn logout(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let credentials = credentials(&parts);
    if !app.auth.own_or_allowed(&credentials) {
        return Err(ErrorCode::OriginForbidden.into());
    }
    let cleared = cookie::clearing(&cookie::path(&parts.headers), credentials.is_https());
    Nothing::from_request(Request::from_parts(parts, body), &()).await?;
    Ok((cleared, Answer(Done { ok: true })).into_response())
}
