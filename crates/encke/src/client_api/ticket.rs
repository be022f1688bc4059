//! `POST /v1/ticket`: a one-use ticket for a data connection that cannot send a header.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ErrorCode, Time};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::{ByToken, CLIENT},
    http::{
        body::{self, Nothing},
        refusal::{Refused, codes},
    },
};

/// A ticket, for a data connection that can send no header.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ticket {
    /// Good once, as the query parameter `ticket`; a stream that comes back with its last event id goes on by
    /// it.
    ticket: String,
    /// Until when; at most 30 seconds.
    #[schema(value_type = String, format = DateTime)]
    expires: Time,
}

/// Gives a one-use ticket.
#[utoipa::path(
    post, path = "/v1/ticket", tag = "tokens", security(("token" = []), ("cookie" = [])),
    responses((
        status = 200, description = "A ticket.", body = Ticket,
        example = json!({"ticket": "dGlja2V0LW9mLWFsaWNl", "expires": "2026-01-02T03:04:05.678Z"}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, body::ERRORS, &[ErrorCode::RateLimited, ErrorCode::Internal]
    ])))),
)]
pub(crate) async fn ticket(
    State(app): State<Arc<App>>,
    ByToken(owner): ByToken,
    Nothing: Nothing,
) -> Result<Answer<Ticket>, Refused> {
    app.rate_limits.user_request(&owner.identity.user, app.now().wall)?;
    let given = app.auth.ticket(owner, app.now().wall)?;
    Ok(Answer(Ticket { ticket: given.ticket, expires: given.expires }))
}
