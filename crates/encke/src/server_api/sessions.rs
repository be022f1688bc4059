//! `GET /api/sessions`: the sessions of all nodes, or those of one user.

use std::{borrow::Cow, sync::Arc};

use axum::{Json as Answer, extract::State};
use encke_hub::SessionView;
use encke_proto::{ChannelName, SessionId, Time, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    cluster::Listed,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// Whose sessions, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionsQuery {
    /// Only this user's.
    user: Option<String>,
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of sessions, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    sessions: Vec<Session>,
    /// Where the next page begins, if there is one.
    #[schema(value_type = Option<String>)]
    next: Option<SessionId>,
}

/// One tab or device of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    #[schema(value_type = String)]
    session: SessionId,
    #[schema(value_type = String)]
    user: UserId,
    /// The transport of its connection, or of the last one.
    #[schema(value_type = String)]
    transport: Cow<'static, str>,
    /// The node that it is on.
    node: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    since: Time,
    /// How many messages it has not been given.
    lag: u64,
    /// What it follows besides the user's own channel.
    #[schema(value_type = Vec<String>)]
    channels: Vec<ChannelName>,
    /// Whether a connection serves it now; otherwise its grace time runs.
    connected: bool,
}

impl From<Listed> for Session {
    fn from(listed: Listed) -> Self {
        let Listed { node, session } = listed;
        let SessionView { session, user, transport, since, lag, channels, connected } = session;
        Self { session, user, transport, node, since, lag, channels, connected }
    }
}

/// The sessions there are, or those of one user.
#[utoipa::path(
    get, path = "/api/sessions", tag = "server API", security(("api_key" = [])), params(SessionsQuery),
    responses((
        status = 200, description = "A page of them.", body = Sessions,
        example = json!({
            "sessions": [{
                "session": "3q2-7wABCDEFGHIJKLMNOQ", "user": "alice", "transport": "sse", "node": "push-1",
                "since": "2026-01-02T03:04:05.678Z", "lag": 0, "channels": ["news"], "connected": true,
            }],
            "next": null,
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn sessions(
    State(app): State<Arc<App>>,
    _: MayRead,
    Query(asked): Query<SessionsQuery>,
) -> Result<Answer<Sessions>, Refused> {
    let limit = query::limit(asked.limit)?;
    let user = asked.user.as_deref().map(validation::user).transpose()?;
    let after = asked.after.as_deref().map(str::parse::<SessionId>).transpose();
    let after = after.map_err(|_| Refused::bad("`after` has to be the `next` of the page before"))?;
    // By id, so that a page goes on in the right place even when the session that it ended with is gone.
    let mut listed = app.sessions.list(user.as_ref(), after, limit + 1).await?;
    let next = query::cut(&mut listed, limit, |listed| listed.session.session);
    Ok(Answer(Sessions { sessions: listed.into_iter().map(Session::from).collect(), next }))
}
