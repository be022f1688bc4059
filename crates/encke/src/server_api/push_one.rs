//! One push: a page or a message to users' own channels, with the answer who of them is online.

use std::{collections::HashSet, fmt, sync::LazyLock};

use encke_engine::{Append, Appended, Targets};
use encke_proto::{Body, ErrorCode, MessageId, PageUrl, UserId, json, limits::PUSH_MAX_TARGETS};
use metrics::Counter;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body, refusal::Refused},
    inline::WITHIN_TURN_MAX,
    random, validation,
};

/// How many pushes were appended; looked up once. The recorder is there before the first push.
static PUSHES: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("encke_pushes_total"));
/// The most names in each list of the answer.
const LISTED_MAX: usize = 10_000;
/// The longest time to live, in seconds: a year.
const TTL_MAX_S: u64 = 31_536_000;

/// A page or a message for users.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    #[serde(deserialize_with = "to")]
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
    pub(crate) fn users(&self) -> usize {
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

const TO: &str = "`to` has to be a list of users, \"all\" or \"online\"";

/// Reads to whom. What is derived for [`To`], which the schema is made of, reads the same, but takes a copy
/// of it first.
fn to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<To, D::Error> {
    struct Reads;
    impl<'de> Visitor<'de> for Reads {
        type Value = To;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(TO)
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<To, E> {
            Group::try_from(word.to_owned()).map(To::Group).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, users: A) -> Result<To, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(users)).map(To::Users)
        }
    }
    deserializer.deserialize_any(Reads).map_err(|_| de::Error::custom(TO))
}

/// Users without their names. Read from a word alone: what serde derives would take `{"all":null}` too.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(rename_all = "lowercase")]
pub(crate) enum Group {
    /// All users whom the server has ever seen.
    All,
    /// All users who have a session now.
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
    /// How safe it is: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
    /// For how many users it is in the log.
    accepted: usize,
    /// The users who had a session; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    online: Vec<UserId>,
    /// The users who will get it at their next login; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    offline: Vec<UserId>,
    /// Whether not all of them are named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// Pushes it, whatever has read the request.
///
/// # Errors
/// What is wrong with it, or when the engine cannot append.
pub(crate) async fn accept(app: &App, push: Push) -> Result<Pushed, Refused> {
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

    /// Whether it is for all who are online.
    pub(crate) fn is_for_online(&self) -> bool {
        matches!(self.to, Receivers::Group(Group::Online))
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

/// Appends a push; `online_users` gives all who are online, by id.
pub(crate) async fn append(
    app: &App,
    push: Checked,
    online_users: impl FnOnce() -> Vec<UserId>,
) -> Result<Appended, Refused> {
    let targets = match push.to {
        Receivers::Named(users) => Targets::Users(users),
        Receivers::Group(Group::All) => Targets::AllUsers,
        Receivers::Group(Group::Online) => Targets::Users(online_users()),
    };
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::bits()?);
    let expires = Some(time.plus_seconds(push.ttl_s));
    let (key, body) = (push.key, push.body);
    let appended = app.engine.append(Append { id, key, targets, body, from: None, time, expires }).await?;
    PUSHES.increment(u64::from(!appended.repeated));
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
        return Err(Refused::bad("`to` names no user"));
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
    let Some(named) = named else { return Ok(app.sessions.online_users().await?) };
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
