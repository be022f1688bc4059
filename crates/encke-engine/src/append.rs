//! The request to append a message to logs, and its result. Receipts of what was appended are in
//! `receipt.rs`.

use std::collections::HashSet;

use encke_proto::{Body, ChannelName, MessageId, Position, Time, TraceContext, UserId};

use crate::{EngineError, Key};

/// To which logs a message is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Public channels, each once: a publish. No receipts.
    Channels(Vec<ChannelName>),
    /// These users' own channels, each once: a push. A receipt for each.
    Users(Vec<UserId>),
    /// The own channel of every user that the engine has ever seen: a push. A receipt for each.
    AllUsers,
}

/// One message on its way into the logs.
#[derive(Clone, Debug)]
pub struct Append {
    /// The id that it will have in every log.
    pub id: MessageId,
    /// The idempotency key.
    pub key: Option<Key>,
    /// Where it goes.
    pub targets: Targets,
    /// What it says.
    pub body: Body,
    /// The user who published it, when a client did. Its key, if it has one, counts among this user's; among
    /// those of backends without.
    pub from: Option<UserId>,
    /// Now.
    pub time: Time,
    /// From when on it is not delivered any more.
    pub expires: Option<Time>,
    /// The trace that it belongs to, kept with it.
    pub trace: Option<Box<TraceContext>>,
}

/// A message that is in the logs as safely as the engine's mode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message's id; of the first one when the key was a repeat.
    pub id: MessageId,
    /// Its place in each log, in the order of the targets (all users: in the order of their ids).
    pub positions: Vec<(ChannelName, Position)>,
    /// Whether the key was a repeat, so that nothing was appended now.
    pub repeated: bool,
}

/// What became of a message that was to be appended at once.
#[derive(Debug)]
pub enum AppendNow {
    /// It was tried, with what [`crate::Engine::append`] would have given.
    Done(Result<Appended, EngineError>),
    /// Nothing was done, since that would have to wait: here it is again.
    Waits(Append),
}

/// The bytes that retention and page limits count: those of the body alone, without a content type.
pub(crate) fn body_bytes(body: &Body) -> u64 {
    let bytes = match body {
        Body::Page(page) => page.url.len(),
        Body::Data(json) => json.get().len(),
        Body::Bytes(typed) => typed.bytes().len(),
    };
    bytes as u64
}

/// The same names in the same order, each once: a target named twice still gets one message.
pub(crate) fn each_once(names: impl IntoIterator<Item = ChannelName>) -> Vec<ChannelName> {
    let names: Vec<ChannelName> = names.into_iter().collect();
    if names.len() < 2 {
        return names;
    }
    let mut seen = HashSet::with_capacity(names.len());
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
