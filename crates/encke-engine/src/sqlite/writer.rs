//! The writer thread: takes waiting calls as one transaction, commits, answers, then tells the feed. Every
//! change of the store goes through it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use encke_proto::Entry;

use super::{
    call::{Asked, Call},
    fault::Fault,
    lock::Lock,
    queue::{Bound, Queue, Taken},
    store::Store,
};
use crate::{EngineError, Feed, threads::Threads};

/// How much may wait for the writer.
const QUEUE: Bound = Bound { jobs: 8192, bytes: 64 << 20 };
/// How much goes into one transaction.
const BATCH: Bound = Bound { jobs: 1024, bytes: 4 << 20 };
/// How often the writer tries to open a broken store again while no caller asks for anything, in
/// milliseconds.
const RECOVER_MS: u64 = 1000;
/// How many calls of a batch may find no space before the rest of it is given up. Each costs doing the others
/// again, as SQLite rolls the whole transaction back.
const FULL_MAX: usize = 16;
/// How many messages the feed is handed at once.
const FEED_MAX_ENTRIES: usize = 1000;

type WriteCall = Box<dyn Call<Store>>;

/// The thread that writes, and the queue before it.
pub(super) struct Writer {
    queue: Arc<Queue<WriteCall>>,
    threads: Threads,
}

impl Writer {
    pub(super) fn start(store: Store, feed: Arc<dyn Feed>, lock: Lock) -> Result<Self, EngineError> {
        let queue = Arc::new(Queue::new(QUEUE));
        let mut threads = Threads::default();
        let state = WriterState { queue: Arc::clone(&queue), store, feed, broken: false, _lock: lock };
        threads.start("encke-writer", move || state.work())?;
        Ok(Self { queue, threads: threads.complete() })
    }

    /// Lets the writer do something in its next transaction, and returns what came out after that was
    /// committed.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        bytes: usize,
        alone: bool,
        act: impl FnMut(&mut Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (asked, answer) = Asked::new(bytes, alone, act);
        self.queue.put(Box::new(asked))?;
        answer.get().await
    }

    /// From now on waits for so long for others to share a commit.
    pub(super) fn gather(&self, gather: Duration) {
        self.queue.gather(gather);
    }

    /// Does what waits, then closes the store.
    pub(super) async fn stop(&self) {
        self.queue.close();
        self.threads.ended().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        self.threads.join();
    }
}

/// What the writing thread has before it.
struct WriterState {
    queue: Arc<Queue<WriteCall>>,
    store: Store,
    feed: Arc<dyn Feed>,
    /// Whether the store must be opened again before anything is written.
    broken: bool,
    _lock: Lock,
}

impl WriterState {
    fn work(mut self) {
        loop {
            let timeout = self.broken.then_some(Duration::from_millis(RECOVER_MS));
            match self.queue.take(BATCH, timeout) {
                Taken::Jobs(calls) => self.batch(calls),
                Taken::Nothing => {
                    // Its failure is told to the next caller.
                    let _ = self.mend();
                }
                Taken::Closed => break,
            }
        }
    }

    /// Does the calls in one transaction, answers them when it is on the disk, and tells the feed.
    fn batch(&mut self, mut calls: Vec<WriteCall>) {
        match self.transact(&mut calls) {
            Ok(()) => {
                for call in calls {
                    call.answer(None);
                }
                let added = std::mem::take(&mut self.store.added);
                self.tell(&added);
            }
            Err(fault) => {
                self.store.added.clear();
                tracing::warn!(?fault, calls = calls.len(), "a transaction failed");
                let rolled_back = self.store.roll_back();
                self.broken |= matches!(fault, Fault::Broken(_)) || rolled_back.is_err();
                let error = EngineError::from(fault);
                for call in calls {
                    call.answer(Some(error.clone()));
                }
            }
        }
    }

    fn transact(&mut self, calls: &mut [WriteCall]) -> Result<(), Fault> {
        self.mend()?;
        self.store.begin()?;
        match calls.iter_mut().try_for_each(|call| call.run(&mut self.store)) {
            Ok(()) => {}
            Err(fault) if calls.len() == 1 || matches!(fault, Fault::Broken(_)) => return Err(fault),
            Err(_) => self.one_by_one(calls)?,
        }
        self.store.commit()
    }

    /// Does the calls again after one of them failed, so that it alone is undone. That is rare, and a
    /// savepoint for each call is dear.
    fn one_by_one(&mut self, calls: &mut [WriteCall]) -> Result<(), Fault> {
        let mut left: Vec<&mut WriteCall> = calls.iter_mut().collect();
        for _ in 0..FULL_MAX {
            self.store.added.clear();
            self.store.roll_back()?;
            self.store.begin()?;
            let mut failed = None;
            for (at, call) in left.iter_mut().enumerate() {
                if let Err(fault) = self.one(call) {
                    failed = Some((at, fault));
                    break;
                }
            }
            match failed {
                None => return Ok(()),
                // SQLite has rolled back the others with it. They are done without the one for which there is
                // no space, which has its answer.
                Some((at, Fault::Full(_))) => drop(left.remove(at)),
                Some((_, fault)) => return Err(fault),
            }
        }
        Err(Fault::Full(format!("{FULL_MAX} calls of one batch found no space")))
    }

    /// Does one call so that it alone is undone if it alone fails.
    fn one(&mut self, call: &mut WriteCall) -> Result<(), Fault> {
        let added = self.store.added.len();
        self.store.savepoint()?;
        match call.run(&mut self.store) {
            Ok(()) => self.store.release_savepoint(),
            Err(Fault::Broken(text)) => Err(Fault::Broken(text)),
            Err(fault) => {
                tracing::warn!(?fault, "a call failed");
                self.store.added.truncate(added);
                self.store.back_to_savepoint(fault)
            }
        }
    }

    /// Opens a broken store again.
    fn mend(&mut self) -> Result<(), Fault> {
        if self.broken {
            self.store.reopen()?;
            self.broken = false;
            tracing::info!("the store is open again");
        }
        Ok(())
    }

    fn tell(&self, added: &[Arc<Entry>]) {
        for entries in added.chunks(FEED_MAX_ENTRIES) {
            // What listens may fail; the log goes on, and the hole is found by the offsets.
            if catch_unwind(AssertUnwindSafe(|| self.feed.appended(entries))).is_err() {
                tracing::error!("the feed panicked");
            }
        }
    }
}

impl Drop for WriterState {
    fn drop(&mut self) {
        // Reached in a panic too: no caller may wait for a thread that is no more.
        self.queue.close();
        self.queue.clear();
    }
}
