//! `GET /v1/channels/{channel}/presence`: the users who follow a channel now, for clients that a rule lets
//! know.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{Action, ChannelName, ErrorCode};

use crate::{
    app::App,
    extractors::{CLIENT, Client},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    presence::{Presence, PresenceQuery},
    validation::{self, InPath},
};

/// Who follows a channel now, if a rule lets the user know.
#[utoipa::path(
    get, path = "/v1/channels/{channel}/presence", tag = "control connection",
    security(("token" = []), ("cookie" = [])),
    params(
        (
            "channel" = String,
            Path,
            description = "The public channel, percent-encoded.",
            example = "news"
        ),
        PresenceQuery
    ),
    responses((
        status = 200, description = "A page of them.", body = Presence,
        example = json!({"users": [{"user": "alice", "sessions": 2}], "next": null}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, query::ERRORS, validation::ERRORS, ENGINE, &[ErrorCode::ChannelForbidden]
    ])))),
)]
pub(crate) async fn presence(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    InPath(channel): InPath,
    Query(asked): Query<PresenceQuery>,
) -> Result<Answer<Presence>, Refused> {
    let channel = ChannelName::public(&channel)?;
    app.auth.access().check(&identity, Action::Presence, &channel)?;
    crate::presence::presence(&app, &channel, &asked).await.map(Answer)
}
