//! The shards: one thread a core, each with a hub of its own and the connections that it serves.
//!
//! All sessions of a user live in one shard, chosen by a keyed hash of the user, so that presence, receipts
//! and pushes of a user never cross threads. A public channel has followers in any shard.

mod admin_listener;
mod ahead;
mod body_sink;
mod claim;
mod command;
mod device_rounds;
mod engine_io;
mod followed_channels;
mod handoff;
mod inline_waker;
mod mailbox;
mod mark_rounds;
mod online_users;
mod parted_map;
mod peers;
mod received;
mod rules_reload;
mod session_observer;
mod shard;
mod sink;
mod slot;
mod stream_listener;
mod tls_listener;
mod tls_socket;

use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_engine::Feed;
use encke_hub::{ControlReply, ControlRequest};
use encke_proto::{ChannelName, ChannelRules, Entry, ErrorCode, NameHashState, UserId};
use tokio::sync::oneshot;

pub use admin_listener::AdminListener;
pub use body_sink::{BodySink, BodySinkId, HyperBody, SinkHome, body_sink};
pub use claim::Claim;
pub use command::{Arrival, Counts, Placing, Resting, ShardCommand};
pub use engine_io::{EngineIo, EngineRequest, Work, open as open_engine_io};
pub use followed_channels::{FollowedChannels, ShardSet};
pub use handoff::Handoff;
pub use inline_waker::InlineWaker;
pub use mailbox::{Commands, Full, MAILBOX_MAX, Mailbox, mailbox};
pub use online_users::OnlineUsers;
pub use peers::{Claiming, Peers};
pub use received::Received;
pub use rules_reload::RulesReload;
pub use session_observer::{SessionObserver, together};
pub use shard::{EVENTS_PER_TURN, Parts, Shard, Timeouts, count_failed_handshake, count_handshake};
pub use sink::Sink;
pub use slot::{Answered, Hears, Queued, Service, Slot, State, Task, Unsent};
pub use stream_listener::StreamListener;
pub use tls_listener::TlsListener;
pub use tls_socket::TlsSocket;

/// How long a control request waits for a shard.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The way to all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards {
    mailboxes: Arc<[Mailbox<ShardCommand>]>,
    hasher: NameHashState,
    body_sink: Arc<AtomicU64>,
    online: Arc<OnlineUsers>,
    followed: Arc<FollowedChannels>,
}

impl Shards {
    /// The way to these shards.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox<ShardCommand>>) -> Self {
        Self {
            mailboxes: mailboxes.into(),
            hasher: NameHashState::default(),
            body_sink: Arc::default(),
            online: Arc::default(),
            followed: Arc::default(),
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

    /// Which shards have receivers for each public channel; each shard enters and removes itself.
    #[must_use]
    pub fn followed_channels(&self) -> &FollowedChannels {
        &self.followed
    }

    /// Whether each of these users has a session on this node, in the same order. No shard is asked.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard could not be asked: what is for its users is late or lost.
    pub fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>, ErrorCode> {
        users.iter().map(|user| self.is_online(user)).collect()
    }

    /// The same for one user.
    ///
    /// # Errors
    /// As [`Shards::are_online`].
    pub fn is_online(&self, user: &UserId) -> Result<bool, ErrorCode> {
        self.home(user).check().map_err(|Full| ErrorCode::Overloaded)?;
        Ok(self.online.contains(user))
    }

    /// A shard for connections that have no home.
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

    /// Tells all shards to accept no more connections; `elsewhere` if clients that are sent away can go to
    /// another node.
    pub fn drain(&self, elsewhere: bool) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post_or_miss(ShardCommand::Drain { elsewhere });
        }
    }

    /// Tells all shards the rules that say from now on who may follow which channel. None is lost however
    /// much a shard has to do: they change when an operator says so.
    pub fn set_rules(&self, rules: &Arc<ChannelRules>) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post_always(ShardCommand::Rules(Arc::clone(rules)));
        }
    }

    /// Tells all shards the bounds that hold for each user from now on; none is lost, as above.
    pub fn set_user_bounds(&self, max_sessions: usize, max_channels: usize) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post_always(ShardCommand::UserBounds { max_sessions, max_channels });
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
        if self.mailboxes.len() == 1 {
            return 0;
        }
        usize::try_from(self.hasher.hash_one(user) % self.mailboxes.len() as u64).unwrap_or(0)
    }

    /// The shards that may have receivers for a channel.
    fn receivers(&self, channel: &ChannelName) -> ShardSet {
        match channel.owner() {
            Some(user) => ShardSet::of(self.home_index(&user)),
            None => self.followed.shards(channel),
        }
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
            sum = sum.plus(*wait(answer).await?);
        }
        Ok(sum)
    }
}

/// What the engine has in its logs goes to the shards that have followers: a user's own channel to the user's
/// home, every other to those that have entered themselves.
impl Feed for Shards {
    fn appended(&self, entries: &[Arc<Entry>]) {
        // Most are told of alone: a push to one user.
        if let [entry] = entries
            && let Some(user) = entry.message().channel.owner()
        {
            return self.home(&user).post_or_miss(ShardCommand::Appended(Arc::clone(entry)));
        }
        // A shard is woken when all of them are there, so that it takes in together what was written
        // together.
        let mut left = ShardSet::default();
        for entry in entries {
            for shard in self.receivers(&entry.message().channel).iter() {
                self.mailboxes[shard].leave_or_miss(ShardCommand::Appended(Arc::clone(entry)));
                left.insert(shard);
            }
        }
        left.iter().for_each(|shard| self.mailboxes[shard].wake());
    }

    fn behind(&self, channels: &[ChannelName]) {
        self.post_of_each(channels, ShardCommand::Behind);
    }

    fn retracted(&self, channels: &[ChannelName]) {
        self.post_of_each(channels, ShardCommand::Retracted);
    }
}

impl Shards {
    /// Leaves a command about each channel with the shards that may have followers.
    fn post_of_each(&self, channels: &[ChannelName], command: fn(ChannelName) -> ShardCommand) {
        for channel in channels {
            for shard in self.receivers(channel).iter() {
                self.mailboxes[shard].post_or_miss(command(channel.clone()));
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

#[cfg(test)]
mod tests {
    use std::thread;

    use encke_proto::{Body, Epoch, Message, MessageId, Position, Time};
    use mio::{Events, Poll, Token, Waker};

    use super::*;

    /// How many messages are told of in one call.
    const TOGETHER: u64 = 20_000;

    fn entry(channel: ChannelName, offset: u64) -> Arc<Entry> {
        Arc::new(Entry::new(Message {
            id: MessageId::from_bits(1),
            channel,
            position: Position { epoch: Epoch(1), offset },
            time: Time(1),
            body: Body::Page("http://x/".into()),
            from: None,
            expires: None,
            trace: None,
        }))
    }

    #[test]
    fn only_shards_with_receivers_are_told_and_woken() {
        let polls: Vec<Poll> = (0..3).map(|_| Poll::new().unwrap()).collect();
        let (mailboxes, commands): (Vec<_>, Vec<_>) =
            polls.iter().map(|poll| mailbox(Waker::new(poll.registry(), Token(0)).unwrap())).unzip();
        let shards = Shards::new(mailboxes);
        let [news, other] = ["news", "other"].map(|name| ChannelName::public(name).unwrap());
        shards.followed_channels().insert(&news, 0, || {});
        shards.followed_channels().insert(&news, 2, || {});
        let told = |tell: &dyn Fn()| -> Vec<usize> {
            commands.iter().for_each(|commands| assert!(commands.rest()));
            tell();
            let told = commands.iter().map(|commands| std::iter::from_fn(|| commands.next()).count());
            told.collect()
        };
        assert_eq!(told(&|| shards.appended(&[entry(news.clone(), 1)])), [1, 0, 1]);
        assert_eq!(told(&|| shards.behind(&[news.clone(), other.clone()])), [1, 0, 1]);
        assert_eq!(told(&|| shards.appended(&[entry(other.clone(), 1), entry(news.clone(), 2)])), [1, 0, 1]);
        shards.followed_channels().remove(&news, 0, || {});
        assert_eq!(told(&|| shards.appended(&[entry(news.clone(), 3)])), [0, 0, 1]);
        let user = UserId::new("alice").unwrap();
        let mut home = vec![0; 3];
        home[shards.home_index(&user)] = 1;
        assert_eq!(told(&|| shards.appended(&[entry(user.channel(), 1)])), home);
    }

    #[test]
    fn a_shard_that_is_woken_for_one_message_finds_all_that_were_told_of_with_it() {
        let mut poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let shards = Shards::new(vec![mailbox]);
        let entry = |offset| {
            let user = UserId::new(&format!("user{}", offset % 100)).unwrap();
            entry(user.channel(), offset)
        };
        let entries: Vec<Arc<Entry>> = (1..=TOGETHER).map(entry).collect();
        assert!(commands.rest());
        thread::scope(|scope| {
            scope.spawn(|| shards.appended(&entries));
            let mut events = Events::with_capacity(4);
            while events.is_empty() {
                poll.poll(&mut events, None).unwrap();
            }
            commands.rise();
            let told = std::iter::from_fn(|| commands.next()).count() as u64;
            assert_eq!(told, TOGETHER, "none comes behind the waking");
        });
    }
}
