//! `POST /v1/close`: a client ends its own session, also by a beacon that carries no token. A backend's close
//! is in `api/close.rs`.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequest, FromRequestParts, Request, State},
};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::SessionClosed,
    extractors::{CLIENT, Client},
    http::{
        body::{self, Json},
        client_address::ClientAddress,
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// Which session is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseSession {
    session: String,
    /// A text for users; at most 256 bytes.
    reason: Option<String>,
}

/// Ends a session of the client's own on purpose. Its data connection ends with `close`, and everything of it
/// is freed before this is answered.
///
/// A page that is being closed sends a beacon of `text/plain`, which can bring no header: there the session
/// id is the secret, and no token is needed.
#[utoipa::path(
    post, path = "/v1/close", tag = "control connection", security(("token" = []), ("cookie" = []), ()),
    request_body(content(
        (
            CloseSession = "application/json",
            example = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "reason": "left"})
        ),
        (CloseSession = "text/plain", example = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ"})),
    )),
    responses((
        status = 200, description = "Whether there was something to close.", body = SessionClosed,
        example = json!({"closed": true}),
    )),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, body::ERRORS, ENGINE])))),
)]
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Answer<SessionClosed>, Refused> {
    let from = request.extensions().get::<ClientAddress>().copied();
    let (request, owner) = if body::is_type(request.headers(), "text/plain") {
        (body::parse::<CloseSession>(&body::read(request).await?)?, None)
    } else {
        let (mut parts, body) = request.into_parts();
        let Client(identity) = Client::from_request_parts(&mut parts, &app).await?;
        let Json(request) = Json::from_request(Request::from_parts(parts, body), &()).await?;
        (request, Some(identity.user))
    };
    let close = Close {
        code: CloseCode::Client,
        reason: validation::reason(request.reason)?,
        reconnect: false,
        retry_ms: None,
    };
    let by_id_alone = owner.is_none();
    // A client of its own closes what it knows; by the id alone others may try which there are.
    let none = || match from.filter(|_| by_id_alone) {
        Some(ClientAddress(address)) => app.rate_limits.failure(address, app.now().wall),
        None => Ok(()),
    };
    let Ok(session) = validation::session(&request.session) else {
        none()?;
        return Ok(Answer(SessionClosed { closed: false }));
    };
    let target = match owner {
        Some(user) => CloseTarget::SessionOf(session, user),
        None => CloseTarget::Session(session),
    };
    let count = app.sessions.close(&target, &close).await?;
    if count == 0 {
        none()?;
    }
    Ok(Answer(SessionClosed { closed: count > 0 }))
}
