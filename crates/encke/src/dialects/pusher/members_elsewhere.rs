//! Who is in a presence channel by connections to whatever node: what each node knows of its own, put
//! together.

use std::{collections::BTreeMap, sync::Arc};

use encke_proto::{ChannelName, ErrorCode, codec::pusher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{NAME, presence_members::PresenceMembers};
use crate::{app::App, http::refusal::Refused};

/// The most members of one answer, with what is said of each and without: so it fits into a message.
const PAGE: usize = 128;
const PAGE_OF_IDS: usize = 512;

/// The users of a channel by their ids, with what is said of each if that was asked for.
type Members = BTreeMap<String, Option<Arc<RawValue>>>;

/// What a node asks another.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    log: ChannelName,
    /// Behind this id.
    after: Option<String>,
    /// Whether what is said of them is wanted.
    info: bool,
}

/// What it is answered: ids, each with what is said of the user, as text.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    members: Vec<(String, Option<String>)>,
    /// Whether there are more behind them.
    more: bool,
}

/// Answers what another node asks.
pub(super) fn answer(members: &PresenceMembers, question: &Value) -> Value {
    let Ok(Question { log, after, info }) = Question::deserialize(question) else { return Value::Null };
    let limit = if info { PAGE } else { PAGE_OF_IDS };
    let page = members.page(&log, after.as_deref(), limit);
    let more = page.len() == limit;
    let text = |about: Option<Arc<RawValue>>| about.filter(|_| info).map(|about| about.get().to_owned());
    let members = page.into_iter().map(|(id, about)| (id, text(about))).collect();
    serde_json::to_value(Page { members, more }).unwrap_or_default()
}

/// What a new subscriber is told, and how many users there are.
pub(super) async fn data(
    app: &App,
    members: &PresenceMembers,
    log: &ChannelName,
) -> Result<(String, usize), Refused> {
    let all = all(app, members, log, true).await?;
    let data = pusher::presence_data(all.iter().map(|(id, info)| (id.as_str(), info.as_deref())));
    Ok((data, all.len()))
}

/// The ids of the users.
pub(super) async fn ids(
    app: &App,
    members: &PresenceMembers,
    log: &ChannelName,
) -> Result<Vec<String>, Refused> {
    Ok(all(app, members, log, false).await?.into_keys().collect())
}

async fn all(
    app: &App,
    members: &PresenceMembers,
    log: &ChannelName,
    info: bool,
) -> Result<Members, Refused> {
    let mut all = members.all(log);
    if app.sessions.nodes().is_none() {
        return Ok(all);
    }
    let mut after = None;
    loop {
        let question = Question { log: log.clone(), after: after.take(), info };
        let question = serde_json::to_value(question).map_err(|_| Refused::from(ErrorCode::Internal))?;
        for answer in app.sessions.ask_dialects(NAME, &question).await? {
            // A node that does not speak the dialect has none.
            let Ok(Page { members, more }) = serde_json::from_value(answer) else { continue };
            // All nodes are asked for what is behind the first place where one stopped.
            let last = members.last().filter(|_| more).map(|(id, _)| id.clone());
            after = [after, last].into_iter().flatten().min();
            for (id, about) in members {
                let about = about.and_then(|text| RawValue::from_string(text).ok()).map(Arc::from);
                all.entry(id).or_insert(about);
            }
        }
        if after.is_none() {
            return Ok(all);
        }
    }
}
