//! The `Cluster` trait: how nodes that share an engine find each other, exchange messages and say where users
//! are. It is apart from the logs (`engine.rs`), as all of it may be lost and is built again from what the
//! nodes hold.

use std::{fmt, str::FromStr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use encke_proto::{SessionId, UserId};

use crate::EngineError;

/// How often a node says that it lives, and asks who else does, in milliseconds: twice in each second.
pub const BEAT_MS: u64 = 500;

/// For how long a node counts as living after it last said so, in milliseconds. With the beat until the
/// others ask again, a node that died has no sessions any more after 2 s, as far as others are concerned.
pub const NODE_LIVES_MS: u64 = 3 * BEAT_MS;

/// The longest message from node to node, in bytes.
pub const NODE_MESSAGE_MAX_BYTES: usize = 512 * 1024;

/// A node's incarnation, as the others know it: a new one each time a node begins, and each time the others
/// may have taken it for dead. It is never used again, so whatever is kept under that of a dead node may be
/// thrown away at any time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

/// The text is no node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a node's life")]
pub struct NotANode;

impl NodeId {
    /// One from 64 random bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let digits = text.len() == 16
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !digits {
            return Err(NotANode);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotANode)
    }
}

/// A node that lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Its incarnation.
    pub id: NodeId,
    /// What its operator calls it.
    pub name: String,
}

/// Who lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNodes {
    /// This node's own incarnation.
    pub me: NodeId,
    /// Whether that is another one than at the last beat, or the first: none of the users that were entered
    /// before is entered any more.
    pub renewed: bool,
    /// All nodes that live, this one among them.
    pub nodes: Vec<Node>,
}

/// What is found where a user is entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Whether the session was closed on purpose, and its client should be told so.
    pub closed: bool,
    /// The other nodes where the user is; dead ones may be among them.
    pub elsewhere: Vec<NodeId>,
}

/// How the nodes of one engine find and reach each other. It is soft: all of it may be lost at any time, and
/// is made anew by the nodes from what they hold.
///
/// # Contract
/// Each sentence is a test in `contract`.
///
/// - **A node lives for [`NODE_LIVES_MS`] after each beat**, and no longer; after [`Cluster::resign`] no
///   longer at all.
/// - **A node that was taken for dead is told.** The beat after a silence that was too long, or after a loss
///   of everything, begins another incarnation.
/// - **A message arrives at most once**, within milliseconds, and only at the incarnation that it is for.
/// - **Places follow in order.** What [`Cluster::enter`] and [`Cluster::leave`] do for a user takes effect in
///   the order in which they were first polled.
/// - **A ticket is spent once**, however many callers try at the same time.
/// - **A session that was marked closed is found** by each node that enters its user with it, for the time
///   that was given.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Says that this node lives, and asks who else does. Called every [`BEAT_MS`].
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; whether the others still count this node is not known then.
    async fn beat(&self) -> Result<LiveNodes, EngineError>;

    /// This node ends: it does not live any more, from now on.
    async fn resign(&self);

    /// Sends a message of at most [`NODE_MESSAGE_MAX_BYTES`] to a node, this one included. The caller is not
    /// told when it gets lost; one that needs an answer waits for it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when it was not sent.
    async fn send(&self, to: NodeId, message: Bytes) -> Result<(), EngineError>;

    /// A user has a session on this node from now on, maybe one that was on another node before.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; the user may or may not be entered.
    async fn enter(&self, user: &UserId, session: Option<SessionId>) -> Result<Entered, EngineError>;

    /// These users have no session on this node any more.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; any of them may still be entered.
    async fn leave(&self, users: &[UserId]) -> Result<(), EngineError>;

    /// On which nodes each of these users is, in the same order. Dead ones may be among them.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn places(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, EngineError>;

    /// Spends a ticket that is good once on whatever node: true for the first who does, false for all others
    /// for `kept_ms`. The text is plain ASCII letters and digits.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; the ticket may or may not be spent.
    async fn spend(&self, ticket: &str, kept_ms: u64) -> Result<bool, EngineError>;

    /// Remembers for `kept_ms` that this session of this user was closed on purpose.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn mark_closed(
        &self,
        user: &UserId,
        sessions: &[SessionId],
        kept_ms: u64,
    ) -> Result<(), EngineError>;
}

/// Where messages from other nodes arrive.
pub trait NodeInbox: Send + Sync + 'static {
    /// A message is there. Called from the engine's threads, so it must not wait.
    fn receive(&self, message: Bytes);
}

/// A inbox that is never emptied, for tools.
impl NodeInbox for () {
    fn receive(&self, _: Bytes) {}
}

/// Whom an engine of many nodes tells what comes from outside.
#[derive(Clone)]
pub struct EngineEvents {
    /// Of messages in the logs.
    pub feed: Arc<dyn crate::Feed>,
    /// Of messages from other nodes.
    pub messages: Arc<dyn NodeInbox>,
}
