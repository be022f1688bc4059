//! Reading the receipts of a push: its users are in its record, and what became of it for each follows from
//! the steps of the user's log.

use std::sync::{PoisonError, RwLock};

use encke_proto::{MessageId, Offset, Time, UserId};

use super::{
    fault::Fault,
    receipts::receipt,
    record::{LogId, MessageRecord, Record},
    segment::read_record_at,
    segment_index::SegmentIndex,
    state::State,
    stored::Place,
    volume::Volume,
};
use crate::Receipt;

/// How often a push is looked for when segments are removed meanwhile.
const TRIES_MAX: usize = 4;

/// The receipts of a push by user, behind `after`; none when there is no such push.
pub(super) fn receipts(
    state: &RwLock<State>,
    volume: &dyn Volume,
    push: &MessageId,
    after: Option<&UserId>,
    limit: usize,
    now: Time,
) -> Result<Option<Vec<Receipt>>, Fault> {
    let Some(message) = find_told(state, volume, push)? else { return Ok(None) };
    let state = state.read().unwrap_or_else(PoisonError::into_inner);
    let mut users: Vec<(UserId, LogId, Offset)> = Vec::new();
    for target in &message.targets {
        let Some(user) = state.log(target.log).and_then(|log| log.name.owner()) else { continue };
        if after.is_none_or(|after| user > *after) {
            users.push((user, target.log, target.offset));
        }
    }
    users.sort_unstable();
    users.truncate(limit);
    let one = |(user, log, offset): (UserId, LogId, Offset)| {
        let steps = state.log(log).map_or(&[][..], |log| log.steps());
        let (state, at) = receipt(steps, offset, message.time, message.expires, now);
        Receipt { user, offset, state, at }
    };
    Ok(Some(users.into_iter().map(one).collect()))
}

/// Finds a push whose receipts are still told.
pub(super) fn find_told(
    state: &RwLock<State>,
    volume: &dyn Volume,
    push: &MessageId,
) -> Result<Option<MessageRecord>, Fault> {
    let Some(message) = find_push(state, volume, push)? else { return Ok(None) };
    let swept = state.read().unwrap_or_else(PoisonError::into_inner).swept;
    Ok(Some(message).filter(|message| message.until.is_some_and(|until| until > swept)))
}

/// Finds a push by its id; once more when a segment was removed meanwhile, since what it held lies elsewhere
/// then.
fn find_push(
    state: &RwLock<State>,
    volume: &dyn Volume,
    id: &MessageId,
) -> Result<Option<MessageRecord>, Fault> {
    for _ in 1..TRIES_MAX {
        let segments = || {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            state.segments.keys().next().copied().zip(Some(state.segments.len()))
        };
        let before = segments();
        let found = look_for(state, volume, id);
        if matches!(found, Ok(Some(_))) || segments() == before {
            return found;
        }
    }
    look_for(state, volume, id)
}

fn look_for(
    state: &RwLock<State>,
    volume: &dyn Volume,
    id: &MessageId,
) -> Result<Option<MessageRecord>, Fault> {
    let places = state.read().unwrap_or_else(PoisonError::into_inner).push_places(id);
    for (segment, at) in places {
        let at = match at {
            Some(at) => Some(at),
            None => SegmentIndex::read(volume, segment)?.find(id.bits()),
        };
        let Some(at) = at else { continue };
        let file = {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            state.segments.get(&segment).map(|segment| std::sync::Arc::clone(&segment.file))
        };
        let Some(file) = file else { continue };
        let (payload, _) = read_record_at(&*file, Place { segment, at })?;
        if let Record::Message(message) | Record::Moved { message, .. } = Record::decode(&payload)? {
            if message.id == *id {
                return Ok(Some(message));
            }
            return Err(Fault::damaged(format!("the push {id} is not where it should be")));
        }
    }
    Ok(None)
}
