//! The bounded queue from async tasks to a database thread, which takes jobs in batches. A full queue refuses
//! at once instead of making the caller wait.

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

/// Jobs on their way from tasks to a thread. A caller that finds it full is told so at once: waiting longer
/// would only make all callers late.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    bound: Bound,
}

struct Waiting<T> {
    jobs: VecDeque<T>,
    bytes: usize,
    closed: bool,
    /// How long the thread waits for more once there is something.
    gather: Duration,
    /// While the thread gathers: how much is enough. It is not woken for less.
    enough: Option<Bound>,
}

impl<T> Waiting<T> {
    fn holds(&self, enough: Bound) -> bool {
        self.jobs.len() >= enough.jobs || self.bytes >= enough.bytes
    }
}

impl<T: Weigh> Queue<T> {
    pub(super) fn new(bound: Bound) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                jobs: VecDeque::new(),
                bytes: 0,
                closed: false,
                gather: Duration::ZERO,
                enough: None,
            }),
            arrived: Condvar::new(),
            bound,
        }
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
        let is_awaited = waiting.enough.is_none_or(|enough| waiting.holds(enough));
        drop(waiting);
        if is_awaited {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for work and takes as much as `batch` allows, at least one job. Waits for ever if there is no
    /// `timeout`.
    pub(super) fn take(&self, batch: Bound, timeout: Option<Duration>) -> Taken<T> {
        let idle = |waiting: &mut Waiting<T>| waiting.jobs.is_empty() && !waiting.closed;
        let guard = self.lock();
        let mut waiting = match timeout {
            None => self.arrived.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.arrived
                    .wait_timeout_while(guard, timeout, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        if !waiting.gather.is_zero() {
            let gather = waiting.gather;
            let few = |waiting: &mut Waiting<T>| !waiting.holds(batch) && !waiting.closed;
            if !waiting.jobs.is_empty() {
                waiting.enough = Some(batch);
                waiting = self
                    .arrived
                    .wait_timeout_while(waiting, gather, few)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                waiting.enough = None;
            }
        }
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

    /// From now on the thread waits for so long for more, unless there is enough for a batch.
    pub(super) fn gather(&self, gather: Duration) {
        self.lock().gather = gather;
    }

    /// Lets nothing in any more. What is in can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Throws away what waits. Callers are told by their answer's sender being dropped.
    pub(super) fn clear(&self) {
        let jobs = std::mem::take(&mut self.lock().jobs);
        drop(jobs);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Job {
        bytes: usize,
        alone: bool,
    }

    impl Weigh for Job {
        fn bytes(&self) -> usize {
            self.bytes
        }

        fn alone(&self) -> bool {
            self.alone
        }
    }

    fn together(bytes: usize) -> Job {
        Job { bytes, alone: false }
    }

    const ALONE: Job = Job { bytes: 1, alone: true };

    fn take(queue: &Queue<Job>, jobs: usize, bytes: usize) -> Vec<usize> {
        match queue.take(Bound { jobs, bytes }, Some(Duration::ZERO)) {
            Taken::Jobs(jobs) => jobs.iter().map(|job| job.bytes).collect(),
            Taken::Nothing | Taken::Closed => Vec::new(),
        }
    }

    #[test]
    fn who_finds_it_full_is_told_at_once() {
        let queue = Queue::new(Bound { jobs: 3, bytes: 100 });
        assert_eq!(queue.put(together(1000)), Ok(()), "what is too large for the queue gets in alone");
        assert!(queue.put(together(1)).is_err(), "full by bytes");
        assert_eq!(take(&queue, 9, 9), [1000]);
        for _ in 0..3 {
            assert_eq!(queue.put(together(1)), Ok(()));
        }
        assert!(queue.put(together(1)).is_err(), "full by jobs");
        assert_eq!(take(&queue, 1, 9), [1]);
        assert_eq!(queue.put(together(98)), Ok(()), "there is room again");
    }

    #[test]
    fn a_batch_keeps_its_bounds_and_its_order() {
        let queue = Queue::new(Bound { jobs: 100, bytes: 1000 });
        for job in [together(2), together(3), together(4), ALONE, together(5), together(60), together(7)] {
            assert_eq!(queue.put(job), Ok(()));
        }
        assert_eq!(take(&queue, 2, 50), [2, 3]);
        assert_eq!(take(&queue, 9, 50), [4], "not with one that wants to be alone");
        assert_eq!(take(&queue, 9, 50), [1]);
        assert_eq!(take(&queue, 9, 50), [5]);
        assert_eq!(take(&queue, 9, 50), [60], "one job comes whatever its size");
        assert_eq!(take(&queue, 9, 50), [7]);
        assert!(matches!(queue.take(Bound { jobs: 1, bytes: 1 }, Some(Duration::ZERO)), Taken::Nothing));
    }

    #[test]
    fn the_gathering_writer_waits_for_more_but_not_for_more_than_enough() {
        let queue = Queue::new(Bound { jobs: 100, bytes: 1000 });
        queue.gather(Duration::from_secs(3600));
        for job in [together(1), together(2)] {
            assert_eq!(queue.put(job), Ok(()));
        }
        assert_eq!(take(&queue, 2, 1000), [1, 2], "a whole batch is there");
        assert_eq!(queue.put(together(3)), Ok(()));
        let taken = std::thread::scope(|scope| {
            let taker = scope.spawn(|| take(&queue, 2, 1000));
            assert_eq!(queue.put(together(4)), Ok(()));
            taker.join().unwrap()
        });
        assert_eq!(taken, [3, 4]);
        assert_eq!(queue.put(together(5)), Ok(()));
        queue.close();
        assert_eq!(take(&queue, 2, 1000), [5], "whoever closes is not made to wait");
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(Bound { jobs: 9, bytes: 9 });
        assert_eq!(queue.put(together(1)), Ok(()));
        queue.close();
        assert!(queue.put(together(1)).is_err());
        assert_eq!(take(&queue, 9, 9), [1]);
        assert!(matches!(queue.take(Bound { jobs: 1, bytes: 1 }, None), Taken::Closed));
    }
}
