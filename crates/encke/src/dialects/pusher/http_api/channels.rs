//! `GET /apps/{id}/channels`, one channel, and the users of a presence channel.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::Path, extract::State, response::Response};
use encke_proto::{
    ChannelName,
    codec::pusher::{self, Channel, ChannelKind},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use super::{Info, answer, signed::Signed};
use crate::{
    app::App,
    dialects::pusher::{cache, members_elsewhere},
    http::refusal::Refused,
};

/// The most channels of one answer.
const CHANNELS_MAX: usize = 100_000;
/// So many are asked for at a time.
const PAGE: usize = 10_000;
/// The users of so many channels are asked for at once.
const COUNTED_AT_ONCE: usize = 64;

/// The channels that have subscribers.
pub(super) async fn list(State(app): State<Arc<App>>, signed: Signed) -> Result<Response, Refused> {
    let info = Info::read(signed.query.get("info").map(String::as_str));
    let prefix = signed.query.get("filter_by_prefix").map(String::as_str).unwrap_or_default();
    if info.user_count && !prefix.starts_with("presence-") {
        return Err(Refused::bad("`user_count` is of presence channels: filter_by_prefix=presence-"));
    }
    let mut channels = Map::new();
    let occupied = occupied(&app, &signed, prefix).await?;
    let user_counts = match info.user_count {
        true => user_counts(&app, &signed, occupied.iter().map(|(log, _)| log)).await?,
        false => HashMap::new(),
    };
    for (log, count) in occupied {
        let Some(name) = pusher::channel_of(log.as_str()) else { continue };
        let mut told = Map::new();
        if info.subscription_count {
            told.insert("subscription_count".into(), json!(count));
        }
        if info.user_count {
            told.insert("user_count".into(), json!(user_counts.get(&log)));
        }
        channels.insert(name.to_owned(), Value::Object(told));
    }
    answer(&json!({ "channels": channels }))
}

/// How many users each of these channels has.
async fn user_counts(
    app: &App,
    signed: &Signed,
    logs: impl Iterator<Item = &ChannelName>,
) -> Result<HashMap<ChannelName, usize>, Refused> {
    let counts = logs.map(|log| async move {
        let count = members_elsewhere::ids(app, &signed.server.members, log).await?.len();
        Ok::<_, Refused>((log.clone(), count))
    });
    stream::iter(counts.collect::<Vec<_>>()).buffered(COUNTED_AT_ONCE).try_collect().await
}

/// The logs of the channels that have subscribers, each with their number.
async fn occupied(app: &App, signed: &Signed, prefix: &str) -> Result<Vec<(ChannelName, usize)>, Refused> {
    let prefix = [pusher::pattern_of(&signed.application.settings.id).trim_end_matches('*'), prefix].concat();
    // What is for users is in logs of no channel that a client names. They come first, since `#` does.
    let mut after = signed.application.log("$")?;
    let mut all = Vec::new();
    while all.len() <= CHANNELS_MAX {
        let page = app.sessions.followed(&prefix, Some(&after), PAGE).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        match all.last() {
            Some((last, _)) if !is_last => after = last.clone(),
            _ => return Ok(all),
        }
    }
    Err(Refused::bad(format!("there are more than {CHANNELS_MAX} channels: narrow them by filter_by_prefix")))
}

/// One channel.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path((_, name)): Path<(String, String)>,
    signed: Signed,
) -> Result<Response, Refused> {
    let channel = Channel::parse(&name).map_err(|fault| Refused::bad(fault.to_string()))?;
    let info = Info::read(signed.query.get("info").map(String::as_str));
    let log = signed.application.log(&name)?;
    if info.user_count && channel.kind != ChannelKind::Presence {
        return Err(Refused::bad("`user_count` is of presence channels"));
    }
    let mut told = attributes(&app, &signed, &name, &log, info).await?;
    told.insert("occupied".into(), json!(followers(&app, &log).await? > 0));
    if info.cache && channel.is_cache {
        let cached = cache::last(&app, &log, signed.application.settings.cache_ttl_s).await?;
        let cached = cached.map_or(Value::Null, |cached| json!({ "data": cached.data, "ttl": cached.ttl_s }));
        told.insert("cache".into(), cached);
    }
    answer(&told)
}

/// The users of a presence channel.
pub(super) async fn users(
    State(app): State<Arc<App>>,
    Path((_, name)): Path<(String, String)>,
    signed: Signed,
) -> Result<Response, Refused> {
    let channel = Channel::parse(&name).map_err(|fault| Refused::bad(fault.to_string()))?;
    if channel.kind != ChannelKind::Presence {
        return Err(Refused::bad("users are of presence channels"));
    }
    let users = members_elsewhere::ids(&app, &signed.server.members, &signed.application.log(&name)?).await?;
    let users: Vec<Value> = users.into_iter().map(|id| json!({ "id": id })).collect();
    answer(&json!({ "users": users }))
}

/// What was asked for of a channel, as far as it has it.
pub(super) async fn attributes(
    app: &App,
    signed: &Signed,
    name: &str,
    log: &ChannelName,
    info: Info,
) -> Result<Map<String, Value>, Refused> {
    let mut told = Map::new();
    if info.subscription_count {
        told.insert("subscription_count".into(), json!(followers(app, log).await?));
    }
    if info.user_count && Channel::parse(name).is_ok_and(|channel| channel.kind == ChannelKind::Presence) {
        told.insert(
            "user_count".into(),
            json!(members_elsewhere::ids(app, &signed.server.members, log).await?.len()),
        );
    }
    Ok(told)
}

async fn followers(app: &App, log: &ChannelName) -> Result<usize, Refused> {
    Ok(app.sessions.followers(std::slice::from_ref(log)).await?.into_iter().sum())
}
