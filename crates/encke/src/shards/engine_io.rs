//! The engine I/O task between a shard and the engine: the shard never waits, so it leaves its engine
//! requests here and finds the answers among its commands.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use encke_engine::{Engine, EngineError, Mark, PageLimit, ReadFrom, ReceiptState};
use encke_hub::{Key, Opening, ReadKey, Receipt};
use encke_proto::{ChannelName, Offset, Position, Time, UserId};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Mailbox, ShardCommand};
use crate::clock::Clock;

/// The most reads under way for one shard.
const READS_MAX: usize = 128;
/// How much of a log is read when a channel is opened.
const OPENING: PageLimit = PageLimit { messages: 128, bytes: 256 * 1024 };
/// How much is read for a session that is behind, at a time.
const CATCH_UP: PageLimit = PageLimit { messages: 256, bytes: 512 * 1024 };
/// How long pending marks that the engine did not take are kept before they are offered again.
const RETRY: Duration = Duration::from_millis(500);
/// The most pending marks that are written in one call.
const PENDING_MARKS_MAX: usize = 1024;

/// An engine request of a shard.
#[derive(Debug)]
pub enum EngineRequest {
    /// The end of a channel's log.
    Open(Key, ChannelName),
    /// A page for one session.
    Read(ReadKey, ChannelName, Offset),
    /// Write down how far users' own channels were handed over.
    Handed(Vec<Receipt>),
    /// Write down that a user was here.
    Seen(UserId),
    /// Say so when all that was to be written down before is.
    Settle(oneshot::Sender<()>),
    /// Do what takes a while, and send me a command with what came of it.
    Work(Work),
}

/// Something that takes a while.
pub struct Work(pub Pin<Box<dyn Future<Output = ShardCommand> + Send>>);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// Where engine requests are left. What waits here is bounded by the sessions: each has at most one read and
/// one note a channel under way, and each connection one request.
pub type EngineIo = mpsc::UnboundedSender<EngineRequest>;

/// Opens the engine I/O task of a shard; it is served until the shard drops it.
pub fn open(
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    mailbox: Mailbox<ShardCommand>,
) -> (EngineIo, impl Future<Output = ()> + Send + 'static) {
    let (engine_io, mut requests) = mpsc::unbounded_channel();
    let reads = Arc::new(Semaphore::new(READS_MAX));
    let work = async move {
        let mut pending_marks = PendingMarks::default();
        let mut batch = Vec::new();
        loop {
            // Pending marks that are left are offered again after a while, whether or not new requests come.
            let count = if pending_marks.is_empty() {
                requests.recv_many(&mut batch, PENDING_MARKS_MAX).await
            } else {
                tokio::time::timeout(RETRY, requests.recv_many(&mut batch, PENDING_MARKS_MAX))
                    .await
                    .unwrap_or(usize::MAX)
            };
            for request in batch.drain(..) {
                match request {
                    EngineRequest::Handed(receipts) => pending_marks.hand(receipts),
                    EngineRequest::Seen(user) => pending_marks.seen(user),
                    EngineRequest::Settle(answer) => {
                        pending_marks.write(&*engine, clock.now().wall).await;
                        // The caller may have gone.
                        let _ = answer.send(());
                    }
                    EngineRequest::Work(Work(work)) => {
                        let mailbox = mailbox.clone();
                        tokio::spawn(async move { deliver(&mailbox, work.await).await });
                    }
                    read => {
                        // A client that comes back at once must not begin where it was before, or a push
                        // would come twice.
                        if let EngineRequest::Open(_, channel) = &read
                            && pending_marks.is_handed(channel)
                        {
                            pending_marks.write(&*engine, clock.now().wall).await;
                        }
                        serve_read(read, &engine, &mailbox, &reads).await;
                    }
                }
            }
            pending_marks.write(&*engine, clock.now().wall).await;
            if count == 0 {
                return;
            }
        }
    };
    (engine_io, work)
}

async fn serve_read(
    request: EngineRequest,
    engine: &Arc<dyn Engine>,
    mailbox: &Mailbox<ShardCommand>,
    reads: &Arc<Semaphore>,
) {
    let Ok(permit) = Arc::clone(reads).acquire_owned().await else { return };
    let (engine, mailbox) = (Arc::clone(engine), mailbox.clone());
    tokio::spawn(async move {
        let command = match request {
            EngineRequest::Open(key, channel) => {
                ShardCommand::Opened(key, answer(opening(&*engine, &channel).await))
            }
            EngineRequest::Read(key, channel, after) => {
                ShardCommand::Read(key, answer(engine.read(&channel, ReadFrom::After(after), CATCH_UP).await))
            }
            EngineRequest::Handed(_)
            | EngineRequest::Seen(_)
            | EngineRequest::Settle(_)
            | EngineRequest::Work(_) => return,
        };
        drop(permit);
        deliver(&mailbox, command).await;
    });
}

/// Answers must arrive: the hub waits for each of them. A full mailbox empties as fast as its shard can work.
async fn deliver(mailbox: &Mailbox<ShardCommand>, command: ShardCommand) {
    let mut command = command;
    while let Err(back) = mailbox.offer(command) {
        let Some(back) = back else { return };
        command = back;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn opening(engine: &dyn Engine, channel: &ChannelName) -> Result<Opening, EngineError> {
    let handed = match channel.owner() {
        Some(user) => Some(engine.handed(&user).await?),
        None => None,
    };
    let page = engine.read(channel, ReadFrom::Before(Offset::MAX), OPENING).await?;
    Ok(Opening { page, handed })
}

fn answer<T>(result: Result<T, EngineError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "the engine could not read")).ok()
}

/// What is to be written down. Of what a user was handed the last counts, so it is bounded by the users.
#[derive(Debug, Default)]
struct PendingMarks {
    handed: HashMap<UserId, Position>,
    seen: HashSet<UserId>,
}

impl PendingMarks {
    fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.seen.is_empty()
    }

    fn hand(&mut self, receipts: Vec<Receipt>) {
        for Receipt { user, position } in receipts {
            let old = self.handed.entry(user).or_insert(position);
            if old.epoch != position.epoch || old.offset < position.offset {
                *old = position;
            }
        }
    }

    /// Whether it is still to be written down how far this channel was handed over.
    fn is_handed(&self, channel: &ChannelName) -> bool {
        channel.owner().is_some_and(|user| self.handed.contains_key(&user))
    }

    fn seen(&mut self, user: UserId) {
        self.seen.insert(user);
    }

    async fn write(&mut self, engine: &dyn Engine, at: Time) {
        // One that fails must not hold up the other.
        for result in [self.write_handed(engine, at).await, self.write_seen(engine, at).await] {
            if let Err(error) = result {
                tracing::warn!(%error, "the engine did not take pending marks");
            }
        }
    }

    async fn write_handed(&mut self, engine: &dyn Engine, at: Time) -> Result<(), EngineError> {
        while !self.handed.is_empty() {
            let mark = |(user, position): (&UserId, &Position)| Mark {
                user: user.clone(),
                position: *position,
                state: ReceiptState::Delivered,
                at,
            };
            let marks: Vec<Mark> = self.handed.iter().take(PENDING_MARKS_MAX).map(mark).collect();
            let written = marks.len();
            engine.mark(marks).await?;
            self.forget_handed(written);
        }
        Ok(())
    }

    /// Those of a batch are written together, so that an engine that gathers commits has something to gather.
    async fn write_seen(&mut self, engine: &dyn Engine, at: Time) -> Result<(), EngineError> {
        while !self.seen.is_empty() {
            let users: Vec<UserId> = self.seen.iter().take(PENDING_MARKS_MAX).cloned().collect();
            let all = futures_util::future::join_all(users.iter().map(|user| engine.seen(user, at))).await;
            for (user, _) in users.iter().zip(&all).filter(|(_, result)| result.is_ok()) {
                self.seen.remove(user);
            }
            all.into_iter().collect::<Result<(), EngineError>>()?;
        }
        Ok(())
    }

    /// The first `count` are written down. Nothing has come since, so they are the first still.
    fn forget_handed(&mut self, count: usize) {
        if count == self.handed.len() {
            return self.handed.clear();
        }
        let written: Vec<UserId> = self.handed.keys().take(count).cloned().collect();
        written.iter().for_each(|user| {
            self.handed.remove(user);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use encke_engine::{
        Append, Appended, ChannelSummary, Mode, Page, Receipt as PushReceipt, Targets, UserRecord,
        memory::MemoryEngine,
    };
    use encke_proto::{Body, Epoch, MessageId};
    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::{clock::SystemClock, config::Config, shards::mailbox};

    #[tokio::test]
    async fn a_client_that_comes_back_at_once_begins_behind_what_was_handed_over() {
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), Config::default().retention_table(), Epoch(1)));
        let (user, id) = (UserId::new("alice").unwrap(), MessageId::from_bits(1));
        let (targets, body) = (Targets::Users(vec![user.clone()]), Body::Page("http://x/".into()));
        let append = Append { id, key: None, targets, body, from: None, time: Time(1), expires: None };
        let (channel, position) = engine.append(append).await.unwrap().positions.remove(0);
        let (engine_io, work) = open(engine, Arc::new(SystemClock::new()), mailbox);
        tokio::spawn(work);
        // The engine I/O task has not had a turn yet, so it finds both together.
        engine_io.send(EngineRequest::Handed(vec![Receipt { user, position }])).unwrap();
        engine_io.send(EngineRequest::Open(Key { index: 0, generation: 0 }, channel)).unwrap();
        let command = loop {
            tokio::task::yield_now().await;
            if let Some(command) = commands.next() {
                break command;
            }
        };
        let ShardCommand::Opened(_, Some(opening)) = command else { panic!("not opened") };
        assert_eq!(opening.handed, Some(position));
    }

    /// Takes marks, but not that one user was here, or the other way round. Does nothing else.
    #[derive(Default)]
    struct Partial {
        takes_marks: bool,
        marked: Mutex<Vec<UserId>>,
        seen: Mutex<Vec<UserId>>,
    }

    impl Partial {
        fn refused<T>() -> Result<T, EngineError> {
            Err(EngineError::Unavailable("a test lets this fail".into()))
        }
    }

    #[async_trait]
    impl Engine for Partial {
        fn mode(&self) -> Mode {
            Mode::Memory
        }
        async fn append(&self, _: Append) -> Result<Appended, EngineError> {
            Self::refused()
        }
        async fn read(&self, _: &ChannelName, _: ReadFrom, _: PageLimit) -> Result<Page, EngineError> {
            Self::refused()
        }
        async fn channels(
            &self,
            _: Option<&ChannelName>,
            _: usize,
        ) -> Result<Vec<ChannelSummary>, EngineError> {
            Self::refused()
        }
        async fn seen(&self, user: &UserId, _: Time) -> Result<(), EngineError> {
            if self.takes_marks && user.as_str() == "user-7" {
                return Self::refused();
            }
            self.seen.lock().unwrap().push(user.clone());
            Ok(())
        }
        async fn user(&self, _: &UserId) -> Result<Option<UserRecord>, EngineError> {
            Self::refused()
        }
        async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserRecord>, EngineError> {
            Self::refused()
        }
        async fn handed(&self, _: &UserId) -> Result<Position, EngineError> {
            Self::refused()
        }
        async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError> {
            if !self.takes_marks {
                return Self::refused();
            }
            self.marked.lock().unwrap().extend(marks.into_iter().map(|mark| mark.user));
            Ok(())
        }
        async fn receipts(
            &self,
            _: &MessageId,
            _: Option<&UserId>,
            _: usize,
            _: Time,
        ) -> Result<Option<Vec<PushReceipt>>, EngineError> {
            Self::refused()
        }
        async fn sweep(&self, _: Time) -> Result<(), EngineError> {
            Self::refused()
        }
        async fn ready(&self) -> Result<(), EngineError> {
            Self::refused()
        }
        async fn stop(&self) {}
    }

    #[tokio::test]
    async fn what_fails_does_not_hold_up_other_marks_nor_write_them_again() {
        let users = 3 * PENDING_MARKS_MAX;
        for takes_marks in [true, false] {
            let engine = Partial { takes_marks, ..Partial::default() };
            let mut pending_marks = PendingMarks::default();
            for number in 0..users {
                let user = UserId::new(&format!("user-{number}")).unwrap();
                pending_marks.seen(user.clone());
                pending_marks.hand(vec![Receipt { user, position: Position { epoch: Epoch(1), offset: 1 } }]);
            }
            // Each batch may meet the failure once.
            for _ in 0..users / PENDING_MARKS_MAX + 1 {
                pending_marks.write(&engine, Time(1)).await;
            }
            let left = (pending_marks.handed.len(), pending_marks.seen.len());
            let written = (engine.marked.lock().unwrap().len(), engine.seen.lock().unwrap().len());
            let expected = if takes_marks { ((0, 1), (users, users - 1)) } else { ((users, 0), (0, users)) };
            assert_eq!((left, written), expected, "each is written once: takes_marks {takes_marks}");
        }
    }
}
