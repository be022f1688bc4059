//! The shards: one thread a core, each with a hub of its own and the connections that it serves.
//!
//! All sessions of a user live in one shard, chosen by a keyed hash of the user, so that presence, receipts
//! and pushes of a user never cross threads. A public channel has followers in any shard.

mod claim;
mod command;
mod engine_io;
mod inline_waker;
mod mailbox;
mod peers;
mod random_pool;
mod received;
mod shard;
mod sink;
mod slot;
mod tls_listener;
mod tls_socket;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_engine::Feed;
use encke_hub::{ChannelView, CloseTarget, Following, Reply, SessionView};
use encke_proto::{ChannelName, Close, Cursor, Entry, ErrorCode, Position, SessionId, UserId};
use tokio::sync::oneshot;

pub use claim::Claim;
pub use command::{Arrival, Counts, Resting, ShardCommand};
pub use engine_io::{EngineIo, EngineRequest, Work, deliver, open as open_engine_io};
pub use inline_waker::InlineWaker;
pub use mailbox::{Commands, Full, MAILBOX_MAX, Mailbox, mailbox};
pub use peers::{Claiming, Peers};
pub use random_pool::RandomPool;
pub use received::Received;
pub use shard::{EVENTS_PER_TURN, Handoff, Parts, Shard, Timeouts, count_failed_handshake, count_handshake};
pub use sink::{BodySink, BodySinkId, HyperBody, Sink, body_sink};
pub use slot::{Hears, Queued, Service, Slot, State, Task, Unsent};
pub use tls_listener::TlsListener;
pub use tls_socket::TlsSocket;

/// How long a control request waits for a shard.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The way to all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards {
    mailboxes: Arc<[Mailbox<ShardCommand>]>,
    hasher: RandomState,
    body_sink: Arc<AtomicU64>,
}

impl Shards {
    /// The way to these shards.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox<ShardCommand>>) -> Self {
        Self { mailboxes: mailboxes.into(), hasher: RandomState::new(), body_sink: Arc::default() }
    }

    /// The shard where all sessions of `user` live.
    #[must_use]
    pub fn home(&self, user: &UserId) -> &Mailbox<ShardCommand> {
        &self.mailboxes[self.home_index(user)]
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

    /// Ends sessions on purpose, and returns how many after everything of them is freed.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn close(&self, target: &CloseTarget, close: &Close) -> Result<usize, ErrorCode> {
        let homes: Vec<&Mailbox<ShardCommand>> = match target {
            CloseTarget::SessionOf(_, user) | CloseTarget::User(user) => vec![self.home(user)],
            CloseTarget::Session(_) | CloseTarget::Everybody => self.mailboxes.iter().collect(),
        };
        let mut closed = 0;
        for answer in ask_living(&homes, |answer| ShardCommand::Close {
            target: target.clone(),
            close: close.clone(),
            answer,
        })? {
            match wait(answer).await? {
                Reply::Closed(count) => closed += count,
                Reply::Refused(code) => return Err(code),
                Reply::Channels(_) | Reply::Shown(_) | Reply::Given(_) => return Err(ErrorCode::Internal),
            }
        }
        Ok(closed)
    }

    /// Lets a session follow more channels; all that it follows then.
    ///
    /// # Errors
    /// As the hub refuses it, or [`ErrorCode::Overloaded`].
    pub async fn subscribe(
        &self,
        session: SessionId,
        user: &UserId,
        channels: Vec<ChannelName>,
    ) -> Result<Following, ErrorCode> {
        let command = |answer| ShardCommand::Subscribe {
            session,
            user: user.clone(),
            channels: channels.clone(),
            answer,
        };
        following(self.ask_home(user, command).await?)
    }

    /// Lets a session follow fewer channels; all that it follows then.
    ///
    /// # Errors
    /// As the hub refuses it, or [`ErrorCode::Overloaded`].
    pub async fn unsubscribe(
        &self,
        session: SessionId,
        user: &UserId,
        channels: Vec<ChannelName>,
    ) -> Result<Following, ErrorCode> {
        let command = |answer| ShardCommand::Unsubscribe {
            session,
            user: user.clone(),
            channels: channels.clone(),
            answer,
        };
        following(self.ask_home(user, command).await?)
    }

    /// How far the user's own channel was shown when `cursor` was, if it says so. Writing that down is left
    /// to the caller.
    ///
    /// # Errors
    /// As the hub refuses it, or [`ErrorCode::Overloaded`].
    pub async fn ack(
        &self,
        session: SessionId,
        user: &UserId,
        cursor: Cursor,
    ) -> Result<Option<Position>, ErrorCode> {
        let command =
            |answer| ShardCommand::Ack { session, user: user.clone(), cursor: cursor.clone(), answer };
        match self.ask_home(user, command).await? {
            Reply::Shown(position) => Ok(position),
            Reply::Refused(code) => Err(code),
            Reply::Closed(_) | Reply::Channels(_) | Reply::Given(_) => Err(ErrorCode::Internal),
        }
    }

    /// Gives a session up to another node, with all that it follows; none when it is not here.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn release(&self, session: SessionId, user: &UserId) -> Result<Option<Following>, ErrorCode> {
        let command = |answer| ShardCommand::Release { session, user: user.clone(), answer };
        match self.ask_home(user, command).await? {
            Reply::Given(following) => Ok(following.map(|following| *following)),
            Reply::Refused(code) => Err(code),
            Reply::Closed(_) | Reply::Channels(_) | Reply::Shown(_) => Err(ErrorCode::Internal),
        }
    }

    /// Waits until it is written down what this user was handed here.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when the shard does not answer.
    pub async fn settle(&self, user: &UserId) -> Result<(), ErrorCode> {
        for answer in ask(&[self.home(user)], ShardCommand::Settle)? {
            wait(answer).await?;
        }
        Ok(())
    }

    /// How many sessions each of these users has, in the same order.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn sessions_of(&self, users: &[UserId]) -> Result<Vec<usize>, ErrorCode> {
        if let [user] = users {
            let answers = ask(&[self.home(user)], |answer| ShardCommand::SessionsOf {
                users: vec![user.clone()],
                answer,
            })?;
            let mut counts = Vec::new();
            for answer in answers {
                counts = wait(answer).await?;
            }
            return Ok(counts);
        }
        let mut split: Vec<Vec<(usize, UserId)>> = vec![Vec::new(); self.mailboxes.len()];
        for (index, user) in users.iter().enumerate() {
            split[self.home_index(user)].push((index, user.clone()));
        }
        let mut counts = vec![0; users.len()];
        for (mailbox, part) in self.mailboxes.iter().zip(split).filter(|(_, part)| !part.is_empty()) {
            let (indices, part): (Vec<usize>, Vec<UserId>) = part.into_iter().unzip();
            let answers = ask(&[mailbox], |answer| ShardCommand::SessionsOf { users: part.clone(), answer })?;
            for answer in answers {
                for (index, count) in indices.iter().zip(wait(answer).await?) {
                    counts[*index] = count;
                }
            }
        }
        Ok(counts)
    }

    /// Everybody who is online, by id, with the number of sessions.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn online(&self) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let mut all = self.ask_all(|answer| ShardCommand::Online { answer }).await?.concat();
        all.sort_unstable();
        Ok(all)
    }

    /// The sessions of one user, or of all.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn sessions(&self, user: Option<&UserId>) -> Result<Vec<SessionView>, ErrorCode> {
        let mut all =
            self.ask_all(|answer| ShardCommand::Sessions { user: user.cloned(), answer }).await?.concat();
        all.sort_unstable_by(|a, b| (&a.user, a.session).cmp(&(&b.user, b.session)));
        Ok(all)
    }

    /// Who follows a channel, by user.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn channel(&self, channel: &ChannelName) -> Result<ChannelView, ErrorCode> {
        let views = self.ask_all(|answer| ShardCommand::Channel { channel: channel.clone(), answer }).await?;
        let mut users: Vec<_> = views.into_iter().flat_map(|view| view.users).collect();
        users.sort_unstable();
        Ok(ChannelView { users })
    }

    /// How many sessions follow each of these channels, in the same order.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn followers(&self, channels: &[ChannelName]) -> Result<Vec<usize>, ErrorCode> {
        let mut sums = vec![0; channels.len()];
        for counts in
            self.ask_all(|answer| ShardCommand::Followers { channels: channels.to_vec(), answer }).await?
        {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(sums)
    }

    /// How much there is of everything, in the shards that are at work.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer.
    pub async fn counts(&self) -> Result<Counts, ErrorCode> {
        let all: Vec<&Mailbox<ShardCommand>> = self.mailboxes.iter().collect();
        let mut sum = Counts::default();
        for answer in ask_living(&all, |answer| ShardCommand::Counts { answer })? {
            sum = sum.plus(wait(answer).await?);
        }
        Ok(sum)
    }

    async fn ask_home(
        &self,
        user: &UserId,
        command: impl Fn(oneshot::Sender<Reply>) -> ShardCommand,
    ) -> Result<Reply, ErrorCode> {
        let mut last = Err(ErrorCode::Internal);
        for answer in ask(&[self.home(user)], command)? {
            last = wait(answer).await;
        }
        last
    }

    async fn ask_all<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<Vec<T>, ErrorCode> {
        let all: Vec<&Mailbox<ShardCommand>> = self.mailboxes.iter().collect();
        let mut answers = Vec::with_capacity(all.len());
        for answer in ask(&all, command)? {
            answers.push(wait(answer).await?);
        }
        Ok(answers)
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

fn ask<T>(
    homes: &[&Mailbox<ShardCommand>],
    command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
) -> Result<Vec<oneshot::Receiver<T>>, ErrorCode> {
    let post = |mailbox: &&Mailbox<ShardCommand>| {
        let (answer, receiver) = oneshot::channel();
        mailbox.post(command(answer)).map(|()| receiver).map_err(|Full| ErrorCode::Overloaded)
    };
    homes.iter().map(post).collect()
}

/// The same, without those that are gone: a shard that has failed serves no connection any more.
fn ask_living<T>(
    homes: &[&Mailbox<ShardCommand>],
    command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
) -> Result<Vec<oneshot::Receiver<T>>, ErrorCode> {
    let mut receivers = Vec::with_capacity(homes.len());
    for mailbox in homes {
        let (answer, receiver) = oneshot::channel();
        match mailbox.offer(command(answer)) {
            Ok(()) => receivers.push(receiver),
            Err(None) => {}
            Err(Some(_)) => return Err(ErrorCode::Overloaded),
        }
    }
    Ok(receivers)
}

async fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, ErrorCode> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(ErrorCode::Overloaded),
    }
}

fn following(reply: Reply) -> Result<Following, ErrorCode> {
    match reply {
        Reply::Channels(following) => Ok(*following),
        Reply::Refused(code) => Err(code),
        Reply::Closed(_) | Reply::Shown(_) | Reply::Given(_) => Err(ErrorCode::Internal),
    }
}
