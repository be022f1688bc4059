//! `POST /apps/{id}/users/{user}/terminate_connections`: ends all connections of a user who has signed in.
//! Pusher's library for Python leaves `/apps/{id}` out.

use std::sync::Arc;

use axum::{extract::Path, extract::State, response::Response};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, codec::pusher::USER_CHANNEL};
use serde_json::json;

use super::{answer, signed::Signed};
use crate::{app::App, http::refusal::Refused};

/// Connections are looked for so many at a time.
const PAGE: usize = 1_000;

/// The address names the application.
pub(super) async fn terminate(
    State(app): State<Arc<App>>,
    Path((_, user)): Path<(String, String)>,
    signed: Signed,
) -> Result<Response, Refused> {
    end(&app, &signed, &user).await
}

/// The key that signed says which application it is of.
pub(super) async fn terminate_by_key(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    signed: Signed,
) -> Result<Response, Refused> {
    end(&app, &signed, &user).await
}

/// Ends the connections of a user, on whatever node.
async fn end(app: &App, signed: &Signed, user: &str) -> Result<Response, Refused> {
    let log = signed.application.log(&format!("{USER_CHANNEL}{user}"))?;
    let close = Close {
        code: CloseCode::Operator,
        reason: "the connection was terminated".into(),
        reconnect: false,
        retry_ms: None,
    };
    let mut after = None;
    loop {
        // Each connection is a user of its own here, and those that signed in as this one follow its log.
        let page = app.sessions.present(&log, after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        for (connection, _) in page {
            app.sessions.close(&CloseTarget::User(connection.clone()), &close).await?;
            after = Some(connection);
        }
        if is_last {
            return answer(&json!({}));
        }
    }
}
