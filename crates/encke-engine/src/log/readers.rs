//! The threads that read from segments, so that a disk that is slow holds up no thread of the runtime.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError, RwLock},
};

use tokio::sync::oneshot;

use super::{fault::Fault, state::State, volume::Volume};
use crate::{EngineError, threads::Threads};

/// How many threads read.
const THREADS: usize = 2;
/// How many reads may wait.
const QUEUE_MAX: usize = 65_536;

/// What a read looks into.
pub(super) struct Access {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) volume: Arc<dyn Volume>,
}

type Read = Box<dyn FnOnce(&Access) + Send>;

#[derive(Default)]
struct Queue {
    waiting: Mutex<(VecDeque<Read>, bool)>,
    arrived: Condvar,
}

/// Reads on their way to the threads.
pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Threads,
}

impl Readers {
    pub(super) fn start(access: Access) -> Result<Self, EngineError> {
        let (queue, access) = (Arc::new(Queue::default()), Arc::new(access));
        let mut threads = Threads::default();
        for _ in 0..THREADS {
            let (queue, access) = (Arc::clone(&queue), Arc::clone(&access));
            threads.start("encke-reader", move || queue.work(&access))?;
        }
        Ok(Self { queue, threads: threads.complete() })
    }

    /// Lets a thread read something.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Access) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (answer, awaited) = oneshot::channel();
        // A caller that has gone away is not read for.
        let act = move |access: &Access| {
            if !answer.is_closed() {
                drop(answer.send(read(access)));
            }
        };
        self.queue.put(Box::new(act))?;
        let ended = |_| EngineError::Unavailable("the engine ended before it answered".into());
        awaited.await.map_err(ended)?.map_err(EngineError::from)
    }

    /// Does what waits, then ends the threads.
    pub(super) async fn stop(&self) {
        self.queue.close();
        self.threads.ended().await;
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
        self.threads.join();
    }
}

impl Queue {
    fn put(&self, read: Read) -> Result<(), EngineError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (reads, closed) = &mut *waiting;
        if *closed {
            return Err(EngineError::Unavailable("the engine was stopped".into()));
        }
        if reads.len() >= QUEUE_MAX {
            return Err(EngineError::Unavailable("too much is waiting to be read".into()));
        }
        reads.push_back(read);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.arrived.notify_all();
    }

    fn work(&self, access: &Access) {
        loop {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |waiting: &mut (VecDeque<Read>, bool)| waiting.0.is_empty() && !waiting.1;
            let mut waiting = self.arrived.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            let Some(read) = waiting.0.pop_front() else { return };
            drop(waiting);
            read(access);
        }
    }
}
