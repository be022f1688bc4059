//! All sessions of the cluster as handlers see them: each call goes to this node's shards, and to other nodes
//! where needed. A single node pays nothing for the others.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::NodeId;
use encke_hub::{CloseTarget, ControlReply, ControlRequest, Following, FreshToken};
use encke_proto::{ChannelName, Close, Cursor, ErrorCode, NameFilter, Offset, Position, SessionId, UserId};
use futures_util::{
    FutureExt, StreamExt,
    future::{join_all, try_join_all},
    stream::FuturesUnordered,
};
use serde_json::Value;

use super::{DIALECT_ANSWER_MAX, Listed, Nodes};
use crate::{
    auth::RevocationRecord,
    revocation_log::{RevocationLog, close_of},
    shards::Shards,
};

/// How long a session is between two nodes at most, unless one of them is in trouble.
const CROSSING_MAX: Duration = Duration::from_millis(100);
/// How long a user who is entered at a node is taken for one whose session is between two nodes. On a machine
/// that has far too much to do, each step of such a move takes long.
const ENTERED_MAX: Duration = Duration::from_secs(1);
/// How long to wait before one is looked for again that may be between two nodes: at first, and at most.
const CROSSING_LOOK: Duration = Duration::from_millis(5);
const CROSSING_LOOK_MAX: Duration = Duration::from_millis(80);
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

    /// Ends sessions on purpose, and returns how many after everything of them is freed.
    /// A close of all ends those of this node alone.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer, [`ErrorCode::EngineUnavailable`] when a node
    /// does not.
    pub async fn close(&self, target: &CloseTarget, close: &Close) -> Result<usize, ErrorCode> {
        let request = ControlRequest::Close { target: target.clone(), close: close.clone() };
        let mut closed = closed(self.shards.request(request.clone()).await?)?;
        let Some(nodes) = &self.nodes else { return Ok(closed) };
        if closed > 0 {
            nodes.user_locations.settled().await;
        }
        // There is one session of an id.
        let is_one = matches!(target, CloseTarget::Session(_) | CloseTarget::SessionOf(..));
        if (is_one && closed > 0) || matches!(target, CloseTarget::Everybody) {
            return Ok(closed);
        }
        closed += close_elsewhere(nodes, &request).await?;
        if is_one && closed == 0 {
            // It may have been between two nodes.
            tokio::time::sleep(CROSSING_MAX).await;
            closed = self::closed(self.shards.request(request.clone()).await?)?
                + close_elsewhere(nodes, &request).await?;
            nodes.user_locations.settled().await;
        }
        Ok(closed)
    }

    /// Ends the sessions that a revocation concerns, which stands at `at` of the log, on all nodes: how many.
    /// None that it concerns begins on any of them from then on.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer, [`ErrorCode::EngineUnavailable`] when a node
    /// or the engine does not. A node that did not answer ends them once it has followed the log.
    pub async fn end_revoked(
        &self,
        log: &RevocationLog,
        record: &RevocationRecord,
        at: Offset,
    ) -> Result<usize, ErrorCode> {
        log.catch_up().await?;
        let closed = log.closed_by(at).await;
        let Some(nodes) = &self.nodes else { return Ok(closed) };
        if closed > 0 {
            nodes.user_locations.settled().await;
        }
        Ok(closed + close_elsewhere(nodes, &close_of(record, at)).await?)
    }

    /// Waits until it is written down what each node noted of a user: what the user was handed, and that the
    /// user was here.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when a shard does not answer, [`ErrorCode::EngineUnavailable`] when a node
    /// does not.
    pub async fn settle(&self, user: &UserId) -> Result<(), ErrorCode> {
        self.shards.settle(user).await?;
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let request = ControlRequest::Release { session: None, user: user.clone() };
        nodes.rpc.ask_all(&nodes.membership.others(), &request).await.map(drop)
    }

    /// Lets a session follow more channels, those that `from` names from there; all that it follows then.
    ///
    /// # Errors
    /// As the hub refuses it, [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn subscribe(
        &self,
        session: SessionId,
        user: &UserId,
        channels: Vec<ChannelName>,
        from: Cursor,
    ) -> Result<Following, ErrorCode> {
        let request = ControlRequest::Subscribe { session, user: user.clone(), channels, from };
        following(self.where_it_is(user, request).await?)
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
        following(
            self.where_it_is(user, ControlRequest::Unsubscribe { session, user: user.clone(), channels })
                .await?,
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
        match self.where_it_is(user, ControlRequest::Ack { session, user: user.clone(), cursor }).await? {
            ControlReply::Shown(position) => Ok(position),
            _ => Err(ErrorCode::Internal),
        }
    }

    /// Puts a fresh token of its user in the place of the one that a session has.
    ///
    /// # Errors
    /// `revoked` and `banned`, as the hub refuses it, [`ErrorCode::Overloaded`] or
    /// [`ErrorCode::EngineUnavailable`].
    pub async fn refresh(
        &self,
        session: SessionId,
        user: &UserId,
        token: FreshToken,
    ) -> Result<(), ErrorCode> {
        let request = ControlRequest::Refresh { session, user: user.clone(), token: Box::new(token) };
        match self.where_it_is(user, request).await? {
            ControlReply::Refreshed => Ok(()),
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

    /// Whether a user has a session, if that is known without asking another node.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`].
    pub fn is_online_now(&self, user: &UserId) -> Option<Result<bool, ErrorCode>> {
        self.nodes.is_none().then(|| self.shards.is_online(user))
    }

    /// How many sessions a user has.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn count_of(&self, user: &UserId) -> Result<usize, ErrorCode> {
        let ends = Instant::now() + ENTERED_MAX;
        let mut pause = CROSSING_LOOK;
        loop {
            let (count, is_entered) = self.counted(user).await?;
            // A session that moves is counted at neither node for a moment, while its user is entered at
            // both.
            if count > 0 || !is_entered || Instant::now() >= ends {
                return Ok(count);
            }
            tokio::time::sleep(pause).await;
            pause = CROSSING_LOOK_MAX.min(pause * 2);
        }
    }

    /// How many sessions of a user are found, and whether the user is entered at a node that lives.
    async fn counted(&self, user: &UserId) -> Result<(usize, bool), ErrorCode> {
        let request = ControlRequest::CountSessions { users: vec![user.clone()] };
        let mut replies = vec![self.shards.request(request.clone()).await?];
        let mut is_entered = false;
        if let Some(nodes) = &self.nodes
            && let Some(place) = nodes.places(std::slice::from_ref(user)).await?.pop()
        {
            is_entered = place.here || !place.others.is_empty();
            replies.extend(nodes.rpc.ask_all(&place.others, &request).await?);
        }
        let count = users(request.merge(replies))?.into_iter().map(|(_, count)| count).sum();
        Ok((count, is_entered))
    }

    /// Who is online, by id, with the number of sessions: the first `limit` behind `after`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn online(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let filter = NameFilter::default();
        let request = ControlRequest::ListUsers { lasting: false, filter, after: after.cloned(), limit };
        users(self.everywhere(&request).await?)
    }

    /// Who is online and matches, by id: the first `limit` behind `after`. No shard of this node is asked,
    /// so that one who looks through 100,000 users holds up no message. Other nodes are asked in pages.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn online_matching(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, ErrorCode> {
        let mut found = self.shards.online_users().matching(filter, after);
        if let Some(nodes) = &self.nodes {
            let (filter, after) = (filter.clone(), after.cloned());
            let request = ControlRequest::ListUsers { lasting: false, filter, after, limit };
            let others = nodes.membership.others();
            let asked = others.into_iter().map(|node| pages(nodes, node, &request));
            for reply in try_join_all(asked).await? {
                found.extend(users(reply)?.into_iter().map(|(user, _)| user));
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// How many sessions each of these users has, without those who have none. At most as many users as a
    /// page of a list has.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn counts_of(&self, users: Vec<UserId>) -> Result<HashMap<UserId, usize>, ErrorCode> {
        let mut counts = HashMap::with_capacity(users.len());
        for (user, count) in self::users(self.everywhere(&ControlRequest::CountSessions { users }).await?)? {
            *counts.entry(user).or_default() += count;
        }
        Ok(counts)
    }

    /// All users who are online, by id.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn online_users(&self) -> Result<Vec<UserId>, ErrorCode> {
        Ok(self.online(None, usize::MAX).await?.into_iter().map(|(user, _)| user).collect())
    }

    /// Who follows a channel, by user, with the number of sessions: the first `limit` behind `after`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn present(
        &self,
        channel: &ChannelName,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, usize)>, ErrorCode> {
        let request =
            ControlRequest::ListFollowers { channel: channel.clone(), after: after.cloned(), limit };
        users(self.everywhere(&request).await?)
    }

    /// The public channels that are followed and whose names begin with `prefix`, by name, with the number of
    /// sessions: the first `limit` behind `after`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn followed(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<(ChannelName, usize)>, ErrorCode> {
        let request =
            ControlRequest::ListFollowed { prefix: prefix.to_owned(), after: after.cloned(), limit };
        match self.everywhere(&request).await? {
            ControlReply::Channels(channels) => Ok(channels),
            _ => Err(ErrorCode::Internal),
        }
    }

    /// How many sessions follow each of these channels, in the same order.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn followers(&self, channels: &[ChannelName]) -> Result<Vec<usize>, ErrorCode> {
        match self.everywhere(&ControlRequest::CountFollowers { channels: channels.to_vec() }).await? {
            ControlReply::Counts(counts) => Ok(counts),
            _ => Err(ErrorCode::Internal),
        }
    }

    /// Has a dialect answer what other nodes ask of it about its connections here.
    pub fn answers_for<Answer: Future<Output = Value> + Send + 'static>(
        &self,
        dialect: &'static str,
        answers: impl Fn(Value) -> Answer + Send + Sync + 'static,
    ) {
        if let Some(nodes) = &self.nodes {
            let answers = move |question| answers(question).boxed();
            nodes.dialect_answers.register(dialect, Arc::new(answers));
        }
    }

    /// What a dialect answers on each other node that lives, or why that is not known: a node that is silent
    /// takes nothing from what others answer. Those of which it is not spoken answer null. Each has so long,
    /// up to [`super::DIALECT_ANSWER_MAX`].
    pub async fn ask_dialects(
        &self,
        dialect: &str,
        question: &Value,
        timeout: Duration,
    ) -> Vec<Result<Value, ErrorCode>> {
        let Some(nodes) = &self.nodes else { return Vec::new() };
        let others = nodes.membership.others();
        let asked = others.into_iter().map(|node| nodes.rpc.ask_dialect(node, dialect, question, timeout));
        join_all(asked).await.into_iter().filter_map(Result::transpose).collect()
    }

    /// What a dialect answers on the one other node that has something to say, and which that is; none if
    /// none has. One that is not sure waits for the others. Nothing is to be changed by the question.
    ///
    /// # Errors
    /// [`ErrorCode::EngineUnavailable`] when it may be a node that does not answer.
    pub async fn find_by_dialect(
        &self,
        dialect: &str,
        question: &Value,
        is_unsure: impl Fn(&Value) -> bool,
    ) -> Result<Option<(NodeId, Value)>, ErrorCode> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        let others = nodes.membership.others().into_iter();
        let ask = |node| async move {
            (node, nodes.rpc.ask_dialect(node, dialect, question, DIALECT_ANSWER_MAX).await)
        };
        let mut asked: FuturesUnordered<_> = others.map(ask).collect();
        let mut answer = Ok(None);
        while let Some((node, answered)) = asked.next().await {
            match answered {
                Ok(None | Some(Value::Null)) => {}
                Ok(Some(unsure)) if is_unsure(&unsure) => answer = answer.map(|_| Some((node, unsure))),
                Ok(Some(found)) => return Ok(Some((node, found))),
                Err(code) => answer = Err(code),
            }
        }
        answer
    }

    /// What a dialect answers on one other node; none if that is dead. It is carried out once at most.
    ///
    /// # Errors
    /// [`ErrorCode::EngineUnavailable`].
    pub async fn ask_dialect_of(
        &self,
        node: NodeId,
        dialect: &str,
        question: &Value,
    ) -> Result<Option<Value>, ErrorCode> {
        match &self.nodes {
            Some(nodes) => nodes.rpc.ask_dialect(node, dialect, question, DIALECT_ANSWER_MAX).await,
            None => Ok(None),
        }
    }

    /// The sessions of one user or of all, by id: the first `limit` behind `after`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] or [`ErrorCode::EngineUnavailable`].
    pub async fn list(
        &self,
        user: Option<&UserId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Listed>, ErrorCode> {
        let request = ControlRequest::ListSessions { user: user.cloned(), after, limit };
        let mut all = Vec::new();
        for (node, reply) in self.answers(&request).await? {
            let ControlReply::Sessions(sessions) = reply else { return Err(ErrorCode::Internal) };
            all.extend(sessions.into_iter().map(|session| Listed { node: node.clone(), session }));
        }
        all.sort_unstable_by_key(|listed| listed.session.session);
        all.truncate(limit);
        Ok(all)
    }

    /// What all nodes together answer.
    async fn everywhere(&self, request: &ControlRequest) -> Result<ControlReply, ErrorCode> {
        Ok(request.merge(self.answers(request).await?.into_iter().map(|(_, reply)| reply)))
    }

    /// What each node answers that may know of it, this one first, with its name.
    async fn answers(&self, request: &ControlRequest) -> Result<Vec<(String, ControlReply)>, ErrorCode> {
        let mut answers = vec![(self.name.clone(), self.shards.request(request.clone()).await?)];
        let Some(nodes) = &self.nodes else { return Ok(answers) };
        let asked = others_for(nodes, request).await?.into_iter().filter_map(|node| {
            // A node that has died meanwhile has no sessions any more.
            let name = nodes.membership.name(node)?;
            Some(async move { pages(nodes, node, request).await.map(|reply| (name, reply)) })
        });
        answers.extend(try_join_all(asked).await?);
        Ok(answers)
    }

    /// What this node answers about a user's session, or when it does not know it, a node that does.
    async fn where_it_is(&self, user: &UserId, request: ControlRequest) -> Result<ControlReply, ErrorCode> {
        let Some(nodes) = &self.nodes else { return self.shards.request(request).await };
        for again in [true, false] {
            match self.shards.request(request.clone()).await {
                Err(ErrorCode::SessionUnknown) => {}
                answered => return answered,
            }
            for node in nodes.others_of(user).await? {
                match nodes.rpc.ask(node, request.clone()).await {
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
}

/// Closes at all other nodes that may know of it.
async fn close_elsewhere(nodes: &Nodes, request: &ControlRequest) -> Result<usize, ErrorCode> {
    let others = match request {
        ControlRequest::Close { target: CloseTarget::SessionOf(_, user), .. } => {
            nodes.others_of(user).await?
        }
        _ => nodes.membership.others(),
    };
    closed(request.merge(nodes.rpc.ask_all(&others, request).await?))
}

/// What another node answers to a request, page by page; nothing when it is dead.
pub(super) async fn pages(
    nodes: &Nodes,
    node: NodeId,
    request: &ControlRequest,
) -> Result<ControlReply, ErrorCode> {
    let (mut pages, mut next) = (Vec::new(), Some(request.clone()));
    while let Some(asked) = next {
        let Some(reply) = nodes.rpc.ask(node, asked.page(PAGE_MAX)).await? else { break };
        next = asked.rest(PAGE_MAX, &reply);
        pages.push(reply);
    }
    Ok(request.merge(pages))
}

/// The other nodes that may know of what is asked.
async fn others_for(nodes: &Nodes, request: &ControlRequest) -> Result<Vec<NodeId>, ErrorCode> {
    match request.user() {
        Some(user) => nodes.others_of(user).await,
        None => Ok(nodes.membership.others()),
    }
}

fn closed(reply: ControlReply) -> Result<usize, ErrorCode> {
    match reply {
        ControlReply::Closed(count) => Ok(count),
        _ => Err(ErrorCode::Internal),
    }
}

fn following(reply: ControlReply) -> Result<Following, ErrorCode> {
    match reply {
        ControlReply::Following(following) => Ok(*following),
        _ => Err(ErrorCode::Internal),
    }
}

fn users(reply: ControlReply) -> Result<Vec<(UserId, usize)>, ErrorCode> {
    match reply {
        ControlReply::Users(users) => Ok(users),
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
