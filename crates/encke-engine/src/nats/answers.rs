//! One shared inbox for requests that are answered by several messages. Requests with a single reply are in
//! `link.rs`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Client, Message};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, task::AbortHandle};

use super::{fault::Fault, names::last_token};

/// Where answers of many messages arrive. There is one subscription for all questions: one for each would
/// have to be told to all servers, and taken back.
pub(super) struct Answers {
    inbox: String,
    next: AtomicU64,
    waiting: Arc<Mutex<Waiting>>,
    listening: AbortHandle,
}

type Waiting = HashMap<u64, mpsc::UnboundedSender<Message>>;

/// What comes for one question. How much that may be is said in the question.
pub(super) struct Answer {
    id: u64,
    /// Where the answer is to be sent.
    pub(super) reply: String,
    messages: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Answers {
    pub(super) async fn open(client: &Client) -> Result<Self, Fault> {
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(format!("{inbox}.*")).await;
        let mut messages = subscribed.map_err(|error| Fault::Refused(format!("NATS: {error}")))?;
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let asked = Arc::clone(&waiting);
        let listening = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let id = last_token(message.subject.as_str()).parse::<u64>();
                let Ok(id) = id else { continue };
                if let Some(answer) = asked.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
                    // Who does not wait any more does not need it.
                    let _ = answer.send(message);
                }
            }
        });
        Ok(Self { inbox, next: AtomicU64::new(0), waiting, listening: listening.abort_handle() })
    }

    /// A place for the answer to one question.
    pub(super) fn expect(&self) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::unbounded_channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        Answer { id, reply: format!("{}.{id}", self.inbox), messages, waiting: Arc::clone(&self.waiting) }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Answer {
    /// The next message of the answer.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
