//! How nodes find and reach each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use encke_proto::{SessionId, UserId};
use futures_util::future::join_all;
use redis::Value;

use super::{
    RedisEngine, chance,
    names::{NODES, partition_of},
    reply::{Fields, odd, text},
    script,
    server_map::Call,
    user_locations::partition_of_user,
};
use crate::{Cluster, EngineError, Entered, LiveNodes, NODE_LIVES_MS, NODE_MESSAGE_MAX_BYTES, Node, NodeId};

/// For how long an incarnation that ended is remembered as such, in milliseconds: that long other nodes may
/// still throw away what was kept under it.
const ENDED_KEPT_MS: u64 = 24 * 3600 * 1000;
/// The most such incarnations.
const ENDED_MAX: usize = 1_000;
/// The most users that one script lets leave.
const LEAVE_MAX_USERS: usize = 256;

/// The lives that this node knows of, its own among them.
pub(super) struct Incarnations {
    name: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    me: Option<NodeId>,
    ended: BTreeSet<NodeId>,
}

impl Incarnations {
    pub(super) fn new(name: String) -> Self {
        Self { name, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lives that ended lately.
    pub(super) fn ended(&self) -> Vec<NodeId> {
        self.known().ended.iter().copied().collect()
    }

    /// Only those that may still live.
    fn living(&self, lives: &str) -> Vec<NodeId> {
        let known = self.known();
        lives
            .split(' ')
            .filter_map(|incarnation| incarnation.parse().ok())
            .filter(|incarnation| !known.ended.contains(incarnation))
            .collect()
    }
}

/// What a beat found: who lives, and which lives ended lately. None when this node was taken for dead.
type Beat = Option<(Vec<Node>, BTreeSet<NodeId>)>;

fn read_beat(value: Value) -> Result<Beat, EngineError> {
    let mut fields = Fields::of(value)?;
    if fields.number()? == 0 {
        return Ok(None);
    }
    let (mut living, mut gone) = (fields.list()?, fields.list()?);
    let (mut nodes, mut ended) = (Vec::new(), BTreeSet::new());
    while !living.is_empty() {
        let id = living.text()?.parse().map_err(|_| odd("node"))?;
        nodes.push(Node { id, name: living.text()? });
    }
    while !gone.is_empty() {
        ended.extend(gone.text()?.parse::<NodeId>().ok());
    }
    Ok(Some((nodes, ended)))
}

impl RedisEngine {
    fn nodes_keys(&self) -> [String; 3] {
        ["lives", "nodes", "ended"].map(|what| self.names.nodes_key(what))
    }

    async fn say_alive(&self, me: NodeId, begins: bool) -> Result<Beat, EngineError> {
        let mut command = script::BEAT.call(&self.nodes_keys(), &[]);
        command
            .arg(me.to_string())
            .arg(u8::from(begins))
            .arg(&self.lives.name)
            .arg(NODE_LIVES_MS)
            .arg(ENDED_KEPT_MS)
            .arg(ENDED_MAX);
        read_beat(self.server_map.call(NODES, command).await?)
    }

    fn settle(&self, me: NodeId, renewed: bool, beat: (Vec<Node>, BTreeSet<NodeId>)) -> LiveNodes {
        let mut known = self.lives.known();
        known.me = Some(me);
        known.ended = beat.1;
        LiveNodes { me, renewed, nodes: beat.0 }
    }

    /// This node's incarnation, for what is kept under it.
    fn me(&self) -> Result<NodeId, EngineError> {
        self.lives.known().me.ok_or_else(|| EngineError::Unavailable("this node does not live".into()))
    }

    /// Ends this node's incarnation, if it has one.
    pub(super) async fn end_incarnation(&self) {
        let Some(me) = self.lives.known().me.take() else { return };
        self.watching.unwatch_incarnation(me);
        let mut command = script::RESIGN.call(&self.nodes_keys(), &[]);
        command.arg(me.to_string()).arg(ENDED_KEPT_MS);
        // If Redis is away, the others find out by themselves.
        drop(self.server_map.call(NODES, command).await);
    }
}

#[async_trait]
impl Cluster for RedisEngine {
    async fn beat(&self) -> Result<LiveNodes, EngineError> {
        let before = self.lives.known().me;
        if let Some(me) = before {
            if let Some(beat) = self.say_alive(me, false).await? {
                return Ok(self.settle(me, false, beat));
            }
            self.lives.known().me = None;
            self.watching.unwatch_incarnation(me);
        }
        let me = NodeId::from_bits(chance());
        // A node that finds this incarnation may write to it at once.
        let begun = match self.watching.watch_incarnation(me).await {
            Ok(()) => self.say_alive(me, true).await,
            Err(error) => Err(error),
        };
        match begun {
            Ok(Some(beat)) => Ok(self.settle(me, true, beat)),
            Ok(None) => {
                self.watching.unwatch_incarnation(me);
                Err(odd("beat"))
            }
            Err(error) => {
                self.watching.unwatch_incarnation(me);
                Err(error)
            }
        }
    }

    async fn resign(&self) {
        self.end_incarnation().await;
    }

    async fn send(&self, to: NodeId, message: Bytes) -> Result<(), EngineError> {
        if message.len() > NODE_MESSAGE_MAX_BYTES {
            return Err(EngineError::Unavailable(format!(
                "a message has at most {NODE_MESSAGE_MAX_BYTES} bytes"
            )));
        }
        let mut command = redis::cmd("SPUBLISH");
        command.arg(self.names.incarnation_topic(to)).arg(&message[..]);
        self.server_map.call(NODES, command).await.map(drop)
    }

    async fn enter(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, EngineError> {
        let me = self.me()?;
        let partition = partition_of_user(user);
        let tomb: Vec<String> =
            session.map(|session| self.names.tomb(partition, session)).into_iter().collect();
        let mut command = self.scripted(&script::ENTER, partition, &tomb);
        command.arg(user.as_str()).arg(me.to_string());
        let mut fields = Fields::of(self.ordered_calls.ask(partition, command).await?)?;
        let closed = fields.text()? == user.as_str();
        let mut elsewhere = self.lives.living(&fields.text()?);
        elsewhere.retain(|incarnation| *incarnation != me);
        Ok(Entered { closed, elsewhere })
    }

    async fn leave(&self, users: &[UserId]) -> Result<(), EngineError> {
        let me = self.me()?;
        let mut by_partition: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for user in users {
            by_partition.entry(partition_of_user(user)).or_default().push(user.as_str());
        }
        let mut asked = Vec::new();
        for (partition, users) in by_partition {
            for some in users.chunks(LEAVE_MAX_USERS) {
                let mut command = self.scripted(&script::LEAVE, partition, &[]);
                command.arg(me.to_string()).arg(some);
                asked.push(self.ordered_calls.ask(partition, command));
            }
        }
        join_all(asked).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    async fn places(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, EngineError> {
        let questions = users.iter().map(|user| {
            let partition = partition_of_user(user);
            let mut command = redis::cmd("HGET");
            command.arg(&self.names.keys(partition)[script::PLACES_KEY]).arg(user.as_str());
            Call { partition, command }
        });
        let answers = self.calls(questions.collect()).await?;
        let lives = answers.into_iter().map(|answer| match answer {
            Value::Nil => Ok(Vec::new()),
            lives => Ok(self.lives.living(&text(lives)?)),
        });
        lives.collect()
    }

    async fn spend(&self, ticket: &str, kept_ms: u64) -> Result<bool, EngineError> {
        let partition = partition_of(ticket);
        let mut command = redis::cmd("SET");
        command.arg(self.names.ticket(partition, ticket)).arg("").arg("NX").arg("PX").arg(kept_ms.max(1));
        Ok(!matches!(self.server_map.call(partition, command).await?, Value::Nil))
    }

    async fn mark_closed(
        &self,
        user: &UserId,
        sessions: &[SessionId],
        kept_ms: u64,
    ) -> Result<(), EngineError> {
        let partition = partition_of_user(user);
        let calls = sessions.iter().map(|session| {
            let mut command = redis::cmd("SET");
            command
                .arg(self.names.tomb(partition, *session))
                .arg(user.as_str())
                .arg("PX")
                .arg(kept_ms.max(1));
            Call { partition, command }
        });
        self.calls(calls.collect()).await.map(drop)
    }
}
