//! `POST /api/close`: ends a session, or all sessions of a user, for a backend. A client's close of its own
//! session is in `control/close.rs`.

use std::sync::Arc;

use axum::{Extension, Json as Answer, extract::State};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    audited::What,
    extractors::{MayClose, OPERATOR},
    http::{
        body::{self, Json},
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// How much of a session's id an audit line has.
const SESSION_SHOWN: usize = 6;

/// Whose sessions are to end; exactly one of `user` and `session`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseSessions {
    /// All sessions of this user.
    user: Option<String>,
    /// This session.
    session: Option<String>,
    /// A text for users; at most 256 bytes.
    reason: Option<String>,
    /// Whether the clients should come back by themselves; false by default.
    #[serde(default)]
    reconnect: bool,
}

/// How many sessions were ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsClosed {
    closed: usize,
}

/// Ends sessions on purpose. Everything of them is freed before this is answered.
#[utoipa::path(
    post, path = "/api/close", tag = "server API", security(("api_key" = [])),
    request_body(content = CloseSessions, examples(
        ("user" = (
            summary = "All sessions of a user",
            value = json!({"user": "alice", "reason": "signed out elsewhere"})
        )),
        ("session" = (
            summary = "One session",
            value = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "reconnect": true})
        )),
    )),
    responses((
        status = 200, description = "How many there were.", body = SessionsClosed,
        example = json!({"closed": 1}),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, body::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    _: MayClose,
    Json(request): Json<CloseSessions>,
) -> Result<(Extension<What>, Answer<SessionsClosed>), Refused> {
    let close = Close {
        code: CloseCode::Operator,
        reason: validation::reason(request.reason)?,
        reconnect: request.reconnect,
        retry_ms: None,
    };
    let what = match (&request.user, &request.session) {
        (Some(user), _) => format!("user {user}"),
        // The whole id is the right to end the session.
        (_, Some(session)) => format!("session {}…", session.chars().take(SESSION_SHOWN).collect::<String>()),
        _ => String::new(),
    };
    let target = match (request.user, request.session) {
        (Some(user), None) => CloseTarget::User(validation::user(&user)?),
        (None, Some(session)) => match validation::session(&session) {
            Ok(session) => CloseTarget::Session(session),
            Err(_) => return Ok((Extension(What(what.into())), Answer(SessionsClosed { closed: 0 }))),
        },
        _ => return Err(Refused::bad("send either `user` or `session`")),
    };
    let closed = app.sessions.close(&target, &close).await?;
    Ok((Extension(What(what.into())), Answer(SessionsClosed { closed })))
}
