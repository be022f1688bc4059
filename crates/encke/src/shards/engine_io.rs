//! The engine I/O task between a shard and the engine: the shard never waits, so it leaves its engine
//! requests here and finds the answers among its commands.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use encke_engine::{Engine, EngineError, PageLimit, ReadFrom};
use encke_hub::{Key, Opening, Reached, ReadKey, Receipt};
use encke_proto::{ChannelName, Offset, Position, UserId};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    Mailbox, Placing, SessionObserver, ShardCommand,
    device_rounds::DeviceRounds,
    mark_rounds::{PENDING_MARKS_MAX, PendingMarks},
};
use crate::{clock::Clock, devices};

/// The most reads under way for one shard.
const READS_MAX: usize = 128;
/// How much of a log is read when a channel is opened.
const OPENING: PageLimit = PageLimit { messages: 128, bytes: 256 * 1024 };
/// How much is read for a session that is behind, at a time.
const CATCH_UP: PageLimit = PageLimit { messages: 256, bytes: 512 * 1024 };
/// How long pending marks that the engine did not take are kept before they are offered again.
const RETRY: Duration = Duration::from_millis(500);

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
    /// Write down how far a device has got.
    Reached(Box<Reached>),
    /// The place of the device that a request is of.
    Place(Box<Placing>),
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
    observer: Option<Arc<dyn SessionObserver>>,
) -> (EngineIo, impl Future<Output = ()> + Send + 'static) {
    let (engine_io, requests) = mpsc::unbounded_channel();
    let pending_marks = PendingMarks::new(Arc::clone(&engine), observer);
    let reads = Arc::new(Semaphore::new(READS_MAX));
    let devices = DeviceRounds::new(Arc::clone(&engine));
    let task = EngineIoTask { engine, clock, mailbox, reads, pending_marks, devices, held: Vec::new() };
    (engine_io, task.run(requests))
}

/// The task of one shard. It serves requests while pending marks are written: what an observer has to write
/// before them may take as long as it does.
struct EngineIoTask {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    mailbox: Mailbox<ShardCommand>,
    reads: Arc<Semaphore>,
    pending_marks: PendingMarks,
    devices: DeviceRounds,
    /// Requests that wait until marks of before are written, each with the round that writes them.
    held: Vec<(u64, EngineRequest)>,
}

impl EngineIoTask {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<EngineRequest>) {
        let mut batch = Vec::new();
        let (mut is_open, mut is_due) = (true, false);
        loop {
            if is_due && !self.pending_marks.is_writing() {
                is_due = false;
                self.pending_marks.begin_round(self.clock.now().wall);
            }
            if !is_open && !self.pending_marks.is_writing() && !self.devices.is_busy() {
                return;
            }
            let is_left = is_open && !self.pending_marks.is_empty();
            let clock = Arc::clone(&self.clock);
            tokio::select! {
                count = requests.recv_many(&mut batch, PENDING_MARKS_MAX), if is_open => {
                    is_open = count > 0;
                    for request in batch.drain(..) {
                        self.take(request).await;
                    }
                    is_due = true;
                }
                () = self.pending_marks.end_round(), if self.pending_marks.is_writing() => {
                    self.serve_held().await;
                }
                settled = self.devices.turn(|| clock.now().wall, !is_open), if self.devices.is_busy() => {
                    for answer in settled {
                        self.settle(answer).await;
                    }
                }
                // What the engine did not take is offered again after a while, whether or not requests come.
                () = sleep(RETRY), if is_left && !self.pending_marks.is_writing() => is_due = true,
            }
        }
    }

    async fn take(&mut self, request: EngineRequest) {
        match request {
            EngineRequest::Handed(receipts) => self.pending_marks.hand(receipts),
            EngineRequest::Seen(user) => self.pending_marks.seen(user),
            EngineRequest::Work(Work(work)) => {
                let mailbox = self.mailbox.clone();
                tokio::spawn(async move { deliver(&mailbox, work.await).await });
            }
            EngineRequest::Reached(reached) => self.devices.reach(*reached),
            EngineRequest::Place(placing) => {
                let known = self.devices.known(&placing);
                serve_place(*placing, known, &self.engine, &self.mailbox, &self.reads).await;
            }
            EngineRequest::Settle(answer) => {
                if let Some(answer) = self.devices.settle(answer) {
                    self.settle(answer).await;
                }
            }
            // A client that comes back at once must not begin where it was before, or a push would come
            // twice.
            EngineRequest::Open(key, channel) => {
                let round = self.pending_marks.round_of(&channel);
                self.hold(round, EngineRequest::Open(key, channel)).await;
            }
            read @ EngineRequest::Read(..) => self.serve(read).await,
        }
    }

    /// Says so when the marks are written, too.
    async fn settle(&mut self, answer: oneshot::Sender<()>) {
        let round = self.pending_marks.round_of_all();
        self.hold(round, EngineRequest::Settle(answer)).await;
    }

    /// Serves a request when this round has ended; at once without one.
    async fn hold(&mut self, round: Option<u64>, request: EngineRequest) {
        match round {
            Some(round) => self.held.push((round, request)),
            None => self.serve(request).await,
        }
    }

    async fn serve_held(&mut self) {
        let ended = self.pending_marks.ended();
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(|(round, _)| *round <= ended);
        self.held = held;
        for (_, request) in due {
            self.serve(request).await;
        }
    }

    async fn serve(&mut self, request: EngineRequest) {
        match request {
            // The caller may have gone.
            EngineRequest::Settle(answer) => _ = answer.send(()),
            read => serve_read(read, &self.engine, &self.mailbox, &self.reads).await,
        }
    }
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
            | EngineRequest::Reached(_)
            | EngineRequest::Place(_)
            | EngineRequest::Settle(_)
            | EngineRequest::Work(_) => return,
        };
        drop(permit);
        deliver(&mailbox, command).await;
    });
}

/// Looks up the place of a request's device. What this node has not written yet is `known`.
async fn serve_place(
    mut placing: Placing,
    known: Option<Position>,
    engine: &Arc<dyn Engine>,
    mailbox: &Mailbox<ShardCommand>,
    reads: &Arc<Semaphore>,
) {
    let Ok(permit) = Arc::clone(reads).acquire_owned().await else { return };
    let (engine, mailbox) = (Arc::clone(engine), mailbox.clone());
    tokio::spawn(async move {
        let places = answer(devices::read(&*engine, &placing.admission.user).await);
        drop(permit);
        let is_answered = places.is_some();
        if let (Some(places), Some(device)) = (places, &mut placing.admission.device) {
            device.place = places.goes_on(&device.name, known);
        }
        deliver(&mailbox, ShardCommand::Placed { placing: Box::new(placing), is_answered }).await;
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use encke_engine::{Append, Mark, Targets, memory::MemoryEngine};
    use encke_proto::{Body, Epoch, MessageId, Time};
    use futures_util::future::BoxFuture;
    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::{
        clock::SystemClock,
        config::Config,
        shards::{Commands, mailbox},
    };

    /// An engine with one push to a user, and the place of it.
    async fn pushed(user: &UserId) -> (Arc<dyn Engine>, ChannelName, Receipt) {
        let engine = Arc::new(MemoryEngine::new(Arc::new(()), Config::default().retention_table(), Epoch(1)));
        let (targets, body) = (Targets::Users(vec![user.clone()]), Body::Page("http://x/".into()));
        let id = MessageId::from_bits(1);
        let append =
            Append { id, key: None, targets, body, from: None, time: Time(1), expires: None, trace: None };
        let (channel, position) = engine.append(append).await.unwrap().positions.remove(0);
        (engine, channel, Receipt { user: user.clone(), position, device: None })
    }

    async fn next(commands: &Commands<ShardCommand>) -> ShardCommand {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(command) = commands.next() {
                return command;
            }
            assert!(Instant::now() < deadline, "no answer");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_client_that_comes_back_at_once_begins_behind_what_was_handed_over() {
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let (engine, channel, receipt) = pushed(&UserId::new("alice").unwrap()).await;
        let position = receipt.position;
        let (engine_io, work) = open(engine, Arc::new(SystemClock::new()), mailbox, None);
        tokio::spawn(work);
        // The engine I/O task has not had a turn yet, so it finds both together.
        engine_io.send(EngineRequest::Handed(vec![receipt])).unwrap();
        engine_io.send(EngineRequest::Open(Key { index: 0, generation: 0 }, channel)).unwrap();
        let ShardCommand::Opened(_, Some(opening)) = next(&commands).await else { panic!("not opened") };
        assert_eq!(opening.handed, Some(position));
    }

    /// Writes what it is told when it is let.
    #[derive(Debug)]
    struct Slow(Arc<Semaphore>);

    impl SessionObserver for Slow {
        fn came(&self, _: &ChannelName) {}
        fn went(&self, _: &ChannelName) {}
        fn subscribed(&self, _: &UserId, _: &[ChannelName]) {}
        fn delivering<'a>(&'a self, _: &'a [Mark]) -> BoxFuture<'a, Result<(), EngineError>> {
            Box::pin(async move {
                self.0.acquire().await.map_err(|_| EngineError::Unavailable("closed".into()))?.forget();
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn who_was_handed_nothing_does_not_wait_for_what_is_written_of_others() {
        let poll = Poll::new().unwrap();
        let (mailbox, commands) = mailbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let (engine, channel, receipt) = pushed(&UserId::new("alice").unwrap()).await;
        let position = receipt.position;
        let lets = Arc::new(Semaphore::new(0));
        let observer: Arc<dyn SessionObserver> = Arc::new(Slow(Arc::clone(&lets)));
        let (engine_io, work) = open(engine, Arc::new(SystemClock::new()), mailbox, Some(observer));
        let work = tokio::spawn(work);
        let key = |index| Key { index, generation: 0 };
        let other = UserId::new("bob").unwrap().channel();
        engine_io.send(EngineRequest::Handed(vec![receipt])).unwrap();
        engine_io.send(EngineRequest::Open(key(0), channel.clone())).unwrap();
        for round in 1..4 {
            engine_io.send(EngineRequest::Seen(UserId::new("carol").unwrap())).unwrap();
            engine_io.send(EngineRequest::Open(key(round), other.clone())).unwrap();
            let ShardCommand::Opened(opened, Some(_)) = next(&commands).await else { panic!("not opened") };
            assert_eq!(opened, key(round), "the one that was handed something waits");
        }
        let (answer, settled) = oneshot::channel();
        engine_io.send(EngineRequest::Settle(answer)).unwrap();
        lets.add_permits(1);
        let ShardCommand::Opened(opened, Some(opening)) = next(&commands).await else { panic!("not opened") };
        assert_eq!((opened, opening.handed), (key(0), Some(position)));
        settled.await.unwrap();
        drop(engine_io);
        work.await.unwrap();
    }
}
