//! How the nodes find and reach each other: records in a stream that is kept in memory, and messages that no
//! stream keeps.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use encke_proto::{SessionId, UserId};
use futures_util::StreamExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{
    NatsEngine,
    fault::Fault,
    link::{ASKED_MAX, Link, Put, at_once, random},
    names::{Names, last_token, token, untoken},
    stored::Stored,
};
use crate::{
    Cluster, EngineError, Entered, LiveNodes, NODE_LIVES_MS, NODE_MESSAGE_MAX_BYTES, Node, NodeId, NodeInbox,
};

/// How long the stream keeps a heartbeat, in seconds: a little longer than it counts.
const BEAT_TTL_S: u64 = NODE_LIVES_MS.div_ceil(1_000) + 1;
/// How often a replica is asked that has not heard of this node's own heartbeat, and how long is waited in
/// between, in milliseconds.
const BEHIND_TRIES: usize = 40;
const BEHIND_PAUSE_MS: u64 = 5;
/// The most changes of places that wait to be written.
const PLACES_WAITING_MAX: usize = 65_536;
/// The most of them that are written at once.
const PLACES_AT_ONCE: usize = 1_024;
/// The most users whose places are asked of the leader; for more, a replica may answer that is a little
/// behind.
const PLACES_OF_LEADER_MAX: usize = 64;
/// For how many users places are asked for with one question, so that what is found stays below what one
/// answer may hold.
const PLACES_ASKED: usize = 200;

/// What this node is to the others.
pub(super) struct Member {
    name: String,
    messages: Arc<dyn NodeInbox>,
    incarnation: tokio::sync::Mutex<Option<Incarnation>>,
    /// The same incarnation, for callers that must not wait.
    id: Mutex<Option<NodeId>>,
    places: Places,
}

/// An incarnation: the record that says so, and where its messages arrive.
struct Incarnation {
    id: NodeId,
    /// Of its last heartbeat.
    seq: u64,
    taken_ms: u64,
    /// Who else lived then.
    others: HashSet<NodeId>,
    listening: AbortHandle,
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Member {
    pub(super) fn new(link: Arc<Link>, names: Names, name: String, messages: Arc<dyn NodeInbox>) -> Self {
        Self {
            name,
            messages,
            incarnation: tokio::sync::Mutex::new(None),
            id: Mutex::new(None),
            places: Places::start(link, names),
        }
    }

    fn id(&self) -> Result<NodeId, Fault> {
        let id = *self.id.lock().unwrap_or_else(PoisonError::into_inner);
        id.ok_or_else(|| Fault::Refused("this node does not live yet".into()))
    }

    fn set_id(&self, id: Option<NodeId>) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    pub(super) async fn stop(&self) {
        self.set_id(None);
        *self.incarnation.lock().await = None;
    }
}

impl NatsEngine {
    async fn beat_now(&self) -> Result<LiveNodes, Fault> {
        let mut incarnation = self.member.incarnation.lock().await;
        let mut renewed = false;
        if let Some(lived) = incarnation.as_mut() {
            let before = lived.taken_ms;
            match self.say(lived.id, lived.seq).await {
                Ok(seq) => lived.seq = seq,
                Err(Fault::Mismatch) => *incarnation = None,
                Err(fault) => return Err(fault),
            }
            if let Some(live) = self.live(incarnation.as_mut(), false).await? {
                let silent_ms = incarnation.as_ref().map_or(0, |lived| lived.taken_ms.saturating_sub(before));
                if silent_ms <= NODE_LIVES_MS {
                    return Ok(live);
                }
                // The others may have taken it for dead.
                if let Some(old) = incarnation.take() {
                    self.store.link.delete(&self.store.names.soft, old.seq).await?;
                }
            }
        }
        if incarnation.is_none() {
            renewed = true;
            let id = NodeId::from_bits(random()?);
            let listening = self.listen(id).await?;
            let seq = self.say(id, 0).await?;
            *incarnation = Some(Incarnation { id, seq, taken_ms: 0, others: HashSet::new(), listening });
        }
        let live = self
            .live(incarnation.as_mut(), renewed)
            .await?
            .ok_or_else(|| Fault::Busy("this node's heartbeat is not there".into()))?;
        self.member.set_id(Some(live.me));
        if renewed {
            self.forget_the_dead(&live);
        }
        Ok(live)
    }

    async fn say(&self, id: NodeId, expect: u64) -> Result<u64, Fault> {
        let subject = self.store.names.node(&id.to_string());
        let head = token(&self.member.name);
        self.store
            .link
            .put(Put { subject, head, payload: Bytes::new(), expect: Some(expect), ttl_s: Some(BEAT_TTL_S) })
            .await
    }

    /// Who lives, by the clock of the stream's leader, which has stamped all heartbeats.
    async fn live(
        &self,
        incarnation: Option<&mut Incarnation>,
        renewed: bool,
    ) -> Result<Option<LiveNodes>, Fault> {
        let Some(incarnation) = incarnation else { return Ok(None) };
        let mine = self.store.names.node(&incarnation.id.to_string());
        let all_nodes = [self.store.names.node("*")];
        for _ in 0..BEHIND_TRIES {
            let (beats, _) = self.store.link.lasts_since(&self.store.names.soft, &all_nodes, 0).await?;
            let own = beats
                .iter()
                .find(|stored| stored.subject == mine && stored.seq >= incarnation.seq)
                .map(|own| own.taken_ms);
            let Some(now_ms) = own else {
                tokio::time::sleep(Duration::from_millis(BEHIND_PAUSE_MS)).await;
                continue;
            };
            incarnation.taken_ms = now_ms;
            let lives = |stored: &&Stored| stored.taken_ms + NODE_LIVES_MS >= now_ms;
            let mut nodes: Vec<Node> = beats.iter().filter(lives).filter_map(node).collect();
            nodes.sort_unstable();
            let others: HashSet<NodeId> =
                nodes.iter().map(|node| node.id).filter(|id| *id != incarnation.id).collect();
            // One is enough to forget where the users of a dead node were.
            if nodes.first().is_some_and(|first| first.id == incarnation.id) {
                incarnation.others.difference(&others).for_each(|dead| self.forget_places(*dead));
            }
            incarnation.others = others;
            return Ok(Some(LiveNodes { me: incarnation.id, renewed, nodes }));
        }
        Ok(None)
    }

    async fn listen(&self, id: NodeId) -> Result<AbortHandle, Fault> {
        let subscribed = self.store.link.client().subscribe(self.store.names.messages(id)).await;
        let mut messages = subscribed.map_err(|error| Fault::Unknown(format!("NATS: {error}")))?;
        let inbox = Arc::clone(&self.member.messages);
        let listening = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                inbox.receive(message.payload);
            }
        });
        Ok(listening.abort_handle())
    }

    fn forget_places(&self, dead: NodeId) {
        let (link, names) = (Arc::clone(&self.store.link), self.store.names.clone());
        tokio::spawn(async move {
            if let Err(fault) = link.purge(&names.soft, &names.places_of_node(dead)).await {
                tracing::debug!(%fault, "where the users of a dead node were is kept for now");
            }
        });
    }

    /// Forgets where users were on nodes that died while no other node ran.
    fn forget_the_dead(&self, live: &LiveNodes) {
        let (link, names) = (Arc::clone(&self.store.link), self.store.names.clone());
        let living: HashSet<NodeId> = live.nodes.iter().map(|node| node.id).collect();
        tokio::spawn(async move {
            let all = names.places_of_all();
            let Ok(info) = link.info(&names.soft, Some((&all, 0))).await else { return };
            let nodes: HashSet<NodeId> =
                info.subjects.iter().filter_map(|subject| last_token(subject).parse().ok()).collect();
            for id in nodes.difference(&living) {
                // Who began since is not dead.
                match link.last(&names.soft, &names.node(&id.to_string())).await {
                    Ok(None) => {}
                    _ => continue,
                }
                if let Err(fault) = link.purge(&names.soft, &names.places_of_node(*id)).await {
                    tracing::debug!(%fault, "where the users of a dead node were is kept for now");
                }
            }
        });
    }

    async fn enter_now(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, Fault> {
        // Nothing is waited for before this: places follow in the order in which they were asked for.
        let me = self.member.id()?;
        let entered = self.member.places.ask(Change { users: vec![user.clone()], node: me, here: true })?;
        entered.await.map_err(|_| Fault::Refused("the engine was stopped".into()))??;
        let Parts { link, names } = self.parts();
        let closed = async {
            match session {
                Some(session) => {
                    Ok(link.last(&names.soft, &names.closed_mark(user, session)).await?.is_some())
                }
                None => Ok(false),
            }
        };
        let (closed, nodes) = tokio::try_join!(closed, places_by_leader(link, names, user))?;
        Ok(Entered { closed, elsewhere: nodes.into_iter().filter(|node| *node != me).collect() })
    }

    async fn places_now(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, Fault> {
        let Parts { link, names } = self.parts();
        if !link.alone() && users.len() <= PLACES_OF_LEADER_MAX {
            let asked = users.iter().map(|user| places_by_leader(link, names, user)).collect();
            return at_once(ASKED_MAX, asked).await.into_iter().collect();
        }
        let mut found: HashMap<String, Vec<NodeId>> = HashMap::new();
        let subjects: Vec<String> = users.iter().map(|user| names.place(user, "*")).collect();
        for chunk in subjects.chunks(PLACES_ASKED) {
            let (stored, _) = link.lasts_since(&names.soft, chunk, 0).await?;
            for stored in stored {
                if let Some((user, node)) = stored.subject.rsplit_once('.')
                    && let Ok(node) = node.parse()
                {
                    found.entry(format!("{user}.*")).or_default().push(node);
                }
            }
        }
        // A user may be named twice.
        Ok(subjects.iter().map(|subject| found.get(subject).cloned().unwrap_or_default()).collect())
    }

    fn parts(&self) -> Parts<'_> {
        Parts { link: &self.store.link, names: &self.store.names }
    }
}

/// What is asked, and for what.
struct Parts<'a> {
    link: &'a Link,
    names: &'a Names,
}

fn node(stored: &Stored) -> Option<Node> {
    Some(Node { id: last_token(&stored.subject).parse().ok()?, name: untoken(&stored.head)? })
}

/// Where a user is, as the leader knows it.
async fn places_by_leader(link: &Link, names: &Names, user: &UserId) -> Result<Vec<NodeId>, Fault> {
    let info = link.info(&names.soft, Some((&names.place(user, "*"), 0))).await?;
    Ok(info.subjects.iter().filter_map(|subject| last_token(subject).parse().ok()).collect())
}

/// Writes who is where, in the order in which it is told.
struct Places(mpsc::Sender<(Change, oneshot::Sender<Result<(), Fault>>)>);

struct Change {
    users: Vec<UserId>,
    node: NodeId,
    /// Whether they are there now, or not any more.
    here: bool,
}

impl Places {
    fn start(link: Arc<Link>, names: Names) -> Self {
        let (sender, receiver) = mpsc::channel(PLACES_WAITING_MAX);
        tokio::spawn(write_places(link, names, receiver));
        Self(sender)
    }

    fn ask(&self, change: Change) -> Result<oneshot::Receiver<Result<(), Fault>>, Fault> {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send((change, answer))
            .map_err(|_| Fault::Refused("too many sessions begin and end at once".into()))?;
        Ok(answered)
    }
}

type Waiting = (Change, oneshot::Sender<Result<(), Fault>>);

async fn write_places(link: Arc<Link>, names: Names, mut changes: mpsc::Receiver<Waiting>) {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Some(change) = changes.recv().await else { return };
            waiting.push_back(change);
        }
        while waiting.len() < PLACES_AT_ONCE
            && let Ok(change) = changes.try_recv()
        {
            waiting.push_back(change);
        }
        // What follows for the same user waits until this is done.
        let mut users: HashSet<UserId> = HashSet::new();
        let mut round = Vec::new();
        while let Some((change, _)) = waiting.front() {
            if change.users.iter().any(|user| users.contains(user)) {
                break;
            }
            users.extend(change.users.iter().cloned());
            round.extend(waiting.pop_front());
        }
        let write = |(change, answer): Waiting| {
            let (link, names) = (&link, &names);
            async move {
                let result = write_place(link, names, &change).await;
                let _ = answer.send(result);
            }
        };
        at_once(ASKED_MAX, round.into_iter().map(write).collect()).await;
    }
}

async fn write_place(link: &Link, names: &Names, change: &Change) -> Result<(), Fault> {
    let node = change.node.to_string();
    let one = |user: &UserId| {
        let subject = names.place(user, &node);
        async move {
            if change.here {
                let put =
                    Put { subject, head: String::new(), payload: Bytes::new(), expect: None, ttl_s: None };
                link.put(put).await.map(|_| ())
            } else {
                link.purge(&names.soft, &subject).await
            }
        }
    };
    at_once(ASKED_MAX, change.users.iter().map(one).collect()).await.into_iter().collect()
}

#[async_trait]
impl Cluster for NatsEngine {
    async fn beat(&self) -> Result<LiveNodes, EngineError> {
        Ok(self.beat_now().await?)
    }

    async fn resign(&self) {
        self.member.set_id(None);
        if let Some(incarnation) = self.member.incarnation.lock().await.take() {
            // If it does not get there, the others notice soon enough.
            let _ = self.store.link.delete(&self.store.names.soft, incarnation.seq).await;
            self.forget_places(incarnation.id);
        }
    }

    async fn send(&self, to: NodeId, message: Bytes) -> Result<(), EngineError> {
        if message.len() > NODE_MESSAGE_MAX_BYTES {
            return Err(EngineError::Unavailable(format!(
                "a message has at most {NODE_MESSAGE_MAX_BYTES} bytes"
            )));
        }
        self.store.link.check()?;
        let sent = self.store.link.client().publish(self.store.names.messages(to), message).await;
        sent.map_err(|error| EngineError::Unavailable(format!("NATS: {error}")))
    }

    async fn enter(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, EngineError> {
        Ok(self.enter_now(user, session).await?)
    }

    async fn leave(&self, users: &[UserId]) -> Result<(), EngineError> {
        let left = self
            .member
            .id()
            .and_then(|me| self.member.places.ask(Change { users: users.to_vec(), node: me, here: false }))?;
        Ok(left.await.map_err(|_| EngineError::Unavailable("the engine was stopped".into()))??)
    }

    async fn places(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, EngineError> {
        Ok(self.places_now(users).await?)
    }

    async fn spend(&self, ticket: &str, kept_ms: u64) -> Result<bool, EngineError> {
        let subject = self.store.names.ticket(ticket);
        let ttl_s = Some(kept_ms.div_ceil(1_000).max(1));
        match self
            .store
            .link
            .put(Put { subject, head: String::new(), payload: Bytes::new(), expect: Some(0), ttl_s })
            .await
        {
            Ok(_) => Ok(true),
            Err(Fault::Mismatch) => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn mark_closed(
        &self,
        user: &UserId,
        sessions: &[SessionId],
        kept_ms: u64,
    ) -> Result<(), EngineError> {
        let names = &self.store.names;
        let mark_closed = |session: &SessionId| {
            let ttl_s = Some(kept_ms.div_ceil(1_000).max(1));
            self.store.link.put(Put {
                subject: names.closed_mark(user, *session),
                head: String::new(),
                payload: Bytes::new(),
                expect: None,
                ttl_s,
            })
        };
        for marked in at_once(ASKED_MAX, sessions.iter().map(mark_closed).collect()).await {
            marked?;
        }
        Ok(())
    }
}
