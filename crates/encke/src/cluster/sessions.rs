//! All sessions of the cluster as handlers see them: each call goes to this node's shards, and to other nodes
//! where needed. A single node pays nothing for the others.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::NodeId;
use encke_hub::{CloseTarget, Following};
use encke_proto::{ChannelName, Close, Cursor, Epoch, ErrorCode, Position, SessionId, UserId};

use super::{
    Listed, Nodes,
    answering::answer,
    node_message::{Answer, Question, Target},
};
use crate::shards::Shards;

/// How long a session is between two nodes at most, unless one of them is in trouble.
const CROSSING_MAX: Duration = Duration::from_millis(100);
/// How long to wait before one is looked for again that may be between two nodes.
const CROSSING_LOOK: Duration = Duration::from_millis(5);
/// The most that is asked of another node in one message, so that a message stays well below its bound.
const PAGE_MAX: usize = 1_000;

/// All sessions, on whatever node. What is asked of the whole cluster is asked of each node that lives; what
/// is asked of a user, of those nodes where the user is.
#[derive(Clone)]
pub struct Sessions {
    shards: Shards,
    nodes: Option<Arc<Nodes>>,
    name: String,
}

impl Sessions {
    /// Those of this node, which is called `name`, and of the others if there are any.
    #[must_use]
    pub fn new(shards: Shards, nodes: Option<Arc<Nodes>>, name: String) -> Self {
        Self { shards, nodes, name }
    }

    /// The other nodes.
    #[must_use]
    pub fn nodes(&self) -> Option<&Arc<Nodes>> {
        self.nodes.as_ref()
    }

    /// Ends sessions on purpose, and returns how many after everything of them is freed. Everybody means
    /// everybody on this node.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer, [`ErrorCode::EngineUnavailable`] when a node
    /// does not.
    pub async fn close(&self, target: &CloseTarget, close: &Close) -> Result<usize, ErrorCode> {
        let mut closed = self.shards.close(target, close).await?;
        let Some(nodes) = &self.nodes else { return Ok(closed) };
        if closed > 0 {
            nodes.user_locations.settled().await;
        }
        // There is one session of an id.
        let is_one = matches!(target, CloseTarget::Session(_) | CloseTarget::SessionOf(..));
        if (is_one && closed > 0) || matches!(target, CloseTarget::Everybody) {
            return Ok(closed);
        }
        closed += self.close_elsewhere(nodes, target, close).await?;
        if is_one && closed == 0 {
            // It may have been between two nodes.
            tokio::time::sleep(CROSSING_MAX).await;
            closed =
                self.shards.close(target, close).await? + self.close_elsewhere(nodes, target, close).await?;
            nodes.user_locations.settled().await;
        }
        Ok(closed)
    }

    async fn close_elsewhere(
        &self,
        nodes: &Nodes,
        target: &CloseTarget,
        close: &Close,
    ) -> Result<usize, ErrorCode> {
        let Some(asked) = Target::of(target) else { return Ok(0) };
        let others = match target {
            CloseTarget::SessionOf(_, user) => others_of(nodes, user).await?,
            _ => nodes.membership.others(),
        };
        let mut closed = 0;
        for answer in
            nodes.rpc.ask_all(&others, &Question::Close { target: asked, close: close.clone() }).await?
        {
            let Answer::Closed(count) = answer else { return Err(ErrorCode::Internal) };
            closed += count;
        }
        Ok(closed)
    }

    /// Lets a session follow more channels; all that it follows then.
    ///
    /// # Errors
    /// As the hub refuses it, [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn subscribe(
        &self,
        session: SessionId,
        user: &UserId,
        channels: Vec<ChannelName>,
    ) -> Result<Following, ErrorCode> {
        let Some(nodes) = &self.nodes else { return self.shards.subscribe(session, user, channels).await };
        following(
            where_it_is(nodes, user, Question::Subscribe { session, user: user.clone(), channels }).await?,
        )
    }

    /// Lets a session follow fewer channels; all that it follows then.
    ///
    /// # Errors
    /// As the hub refuses it, [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn unsubscribe(
        &self,
        session: SessionId,
        user: &UserId,
        channels: Vec<ChannelName>,
    ) -> Result<Following, ErrorCode> {
        let Some(nodes) = &self.nodes else { return self.shards.unsubscribe(session, user, channels).await };
        following(
            where_it_is(nodes, user, Question::Unsubscribe { session, user: user.clone(), channels }).await?,
        )
    }

    /// How far the user's own channel was shown when `cursor` was, if it says so. Writing that down is left
    /// to the caller.
    ///
    /// # Errors
    /// As the hub refuses it, [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn ack(
        &self,
        session: SessionId,
        user: &UserId,
        cursor: Cursor,
    ) -> Result<Option<Position>, ErrorCode> {
        let Some(nodes) = &self.nodes else { return self.shards.ack(session, user, cursor).await };
        let question = Question::Ack { session, user: user.clone(), cursor: cursor.to_string() };
        match where_it_is(nodes, user, question).await? {
            Answer::Shown(pair) => Ok(pair.map(|(epoch, offset)| Position { epoch: Epoch(epoch), offset })),
            _ => Err(ErrorCode::Internal),
        }
    }

    /// Whether each of these users has a session, in the same order.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>, ErrorCode> {
        match &self.nodes {
            // The shards have said so already, and are not asked.
            None => self.shards.are_online(users),
            Some(nodes) => Ok(nodes
                .places(users)
                .await?
                .into_iter()
                .map(|place| place.here || !place.others.is_empty())
                .collect()),
        }
    }

    /// How many sessions a user has.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn count_of(&self, user: &UserId) -> Result<usize, ErrorCode> {
        let ends = Instant::now() + CROSSING_MAX;
        loop {
            let (count, is_entered) = self.counted(user).await?;
            // A session that moves is counted at neither node for a moment, while its user is entered at
            // both.
            if count > 0 || !is_entered || Instant::now() >= ends {
                return Ok(count);
            }
            tokio::time::sleep(CROSSING_LOOK).await;
        }
    }

    /// How many sessions of a user are found, and whether the user is entered at a node that lives.
    async fn counted(&self, user: &UserId) -> Result<(usize, bool), ErrorCode> {
        let users = std::slice::from_ref(user);
        let mut count: usize = self.shards.sessions_of(users).await?.iter().sum();
        let Some(nodes) = &self.nodes else { return Ok((count, false)) };
        let Some(place) = nodes.places(users).await?.pop() else { return Ok((count, false)) };
        let is_entered = place.here || !place.others.is_empty();
        for answer in nodes.rpc.ask_all(&place.others, &Question::Counts { users: users.to_vec() }).await? {
            let Answer::Counts(counts) = answer else { return Err(ErrorCode::Internal) };
            count += counts.iter().sum::<usize>();
        }
        Ok((count, is_entered))
    }

    /// Who is online, by id, with the number of sessions: at least the first `limit` behind `after`, if there
    /// are as many.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn online(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let mut here = self.shards.online().await?;
        here.retain(|(user, _)| after.is_none_or(|after| user > after));
        let page = |nodes: Arc<Nodes>, node: NodeId, after: Option<UserId>, limit: usize| async move {
            nodes.rpc.ask(node, Question::Online { after, limit }).await
        };
        self.users_everywhere(here, after, limit, page).await
    }

    /// Everybody who is online, by id.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn everybody(&self) -> Result<Vec<UserId>, ErrorCode> {
        Ok(self.online(None, usize::MAX).await?.into_iter().map(|(user, _)| user).collect())
    }

    /// Who follows a channel, by user, with the number of sessions: at least the first `limit` behind
    /// `after`, if there are as many.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn present(
        &self,
        channel: &ChannelName,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let mut here = self.shards.channel(channel).await?.users;
        here.retain(|(user, _)| after.is_none_or(|after| user > after));
        let page = |nodes: Arc<Nodes>, node: NodeId, after: Option<UserId>, limit: usize| {
            let channel = channel.clone();
            async move { nodes.rpc.ask(node, Question::Present { channel, after, limit }).await }
        };
        self.users_everywhere(here, after, limit, page).await
    }

    /// How many sessions follow each of these channels, in the same order.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn followers(&self, channels: &[ChannelName]) -> Result<Vec<usize>, ErrorCode> {
        let mut counts = self.shards.followers(channels).await?;
        let Some(nodes) = &self.nodes else { return Ok(counts) };
        let question = Question::Followers { channels: channels.to_vec() };
        for answer in nodes.rpc.ask_all(&nodes.membership.others(), &question).await? {
            let Answer::Counts(more) = answer else { return Err(ErrorCode::Internal) };
            counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        Ok(counts)
    }

    /// The sessions of one user or of all, by id: at least the first `limit` behind `after`, if there are as
    /// many.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn list(
        &self,
        user: Option<&UserId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Listed>, ErrorCode> {
        let here = self.shards.sessions(user).await?.into_iter().map(|view| Listed::here(view, &self.name));
        let mut all: Vec<Listed> =
            here.filter(|listed| after.is_none_or(|after| listed.session > after)).collect();
        if let Some(nodes) = &self.nodes {
            let others = match user {
                Some(user) => others_of(nodes, user).await?,
                None => nodes.membership.others(),
            };
            for node in others {
                let (mut after, mut left) = (after, limit);
                loop {
                    let size = left.min(PAGE_MAX);
                    let question = Question::Sessions { user: user.cloned(), after, limit: size };
                    let Some(Answer::Sessions(page)) = nodes.rpc.ask(node, question).await? else { break };
                    let count = page.len();
                    after = page.last().map(|listed| listed.session);
                    left -= count.min(left);
                    all.extend(page);
                    if count < size || left == 0 {
                        break;
                    }
                }
            }
        }
        all.sort_unstable_by_key(|listed| listed.session);
        Ok(all)
    }

    /// Adds up what this node has and what the others answer, page by page.
    async fn users_everywhere<F: Future<Output = Result<Option<Answer>, ErrorCode>>>(
        &self,
        here: Vec<(UserId, usize)>,
        after: Option<&UserId>,
        limit: usize,
        page: impl Fn(Arc<Nodes>, NodeId, Option<UserId>, usize) -> F,
    ) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let Some(nodes) = &self.nodes else { return Ok(here) };
        let mut all: BTreeMap<UserId, usize> = here.into_iter().collect();
        for node in nodes.membership.others() {
            let (mut after, mut left) = (after.cloned(), limit);
            loop {
                let size = left.min(PAGE_MAX);
                let Some(Answer::Users(users)) = page(Arc::clone(nodes), node, after, size).await? else {
                    break;
                };
                let count = users.len();
                after = users.last().map(|(user, _)| user.clone());
                left -= count.min(left);
                for (user, sessions) in users {
                    *all.entry(user).or_default() += sessions;
                }
                if count < size || left == 0 {
                    break;
                }
            }
        }
        Ok(all.into_iter().collect())
    }
}

/// What this node answers about a session, or when it does not know it, a node that does.
async fn where_it_is(nodes: &Nodes, user: &UserId, question: Question) -> Result<Answer, ErrorCode> {
    for again in [true, false] {
        match answer(nodes, question.clone()).await {
            Err(ErrorCode::SessionUnknown) => {}
            answered => return answered,
        }
        for node in others_of(nodes, user).await? {
            match nodes.rpc.ask(node, question.clone()).await {
                Ok(None) | Err(ErrorCode::SessionUnknown) => {}
                Ok(Some(answer)) => return Ok(answer),
                Err(code) => return Err(code),
            }
        }
        if again {
            // It may be between two nodes.
            tokio::time::sleep(CROSSING_MAX).await;
        }
    }
    Err(ErrorCode::SessionUnknown)
}

async fn others_of(nodes: &Nodes, user: &UserId) -> Result<Vec<NodeId>, ErrorCode> {
    Ok(nodes.places(std::slice::from_ref(user)).await?.into_iter().flat_map(|place| place.others).collect())
}

fn following(answer: Answer) -> Result<Following, ErrorCode> {
    match answer {
        Answer::Following(followed) => followed.read(),
        _ => Err(ErrorCode::Internal),
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}
