//! Puts calls in order: what was asked for first is done first, whatever way it takes.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::server_map::{Call, ServerMap};
use crate::EngineError;

/// The most calls that wait.
const WAITING_MAX: usize = 65_536;
/// The most calls that are sent together.
const TOGETHER_MAX: usize = 1_024;

type Answer = Result<Value, EngineError>;

/// A row of calls, each of which is done before the next one is sent, but for those that are sent together in
/// their order.
pub(super) struct OrderedCalls {
    queue: mpsc::Sender<(Call, oneshot::Sender<Answer>)>,
    working: JoinHandle<()>,
}

impl Drop for OrderedCalls {
    fn drop(&mut self) {
        self.working.abort();
    }
}

impl OrderedCalls {
    pub(super) fn start(server_map: Arc<ServerMap>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(Call, oneshot::Sender<Answer>)>(WAITING_MAX);
        let working = tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, TOGETHER_MAX).await > 0 {
                let (calls, answers): (Vec<Call>, Vec<oneshot::Sender<Answer>>) = batch.drain(..).unzip();
                for (answer, asked) in server_map.calls(calls).await.into_iter().zip(answers) {
                    // Who does not wait any more need not be told.
                    let _ = asked.send(answer);
                }
            }
        });
        Self { queue, working }
    }

    /// Takes its place in the row at once, before the future is polled.
    pub(super) fn ask(&self, partition: u16, command: Cmd) -> impl Future<Output = Answer> + Send + use<> {
        let (asked, answer) = oneshot::channel();
        let taken = self.queue.try_send((Call { partition, command }, asked)).is_ok();
        async move {
            if !taken {
                return Err(EngineError::Unavailable(format!(
                    "{WAITING_MAX} changes of places wait already"
                )));
            }
            answer.await.unwrap_or_else(|_| Err(EngineError::Unavailable("the engine was stopped".into())))
        }
    }
}
