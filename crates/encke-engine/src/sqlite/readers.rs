//! The reader threads, each with its own connection, and their queue. They never write; that is the writer's
//! part.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    call::{Asked, Call},
    connection,
    fault::Fault,
    queue::{Bound, Queue, Taken},
};
use crate::{EngineError, threads::Threads};

/// How many threads read, each with its own connection.
const READERS: usize = 2;
/// How much may wait for the readers. A read weighs one byte: what it returns is bounded by its page's limit.
const QUEUE: Bound = Bound { jobs: 8192, bytes: 8192 };
/// A reader takes one job at a time, so that the others can take the next.
const ONE: Bound = Bound { jobs: 1, bytes: 1 };

type ReadCall = Box<dyn Call<Connection>>;

/// The threads that read, and the queue before them.
pub(super) struct Readers {
    queue: Arc<Queue<ReadCall>>,
    threads: Threads,
}

impl Readers {
    pub(super) fn start(file: &Path) -> Result<Self, EngineError> {
        let queue = Arc::new(Queue::new(QUEUE));
        let mut threads = Threads::default();
        for number in 0..READERS {
            // Opened here, so that what is wrong is found at once and not by the first read.
            let reader = Reader {
                queue: Arc::clone(&queue),
                db: Some(connection::reader(file)?),
                file: file.to_owned(),
            };
            threads.start(&format!("encke-reader-{number}"), move || reader.work())?;
        }
        Ok(Self { queue, threads: threads.complete() })
    }

    /// Reads in one of the threads, in a transaction that sees one moment of the store.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, EngineError> {
        let mut act = act;
        let in_one_moment = move |db: &mut Connection| {
            let moment = db.transaction()?;
            act(&moment)
        };
        let (asked, answer) = Asked::new(1, false, in_one_moment);
        self.queue.put(Box::new(asked))?;
        answer.get().await
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

struct Reader {
    queue: Arc<Queue<ReadCall>>,
    /// None after an error that leaves the connection in doubt.
    db: Option<Connection>,
    file: PathBuf,
}

impl Reader {
    fn work(mut self) {
        loop {
            match self.queue.take(ONE, None) {
                Taken::Jobs(calls) => calls.into_iter().for_each(|call| self.one(call)),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
    }

    fn one(&mut self, mut call: ReadCall) {
        match self.open() {
            Ok(db) => {
                if let Err(fault) = call.run(db) {
                    tracing::warn!(?fault, "a read failed");
                    if matches!(fault, Fault::Broken(_)) {
                        self.db = None;
                    }
                }
                call.answer(None);
            }
            Err(fault) => call.answer(Some(fault.into())),
        }
    }

    fn open(&mut self) -> Result<&mut Connection, Fault> {
        let db = match self.db.take() {
            Some(db) => db,
            None => connection::reader(&self.file)?,
        };
        Ok(self.db.insert(db))
    }
}
