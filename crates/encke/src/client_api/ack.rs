//! `POST /v1/ack`: the client says what was shown to the person. It is answered after the receipts are
//! stored.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_engine::{Mark, ReceiptState};
use encke_proto::{Cursor, ErrorCode, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::Identity,
    extractors::{CLIENT, Client},
    http::{
        body::{self, Json},
        refusal::{ENGINE, Refused, SESSION, codes},
    },
    validation,
};

/// How far the person has seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ack {
    session: String,
    cursor: String,
}

/// It was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    pub(crate) ok: bool,
}

/// Takes note that what the cursor covers of the user's own channel was shown to the person.
#[utoipa::path(
    post, path = "/v1/ack", tag = "control connection", security(("token" = []), ("cookie" = [])),
    request_body(content = Ack, examples(
        ("shown" = (
            summary = "Up to a cursor",
            value = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "cursor": "1~k3x9~@alice~7"})
        )),
    )),
    responses((
        status = 200, description = "The receipts are moved on.", body = Done,
        example = json!({"ok": true}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, body::ERRORS, SESSION, ENGINE, &[ErrorCode::BadCursor]
    ])))),
)]
pub(crate) async fn ack(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    Json(request): Json<Ack>,
) -> Result<Answer<Done>, Refused> {
    shown(&app, &identity, validation::session(&request.session)?, &request.cursor).await.map(Answer)
}

/// Takes note of how far the person has seen. It is answered when it is written down: after that not even a
/// crash takes it back.
pub(crate) async fn shown(
    app: &App,
    identity: &Identity,
    session: SessionId,
    cursor: &str,
) -> Result<Done, Refused> {
    let cursor =
        Cursor::parse(cursor).map_err(|error| Refused::new(ErrorCode::BadCursor, error.to_string()))?;
    if let Some(position) = app.sessions.ack(session, &identity.user, cursor).await? {
        let mark =
            Mark { user: identity.user.clone(), position, state: ReceiptState::Shown, at: app.now().wall };
        app.engine.mark(vec![mark]).await?;
    }
    Ok(Done { ok: true })
}
