//! Several pushes together: in one call, or as the lines of a stream. Each is answered as if it were alone.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use encke_engine::Appended;
use encke_proto::{
    MessageId, UserId,
    limits::{BODY_MAX_BYTES, PUSH_MAX_TARGETS, PUSHES_MAX},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    batch::{Part, Reason, in_order, refused_whole},
    push_one::{self, Checked, Prepared, Push},
    request_stream::LineResult,
};
use crate::{
    app::App,
    http::{body, refusal::Refused},
};

/// The most users' names that are copied for pushes to all who are online and carried out together, unless
/// one alone has more.
const COPIES_MAX: usize = PUSH_MAX_TARGETS;

/// Several pushes in one call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pushes {
    /// Each with its own users, key and time to live; 1 to 1,000.
    #[schema(value_type = Vec<Push>, min_items = 1, max_items = 1_000)]
    pushes: Vec<Box<RawValue>>,
}

/// What became of each push, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct PushedTogether {
    /// How safe those are that were accepted: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
    results: Vec<PushResult>,
}

/// What became of one of several pushes.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PushResult {
    /// It is in the logs of its users.
    Accepted(PushedOne),
    /// It is not, for this reason.
    Refused { error: Reason },
}

/// One of several pushes, in the logs of its users. They are counted, not named.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PushedOne {
    #[schema(value_type = String)]
    id: MessageId,
    /// In a stream: how safe it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    /// For how many users it is in the log.
    accepted: usize,
    /// How many of them had a session.
    online: usize,
    /// How many of them will get it at their next login.
    offline: usize,
}

/// Reads several pushes, if it is those that a body holds. Each is read by itself, so that one that is wrong
/// is refused alone.
///
/// # Errors
/// When there are none or too many, or when there is something beside them.
pub(crate) fn parse(body: &[u8]) -> Option<Result<Vec<Result<Push, Refused>>, Refused>> {
    #[derive(Deserialize)]
    struct Probe {
        pushes: Option<IgnoredAny>,
    }
    let probe = body::parse_around::<Probe>(body).ok()?;
    probe.pushes?;
    Some(body::parse_around::<Pushes>(body).and_then(|Pushes { pushes }| {
        if pushes.is_empty() || pushes.len() > PUSHES_MAX {
            return Err(Refused::bad(format!("`pushes` has 1 to {PUSHES_MAX} of them")));
        }
        Ok(pushes.iter().map(|push| one(push.get().as_bytes())).collect())
    }))
}

/// Reads one push of several.
fn one(json: &[u8]) -> Result<Push, Refused> {
    if json.len() > BODY_MAX_BYTES {
        return Err(body::too_large("each push", BODY_MAX_BYTES));
    }
    body::parse(json)
}

/// Pushes all of them, and gives what became of each.
///
/// # Errors
/// When the server can take none of them now.
pub(crate) async fn push_many(
    app: &App,
    pushes: Vec<Result<Push, Refused>>,
) -> Result<PushedTogether, Refused> {
    let results = each(app, pushes).await;
    if let Some(refused) = refused_whole(&results) {
        return Err(refused);
    }
    let result = |result| match result {
        Ok(pushed) => PushResult::Accepted(pushed),
        Err(refused) => PushResult::Refused { error: Reason::from(refused) },
    };
    Ok(PushedTogether {
        mode: app.engine.mode().as_str(),
        results: results.into_iter().map(result).collect(),
    })
}

/// The same for lines of a stream.
pub(crate) fn push_lines(app: Arc<App>, lines: Vec<Result<Bytes, Refused>>) -> Part<'static, Vec<String>> {
    Box::pin(async move {
        let pushes = lines.into_iter().map(|line| line.and_then(|line| one(&line))).collect();
        let mode = Some(app.engine.mode().as_str());
        let results = each(&app, pushes).await.into_iter();
        let results = results.map(|result| result.map(|pushed| PushedOne { mode, ..pushed }));
        results.map(LineResult::json).collect()
    })
}

/// Appends them, each by itself but together, so that an engine that gathers commits makes one of them. With
/// each user they stand in the order of the call.
async fn each(app: &App, pushes: Vec<Result<Push, Refused>>) -> Vec<Result<PushedOne, Refused>> {
    let checked: Vec<Result<Checked, Refused>> =
        pushes.into_iter().map(|push| push.and_then(|push| push_one::check(app, push))).collect();
    // Asked once for all of them, and before the first append, so that none waits for it on its way.
    let online = online_among(app, checked.iter().flatten()).await;
    let online: Result<&HashSet<UserId>, Refused> = online.as_ref().map_err(Clone::clone);
    let mut by_id: Vec<UserId> = Vec::new();
    if let Ok(online) = online
        && checked.iter().flatten().any(Checked::is_for_online)
    {
        by_id.extend(online.iter().cloned());
        by_id.sort_unstable();
    }
    let by_id = &by_id;
    let prepare = |checked: Result<Checked, Refused>| {
        let checked = checked?;
        online.clone()?;
        push_one::prepare(app, checked, || by_id.clone())
    };
    let append = |push: Result<Prepared, Refused>| -> Part<'_, Result<PushedOne, Refused>> {
        let online = online.clone();
        Box::pin(async move { Ok(counted(push_one::append(app, push?).await?, online?)) })
    };
    let copies = |checked: &Result<Checked, Refused>| match checked {
        Ok(checked) if checked.is_for_online() => by_id.len(),
        _ => 0,
    };
    let mut results = Vec::with_capacity(checked.len());
    for run in runs(checked, copies) {
        let run: Vec<Result<Prepared, Refused>> = run.into_iter().map(prepare).collect();
        let noted = push_one::note_prepared(app, run.iter().flatten()).await;
        let noted = |push: Result<Prepared, Refused>| push.and_then(|push| noted.clone().map(|()| push));
        results.extend(in_order(run.into_iter().map(noted).map(append).collect()).await);
        // The appends of one run may all have been done at once.
        tokio::task::yield_now().await;
    }
    results
}

/// Cuts pushes into runs, in their order, each of which takes copies of at most [`COPIES_MAX`] names, or has
/// one push that does. So a short request for all who are online takes no more memory than one push, however
/// often it says so.
fn runs<T>(pushes: Vec<T>, copies: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut runs, mut run, mut held) = (Vec::new(), Vec::new(), 0);
    for push in pushes {
        let more = copies(&push);
        if held > 0 && more > 0 && held + more > COPIES_MAX {
            runs.push(std::mem::take(&mut run));
            held = 0;
        }
        held += more;
        run.push(push);
    }
    runs.push(run);
    runs
}

/// Who is online of the users of all these pushes; all users who are, if one of them is not for users by
/// name.
async fn online_among(app: &App, pushes: impl Iterator<Item = &Checked>) -> Result<HashSet<UserId>, Refused> {
    let mut users: Vec<UserId> = Vec::new();
    for push in pushes {
        match push.named() {
            Some(named) => users.extend_from_slice(named),
            None => return Ok(app.sessions.online_users().await?.into_iter().collect()),
        }
    }
    let online = app.sessions.are_online(&users).await?;
    Ok(users.into_iter().zip(online).filter(|(_, online)| *online).map(|(user, _)| user).collect())
}

fn counted(appended: Appended, online: &HashSet<UserId>) -> PushedOne {
    let accepted = appended.positions.len();
    let owners = appended.positions.iter().filter_map(|(channel, _)| channel.owner());
    let online = owners.filter(|user| online.contains(user)).count();
    PushedOne { id: appended.id, mode: None, accepted, online, offline: accepted - online }
}

#[cfg(test)]
mod tests {
    use encke_proto::ErrorCode;
    use serde_json::json;

    use super::*;

    fn codes(body: &str) -> Vec<Option<ErrorCode>> {
        let pushes = parse(body.as_bytes()).unwrap().unwrap();
        pushes.into_iter().map(|push| push.err().map(|Refused(refusal)| refusal.code)).collect()
    }

    #[test]
    fn a_run_copies_no_more_names_than_one_push_may_have() {
        let cut = |copies: &[usize]| runs(copies.to_vec(), |copies| *copies);
        assert_eq!(cut(&[0; 1_000]).len(), 1, "named users are not copied");
        assert_eq!(cut(&[10; 1_000]).len(), 1, "few are one commit");
        assert_eq!(cut(&[100_000; 1_000]), vec![vec![100_000]; 1_000]);
        let half = COPIES_MAX / 2;
        assert_eq!(
            cut(&[0, half, half, 0, 1, 0, COPIES_MAX + 1, 0, 1]),
            [vec![0, half, half, 0], vec![1, 0], vec![COPIES_MAX + 1, 0], vec![1]],
            "in their order"
        );
    }

    #[test]
    fn each_push_is_read_by_itself() {
        let data = |data: &str| format!("{{\"to\":[\"a\"],\"data\":{data}}}");
        let deep = |levels: usize| data(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        let (good, too_deep, far_too_deep) = (deep(32), deep(33), deep(20_000));
        let long = data(&format!("\"{}\"", "x".repeat(BODY_MAX_BYTES)));
        let wrong = r#"{"to":["a"],"colour":1}"#;
        let list = "[[\"a\"],null,1]";
        let pushes = [good.as_str(), &too_deep, "7", wrong, &far_too_deep, &long, list, &good];
        let body = format!("{{\"pushes\":[{}]}}", pushes.join(","));
        let (bad, deep) = (Some(ErrorCode::BadRequest), Some(ErrorCode::TooDeep));
        assert_eq!(codes(&body), [None, deep, bad, bad, deep, Some(ErrorCode::TooLarge), bad, None]);
    }

    #[test]
    fn what_holds_no_pushes_is_read_by_others_and_nothing_stands_beside_them() {
        for other in ["{}", "", "[]", r#"{"pushes":null}"#, r#"{"to":["a"],"data":{"pushes":[]}}"#] {
            assert!(parse(other.as_bytes()).is_none(), "{other}");
        }
        for (wrong, word) in [
            (r#"{"pushes":[]}"#, "1 to 1000"),
            (r#"{"pushes":{}}"#, "sequence"),
            (r#"{"pushes":[{}],"to":["a"]}"#, "`to`"),
        ] {
            let Refused(refusal) = parse(wrong.as_bytes()).unwrap().err().unwrap();
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
        let many = json!({"pushes": vec![json!({}); PUSHES_MAX + 1]});
        assert!(parse(many.to_string().as_bytes()).unwrap().is_err());
    }
}
