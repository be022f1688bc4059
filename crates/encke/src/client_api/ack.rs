//! `POST /v1/ack`: the client says what was shown to the person. It is answered after the receipts are
//! stored.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::ErrorCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{Done, shown},
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
    shown(&app, &identity, validation::session(&request.session)?, &request.cursor).await?;
    Ok(Answer(Done { ok: true }))
}
