//! The channels that a request names which wants to wait: the application is asked for each, if it decides
//! who follows, in whatever dialect.

use std::sync::Arc;

use encke_hub::Start;
use encke_proto::{ChannelName, ErrorCode, Refusal, SessionId, UserId};
use futures_util::future::join_all;

use super::{Admission, Later, Verdict};
use crate::{
    config::Decision,
    hooks::{Decisions, takes_part_in},
};

/// What becomes of a request once the application was asked, if it has to be.
pub(super) fn asked(decisions: &Arc<Decisions>, verdict: Verdict) -> Verdict {
    if !decisions.decides(Decision::Subscribe) {
        return verdict;
    }
    let decisions = Arc::clone(decisions);
    match verdict {
        Verdict::Admitted(admission) if names_any(&admission) => {
            Verdict::Later(Later::new(async move { admitted(&decisions, admission).await }))
        }
        Verdict::Later(later) => Verdict::Later(Later::new(async move {
            match later.0.await {
                Verdict::Admitted(admission) => admitted(&decisions, admission).await,
                verdict => verdict,
            }
        })),
        verdict => verdict,
    }
}

async fn admitted(decisions: &Decisions, mut admission: Box<Admission>) -> Verdict {
    let Admission { user, session, channels, start, .. } = &mut *admission;
    match subscribing(decisions, user, *session, channels, start).await {
        Ok(()) => Verdict::Admitted(admission),
        Err(refusal) => Verdict::Refused(refusal, admission.request_state),
    }
}

/// Asks for each public channel that is named. What is refused refuses a new session. One that goes on does
/// without it, since its client cannot know better; what the session follows already, it goes on to follow.
/// An answer that does not come refuses both: nothing says then that the channel is not the client's, so the
/// client has to come again with it.
///
/// # Errors
/// Those of [`Decisions::subscribe`].
pub async fn subscribing(
    decisions: &Decisions,
    user: &UserId,
    session: Option<SessionId>,
    channels: &mut Vec<ChannelName>,
    start: &mut Start,
) -> Result<(), Refusal> {
    let mut named: Vec<ChannelName> = channels.clone();
    if let Start::Cursor(cursor) = start {
        named.extend(cursor.entries.iter().map(|(channel, _)| channel.clone()));
    }
    named.retain(|channel| takes_part_in(Some(user), channel));
    named.sort_unstable();
    named.dedup();
    let ask = |channel: ChannelName| async move {
        let answer = decisions.subscribe(user, &channel).await;
        answer.err().map(|refusal| (channel, refusal))
    };
    let mut refused: Vec<(ChannelName, Refusal)> =
        join_all(named.into_iter().map(ask)).await.into_iter().flatten().collect();
    if let Some(at) = refused.iter().position(|(_, refusal)| refusal.code != ErrorCode::ChannelForbidden) {
        return Err(refused.swap_remove(at).1);
    }
    if session.is_none() {
        return refused.pop().map_or(Ok(()), |(_, refusal)| Err(refusal));
    }
    let is_refused = |channel: &ChannelName| refused.iter().any(|(refused, _)| refused == channel);
    channels.retain(|channel| !is_refused(channel));
    if let Start::Cursor(cursor) = start {
        cursor.entries.retain(|(channel, _)| !is_refused(channel));
    }
    Ok(())
}

/// Whether there is anything to ask for.
fn names_any(admission: &Admission) -> bool {
    let is_asked = |channel: &ChannelName| takes_part_in(Some(&admission.user), channel);
    let in_cursor = match &admission.start {
        Start::Cursor(cursor) => cursor.entries.iter().any(|(channel, _)| is_asked(channel)),
        Start::Absent | Start::Earliest => false,
    };
    in_cursor || admission.channels.iter().any(is_asked)
}
