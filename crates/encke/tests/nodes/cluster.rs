//! Several nodes on one memory engine, which find each other as those of a real cluster do: to put the node's
//! own part to the test without a network.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use encke_engine::{
    Cluster, EngineError, EngineEvents, Entered, Feed, LiveNodes, NODE_LIVES_MS, Node, NodeId, NodeInbox,
    RetentionTable, memory::MemoryEngine,
};
use encke_proto::{ChannelName, Entry, Epoch, SessionId, UserId};

/// What all nodes share.
pub struct TestCluster {
    pub engine: Arc<MemoryEngine>,
    feeds: Arc<Feeds>,
    state: Mutex<State>,
    lives: AtomicU64,
}

#[derive(Default)]
struct State {
    nodes: HashMap<NodeId, (String, Instant, Arc<dyn NodeInbox>)>,
    places: HashMap<UserId, BTreeSet<NodeId>>,
    closed_marks: HashSet<(UserId, SessionId)>,
    spent: HashSet<String>,
}

#[derive(Default)]
struct Feeds(Mutex<Vec<Arc<dyn Feed>>>);

impl Feed for Feeds {
    fn appended(&self, entries: &[Arc<Entry>]) {
        self.0.lock().unwrap().iter().for_each(|feed| feed.appended(entries));
    }

    fn behind(&self, channels: &[ChannelName]) {
        self.0.lock().unwrap().iter().for_each(|feed| feed.behind(channels));
    }

    fn retracted(&self, channels: &[ChannelName]) {
        self.0.lock().unwrap().iter().for_each(|feed| feed.retracted(channels));
    }
}

impl TestCluster {
    pub fn new() -> Arc<Self> {
        let feeds = Arc::new(Feeds::default());
        let engine = Arc::new(MemoryEngine::new(
            Arc::clone(&feeds) as Arc<dyn Feed>,
            RetentionTable::default(),
            Epoch(7),
        ));
        Arc::new(Self { engine, feeds, state: Mutex::default(), lives: AtomicU64::new(1) })
    }

    /// A node for one more node.
    pub fn move_in(self: &Arc<Self>, name: &str, events: EngineEvents) -> Arc<TestNode> {
        self.feeds.0.lock().unwrap().push(events.feed);
        let incarnation = AtomicU64::new(0);
        Arc::new(TestNode {
            cluster: Arc::clone(self),
            name: name.to_owned(),
            messages: events.messages,
            incarnation,
            cut_off: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            answers_left: AtomicUsize::new(usize::MAX),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// How a node finds the others.
pub struct TestNode {
    cluster: Arc<TestCluster>,
    name: String,
    messages: Arc<dyn NodeInbox>,
    incarnation: AtomicU64,
    pub cut_off: AtomicBool,
    /// What it sends is lost, though it lives.
    pub is_mute: AtomicBool,
    /// How many answers of dialects it sends before it is mute.
    pub answers_left: AtomicUsize,
}

impl TestNode {
    fn me(&self) -> NodeId {
        NodeId::from_bits(self.incarnation.load(Ordering::SeqCst))
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Err(EngineError::Unavailable("cut off".into()));
        }
        Ok(self.cluster.lock())
    }
}

#[async_trait]
impl Cluster for TestNode {
    async fn beat(&self) -> Result<LiveNodes, EngineError> {
        let mut state = self.reach()?;
        let lives = Duration::from_millis(NODE_LIVES_MS);
        state.nodes.retain(|_, (_, beat, _)| beat.elapsed() < lives);
        let renewed = !state.nodes.contains_key(&self.me());
        if renewed {
            self.incarnation.store(self.cluster.lives.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        }
        state.nodes.insert(self.me(), (self.name.clone(), Instant::now(), Arc::clone(&self.messages)));
        let nodes = state.nodes.iter().map(|(id, (name, ..))| Node { id: *id, name: name.clone() }).collect();
        Ok(LiveNodes { me: self.me(), renewed, nodes })
    }

    async fn resign(&self) {
        self.cluster.lock().nodes.remove(&self.me());
    }

    async fn send(&self, to: NodeId, message: Bytes) -> Result<(), EngineError> {
        let is_answer = message.starts_with(br#"{"dialect_answer""#);
        let take = |left: usize| left.checked_sub(usize::from(is_answer));
        let is_spent = self.answers_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err();
        if is_spent || self.is_mute.load(Ordering::SeqCst) {
            return Ok(());
        }
        let messages = self.reach()?.nodes.get(&to).map(|(_, _, messages)| Arc::clone(messages));
        if let Some(messages) = messages {
            messages.receive(message);
        }
        Ok(())
    }

    async fn enter(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, EngineError> {
        let mut state = self.reach()?;
        let closed = session.is_some_and(|session| state.closed_marks.contains(&(user.clone(), session)));
        let places = state.places.entry(user.clone()).or_default();
        let elsewhere = places.iter().copied().filter(|node| *node != self.me()).collect();
        places.insert(self.me());
        Ok(Entered { closed, elsewhere })
    }

    async fn leave(&self, users: &[UserId]) -> Result<(), EngineError> {
        let mut state = self.reach()?;
        for user in users {
            if let Some(places) = state.places.get_mut(user) {
                places.remove(&self.me());
            }
        }
        Ok(())
    }

    async fn places(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, EngineError> {
        let state = self.reach()?;
        Ok(users.iter().map(|user| state.places.get(user).into_iter().flatten().copied().collect()).collect())
    }

    async fn spend(&self, ticket: &str, _: u64) -> Result<bool, EngineError> {
        Ok(self.reach()?.spent.insert(ticket.to_owned()))
    }

    async fn mark_closed(&self, user: &UserId, sessions: &[SessionId], _: u64) -> Result<(), EngineError> {
        let mut state = self.reach()?;
        state.closed_marks.extend(sessions.iter().map(|session| (user.clone(), *session)));
        Ok(())
    }
}
