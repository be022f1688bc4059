//! `GET /api/channels/{channel}/presence`: the users who follow a channel now, on all nodes.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ChannelName, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PresenceQuery {
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of the users that follow a channel, by user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Presence {
    users: Vec<Present>,
    /// Where the next page begins, if there is one.
    #[schema(value_type = Option<String>)]
    next: Option<UserId>,
}

/// A user that follows a channel.
#[derive(Serialize, ToSchema)]
pub(crate) struct Present {
    #[schema(value_type = String)]
    user: UserId,
    /// With how many sessions.
    sessions: usize,
}

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
    let limit = query::limit(asked.limit)?;
    let after = asked.after.as_deref().map(validation::user).transpose()?;
    let mut users = app.sessions.present(&ChannelName::any(&channel)?, after.as_ref(), limit + 1).await?;
    let next = query::cut(&mut users, limit, |(user, _)| user.clone());
    let users = users.into_iter().map(|(user, sessions)| Present { user, sessions }).collect();
    Ok(Answer(Presence { users, next }))
}
