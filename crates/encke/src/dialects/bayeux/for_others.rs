//! What this node answers to others about the sessions of Bayeux that it has.

use std::sync::Arc;

use encke_proto::codec::bayeux::read;
use serde_json::Value;

use super::{
    batch,
    elsewhere::{Answer, Handed, Question},
    server::Server,
};

/// What it answers; null when it has no such session.
pub(super) async fn answer(server: Option<Arc<Server>>, question: Value) -> Value {
    let answer = match (server, serde_json::from_value(question)) {
        (Some(server), Ok(question)) => answer_of(&server, question).await,
        _ => None,
    };
    answer.and_then(|answer| serde_json::to_value(answer).ok()).unwrap_or_default()
}

async fn answer_of(server: &Arc<Server>, question: Question) -> Option<Answer> {
    let (Question::Where { session: id, .. }
    | Question::Give { session: id }
    | Question::CarryOut { session: id, .. }) = question;
    let Some(session) = server.known_as(id) else {
        return server.fetches.holds(id).then_some(Answer::Passing);
    };
    match question {
        Question::Where { acknowledged, .. } => (!session.is_stale(acknowledged)).then_some(Answer::Here),
        Question::Give { .. } => Some(Handed::of(server, &session).map_or(Answer::Passing, Answer::Given)),
        Question::CarryOut { message, from, .. } => {
            let Some(_changing) = session.change() else { return Some(Answer::Passing) };
            let message = read(&message).ok()?.pop()?;
            let replies = batch::carry_out_of(server, &session, &message, from).await;
            let text = |reply| String::from_utf8(reply).ok();
            Some(Answer::Replies(replies.into_iter().filter_map(text).collect()))
        }
    }
}
