//! The other nodes of the cluster: joining, heartbeats, claiming a session from the node that has it. Queries
//! over all sessions are in `sessions.rs`.

use std::{fmt, sync::Arc, time::Duration};

use encke_engine::{BEAT_MS, Cluster, Engine, EngineError, Entered, LiveNodes, NodeId};
use encke_hub::{ControlReply, ControlRequest, Following};
use encke_proto::{ChannelName, ErrorCode, NameFilter, SessionId, UserId};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    Inbox, answering::answer, dialect_answers::DialectAnswers, membership::Membership,
    node_message::NodeMessage, node_rpc::NodeRpc, session_limit::SessionLimit, user_locations::UserLocations,
};
use crate::{
    auth::TICKET_S,
    revocation_log::RevocationLog,
    shards::{Claim, Claiming, Peers, Shards},
    stats::Stats,
};

/// How long a node may take to give a session up; its client waits for that.
const RELEASE_MAX: Duration = Duration::from_millis(600);
/// How long a node that begins tries to say for the first time that it lives.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause before shards that were overloaded are asked again who is here.
const ASK_SHARDS_AGAIN: Duration = Duration::from_millis(250);
/// The most questions of other nodes that are being answered, and of those to dialects, whose answers may
/// wait for other nodes.
const QUESTIONS_MAX: usize = 1_024;
const DIALECT_QUESTIONS_MAX: usize = 1_024;

/// What holds for users and sessions on all nodes alike.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a session that was closed is remembered, in milliseconds.
    pub grace_ms: u64,
    /// The most sessions of a user.
    pub max_sessions_per_user: usize,
}

/// The other nodes, as this one sees them.
pub struct Nodes {
    engine: Arc<dyn Engine>,
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) membership: Arc<Membership>,
    pub(super) user_locations: Arc<UserLocations>,
    pub(super) rpc: Arc<NodeRpc>,
    session_limit: SessionLimit,
    pub(super) shards: Shards,
    /// How this node is.
    pub(super) stats: Arc<Stats>,
    /// What is taken back of tokens, as this node follows it.
    pub(super) revocations: Arc<RevocationLog>,
    /// Held by a task that asks out of turn which nodes live.
    looking: Mutex<()>,
    /// What dialects of this node answer to others.
    pub(super) dialect_answers: DialectAnswers,
    /// How many of these questions more may be answered at a time.
    dialect_questions: Arc<Semaphore>,
    /// What this node is called.
    pub(super) name: String,
    /// Whether it has said that it lives no more; held while it says anything of that.
    resigned: tokio::sync::Mutex<bool>,
}

impl Nodes {
    /// This node among the others of an engine.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        cluster: Arc<dyn Cluster>,
        shards: Shards,
        revocations: Arc<RevocationLog>,
        stats: Arc<Stats>,
        name: String,
        bounds: Bounds,
    ) -> Arc<Self> {
        let Bounds { grace_ms, max_sessions_per_user } = bounds;
        let membership = Arc::new(Membership::default());
        Arc::new(Self {
            engine,
            user_locations: Arc::new(UserLocations::new(Arc::clone(&cluster), grace_ms)),
            rpc: Arc::new(NodeRpc::new(Arc::clone(&cluster), Arc::clone(&membership))),
            session_limit: SessionLimit::new(max_sessions_per_user),
            membership,
            cluster,
            shards,
            stats,
            revocations,
            looking: Mutex::default(),
            dialect_answers: DialectAnswers::default(),
            dialect_questions: Arc::new(Semaphore::new(DIALECT_QUESTIONS_MAX)),
            name,
            resigned: tokio::sync::Mutex::new(false),
        })
    }

    /// Another bound for the sessions of a user on all nodes together, from the next one on that begins here.
    pub fn set_max_sessions_per_user(&self, max: usize) {
        self.session_limit.set_max(max);
    }

    /// Says for the first time that this node lives, and goes on saying so; reads and answers what others
    /// write. Ends when the tasks are aborted.
    ///
    /// # Errors
    /// When the engine cannot be reached for [`JOIN_TIMEOUT`].
    pub async fn join(self: &Arc<Self>, inbox: Inbox) -> Result<Vec<JoinHandle<()>>, EngineError> {
        self.membership.update(self.first_beat().await?);
        // A node that is asked after its first request knows of this node by then.
        sleep(Duration::from_millis(BEAT_MS)).await;
        let (beats, reads, tells) = (Arc::clone(self), Arc::clone(self), Arc::clone(&self.user_locations));
        let limits = Arc::clone(self);
        Ok(vec![
            tokio::spawn(async move { beats.beat().await }),
            tokio::spawn(async move { reads.read(inbox).await }),
            tokio::spawn(async move { tells.run().await }),
            tokio::spawn(async move { limits.session_limit.run(&limits).await }),
        ])
    }

    /// This node lives no more, and says so no more. Others may ask it for another [`BEAT_MS`], until all
    /// have heard.
    pub async fn resign(&self) {
        // A beat under way ends first: one behind the resignation would be another incarnation.
        let mut resigned = self.resigned.lock().await;
        *resigned = true;
        self.cluster.resign().await;
    }

    /// What is taken back of tokens, as this node follows it.
    #[must_use]
    pub fn revocations(&self) -> &Arc<RevocationLog> {
        &self.revocations
    }

    /// This node's incarnation, while the others count it as living.
    #[must_use]
    pub fn me(&self) -> Option<NodeId> {
        self.membership.me().filter(|_| self.membership.is_heard())
    }

    /// The incarnations that live, this one among them, as of the last beat.
    #[must_use]
    pub fn living(&self) -> Vec<NodeId> {
        self.membership.others().into_iter().chain(self.membership.me()).collect()
    }

    /// How this node is.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How many nodes live, this one among them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.membership.count()
    }

    /// Spends the ticket that the user came with, makes sure that others find the user here, and fetches the
    /// session that is to go on, wherever it is.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthorized`] when the ticket was spent before; [`ErrorCode::SessionClosed`] when the
    /// session was closed on purpose; [`ErrorCode::EngineUnavailable`].
    async fn claim_for(
        &self,
        user: &UserId,
        session: Option<SessionId>,
        ticket: Option<&str>,
    ) -> Result<Claim, ErrorCode> {
        if let Some(ticket) = ticket
            && !self.cluster.spend(ticket, 2 * TICKET_S * 1000).await.map_err(|error| unavailable(&error))?
        {
            return Err(ErrorCode::Unauthorized);
        }
        let claiming = self.user_locations.claim(user).await;
        let entered = self.enter(user, session).await?;
        if entered.closed {
            return Err(ErrorCode::SessionClosed);
        }
        self.look_again(&entered.elsewhere).await;
        let elsewhere = self.membership.others_of(&entered.elsewhere);
        if elsewhere.is_empty() {
            return Ok(Claim { carried: None, claiming: Box::new(claiming) });
        }
        let carried = self.fetch(&elsewhere, session, user).await?;
        if carried.is_none() && session.is_some() && self.enter(user, session).await?.closed {
            // It was closed there while it was asked for.
            return Err(ErrorCode::SessionClosed);
        }
        Ok(Claim { carried, claiming: Box::new(claiming) })
    }

    /// Asks other nodes to write down what they handed the user, and to give a session up if there is one;
    /// what that followed, if one of them had it.
    async fn fetch(
        &self,
        nodes: &[NodeId],
        session: Option<SessionId>,
        user: &UserId,
    ) -> Result<Option<Following>, ErrorCode> {
        let asked = nodes.iter().map(|node| {
            let request = ControlRequest::Release { session, user: user.clone() };
            self.rpc.ask_within(*node, request, RELEASE_MAX)
        });
        let mut carried = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(Some(ControlReply::Released(Some(following)))) => carried = Some(*following),
                // A node that does not answer has most likely died; its session ends there in its grace time.
                Ok(_) | Err(ErrorCode::EngineUnavailable) => {}
                Err(code) => return Err(code),
            }
        }
        Ok(carried)
    }

    async fn enter(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, ErrorCode> {
        self.cluster.enter(user, session).await.map_err(|error| unavailable(&error))
    }

    /// Asks who lives if one of `nodes` is not known yet.
    async fn look_again(&self, nodes: &[NodeId]) {
        if !self.membership.has_news(nodes) {
            return;
        }
        let _one_at_a_time = self.looking.lock().await;
        if self.membership.has_news(nodes) {
            self.say_and_hear().await;
            self.membership.mark_dead(nodes);
        }
    }

    /// On which other living nodes each of these users is, and whether on this one.
    pub(super) async fn places(&self, users: &[UserId]) -> Result<Vec<Place>, ErrorCode> {
        let places = self.cluster.places(users).await.map_err(|error| unavailable(&error))?;
        self.look_again(&places.concat()).await;
        let me = self.membership.me();
        let place = |nodes: Vec<NodeId>| Place {
            here: me.is_some_and(|me| nodes.contains(&me)),
            others: self.membership.others_of(&nodes),
        };
        Ok(places.into_iter().map(place).collect())
    }

    /// On which other living nodes a user is.
    pub(super) async fn others_of(&self, user: &UserId) -> Result<Vec<NodeId>, ErrorCode> {
        Ok(self
            .places(std::slice::from_ref(user))
            .await?
            .into_iter()
            .flat_map(|place| place.others)
            .collect())
    }

    /// An engine that another node has just set up may be there and have no leader for a moment.
    async fn first_beat(&self) -> Result<LiveNodes, EngineError> {
        let ends = Instant::now() + JOIN_TIMEOUT;
        loop {
            match self.cluster.beat().await {
                Err(error) if Instant::now() < ends => {
                    tracing::info!(%error, "this node cannot join the others yet");
                    sleep(Duration::from_millis(BEAT_MS)).await;
                }
                beaten => return beaten,
            }
        }
    }

    async fn beat(&self) {
        let mut ticks = interval(Duration::from_millis(BEAT_MS));
        // After a pause the others are asked once, not once for each beat that was missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.say_and_hear().await;
        }
    }

    async fn say_and_hear(&self) {
        let resigned = self.resigned.lock().await;
        if *resigned {
            return;
        }
        let live = self.cluster.beat().await;
        drop(resigned);
        match live {
            Ok(live) => {
                let renewed = live.renewed;
                self.membership.update(live);
                if renewed {
                    self.enter_all();
                }
            }
            Err(error) => tracing::warn!(%error, "this node could not say that it lives"),
        }
    }

    /// The others took this node for dead, and have forgotten who is here.
    pub(super) fn enter_all(&self) {
        tracing::warn!("the other nodes took this one for dead; its users are entered again");
        let (renewal, shards) = (self.user_locations.renew(), self.shards.clone());
        // Beside the beat, which must go on.
        tokio::spawn(async move { renewal.enter(who_is_here(&shards).await).await });
    }

    /// Tells another node how this one is. It may ask again, and is told anew; nothing is changed by that.
    async fn tell_report(&self, to: NodeId, number: u64, minutes: Option<u32>) {
        // A node that has too much to do is silent, which says as much.
        let Ok(report) = self.stats.report().await else { return };
        let points = minutes.map(|minutes| self.stats.points(minutes)).unwrap_or_default();
        self.rpc.tell_report(to, number, (report, points)).await;
    }

    /// Has a dialect answer another node, beside what else is read: its answer may need that. What is too
    /// much now is asked again.
    async fn answer_dialect(self: &Arc<Self>, from: NodeId, number: u64, dialect: String, question: Value) {
        let Ok(permit) = Arc::clone(&self.dialect_questions).try_acquire_owned() else { return };
        if !self.rpc.is_new(from, number).await {
            return;
        }
        let nodes = Arc::clone(self);
        tokio::spawn(async move {
            let answer = nodes.dialect_answers.answer(&dialect, question).await;
            nodes.rpc.tell_dialect(from, number, answer).await;
            drop(permit);
        });
    }

    async fn read(self: &Arc<Self>, mut inbox: Inbox) {
        let questions = Arc::new(Semaphore::new(QUESTIONS_MAX));
        while let Some(bytes) = inbox.recv().await {
            match NodeMessage::read(&bytes) {
                Some(NodeMessage::Answer { number, answer }) => self.rpc.deliver(number, answer),
                Some(NodeMessage::Report { number, report, points }) => {
                    self.rpc.deliver_report(number, (*report, points));
                }
                Some(NodeMessage::DialectAnswer { number, answer }) => {
                    self.rpc.deliver_dialect(number, answer);
                }
                Some(NodeMessage::DialectQuestion { from, number, dialect, question }) => {
                    let Ok(from) = from.parse::<NodeId>() else { continue };
                    self.answer_dialect(from, number, dialect, question).await;
                }
                Some(NodeMessage::ReportQuestion { from, number, minutes }) => {
                    let Ok(from) = from.parse::<NodeId>() else { continue };
                    let Ok(permit) = Arc::clone(&questions).acquire_owned().await else { return };
                    let nodes = Arc::clone(self);
                    tokio::spawn(async move {
                        nodes.tell_report(from, number, minutes).await;
                        drop(permit);
                    });
                }
                Some(NodeMessage::Question { from, number, request }) => {
                    let Ok(from) = from.parse::<NodeId>() else { continue };
                    if !self.rpc.is_new(from, number).await {
                        continue;
                    }
                    let Ok(permit) = Arc::clone(&questions).acquire_owned().await else { return };
                    let nodes = Arc::clone(self);
                    tokio::spawn(async move {
                        let answer = answer(&nodes, request).await;
                        nodes.rpc.answer(from, number, answer).await;
                        drop(permit);
                    });
                }
                None => {}
            }
        }
    }
}

/// Where a user is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) here: bool,
    pub(super) others: Vec<NodeId>,
}

/// The users of this node's shards whom the other nodes have to find here. Shards that are overloaded are
/// asked again.
async fn who_is_here(shards: &Shards) -> Vec<UserId> {
    loop {
        match shards
            .request(ControlRequest::ListUsers {
                lasting: true,
                filter: NameFilter::default(),
                after: None,
                limit: usize::MAX,
            })
            .await
        {
            Ok(ControlReply::Users(users)) => return users.into_iter().map(|(user, _)| user).collect(),
            answer => tracing::warn!(error = ?answer.err(), "it is not known who is here"),
        }
        sleep(ASK_SHARDS_AGAIN).await;
    }
}

fn unavailable(error: &EngineError) -> ErrorCode {
    tracing::warn!(%error, "the engine of the nodes did not answer");
    ErrorCode::EngineUnavailable
}

/// What a shard tells the other nodes, and asks of them.
impl Peers for Nodes {
    fn claim(self: Arc<Self>, user: UserId, session: Option<SessionId>, ticket: Option<String>) -> Claiming {
        Box::pin(async move { self.claim_for(&user, session, ticket.as_deref()).await })
    }

    fn came(&self, user: &UserId) {
        self.user_locations.came(user);
    }

    fn went(&self, user: UserId) {
        self.user_locations.went(user);
    }

    fn began(&self, user: &UserId, here: usize) {
        self.session_limit.began(user, here, self.count());
    }

    fn mark_closed(&self, user: UserId, session: SessionId) {
        self.user_locations.mark_closed(user, session);
    }

    fn watch(&self, channel: &ChannelName) {
        self.engine.watch(channel);
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.engine.unwatch(channel);
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("name", &self.name).finish_non_exhaustive()
    }
}
