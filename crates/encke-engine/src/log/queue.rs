//! The bounded queue before the writer. What comes while the writer syncs waits here, and forms the next
//! group. A full queue refuses at once: waiting longer would only make all callers late.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::request::Request;
use crate::EngineError;

/// How many calls may wait, and of how many bytes.
const QUEUE_MAX: usize = 65_536;
const QUEUE_MAX_BYTES: usize = 64 << 20;
/// How many calls one group takes at most, and of how many bytes.
const GROUP_MAX: usize = 8192;
const GROUP_MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    closed: bool,
    /// The writer waits, so it is to be woken.
    idle: bool,
}

/// Calls on their way to the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    pub(super) fn put(&self, request: Request) -> Result<(), EngineError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(EngineError::Unavailable("the engine was stopped".into()));
        }
        let bytes = waiting.bytes.saturating_add(request.bytes());
        let full = waiting.requests.len() >= QUEUE_MAX || bytes > QUEUE_MAX_BYTES;
        // A call that is larger than the whole queue gets in when nothing else is there.
        if full && !waiting.requests.is_empty() {
            return Err(EngineError::Unavailable("too much is waiting for the disk".into()));
        }
        waiting.bytes = bytes;
        waiting.requests.push_back(request);
        let is_awaited = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if is_awaited {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes all that waits, up to the bounds of a group. Waits for something unless the caller is `busy`.
    /// None once it was closed and everything was taken.
    pub(super) fn take(&self, busy: bool) -> Option<Vec<Request>> {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() && !waiting.closed && !busy {
            waiting.idle = true;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        if waiting.requests.is_empty() && waiting.closed {
            return None;
        }
        let (mut group, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = waiting.requests.front() {
            bytes = bytes.saturating_add(next.bytes());
            let alone = next.is_alone();
            if !group.is_empty() && (group.len() >= GROUP_MAX || bytes > GROUP_MAX_BYTES || alone) {
                break;
            }
            waiting.bytes = waiting.bytes.saturating_sub(next.bytes());
            group.extend(waiting.requests.pop_front());
            if alone {
                break;
            }
        }
        Some(group)
    }

    /// Lets nothing in any more. What is in is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Throws away what waits: each caller is told by its answer being dropped.
    pub(super) fn clear(&self) {
        let requests = std::mem::take(&mut self.lock().requests);
        drop(requests);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::Time;
    use tokio::sync::oneshot;

    use super::*;

    fn sweep() -> Request {
        Request::Sweep(Time(0), oneshot::channel().0)
    }

    #[test]
    fn a_caller_that_finds_it_full_is_told_at_once() {
        let queue = Queue::default();
        for _ in 0..QUEUE_MAX {
            assert_eq!(queue.put(sweep()), Ok(()));
        }
        assert!(queue.put(sweep()).is_err());
        assert_eq!(queue.take(false).map(|group| group.len()), Some(GROUP_MAX));
        assert_eq!(queue.put(sweep()), Ok(()), "there is room again");
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        assert_eq!(queue.take(true).map(|group| group.len()), Some(0), "busy callers do not wait");
        assert_eq!(queue.put(sweep()), Ok(()));
        queue.close();
        assert!(queue.put(sweep()).is_err());
        assert_eq!(queue.take(false).map(|group| group.len()), Some(1));
        assert!(queue.take(false).is_none());
    }
}
