//! `POST /api/push`: a page or a message to users' own channels, with the answer who of them is online.
//! Delivery is not waited for: that is what receipts are for.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Json as Answer,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use encke_engine::{Append, Appended, Targets};
use encke_proto::{
    Body, ErrorCode, MessageId, PageUrl, UserId, json,
    limits::{BODY_MAX_BYTES, PUSH_MAX_TARGETS, PUSHES_MAX_BYTES},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    push_many::{self, PushedOne, PushedTogether, Pushes},
    request_stream::{self, LineResult, NDJSON},
};
use crate::{
    app::App,
    extractors::{OPERATOR, Operator},
    http::{
        body,
        refusal::{ENGINE, Refused, codes},
    },
    inline::WITHIN_TURN_MAX,
    random, validation,
};

/// The most names in each list of the answer.
const LISTED_MAX: usize = 10_000;
/// The longest time to live, in seconds: a year.
const TTL_MAX_S: u64 = 31_536_000;

/// A page or a message for users.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    to: To,
    /// The page to show: http or https. Either this…
    url: Option<String>,
    /// …or any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
    /// How long it waits for users who are offline, in seconds; at most a year. Default: the server's
    /// `push_ttl_s`.
    ttl_s: Option<u64>,
    /// The idempotency key: the same key gives one push, however often it is sent.
    id: Option<String>,
}

impl Push {
    /// Whether it is for so many that a shard must not do it within a turn.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.to, To::Group(_)) || self.users() > WITHIN_TURN_MAX
    }

    /// How many users it names.
    fn users(&self) -> usize {
        match &self.to {
            To::Users(users) => users.len(),
            To::Group(_) => 0,
        }
    }
}

/// To whom.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "`to` has to be a list of users, \"all\" or \"online\"")]
pub(crate) enum To {
    /// These users; at most 10,000.
    Users(Vec<String>),
    /// Many at once.
    Group(Group),
}

/// Users without their names. Read from a word alone: what serde derives would take `{"all":null}` too.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(rename_all = "lowercase")]
pub(crate) enum Group {
    /// Everybody whom the server has ever seen.
    All,
    /// Everybody who has a session now.
    Online,
}

impl TryFrom<String> for Group {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "all" => Ok(Self::All),
            "online" => Ok(Self::Online),
            _ => Err("neither `all` nor `online`"),
        }
    }
}

/// A push in the logs of its users.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pushed {
    #[schema(value_type = String)]
    id: MessageId,
    /// How safe it is: `memory` or `sqlite`.
    mode: &'static str,
    /// For how many users it is in the log.
    accepted: usize,
    /// Those who had a session; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    online: Vec<UserId>,
    /// Those who will get it at their next login; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    offline: Vec<UserId>,
    /// Whether not all of them are named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

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
            0..=BODY_MAX_BYTES => body::parse(body).map(Self::One),
            _ => Err(ErrorCode::TooLarge.into()),
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

/// Pushes a page or a message to users, whether they are online or not; several of them in one call; or, as
/// `application/x-ndjson`, one a line, each answered by a line as soon as it is accepted.
#[utoipa::path(
    post, path = "/api/push", tag = "server API", security(("api_key" = [])),
    request_body(content(
        (PushBody = "application/json", examples(
            ("page" = (summary = "A page for two users", value = json!({"to": ["alice", "bob"], "url": "https://pages.example/shop", "ttl_s": 3600, "id": "order-7"}))),
            ("data" = (summary = "Data for all who are online", value = json!({"to": "online", "data": {"text": "hello"}}))),
            ("pushes" = (summary = "Several pushes", value = json!({"pushes": [{"to": ["alice"], "data": 1, "id": "bill-1"}, {"to": ["bob"], "data": 2, "id": "bill-2"}]}))),
        )),
        (Push = "application/x-ndjson", example = json!({"to": ["alice"], "data": {"text": "hello"}, "id": "bill-3"})),
    )),
    responses((
        status = 202, description = "In the logs of all of them, as safely as the mode says.",
        content(
            (PushAnswer = "application/json", examples(
                ("push" = (summary = "One push", value = json!({"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "mode": "sqlite", "accepted": 2, "online": ["alice"], "offline": ["bob"]}))),
                ("pushes" = (summary = "Several pushes", value = json!({
                    "mode": "sqlite",
                    "results": [
                        {"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "accepted": 1, "online": 1, "offline": 0},
                        {"error": {"code": "bad_request", "message": "`to` names nobody"}},
                    ],
                }))),
            )),
            (LineResult<PushedOne> = "application/x-ndjson", example = json!({"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "mode": "sqlite", "accepted": 1, "online": 1, "offline": 0})),
        ),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, body::ERRORS, validation::ERRORS, ENGINE, &[
        ErrorCode::BadUrl, ErrorCode::UrlNotAllowed, ErrorCode::TooManyTargets,
    ]])))),
)]
pub(crate) async fn push(
    State(app): State<Arc<App>>,
    _: Operator,
    request: Request,
) -> Result<Response, Refused> {
    if body::is_type(request.headers(), NDJSON) {
        return Ok(request_stream::answer(app, request.into_body(), push_many::push_lines));
    }
    let body = body::read_json(request, PUSHES_MAX_BYTES).await?;
    let answer = accept(&app, PushRequest::parse(&body)?).await?;
    Ok((StatusCode::ACCEPTED, Answer(answer)).into_response())
}

/// Does it, whatever has read the request.
pub(crate) async fn accept(app: &App, request: PushRequest) -> Result<PushAnswer, Refused> {
    match request {
        PushRequest::One(push) => accept_one(app, push).await.map(PushAnswer::One),
        PushRequest::Several(pushes) => push_many::push_many(app, pushes).await.map(PushAnswer::Together),
    }
}

async fn accept_one(app: &App, push: Push) -> Result<Pushed, Refused> {
    let checked = check(app, push)?;
    // Asked before the append: once that is done, nothing may fail any more, or it would be sent again.
    let online = online_among(app, checked.named()).await?;
    let appended = append(app, checked, || online.clone()).await?;
    let mut pushed = Pushed {
        id: appended.id,
        mode: app.engine.mode().as_str(),
        accepted: appended.positions.len(),
        online: Vec::new(),
        offline: Vec::new(),
        truncated: false,
    };
    for user in appended.positions.iter().filter_map(|(channel, _)| channel.owner()) {
        let list = if online.binary_search(&user).is_ok() { &mut pushed.online } else { &mut pushed.offline };
        if list.len() < LISTED_MAX {
            list.push(user);
        } else {
            pushed.truncated = true;
        }
    }
    Ok(pushed)
}

/// A push whose form is right.
pub(crate) struct Checked {
    to: Receivers,
    body: Body,
    key: Option<String>,
    ttl_s: u64,
}

enum Receivers {
    Named(Vec<UserId>),
    Group(Group),
}

impl Checked {
    /// The users that it names; none when it is for a group.
    pub(crate) fn named(&self) -> Option<&[UserId]> {
        match &self.to {
            Receivers::Named(users) => Some(users),
            Receivers::Group(_) => None,
        }
    }
}

/// Looks at all of a push that can be judged without asking anything else.
pub(crate) fn check(app: &App, push: Push) -> Result<Checked, Refused> {
    let body = body_of(app, push.url.as_deref(), push.data.as_deref())?;
    let key = validation::key("api:push", push.id.as_deref())?;
    let ttl_s = push.ttl_s.unwrap_or(app.config.push_ttl_s);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        return Err(Refused::bad(format!("`ttl_s` has to be from 1 to {TTL_MAX_S}")));
    }
    let to = match push.to {
        To::Users(names) => Receivers::Named(users_of(&names)?),
        To::Group(group) => Receivers::Group(group),
    };
    Ok(Checked { to, body, key, ttl_s })
}

/// Appends a push; `everybody` gives all who are online, by id.
pub(crate) async fn append(
    app: &App,
    push: Checked,
    everybody: impl FnOnce() -> Vec<UserId>,
) -> Result<Appended, Refused> {
    let targets = match push.to {
        Receivers::Named(users) => Targets::Users(users),
        Receivers::Group(Group::All) => Targets::AllUsers,
        Receivers::Group(Group::Online) => Targets::Users(everybody()),
    };
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::bits()?);
    let expires = Some(time.plus_seconds(push.ttl_s));
    let (key, body) = (push.key, push.body);
    let appended = app.engine.append(Append { id, key, targets, body, from: None, time, expires }).await?;
    metrics::counter!("encke_pushes_total").increment(u64::from(!appended.repeated));
    Ok(appended)
}

fn body_of(app: &App, url: Option<&str>, data: Option<&RawValue>) -> Result<Body, Refused> {
    match (url, data) {
        (Some(url), None) => {
            let page = PageUrl::parse(url)?;
            app.config.url_allow_list.check(&page)?;
            Ok(Body::Page(page.to_shared()))
        }
        (None, Some(data)) => Ok(Body::Data(json::compact(data)?)),
        _ => Err(Refused::bad("send either `url` or `data`")),
    }
}

/// The users that are named, each once, in the order in which they are.
fn users_of(texts: &[String]) -> Result<Vec<UserId>, Refused> {
    if texts.is_empty() {
        return Err(Refused::bad("`to` names nobody"));
    }
    if texts.len() > PUSH_MAX_TARGETS {
        return Err(ErrorCode::TooManyTargets.into());
    }
    if let [text] = texts {
        return Ok(vec![validation::user(text)?]);
    }
    let mut seen = HashSet::with_capacity(texts.len());
    let users = texts
        .iter()
        .map(|text| validation::user(text))
        .filter(|user| user.as_ref().map_or(true, |user| seen.insert(user.clone())));
    users.collect()
}

/// Who of these users, or of all, is online, by id.
async fn online_among(app: &App, named: Option<&[UserId]>) -> Result<Vec<UserId>, Refused> {
    let Some(named) = named else { return Ok(app.sessions.everybody().await?) };
    let online = app.sessions.are_online(named).await?;
    let mut online: Vec<UserId> =
        named.iter().zip(online).filter(|(_, online)| *online).map(|(user, _)| user.clone()).collect();
    online.sort_unstable();
    Ok(online)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_push_is_large_by_whom_it_is_for() {
        let is_large = |to: serde_json::Value| {
            let push: Push = body::parse(json!({ "to": to, "data": 1 }).to_string().as_bytes()).unwrap();
            push.is_large()
        };
        let users = |count: usize| (0..count).map(|number| format!("user {number}")).collect::<Vec<_>>();
        assert_eq!(
            [0, 1, WITHIN_TURN_MAX, WITHIN_TURN_MAX + 1].map(|count| is_large(json!(users(count)))),
            [false, false, false, true]
        );
        assert!(is_large(json!("all")) && is_large(json!("online")));
    }

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
