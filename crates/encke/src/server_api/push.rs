//! `POST /api/push`: pushes to users' own channels, one or many of them in a call, or a line each. Delivery
//! is not waited for: that is what receipts are for.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use encke_proto::{
    ErrorCode,
    limits::{BODY_MAX_BYTES, PUSHES_MAX_BYTES},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    push_many::{self, PushedOne, PushedTogether, Pushes},
    push_one::{self, Push, Pushed},
    request_stream::{self, LineResult, NDJSON},
    what,
};
use crate::{
    app::App,
    audited::What,
    config::Scope,
    extractors::{MayPush, OPERATOR},
    http::{
        body,
        refusal::{ENGINE, KEYED, Refused, codes},
        response,
    },
    inline::{Begun, WITHIN_TURN_MAX},
    validation,
};

/// One push, or several in one call.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "only the description of the API is made of it: a body is read by `PushRequest`"
)]
pub(crate) enum PushBody {
    One(Push),
    Several(Pushes),
}

/// What a body asks for.
pub(crate) enum PushRequest {
    /// One push.
    One(Push),
    /// Several, each as far as it could be read.
    Several(Vec<Result<Push, Refused>>),
}

impl PushRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is neither, or a part of it that concerns all is wrong.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refused> {
        // Most are one alone, and what is not is found out by its first field.
        let one = match body.len() {
            0..=BODY_MAX_BYTES => Push::read_plain(body).map_or_else(|| body::parse(body), Ok).map(Self::One),
            _ => Err(body::too_large("one push alone", BODY_MAX_BYTES)),
        };
        one.or_else(|refused| push_many::parse(body).unwrap_or(Err(refused)).map(Self::Several))
    }

    /// Whether it is so much that a shard must not do it within a turn.
    pub(crate) fn is_large(&self) -> bool {
        match self {
            Self::One(push) => push.is_large(),
            Self::Several(pushes) => {
                pushes.len() > WITHIN_TURN_MAX
                    || pushes.iter().flatten().map(Push::users).sum::<usize>() > WITHIN_TURN_MAX
                    || pushes.iter().flatten().any(Push::is_large)
            }
        }
    }
}

/// The answer to each form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PushAnswer {
    One(Pushed),
    Together(PushedTogether),
}

impl PushAnswer {
    /// The answer's body.
    ///
    /// # Errors
    /// As [`body::written`].
    pub(crate) fn json(&self) -> Result<Vec<u8>, Refused> {
        match self {
            Self::One(pushed) => Ok(pushed.json()),
            Self::Together(together) => body::written(together),
        }
    }
}

/// Pushes a page or a message to users, whether they are online or not; several of them in one call; or, as
/// `application/x-ndjson`, one a line, each answered by a line as soon as it is accepted.
#[utoipa::path(
    post, path = "/api/push", tag = "server API", security(("api_key" = [])),
    request_body(content(
        (PushBody = "application/json", examples(
            ("page" = (
                summary = "A page for two users",
                value = json!({
                    "to": ["alice", "bob"], "url": "https://pages.example/shop", "ttl_s": 3600,
                    "id": "order-7"
                })
            )),
            ("data" = (
                summary = "Data for all who are online",
                value = json!({"to": "online", "data": {"text": "hello"}})
            )),
            ("pushes" = (
                summary = "Several pushes",
                value = json!({"pushes": [
                    {"to": ["alice"], "data": 1, "id": "bill-1"},
                    {"to": ["bob"], "data": 2, "id": "bill-2"}
                ]})
            )),
        )),
        (
            Push = "application/x-ndjson",
            example = json!({"to": ["alice"], "data": {"text": "hello"}, "id": "bill-3"})
        ),
    )),
    responses((
        status = 202, description = "In the logs of all of them, as safely as the mode says.",
        content(
            (PushAnswer = "application/json", examples(
                ("push" = (
                    summary = "One push",
                    value = json!({
                        "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "mode": "log", "accepted": 2, "online": ["alice"],
                        "offline": ["bob"]
                    })
                )),
                ("pushes" = (summary = "Several pushes", value = json!({
                    "mode": "log",
                    "results": [
                        {"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "accepted": 1, "online": 1, "offline": 0},
                        {"error": {"code": "bad_request", "message": "`to` names nobody"}},
                    ],
                }))),
            )),
            (
                LineResult<PushedOne> = "application/x-ndjson",
                example = json!({
                    "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "mode": "log", "accepted": 1, "online": 1, "offline": 0
                })
            ),
        ),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, body::ERRORS, validation::ERRORS, ENGINE, KEYED, &[
        ErrorCode::BadUrl, ErrorCode::UrlNotAllowed, ErrorCode::TooManyTargets,
    ]])))),
)]
pub(crate) async fn push(
    State(app): State<Arc<App>>,
    _: MayPush,
    request: Request,
) -> Result<Response, Refused> {
    if body::is_type(request.headers(), NDJSON) {
        return Ok(request_stream::answer(app, request, Scope::Push, push_many::push_lines).await);
    }
    let body = body::read_json(request, PUSHES_MAX_BYTES).await?;
    let answer = begin(&app, PushRequest::parse(&body)?).finish().await?;
    let json = answer.json()?;
    let what = app.auth.audit().has_messages().then(|| What(what::of_answer(&json)));
    let mut response = (StatusCode::ACCEPTED, [(CONTENT_TYPE, response::JSON)], json).into_response();
    if let Some(what) = what {
        response.extensions_mut().insert(what);
    }
    Ok(response)
}

/// Does it as far as that needs no waiting, whatever has read the request.
pub(crate) fn begin(app: &Arc<App>, request: PushRequest) -> Begun<Result<PushAnswer, Refused>> {
    match request {
        PushRequest::One(push) => push_one::begin(app, push).map(|pushed| pushed.map(PushAnswer::One)),
        PushRequest::Several(pushes) => {
            let app = Arc::clone(app);
            Begun::Goes(Box::pin(async move {
                push_many::push_many(&app, pushes).await.map(PushAnswer::Together)
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pushes_are_large_by_their_number_and_by_all_whom_they_are_for() {
        let is_large = |pushes: Vec<serde_json::Value>| {
            let pushes: Vec<_> = pushes.iter().map(|to| json!({"to": to, "data": 1})).collect();
            PushRequest::parse(json!({ "pushes": pushes }).to_string().as_bytes()).unwrap().is_large()
        };
        let max = WITHIN_TURN_MAX;
        assert!(!is_large(vec![json!(["a"]); max]) && !is_large(vec![json!(vec!["a"; max])]));
        assert!(is_large(vec![json!(["a"]); max + 1]) && is_large(vec![json!(["a", "b"]); max / 2 + 1]));
        assert!(is_large(vec![json!("online")]));
    }
}
