//! `POST /api/close`: ends a session, or all sessions of a user, for a backend. A client's close of its own
//! session is in `control/close.rs`.

use std::sync::Arc;

use axum::{Extension, Json as Answer, extract::State};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, Revocation, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::revoke::put_in_force;
use crate::{
    app::App,
    audited::What,
    auth::RevocationRecord,
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
    /// For how many seconds the user is kept away; at most ten years. 0 ends that.
    #[schema(maximum = 315_360_000)]
    ban_s: Option<u64>,
}

/// The longest time that a user is kept away, in seconds: ten years.
const BAN_MAX_S: u64 = 315_360_000;

/// How many sessions were ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsClosed {
    closed: usize,
}

/// Ends sessions on purpose. Everything of them is freed before this is answered.
///
/// With `ban_s` the user is kept away for so long: all sessions of the user end with `code` `banned`, and
/// requests of the user are refused (`banned`), whatever the token. The latest word counts.
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
        ("ban" = (
            summary = "A user who is kept away for an hour", value = json!({"user": "mallory", "ban_s": 3600})
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
    if request.ban_s.is_some_and(|ban_s| ban_s > BAN_MAX_S || (ban_s > 0 && request.reconnect)) {
        return Err(Refused::bad(format!(
            "`ban_s` is at most {BAN_MAX_S}, and `reconnect` is false for a user who is kept away"
        )));
    }
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
    let what = match request.ban_s {
        Some(ban_s) => format!("{what}, ban of {ban_s} s"),
        None => what,
    };
    let closed = match request.ban_s {
        Some(ban_s) => match user_of(&app, &target).await? {
            Some(user) => ban(&app, &target, user, ban_s, &close).await?,
            None => 0,
        },
        None => app.sessions.close(&target, &close).await?,
    };
    Ok((Extension(What(what.into())), Answer(SessionsClosed { closed })))
}

/// The user whom a close concerns; none when there is no such session.
async fn user_of(app: &App, target: &CloseTarget) -> Result<Option<UserId>, Refused> {
    match target {
        CloseTarget::User(user) => Ok(Some(user.clone())),
        CloseTarget::Session(session) => {
            let listed = app.sessions.list(None, session.before(), 1).await?;
            let found = listed.into_iter().map(|listed| listed.session).find(|view| view.session == *session);
            Ok(found.map(|view| view.user))
        }
        _ => Ok(None),
    }
}

/// Keeps a user away for so many seconds, or ends that; how many sessions ended.
async fn ban(
    app: &App,
    target: &CloseTarget,
    user: UserId,
    ban_s: u64,
    close: &Close,
) -> Result<usize, Refused> {
    let now = app.now().wall;
    let until = now.plus_seconds(ban_s);
    // What ends a ban is kept as long as that would be, or the ban would come back with the next start.
    let kept = app.revocations.revocations().ban_kept(&user).map_or(until, |kept| kept.max(until));
    let revocation = Revocation::Ban { user };
    let record = RevocationRecord { revocation, until_ms: until.0, reason: close.reason.clone() };
    let closed = put_in_force(app, &record, kept.max(now.plus_seconds(1))).await?;
    if ban_s > 0 {
        return Ok(closed);
    }
    Ok(app.sessions.close(target, close).await?)
}
