//! The shards: one thread a core, each with a hub of its own and the connections that it serves.
//!
//! All sessions of a user live in one shard, chosen by a keyed hash of the user, so that presence, receipts
//! and pushes of a user never cross threads. A public channel has followers in any shard.

mod claim;
mod command;
mod engine_io;
mod inline_waker;
mod mailbox;
mod online_users;
mod peers;
mod random_pool;
mod shard;
mod sink;
mod slot;

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_engine::Feed;
use encke_hub::{ControlReply, ControlRequest};
use encke_proto::{ChannelName, Entry, ErrorCode, UserId};
use tokio::sync::oneshot;

pub use claim::Claim;
pub use command::{Arrival, Counts, Resting, ShardCommand};
pub use engine_io::{EngineIo, EngineRequest, Work, deliver, open as open_engine_io};
pub use inline_waker::InlineWaker;
pub use mailbox::{Commands, Full, MAILBOX_MAX, Mailbox, mailbox};
pub use online_users::OnlineUsers;
pub use peers::{Claiming, Peers};
pub use random_pool::RandomPool;
pub use shard::{EVENTS_PER_TURN, Handoff, Parts, Shard, Timeouts};
pub use sink::{BodySink, BodySinkId, HyperBody, Sink, body_sink};
pub use slot::{Hears, Queued, Service, Slot, State, Task, Unsent};

/// How long a control request waits for a shard.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The way to all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards {
    mailboxes: Arc<[Mailbox<ShardCommand>]>,
    hasher: RandomState,
    body_sink: Arc<AtomicU64>,
    online: Arc<OnlineUsers>,
}

impl Shards {
    /// The way to these shards.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox<ShardCommand>>) -> Self {
        Self {
            mailboxes: mailboxes.into(),
            hasher: RandomState::new(),
            body_sink: Arc::default(),
            online: Arc::default(),
        }
    }

    /// The shard where all sessions of `user` live.
    #[must_use]
    pub fn home(&self, user: &UserId) -> &Mailbox<ShardCommand> {
        &self.mailboxes[self.home_index(user)]
    }

    /// Who has a session on this node; each shard keeps the users in it whose home it is.
    #[must_use]
    pub fn online_users(&self) -> &OnlineUsers {
        &self.online
    }

    /// A shard that serves whoever has no home.
    #[must_use]
    pub fn any(&self) -> &Mailbox<ShardCommand> {
        &self.mailboxes[0]
    }

    /// The shard of this number.
    #[must_use]
    pub fn at(&self, index: usize) -> &Mailbox<ShardCommand> {
        &self.mailboxes[index]
    }

    /// A number for a response that hyper sends. No two of them are alike, since they share a map
    /// in their shard.
    #[must_use]
    pub fn body_sink_id(&self) -> BodySinkId {
        BodySinkId(self.body_sink.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells all shards to let nobody in any more; `elsewhere` if those who are sent away from here can go to
    /// another node.
    pub fn drain(&self, elsewhere: bool) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post_or_miss(ShardCommand::Drain { elsewhere });
        }
    }

    /// Tells all shards to stop working.
    pub fn stop(&self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post_or_miss(ShardCommand::Stop);
        }
    }

    /// Its number.
    #[must_use]
    pub fn home_index(&self, user: &UserId) -> usize {
        usize::try_from(self.hasher.hash_one(user) % self.mailboxes.len() as u64).unwrap_or(0)
    }

    /// Asks the shards that a control request concerns; their answers make one.
    ///
    /// # Errors
    /// As the hub refuses it, or [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn request(&self, request: ControlRequest) -> Result<ControlReply, ErrorCode> {
        if let ControlRequest::CountSessions { users } = &request
            && let [user] = users.as_slice()
        {
            // Every push to one user asks this, and there is nothing to be merged.
            let home = self.home(user);
            let request = Box::new(request);
            let answer = ask(home, |answer| ShardCommand::Control { request, answer })?
                .ok_or(ErrorCode::Overloaded)?;
            return wait(answer).await;
        }
        let mut answers = Vec::new();
        for (index, part) in self.parts(&request) {
            match ask(self.at(index), |answer| ShardCommand::Control { request: Box::new(part), answer })? {
                Some(answer) => answers.push(answer),
                // A shard that has failed serves no connection any more.
                None if matches!(request, ControlRequest::Close { .. }) => {}
                None => return Err(ErrorCode::Overloaded),
            }
        }
        let mut replies = Vec::with_capacity(answers.len());
        for answer in answers {
            replies.push(wait(answer).await?);
        }
        match request.merge(replies) {
            ControlReply::Refused(code) => Err(code),
            reply => Ok(reply),
        }
    }

    /// Which shard is asked what.
    fn parts(&self, request: &ControlRequest) -> Vec<(usize, ControlRequest)> {
        if let Some(user) = request.user() {
            return vec![(self.home_index(user), request.clone())];
        }
        let ControlRequest::CountSessions { users } = request else {
            return (0..self.mailboxes.len()).map(|index| (index, request.clone())).collect();
        };
        // Only the homes of the users are woken.
        let mut homes: BTreeMap<usize, Vec<UserId>> = BTreeMap::new();
        for user in users {
            homes.entry(self.home_index(user)).or_default().push(user.clone());
        }
        homes.into_iter().map(|(index, users)| (index, ControlRequest::CountSessions { users })).collect()
    }

    /// Waits until it is written down what this user was handed here.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when the shard does not answer.
    pub async fn settle(&self, user: &UserId) -> Result<(), ErrorCode> {
        let answer = ask(self.home(user), ShardCommand::Settle)?.ok_or(ErrorCode::Overloaded)?;
        wait(answer).await
    }

    /// How much there is of everything, in the shards that are at work.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn counts(&self) -> Result<Counts, ErrorCode> {
        let mut answers = Vec::with_capacity(self.mailboxes.len());
        for mailbox in self.mailboxes.iter() {
            answers.extend(ask(mailbox, |answer| ShardCommand::Counts { answer })?);
        }
        let mut sum = Counts::default();
        for answer in answers {
            sum = sum.plus(wait(answer).await?);
        }
        Ok(sum)
    }
}

/// What the engine has in its logs goes to the shards that may have followers: a user's own channel to the
/// user's home, every other to all.
impl Feed for Shards {
    fn appended(&self, entries: &[Arc<Entry>]) {
        for entry in entries {
            match entry.message().channel.owner() {
                Some(user) => self.home(&user).post_or_miss(ShardCommand::Appended(Arc::clone(entry))),
                None => self
                    .mailboxes
                    .iter()
                    .for_each(|mailbox| mailbox.post_or_miss(ShardCommand::Appended(Arc::clone(entry)))),
            }
        }
    }

    fn behind(&self, channels: &[ChannelName]) {
        for channel in channels {
            match channel.owner() {
                Some(user) => self.home(&user).post_or_miss(ShardCommand::Behind(channel.clone())),
                None => self
                    .mailboxes
                    .iter()
                    .for_each(|mailbox| mailbox.post_or_miss(ShardCommand::Behind(channel.clone()))),
            }
        }
    }
}

/// Puts a question into a shard's mailbox; none when the shard is gone.
fn ask<T>(
    mailbox: &Mailbox<ShardCommand>,
    command: impl FnOnce(oneshot::Sender<T>) -> ShardCommand,
) -> Result<Option<oneshot::Receiver<T>>, ErrorCode> {
    let (answer, receiver) = oneshot::channel();
    match mailbox.offer(command(answer)) {
        Ok(()) => Ok(Some(receiver)),
        Err(None) => Ok(None),
        Err(Some(_)) => Err(ErrorCode::Overloaded),
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, ErrorCode> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(ErrorCode::Overloaded),
    }
}
