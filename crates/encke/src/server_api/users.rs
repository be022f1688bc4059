//! `GET /api/users` and `/api/users/{user}`: users as the engine stores them, merged with the users who are
//! online and may not be stored yet.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json as Answer, extract::State};
use encke_engine::UserRecord;
use encke_proto::{ErrorCode, Time, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::user_search::{UserSearch, UsersFound};
use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// How many records of a page are read from the engine at a time.
const RECORDS_AT_ONCE: usize = 32;

/// Which users, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsersQuery {
    /// Only users whose ids contain this, byte by byte.
    q: Option<String>,
    /// Only users whose ids begin with this.
    prefix: Option<String>,
    /// Also tell how many there are in all pages together (`total`).
    count: Option<bool>,
    /// Only users who are online, or only users who are not; a page of the latter may be short although there
    /// is a next one, unless they are searched or counted.
    online: Option<bool>,
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of users, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct Users {
    users: Vec<User>,
    /// Where the next page begins, if there is one.
    #[schema(value_type = Option<String>)]
    next: Option<UserId>,
    /// How many there are in all pages together, if `count` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
}

/// A user that the server knows.
#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(value_type = String)]
    id: UserId,
    online: bool,
    sessions: usize,
    #[schema(value_type = String, format = DateTime)]
    first_seen: Time,
    /// Null for one who was only pushed to.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Time>,
}

impl User {
    /// What is known of a user from the engine and from the living sessions. One who has just come may not be
    /// stored yet.
    fn new(id: UserId, record: Option<&UserRecord>, sessions: usize, now: Time) -> Self {
        let online = sessions > 0;
        let first_seen = record.map_or(now, |record| record.first_seen);
        let last_seen = if online { Some(now) } else { record.and_then(|record| record.last_seen) };
        Self { id, online, sessions, first_seen, last_seen }
    }
}

/// The users that the server knows.
#[utoipa::path(
    get, path = "/api/users", tag = "server API", security(("api_key" = [])), params(UsersQuery),
    responses((
        status = 200, description = "A page of them.", body = Users,
        example = json!({
            "users": [{
                "id": "alice", "online": true, "sessions": 1, "first_seen": "2026-01-02T03:04:05.678Z",
                "last_seen": "2026-01-02T03:04:05.678Z"
            }],
            "next": null
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn users(
    State(app): State<Arc<App>>,
    _: MayRead,
    Query(asked): Query<UsersQuery>,
) -> Result<Answer<Users>, Refused> {
    let limit = query::limit(asked.limit)?;
    let after = asked.after.as_deref().map(validation::user).transpose()?;
    let now = app.now().wall;
    let filter = query::filter(asked.q.as_deref(), asked.prefix.as_deref())?;
    let count = asked.count == Some(true);
    if count || !filter.matches_all() {
        let search = UserSearch { filter, online: asked.online, after, limit, count };
        return found(&app, search.find(&app).await?, now).await.map(Answer);
    }
    let mut live = app.sessions.online(after.as_ref(), limit + 1).await?;
    if asked.online == Some(true) {
        let next = query::cut(&mut live, limit, |(user, _)| user.clone());
        let mut users = Vec::with_capacity(live.len());
        for (user, sessions) in live {
            let record = app.engine.user(&user).await?;
            users.push(User::new(user, record.as_ref(), sessions, now));
        }
        return Ok(Answer(Users { users, next, total: None }));
    }
    // Both lists are sorted and whole behind `after` for as long as one page of them together goes, so their
    // union is.
    live.truncate(limit + 1);
    let mut union: BTreeMap<UserId, (Option<UserRecord>, usize)> =
        live.into_iter().map(|(user, count)| (user, (None, count))).collect();
    for record in app.engine.users(after.as_ref(), limit + 1).await? {
        let user = record.user.clone();
        union.entry(user).or_default().0 = Some(record);
    }
    let mut page: Vec<_> = union.into_iter().collect();
    let next = query::cut(&mut page, limit, |(user, _)| user.clone());
    let user = |(id, (record, sessions)): (UserId, (Option<UserRecord>, usize))| {
        User::new(id, record.as_ref(), sessions, now)
    };
    let users = page
        .into_iter()
        .map(user)
        .filter(|user| asked.online.is_none_or(|online| user.online == online))
        .collect();
    Ok(Answer(Users { users, next, total: None }))
}

/// The users that a search has found, with what is known of each.
async fn found(app: &App, found: UsersFound, now: Time) -> Result<Users, Refused> {
    let UsersFound { ids, next, total } = found;
    let sessions = app.sessions.counts_of(ids.clone()).await?;
    let records = stream::iter(ids).map(|id| known(app, id));
    let found: Vec<(Option<UserRecord>, UserId)> = records.buffered(RECORDS_AT_ONCE).try_collect().await?;
    let user = |(record, id): (Option<UserRecord>, UserId)| {
        let sessions = sessions.get(&id).copied().unwrap_or_default();
        User::new(id, record.as_ref(), sessions, now)
    };
    Ok(Users { users: found.into_iter().map(user).collect(), next, total })
}

/// What the engine knows of a user.
async fn known(app: &App, id: UserId) -> Result<(Option<UserRecord>, UserId), Refused> {
    Ok((app.engine.user(&id).await?, id))
}

/// One user.
#[utoipa::path(
    get, path = "/api/users/{user}", tag = "server API", security(("api_key" = [])),
    params(("user" = String, Path, description = "The user, percent-encoded.", example = "alice")),
    responses((
        status = 200, description = "The user.", body = User,
        example = json!({
            "id": "alice", "online": true, "sessions": 1, "first_seen": "2026-01-02T03:04:05.678Z",
            "last_seen": "2026-01-02T03:04:05.678Z"
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, validation::ERRORS, ENGINE, &[ErrorCode::UserUnknown]
    ])))),
)]
pub(crate) async fn user(
    State(app): State<Arc<App>>,
    _: MayRead,
    InPath(user): InPath,
) -> Result<Answer<User>, Refused> {
    let user = validation::user(&user)?;
    let sessions = app.sessions.count_of(&user).await?;
    let record = app.engine.user(&user).await?;
    if record.is_none() && sessions == 0 {
        return Err(ErrorCode::UserUnknown.into());
    }
    Ok(Answer(User::new(user, record.as_ref(), sessions, app.now().wall)))
}
