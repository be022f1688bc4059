//! `POST /v1/close`: a client ends its own session, also by a beacon that carries no token but the session's
//! key. A backend's close is in `server_api/close.rs`.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequest, FromRequestParts, Request, State},
};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, ErrorCode};
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
    /// What `open`, or a poll's first answer, said with the session; then no token is needed.
    close_key: Option<String>,
    /// A text for users; at most 256 bytes.
    reason: Option<String>,
}

/// Ends a session of the client's own on purpose. Its data connection ends with `close`, and everything of it
/// is freed before this is answered.
///
/// A page that is being closed sends a beacon of `text/plain`, which can bring no header: with `close_key` no
/// token is needed. The id of a session alone ends nothing, since it stands in addresses.
#[utoipa::path(
    post, path = "/v1/close", tag = "control connection", security(("token" = []), ("cookie" = []), ()),
    request_body(content(
        (
            CloseSession = "application/json",
            example = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "reason": "left"})
        ),
        (
            CloseSession = "text/plain",
            example = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "close_key": "2k3j4h5g6f7d8s9a0qwert"})
        ),
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
    let (mut parts, body) = request.into_parts();
    let from = parts.extensions.get::<ClientAddress>().copied();
    // Who asks counts unless there is a key, which only the body says.
    let client = Client::from_request_parts(&mut parts, &app).await;
    let is_beacon = body::is_type(&parts.headers, "text/plain");
    let request = Request::from_parts(parts, body);
    let request = if is_beacon {
        body::parse::<CloseSession>(&body::read(request).await?)?
    } else {
        match (Json::from_request(request, &()).await, &client) {
            (Ok(Json(request)), _) => request,
            (Err(_), Err(refused)) => return Err(refused.clone()),
            (Err(refused), Ok(_)) => return Err(refused),
        }
    };
    let close = Close {
        code: CloseCode::Client,
        reason: validation::reason(request.reason)?,
        reconnect: false,
        retry_ms: None,
    };
    let session = validation::session(&request.session).ok();
    let keyed = match (session, &request.close_key) {
        (_, None) => None,
        (Some(session), Some(key)) if app.auth.close_keys().fits(session, key) => Some(session),
        _ => {
            // Keys are not to be guessed.
            if let Some(ClientAddress(address)) = from {
                app.rate_limits.failure(address, app.now().wall)?;
            }
            return Err(Refused::new(ErrorCode::Unauthorized, "this is not the close_key of the session"));
        }
    };
    let target = match keyed {
        Some(session) => CloseTarget::Session(session),
        None => {
            let user = client.map_err(without_key)?.0.user;
            let Some(session) = session else { return Ok(Answer(SessionClosed { closed: false })) };
            CloseTarget::SessionOf(session, user)
        }
    };
    let count = app.sessions.close(&target, &close).await?;
    Ok(Answer(SessionClosed { closed: count > 0 }))
}

/// Why a close by neither a token nor a key is refused: in a beacon, it is the key that is missing.
fn without_key(Refused(refusal): Refused) -> Refused {
    let message = format!("{}; a beacon sends `close_key`", refusal.message);
    Refused::new(refusal.code, message)
}
