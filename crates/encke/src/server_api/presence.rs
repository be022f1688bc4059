//! `GET /api/channels/{channel}/presence`: the users who follow a channel now, for backends.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::ChannelName;

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    presence::{Presence, PresenceQuery},
    validation::{self, InPath},
};

/// Who follows a channel now.
#[utoipa::path(
    get, path = "/api/channels/{channel}/presence", tag = "server API", security(("api_key" = [])),
    params(
        (
            "channel" = String,
            Path,
            description = "The channel, percent-encoded; a user's own too.",
            example = "news"
        ),
        PresenceQuery
    ),
    responses((
        status = 200, description = "A page of them.", body = Presence,
        example = json!({"users": [{"user": "alice", "sessions": 2}], "next": null}),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn presence(
    State(app): State<Arc<App>>,
    _: MayRead,
    InPath(channel): InPath,
    Query(asked): Query<PresenceQuery>,
) -> Result<Answer<Presence>, Refused> {
    crate::presence::presence(&app, &ChannelName::any(&channel)?, &asked).await.map(Answer)
}
