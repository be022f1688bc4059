//! `POST /api/revoke`: tokens that were issued are good for nothing any more, on all nodes, and the sessions
//! of them end. Keeping a user away for a time is in `close.rs`.

use std::sync::Arc;

use axum::{Extension, Json as Answer, extract::State};
use encke_proto::{ErrorCode, Revocation, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    audited::What,
    auth::{RevocationRecord, token_id},
    extractors::{MayClose, OPERATOR},
    http::{
        body::{self, Json},
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// The longest `jti`, in bytes: no token holds a longer one.
const JTI_MAX_BYTES: usize = 8 * 1024;

/// What is taken back: all tokens of `user`, the token `jti`, or all tokens that were issued before a time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// All tokens of this user that were issued before `before`, and those that do not say when (`iat`).
    user: Option<String>,
    /// The token with this id (`jti`).
    jti: Option<String>,
    /// Tokens issued before this; with `user` it is now by default. Without, it concerns all users.
    #[schema(value_type = Option<String>, format = DateTime)]
    before: Option<Time>,
}

/// It is taken back on all nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    revoked: bool,
    /// How many sessions were ended.
    closed: usize,
}

/// Revokes tokens. From then on they are refused (`revoked`), with the tickets that were made of them, and
/// their sessions have ended (`close` with `code` `revoked`, `reconnect` false).
///
/// It is kept for `auth.revocations_kept_s`. A time is a whole second of tokens: one that was issued in the
/// second of the revocation is refused, too.
#[utoipa::path(
    post, path = "/api/revoke", tag = "server API", security(("api_key" = [])),
    request_body(content = Revoke, examples(
        ("user" = (summary = "All tokens of a user", value = json!({"user": "mallory"}))),
        ("jti" = (summary = "One token", value = json!({"jti": "4f1c9be0-7d3a"}))),
        ("before" = (
            summary = "All tokens of all users until then", value = json!({"before": "2026-01-02T03:04:05Z"})
        )),
    )),
    responses((
        status = 200, description = "It is in force, and kept as safely as `mode` says of messages.",
        body = Revoked, example = json!({"revoked": true, "closed": 1}),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, body::ERRORS, validation::ERRORS, ENGINE])))),
)]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    _: MayClose,
    Json(request): Json<Revoke>,
) -> Result<(Extension<What>, Answer<Revoked>), Refused> {
    let now = app.now().wall;
    if request.before.is_some_and(|before| before > now.plus_seconds(app.config.auth.leeway_s)) {
        return Err(Refused::bad("`before` is to come, by more than auth.leeway_s"));
    }
    // A token says whole seconds; what was issued in this one may have been before.
    let before_s = request.before.unwrap_or(now).0.div_ceil(1000);
    let revocation = match (request.user, request.jti, request.before) {
        (Some(user), None, _) => Revocation::User { user: validation::user(&user)?, before_s },
        (None, Some(jti), None) if (1..=JTI_MAX_BYTES).contains(&jti.len()) => {
            Revocation::Token { id: token_id(&jti) }
        }
        (None, Some(_), None) => {
            return Err(Refused::bad(format!("`jti` has 1 to {JTI_MAX_BYTES} bytes")));
        }
        (None, None, Some(_)) => Revocation::Before { before_s },
        _ => {
            return Err(Refused::bad(
                "send `user`, `jti` or `before`; of them only `user` and `before` together",
            ));
        }
    };
    let what = match &revocation {
        Revocation::User { user, .. } => format!("user {user}"),
        Revocation::Token { id } => format!("token {:016x}", id.0),
        Revocation::Before { before_s } => format!("before {before_s}"),
        Revocation::Ban { user } => format!("ban of user {user}"),
    };
    let kept = now.plus_seconds(app.config.auth.revocations_kept_s.max(app.config.token_ttl_s));
    let record = RevocationRecord { revocation, until_ms: kept.0, reason: String::new() };
    let closed = put_in_force(&app, &record, kept).await?;
    Ok((Extension(What(what.into())), Answer(Revoked { revoked: true, closed })))
}

/// Enters a revocation that is kept until `kept`, and ends the sessions that it concerns, on all nodes; how
/// many.
///
/// # Errors
/// [`ErrorCode::Overloaded`] when too many are in force, or when the engine or a node does not answer.
pub(super) async fn put_in_force(app: &App, record: &RevocationRecord, kept: Time) -> Result<usize, Refused> {
    let at = app.revocations.append(record, kept).await.map_err(|code| match code {
        ErrorCode::Overloaded => Refused::new(code, "too many revocations are in force"),
        code => code.into(),
    })?;
    let closed = app.sessions.end_revoked(&app.revocations, record, at).await?;
    // Whom it concerns is for the caller to know.
    tracing::info!(closed, "tokens are revoked, or a user is kept away");
    Ok(closed)
}
