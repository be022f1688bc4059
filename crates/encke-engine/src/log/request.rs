//! What the writer is asked for, each with the place where its answer goes.

use encke_proto::{ChannelName, Time, UserId};
use tokio::sync::oneshot;

use super::record::MessageRecord;
use crate::{
    Append, Appended, EngineError, LogUpdate, LogUpdated, Mark, RetentionTable, Targets, append::body_bytes,
};

/// What a target of a push weighs in the writer's queue besides the body, in bytes: its name, and its place.
const TARGET_BYTES: usize = 64;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, EngineError>>;

/// What a sweep left to do.
pub(super) struct Swept {
    /// Whether there is more to forget.
    pub(super) more: bool,
    /// Logs whose time is over.
    pub(super) ended: Vec<ChannelName>,
}

/// One call to the writer.
pub(super) enum Request {
    Append(Box<Append>, Answer<Appended>),
    Seen(UserId, Time, Answer<()>),
    Mark(Vec<Mark>, Answer<()>),
    /// The answer says whether there was anything.
    Delete(ChannelName, Answer<bool>),
    Update(Box<LogUpdate>, Answer<LogUpdated>),
    /// Calls a push back, as its record says it, at this time; the answer says for how many users.
    Cancel(Box<MessageRecord>, Time, Answer<usize>),
    Sweep(Time, Answer<Swept>),
    /// Deletes those of these logs whose time is still over.
    End(Vec<ChannelName>, Time, Answer<()>),
    Ready(Answer<()>),
    /// Other rules of retention.
    Retain(Box<RetentionTable>, Answer<()>),
}

impl Request {
    /// What it weighs in the queue.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(append, _) => {
                let targets = match &append.targets {
                    Targets::Channels(channels) => channels.len(),
                    Targets::Users(users) => users.len(),
                    Targets::AllUsers => 0,
                };
                let body = usize::try_from(body_bytes(&append.body)).unwrap_or(usize::MAX);
                body.saturating_add(targets.saturating_mul(TARGET_BYTES))
            }
            Self::Update(update, _) => {
                let body = update.message.as_ref().map_or(0, |message| body_bytes(&message.body));
                usize::try_from(body).unwrap_or(usize::MAX).saturating_add(TARGET_BYTES)
            }
            Self::Mark(marks, _) => marks.len().saturating_mul(TARGET_BYTES),
            Self::End(channels, ..) => channels.len().saturating_mul(TARGET_BYTES),
            Self::Cancel(push, ..) => push.targets.len().saturating_mul(TARGET_BYTES),
            Self::Retain(table, _) => table.rules.len().saturating_add(1).saturating_mul(TARGET_BYTES),
            Self::Seen(..) | Self::Delete(..) | Self::Sweep(..) | Self::Ready(_) => TARGET_BYTES,
        }
    }

    /// Whether it is done apart: what was there before does not wait for a push to all users, and nothing of
    /// the same frame may be about a log that is deleted in it, or about what is cancelled.
    pub(super) fn is_alone(&self) -> bool {
        match self {
            Self::Append(append, _) => append.targets == Targets::AllUsers,
            Self::Delete(..) | Self::End(..) | Self::Cancel(..) | Self::Retain(..) => true,
            Self::Seen(..) | Self::Mark(..) | Self::Update(..) | Self::Sweep(..) | Self::Ready(_) => false,
        }
    }

    /// Answers that it was not done. A caller that has gone away is told nothing.
    pub(super) fn refuse(self, error: EngineError) {
        match self {
            Self::Append(_, answer) => drop(answer.send(Err(error))),
            Self::Seen(.., answer)
            | Self::Mark(_, answer)
            | Self::End(.., answer)
            | Self::Ready(answer)
            | Self::Retain(_, answer) => drop(answer.send(Err(error))),
            Self::Delete(_, answer) => drop(answer.send(Err(error))),
            Self::Update(_, answer) => drop(answer.send(Err(error))),
            Self::Sweep(_, answer) => drop(answer.send(Err(error))),
            Self::Cancel(.., answer) => drop(answer.send(Err(error))),
        }
    }
}
