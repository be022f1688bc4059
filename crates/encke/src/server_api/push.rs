//! `POST /api/push`: a page or a message to users' own channels, with the answer who of them is online.
//! Delivery is not waited for: that is what receipts are for.

use std::{collections::HashSet, sync::Arc};

use axum::{Json as Answer, extract::State};
use encke_engine::{Append, Targets};
use encke_proto::{Body, ErrorCode, MessageId, PageUrl, UserId, json, limits::PUSH_MAX_TARGETS};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::{OPERATOR, Operator},
    http::{
        body::{self, Json},
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
        match &self.to {
            To::Users(users) => users.len() > WITHIN_TURN_MAX,
            To::Group(_) => true,
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

/// Pushes a page or a message to users, whether they are online or not.
#[utoipa::path(
    post, path = "/api/push", tag = "server API", security(("api_key" = [])),
    request_body(content = Push, examples(
        ("page" = (summary = "A page for two users", value = json!({"to": ["alice", "bob"], "url": "https://pages.example/shop", "ttl_s": 3600, "id": "order-7"}))),
        ("data" = (summary = "Data for all who are online", value = json!({"to": "online", "data": {"text": "hello"}}))),
    )),
    responses((
        status = 202, description = "In the logs of all of them, as safely as the mode says.", body = Pushed,
        example = json!({"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "mode": "sqlite", "accepted": 2, "online": ["alice"], "offline": ["bob"]}),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, body::ERRORS, validation::ERRORS, ENGINE, &[
        ErrorCode::BadUrl, ErrorCode::UrlNotAllowed, ErrorCode::TooManyTargets,
    ]])))),
)]
pub(crate) async fn push(
    State(app): State<Arc<App>>,
    _: Operator,
    Json(request): Json<Push>,
) -> Result<(StatusCode, Answer<Pushed>), Refused> {
    Ok((StatusCode::ACCEPTED, Answer(accept(&app, request).await?)))
}

/// Does it, whoever read the request.
pub(crate) async fn accept(app: &App, request: Push) -> Result<Pushed, Refused> {
    let body = body_of(app, request.url.as_deref(), request.data.as_deref())?;
    let key = validation::key("api:push", request.id.as_deref())?;
    let ttl_s = request.ttl_s.unwrap_or(app.config.push_ttl_s);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        return Err(Refused::bad(format!("`ttl_s` has to be from 1 to {TTL_MAX_S}")));
    }
    let named = match &request.to {
        To::Users(names) => Some(users_of(names)?),
        To::Group(_) => None,
    };
    // Asked before the append: once that is done, nothing may fail any more, or whoever sent it would send it
    // again.
    let online = online_among(app, named.as_deref()).await?;
    let targets = match (request.to, named) {
        (To::Group(Group::All), _) => Targets::AllUsers,
        (To::Group(Group::Online), _) => Targets::Users(online.clone()),
        (To::Users(_), named) => Targets::Users(named.unwrap_or_default()),
    };
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::bits()?);
    let expires = Some(time.plus_seconds(ttl_s));
    let appended = app.engine.append(Append { id, key, targets, body, from: None, time, expires }).await?;
    metrics::counter!("encke_pushes_total").increment(u64::from(!appended.repeated));
    let accepted = appended.positions.len();
    let mut pushed = Pushed {
        id: appended.id,
        mode: app.engine.mode().as_str(),
        accepted,
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
}
