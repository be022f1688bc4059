//! Who is in a presence channel by connections to whatever node: what each node knows of its own, put
//! together.

use std::{collections::BTreeMap, sync::Arc};

use encke_proto::{ChannelName, ErrorCode, codec::pusher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{NAME, presence_members::PresenceMembers};
use crate::{app::App, cluster::DIALECT_ANSWER_MAX, http::refusal::Refused};

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

/// What is known of the members once a user has joined.
pub(super) struct Everywhere {
    /// What the new subscriber is told.
    pub(super) data: String,
    /// How many users there are.
    count: usize,
    /// Whether the user has connections to other nodes.
    is_elsewhere: bool,
}

impl Everywhere {
    /// Whether the first connection of its user to this node has come for nothing: there are more users than
    /// may be, as others may have come to other nodes at the same moment, or the user have gone there.
    pub(super) fn is_too_many(&self, members_max: u64) -> bool {
        !self.is_elsewhere && self.count as u64 > members_max
    }
}

/// What is known once this user has joined.
pub(super) async fn everywhere(
    app: &App,
    members: &PresenceMembers,
    log: &ChannelName,
    user_id: &str,
) -> Result<Everywhere, Refused> {
    let others = elsewhere(app, log, true).await?;
    let is_elsewhere = others.contains_key(user_id);
    let mut all = others;
    all.extend(members.all(log));
    let data = pusher::presence_data(all.iter().map(|(id, info)| (id.as_str(), info.as_deref())));
    Ok(Everywhere { data, count: all.len(), is_elsewhere })
}

/// The ids of the users.
pub(super) async fn ids(
    app: &App,
    members: &PresenceMembers,
    log: &ChannelName,
) -> Result<Vec<String>, Refused> {
    let mut all = members.all(log);
    all.extend(elsewhere(app, log, false).await?);
    Ok(all.into_keys().collect())
}

/// Those by connections to other nodes. Of members nothing is said that does not hold for all nodes.
async fn elsewhere(app: &App, log: &ChannelName, info: bool) -> Result<Members, Refused> {
    let mut all = Members::new();
    if app.sessions.nodes().is_none() {
        return Ok(all);
    }
    let mut after = None;
    loop {
        let question = Question { log: log.clone(), after: after.take(), info };
        let question = serde_json::to_value(question).map_err(|_| Refused::from(ErrorCode::Internal))?;
        for answer in app.sessions.ask_dialects(NAME, &question, DIALECT_ANSWER_MAX).await {
            // A node that does not speak the dialect has none.
            let Ok(Page { members, more }) = serde_json::from_value(answer?) else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_one_too_many_is_so_whether_or_not_it_was_at_another_node_a_moment_ago() {
        let too_many =
            |count, is_elsewhere| Everywhere { data: String::new(), count, is_elsewhere }.is_too_many(2);
        assert!(!too_many(2, false) && too_many(3, false));
        assert!(!too_many(3, true), "a member may have another connection, also if others have come");
    }
}
