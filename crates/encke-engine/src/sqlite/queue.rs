use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::EngineError;

/// How much may wait, or may be taken at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
}

/// What waits has a weight, and sometimes wants to be alone.
pub(super) trait Weigh {
    fn bytes(&self) -> usize;
    fn alone(&self) -> bool;
}

/// What a thread finds when it asks for work.
pub(super) enum Taken<T> {
    Jobs(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// The queue was closed, and everything in it was taken.
    Closed,
}

/// Jobs on their way from tasks to a thread. Whoever finds it full is told so at once: waiting longer would only make everybody late.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    bound: Bound,
}

struct Waiting<T> {
    jobs: VecDeque<T>,
    bytes: usize,
    closed: bool,
}

impl<T: Weigh> Queue<T> {
    pub(super) fn new(bound: Bound) -> Self {
        Self { waiting: Mutex::new(Waiting { jobs: VecDeque::new(), bytes: 0, closed: false }), arrived: Condvar::new(), bound }
    }

    pub(super) fn put(&self, job: T) -> Result<(), EngineError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(EngineError::Unavailable("the engine was stopped".into()));
        }
        let bytes = waiting.bytes.saturating_add(job.bytes());
        let full = waiting.jobs.len() >= self.bound.jobs || bytes > self.bound.bytes;
        // A job that is larger than the whole queue gets in when nothing else is there.
        if full && !waiting.jobs.is_empty() {
            return Err(EngineError::Unavailable("too much is waiting for the disk".into()));
        }
        waiting.bytes = bytes;
        waiting.jobs.push_back(job);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for work and takes as much as `batch` allows, at least one job. Waits for ever if there is no `patience`.
    pub(super) fn take(&self, batch: Bound, patience: Option<Duration>) -> Taken<T> {
        let idle = |waiting: &mut Waiting<T>| waiting.jobs.is_empty() && !waiting.closed;
        let guard = self.lock();
        let mut waiting = match patience {
            None => self.arrived.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => self.arrived.wait_timeout_while(guard, patience, idle).unwrap_or_else(PoisonError::into_inner).0,
        };
        let (mut jobs, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = waiting.jobs.front() {
            bytes = bytes.saturating_add(next.bytes());
            let full = jobs.len() >= batch.jobs || bytes > batch.bytes || next.alone();
            if full && !jobs.is_empty() {
                break;
            }
            let alone = next.alone();
            waiting.bytes = waiting.bytes.saturating_sub(next.bytes());
            jobs.extend(waiting.jobs.pop_front());
            if alone {
                break;
            }
        }
        match (jobs.is_empty(), waiting.closed) {
            (false, _) => Taken::Jobs(jobs),
            (true, false) => Taken::Nothing,
            (true, true) => Taken::Closed,
        }
    }

    /// Lets nothing in any more. What is in can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Throws away what waits. Whoever waits for its answer is told by the answer's sender being dropped.
    pub(super) fn clear(&self) {
        let jobs = std::mem::take(&mut self.lock().jobs);
        drop(jobs);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
