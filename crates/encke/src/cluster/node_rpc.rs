//! Questions to other nodes, and their answers.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use encke_engine::{BEAT_MS, Cluster, NODE_LIVES_MS, NodeId, NodeInbox};
use encke_hub::{ControlReply, ControlRequest};
use encke_proto::ErrorCode;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    membership::Membership,
    node_message::{NodeMessage, code},
    node_reports::Reported,
    recent_answers::{RecentAnswers, Seen},
};

/// The most messages from other nodes that wait to be read.
pub const MESSAGES_MAX: usize = 16_384;
/// How long an answer is waited for. A node that is silent for longer is not counted any more.
const ANSWER_MAX: Duration = Duration::from_millis(NODE_LIVES_MS + 500);
/// The same for what a dialect asks, whose clients are refused if it fails: that a node was killed is known a
/// beat after it has been silent for that long, and later where beats are late.
pub const DIALECT_ANSWER_MAX: Duration = Duration::from_millis(NODE_LIVES_MS + 4 * BEAT_MS);
/// After how long a question is put once more, since a message may get lost.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Where messages from other nodes come in.
#[derive(Clone, Debug)]
pub struct NodeInboxSender {
    messages: mpsc::Sender<Bytes>,
}

/// Where they are taken out.
pub type Inbox = mpsc::Receiver<Bytes>;

/// A box for the engine to put messages in.
#[must_use]
pub fn node_inbox() -> (NodeInboxSender, Inbox) {
    let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
    (NodeInboxSender { messages }, inbox)
}

impl NodeInbox for NodeInboxSender {
    fn receive(&self, message: Bytes) {
        // Who asked asks again.
        if self.messages.try_send(message).is_err() {
            tracing::warn!("a message from another node was dropped: too many at a time");
        }
    }
}

/// What another node has written to a question.
enum Answered {
    Control(Result<ControlReply, ErrorCode>),
    Report(Box<Reported>),
    Dialect(Value),
}

/// The questions of this node to others, and the way of their answers.
pub(super) struct NodeRpc {
    cluster: Arc<dyn Cluster>,
    membership: Arc<Membership>,
    /// Who waits for which answer; each for [`DIALECT_ANSWER_MAX`] at most.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answered>>>,
    next: AtomicU64,
    recent_answers: RecentAnswers,
}

impl NodeRpc {
    pub(super) fn new(cluster: Arc<dyn Cluster>, membership: Arc<Membership>) -> Self {
        Self {
            cluster,
            membership,
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            recent_answers: RecentAnswers::default(),
        }
    }

    /// Asks a node; none when it is dead, which is known at the latest when its answer is overdue.
    ///
    /// # Errors
    /// What the node answers, or [`ErrorCode::EngineUnavailable`] when it lives and cannot be reached.
    pub(super) async fn ask(
        &self,
        to: NodeId,
        request: ControlRequest,
    ) -> Result<Option<ControlReply>, ErrorCode> {
        self.ask_within(to, request, ANSWER_MAX).await
    }

    /// The same, for a caller that does not wait as long.
    ///
    /// # Errors
    /// As [`NodeRpc::ask`].
    pub(super) async fn ask_within(
        &self,
        to: NodeId,
        request: ControlRequest,
        timeout: Duration,
    ) -> Result<Option<ControlReply>, ErrorCode> {
        let Some(me) = self.membership.me() else { return Err(ErrorCode::EngineUnavailable) };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let message = NodeMessage::Question { from: me.to_string(), number, request }.write()?;
        match self.exchange(to, number, message, timeout).await? {
            Some(Answered::Control(answer)) => answer.map(Some),
            Some(Answered::Report(_) | Answered::Dialect(_)) => Err(ErrorCode::Internal),
            None => Ok(None),
        }
    }

    /// Asks a node how it is, and for the steps of so many minutes; none when it is dead.
    ///
    /// # Errors
    /// As [`NodeRpc::ask`].
    pub(super) async fn ask_report(
        &self,
        to: NodeId,
        minutes: Option<u32>,
    ) -> Result<Option<Reported>, ErrorCode> {
        let Some(me) = self.membership.me() else { return Err(ErrorCode::EngineUnavailable) };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let message = NodeMessage::ReportQuestion { from: me.to_string(), number, minutes }.write()?;
        match self.exchange(to, number, message, ANSWER_MAX).await? {
            Some(Answered::Report(reported)) => Ok(Some(*reported)),
            Some(Answered::Control(_) | Answered::Dialect(_)) => Err(ErrorCode::Internal),
            None => Ok(None),
        }
    }

    /// Asks a dialect of a node, which has so long to answer; none when the node is dead.
    ///
    /// # Errors
    /// As [`NodeRpc::ask`].
    pub(super) async fn ask_dialect(
        &self,
        to: NodeId,
        dialect: &str,
        question: &Value,
        timeout: Duration,
    ) -> Result<Option<Value>, ErrorCode> {
        let Some(me) = self.membership.me() else { return Err(ErrorCode::EngineUnavailable) };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (from, dialect, question) = (me.to_string(), dialect.to_owned(), question.clone());
        let message = NodeMessage::DialectQuestion { from, number, dialect, question }.write()?;
        match self.exchange(to, number, message, timeout).await? {
            Some(Answered::Dialect(answer)) => Ok(Some(answer)),
            Some(Answered::Control(_) | Answered::Report(_)) => Err(ErrorCode::Internal),
            None => Ok(None),
        }
    }

    /// Tells a node what a dialect here answers, now and when it asks again.
    pub(super) async fn tell_dialect(&self, to: NodeId, number: u64, answer: Value) {
        let Ok(message) = (NodeMessage::DialectAnswer { number, answer }).write() else { return };
        self.recent_answers.answer(to, number, &message);
        self.send(to, message).await;
    }

    /// Hands a dialect's answer to the caller that waits for it.
    pub(super) fn deliver_dialect(&self, number: u64, answer: Value) {
        self.hand_over(number, Answered::Dialect(answer));
    }

    /// Sends a question until it is answered; none when the node is dead.
    async fn exchange(
        &self,
        to: NodeId,
        number: u64,
        message: Bytes,
        timeout: Duration,
    ) -> Result<Option<Answered>, ErrorCode> {
        let mut answer = self.wait_for(number);
        let ends = Instant::now() + timeout;
        loop {
            let sent = self.cluster.send(to, message.clone()).await;
            match timeout_at((Instant::now() + ASK_AGAIN).min(ends), &mut answer.receiver).await {
                Ok(Ok(answer)) => return Ok(Some(answer)),
                Ok(Err(_)) => return Err(ErrorCode::Internal),
                Err(_) if !self.membership.lives(to) => return Ok(None),
                Err(_) if Instant::now() >= ends => {
                    tracing::warn!(node = %to, sent = sent.is_ok(), "a node does not answer");
                    return Err(ErrorCode::EngineUnavailable);
                }
                Err(_) => {}
            }
        }
    }

    /// Asks several nodes at once; the answers of those that live.
    ///
    /// # Errors
    /// The first error of any.
    pub(super) async fn ask_all(
        &self,
        nodes: &[NodeId],
        request: &ControlRequest,
    ) -> Result<Vec<ControlReply>, ErrorCode> {
        let answers = join_all(nodes.iter().map(|node| self.ask(*node, request.clone()))).await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }

    /// Answers a question, now and when it is asked again.
    pub(super) async fn answer(&self, to: NodeId, number: u64, answer: Result<ControlReply, ErrorCode>) {
        let answer = answer.map_err(|code| code.as_str().to_owned());
        let Ok(message) = (NodeMessage::Answer { number, answer }).write() else { return };
        self.recent_answers.answer(to, number, &message);
        self.send(to, message).await;
    }

    /// Whether a question is to be answered: one that is asked again is answered as before.
    pub(super) async fn is_new(&self, from: NodeId, number: u64) -> bool {
        match self.recent_answers.ask(from, number) {
            Seen::Never => true,
            Seen::Before => false,
            Seen::Answered(message) => {
                self.send(from, message).await;
                false
            }
        }
    }

    async fn send(&self, to: NodeId, message: Bytes) {
        if let Err(error) = self.cluster.send(to, message).await {
            tracing::warn!(%error, node = %to, "an answer to another node was not sent");
        }
    }

    /// Hands an answer to the caller that waits for it.
    pub(super) fn deliver(&self, number: u64, answer: Result<ControlReply, String>) {
        self.hand_over(number, Answered::Control(answer.map_err(|text| code(&text))));
    }

    /// Hands a report to the caller that waits for it.
    pub(super) fn deliver_report(&self, number: u64, reported: Reported) {
        self.hand_over(number, Answered::Report(Box::new(reported)));
    }

    /// Tells a node how this one is.
    pub(super) async fn tell_report(&self, to: NodeId, number: u64, (report, points): Reported) {
        let Ok(message) = (NodeMessage::Report { number, report: Box::new(report), points }).write() else {
            return;
        };
        self.send(to, message).await;
    }

    fn hand_over(&self, number: u64, answered: Answered) {
        if let Some(waiting) = self.lock().remove(&number) {
            // The caller may have gone.
            let _ = waiting.send(answered);
        }
    }

    fn wait_for(&self, number: u64) -> Waiting<'_> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(number, sender);
        Waiting { rpc: self, number, receiver }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answered>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits for an answer; forgotten when the wait ends in any way.
struct Waiting<'a> {
    rpc: &'a NodeRpc,
    number: u64,
    receiver: oneshot::Receiver<Answered>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.rpc.lock().remove(&self.number);
    }
}

impl fmt::Debug for NodeRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRpc").finish_non_exhaustive()
    }
}
