//! All appends of a node go through one task. It takes what waits, up to a bound, and stores it as one atomic
//! batch, so that a hundred callers share one agreement of the replicas and one fsync. Nodes do not ask each
//! other: a node that was overtaken at a log is told so by the stream, looks at the log again, and tries
//! again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use encke_proto::{ChannelName, Offset, Position, Time, UserId};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    deleted::{DeleteIf, Deleted},
    epoch::{Ages, Epochs},
    expiry_index::ExpiryIndex,
    fault::Fault,
    link::{BATCH_MAX_MESSAGES, DEADLINE_MS, Link, Put, at_once, random},
    log::{Dropped, Log},
    names::Names,
    recent::Recent,
    record::{self, Record, Said},
    stored::Stored,
    trimmed::Trimmed,
    trimmer::Trimmer,
    update_work::UpdateWork,
};
use crate::{LogRefusal, LogUpdated, Retention, RetentionTable};

/// The most appends that wait. Those above it are refused.
const WAITING_MAX: usize = 8_192;
/// The most messages, and about the most bytes, that are stored as one.
const GATHER_MAX_MESSAGES: usize = BATCH_MAX_MESSAGES;
const GATHER_MAX_BYTES: usize = 4 << 20;
/// The most messages that a server which is alone is given one by one, and how often such rounds may follow
/// each other until all of one log are stored.
const SINGLES_MAX: usize = 16;
const SINGLES_ROUNDS_MAX: usize = 2;
/// How often those that are together are tried as one when others write to the same logs, before each goes by
/// itself.
const TOGETHER_TRIES: usize = 5;
/// Half of the logs whose end is remembered.
const LOGS_MAX: usize = 16_384;
/// The longest pause before a write that met another node's is tried again, in milliseconds.
const PAUSE_MAX_MS: u64 = 20;

/// What must not be stored twice: a key, or a piece of a message.
#[derive(Clone, Debug)]
pub(super) struct Once {
    pub(super) subject: String,
    /// What was stored there up to this sequence does not count any more.
    pub(super) void_up_to: u64,
}

/// Makes what is stored beside a message from the places that it got.
pub(super) type Beside = Box<dyn Fn(&[(ChannelName, Position)]) -> Vec<Put> + Send + Sync>;

/// A message on its way into logs.
pub(super) struct Work {
    pub(super) said: Said,
    pub(super) channels: Vec<ChannelName>,
    pub(super) once: Vec<Once>,
    pub(super) beside: Option<Beside>,
    /// How many messages `beside` makes at most, and their bytes.
    pub(super) beside_messages: usize,
    pub(super) beside_bytes: usize,
    /// Whether its users were made known after it was found that some had been deleted.
    pub(super) known_anew: bool,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Written {
    /// It is stored, at these places.
    Now(Vec<(ChannelName, Position)>),
    /// One of those that must not be stored twice was there already; nothing was stored.
    Before(Stored),
    /// These users were deleted, and are not known any more; nothing was stored.
    Unknown(Vec<UserId>),
}

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

enum Job {
    Write(Box<Task>),
    Update { work: Box<UpdateWork>, answer: Answer<LogUpdated> },
    Trim { channel: ChannelName, now: Time, answer: Answer<Trimmed> },
    Delete { channel: ChannelName, condition: DeleteIf, answer: Answer<Option<Deleted>> },
}

struct Task {
    work: Work,
    payload: Bytes,
    answer: Option<Answer<Written>>,
    since: Instant,
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

/// What the task works with.
pub(super) struct WriterContext {
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) epochs: Arc<Epochs>,
    pub(super) retention: Arc<RetentionTable>,
    pub(super) expiry_index: Arc<ExpiryIndex>,
    pub(super) trimmer: Trimmer,
    /// The most messages that any rule keeps of a log. What is over that, the stream takes out by itself.
    pub(super) most_kept: u64,
}

impl WriterContext {
    fn trims_itself(&self, retention: &Retention) -> bool {
        retention.max_messages >= self.most_kept
    }
}

impl Writer {
    pub(super) fn start(context: WriterContext) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let task = WriterTask { context, logs: Recent::new(LOGS_MAX), waiting: VecDeque::new() };
        tokio::spawn(task.run(receiver));
        Self(sender)
    }

    /// Stores a message.
    pub(super) async fn write(&self, work: Work) -> Result<Written, Fault> {
        let (answer, answered) = oneshot::channel();
        let payload = work.said.payload();
        let task = Task { work, payload, answer: Some(answer), since: Instant::now() };
        self.send(Job::Write(Box::new(task)))?;
        answered.await.map_err(|_| gone())?
    }

    /// Changes a log besides appending to it.
    pub(super) async fn update(&self, work: UpdateWork) -> Result<LogUpdated, Fault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Update { work: Box::new(work), answer })?;
        answered.await.map_err(|_| gone())?
    }

    /// Trims a log of what is too old, past its expiry, or too much.
    pub(super) async fn trim(&self, channel: &ChannelName, now: Time) -> Result<Trimmed, Fault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Trim { channel: channel.clone(), now, answer })?;
        answered.await.map_err(|_| gone())?
    }

    /// Deletes a log; none when the condition does not hold.
    pub(super) async fn delete(
        &self,
        channel: &ChannelName,
        condition: DeleteIf,
    ) -> Result<Option<Deleted>, Fault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Delete { channel: channel.clone(), condition, answer })?;
        answered.await.map_err(|_| gone())?
    }

    fn send(&self, job: Job) -> Result<(), Fault> {
        self.0.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Fault::Refused(format!("{WAITING_MAX} appends wait already"))
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }
}

fn gone() -> Fault {
    Fault::Refused("the engine was stopped".into())
}

impl Task {
    fn messages(&self) -> usize {
        self.work.channels.len() + self.work.beside_messages
    }

    fn bytes(&self) -> usize {
        self.work.channels.len() * (self.payload.len() + 200) + self.work.beside_bytes
    }

    fn answer(&mut self, result: Result<Written, Fault>) {
        if let Some(answer) = self.answer.take() {
            // Who does not wait any more does not need it.
            let _ = answer.send(result);
        }
    }

    fn is_late(&self) -> bool {
        self.since.elapsed() > Duration::from_millis(DEADLINE_MS)
    }
}

pub(super) struct WriterTask {
    pub(super) context: WriterContext,
    pub(super) logs: Recent<ChannelName, Log>,
    /// What was taken and did not fit into the last batch.
    waiting: VecDeque<Job>,
}

/// A batch that is being put together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) puts: Vec<Put>,
    /// For each message of a log its place among the puts.
    placed: Vec<(ChannelName, u64, usize)>,
    /// For each task the places that it got.
    positions: Vec<Vec<(ChannelName, Position)>>,
    pub(super) dropped: Vec<Dropped>,
    /// The logs that will not be as they are remembered if this is not stored.
    pub(super) touched: HashSet<ChannelName>,
}

impl WriterTask {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            if self.waiting.is_empty() {
                let Some(job) = jobs.recv().await else { return };
                self.waiting.push_back(job);
            }
            while self.waiting.len() < GATHER_MAX_MESSAGES
                && let Ok(job) = jobs.try_recv()
            {
                self.waiting.push_back(job);
            }
            let mut tasks = self.gather();
            if tasks.is_empty() {
                match self.waiting.pop_front() {
                    Some(Job::Trim { channel, now, answer }) => {
                        let _ = answer.send(self.trim(&channel, now).await);
                    }
                    Some(Job::Delete { channel, condition, answer }) => {
                        let _ = answer.send(self.delete(&channel, condition).await);
                    }
                    Some(Job::Update { work, answer }) => {
                        let _ = answer.send(self.update(&work).await);
                    }
                    // Appends were gathered before.
                    Some(Job::Write(_)) | None => {}
                }
                continue;
            }
            if self.context.link.alone() && self.part_singles(&mut tasks) {
                self.store_singly(tasks).await;
            } else {
                self.store(&mut tasks).await;
            }
        }
    }

    /// Whether these are better stored one by one, at the same time: a server that is alone prepares each
    /// batch on its disk, which takes as long as some dozen messages. Of several for one log only the first
    /// can go; if that is so, the others wait.
    fn part_singles(&mut self, tasks: &mut Vec<Task>) -> bool {
        let mut logs = HashSet::new();
        let firsts: Vec<bool> = tasks
            .iter()
            .map(|task| task.work.channels.first().is_some_and(|log| logs.insert(log.clone())))
            .collect();
        let single = tasks.iter().all(|task| task.messages() == 1);
        if !single || logs.len() > SINGLES_MAX || tasks.len() > logs.len() * SINGLES_ROUNDS_MAX {
            return false;
        }
        let (first, others): (Vec<_>, Vec<_>) =
            std::mem::take(tasks).into_iter().zip(firsts).partition(|(_, first)| *first);
        tasks.extend(first.into_iter().map(|(task, _)| task));
        for (task, _) in others.into_iter().rev() {
            self.waiting.push_front(Job::Write(Box::new(task)));
        }
        true
    }

    /// Stores each by itself, all at the same time.
    async fn store_singly(&mut self, mut tasks: Vec<Task>) {
        let mut ready = Vec::new();
        let seen = self.context.epochs.highest();
        if let Ok((ages, found)) = self.prepare(&mut tasks, false).await {
            for task in tasks.drain(..) {
                let mut batch = Batch::default();
                match self.add(&mut batch, &task, &ages, &found).await {
                    Ok(()) => ready.push((task, batch)),
                    Err(_) => {
                        self.forget(&batch);
                        self.store_alone(task).await;
                    }
                }
            }
        }
        let puts = ready
            .iter_mut()
            .map(|(_, batch)| self.context.link.put_all(std::mem::take(&mut batch.puts)))
            .collect();
        let stored = at_once(SINGLES_MAX, puts).await;
        for ((mut task, batch), stored) in ready.into_iter().zip(stored) {
            match stored {
                Ok(seq) => {
                    let mut one = [task];
                    if let Err(fault) = self.finish(&mut one, batch, seq, 1, seen).await {
                        one.iter_mut().for_each(|task| task.answer(Err(fault.clone())));
                    }
                }
                Err(fault) => {
                    self.forget(&batch);
                    if matches!(fault, Fault::Mismatch | Fault::Busy(_) | Fault::NoStream) {
                        self.store_alone(task).await;
                    } else {
                        task.answer(Err(fault));
                    }
                }
            }
        }
        // Those that could not even be prepared.
        for task in tasks {
            self.store_alone(task).await;
        }
    }

    /// Takes the appends from the front of those that wait, as many as fit into a batch.
    fn gather(&mut self) -> Vec<Task> {
        let (mut messages, mut bytes) = (0, 0);
        let mut once: HashSet<String> = HashSet::new();
        let mut tasks = Vec::new();
        while let Some(Job::Write(task)) = self.waiting.front() {
            messages += task.messages();
            bytes += task.bytes();
            let full = messages > GATHER_MAX_MESSAGES || bytes > GATHER_MAX_BYTES;
            // Of two with the same key the second has to see what became of the first.
            let twice = task.work.once.iter().any(|one| once.contains(&one.subject));
            if !tasks.is_empty() && (full || twice) {
                break;
            }
            once.extend(task.work.once.iter().map(|one| one.subject.clone()));
            if let Some(Job::Write(task)) = self.waiting.pop_front() {
                tasks.push(*task);
            }
        }
        tasks
    }

    /// Stores them together; or, if others write to the same logs, each by itself.
    async fn store(&mut self, tasks: &mut Vec<Task>) {
        for tries in 0..TOGETHER_TRIES {
            if tries > 1 {
                pause().await;
            }
            match self.try_store(tasks, tries > 0).await {
                Ok(()) => return,
                Err(Fault::Mismatch) => {}
                Err(Fault::Busy(_) | Fault::NoStream) => break,
                Err(fault) => {
                    tasks.iter_mut().for_each(|task| task.answer(Err(fault.clone())));
                    return;
                }
            }
        }
        for task in tasks.drain(..) {
            self.store_alone(task).await;
        }
    }

    async fn store_alone(&mut self, task: Task) {
        let mut alone = vec![task];
        loop {
            let result = self.try_store(&mut alone, true).await;
            let fault = match result {
                Ok(()) => return,
                Err(fault) => fault,
            };
            let again = matches!(fault, Fault::Mismatch | Fault::Busy(_) | Fault::NoStream);
            if !again || alone.iter().any(Task::is_late) || self.context.link.is_stopped() {
                alone.iter_mut().for_each(|task| task.answer(Err(fault.clone())));
                return;
            }
            if fault == Fault::NoStream {
                // Looking makes it anew; if it cannot, the next try says so.
                let _ = self.context.epochs.look().await;
            }
            pause().await;
        }
    }

    async fn try_store(&mut self, tasks: &mut Vec<Task>, fresh: bool) -> Result<(), Fault> {
        let (ages, found) = self.prepare(tasks, fresh).await?;
        let mut batch = Batch::default();
        for task in tasks.iter() {
            if let Err(fault) = self.add(&mut batch, task, &ages, &found).await {
                self.forget(&batch);
                return Err(fault);
            }
        }
        let seen = self.context.epochs.highest();
        let count = batch.puts.len() as u64;
        let last = match self.context.link.put_all(std::mem::take(&mut batch.puts)).await {
            Ok(last) => last,
            Err(fault) => {
                self.forget(&batch);
                return Err(fault);
            }
        };
        self.finish(tasks, batch, last, count, seen).await
    }

    /// Finds out what has to be known before, and answers those that were stored before.
    async fn prepare(
        &mut self,
        tasks: &mut Vec<Task>,
        fresh: bool,
    ) -> Result<(Ages, HashMap<String, Stored>), Fault> {
        let mut ages = self.context.epochs.sure().await?;
        let channels: Vec<&ChannelName> = tasks.iter().flat_map(|task| &task.work.channels).collect();
        let once = tasks.iter().flat_map(|task| &task.work.once).map(|one| one.subject.clone()).collect();
        let found = self.look(channels, once, fresh, &mut ages).await?;
        if !fresh && tasks.iter().any(|task| refusal(&mut self.logs, &task.work).is_some()) {
            // The log may have been deleted and made anew by another node.
            return Err(Fault::Mismatch);
        }
        tasks.retain_mut(|task| {
            let before = task
                .work
                .once
                .iter()
                .find_map(|one| found.get(&one.subject).filter(|stored| stored.seq > one.void_up_to));
            if let Some(before) = before {
                task.answer(Ok(Written::Before(before.clone())));
                return false;
            }
            if let Some(refusal) = refusal(&mut self.logs, &task.work) {
                task.answer(Err(refusal.into()));
                return false;
            }
            let unknown = deleted_users(&mut self.logs, &task.work);
            let may_go = unknown.is_empty();
            if !may_go {
                task.answer(Ok(Written::Unknown(unknown)));
            }
            may_go
        });
        Ok((ages, found))
    }

    /// It is stored: `count` messages, the last of which has the sequence `last`. Before, `seen` was the
    /// highest that was known.
    async fn finish(
        &mut self,
        tasks: &mut [Task],
        mut batch: Batch,
        last: u64,
        count: u64,
        seen: u64,
    ) -> Result<(), Fault> {
        let positions = std::mem::take(&mut batch.positions);
        self.settle_batch(batch, last, count, seen).await?;
        let epoch = self.context.epochs.now();
        for (task, mut positions) in tasks.iter_mut().zip(positions) {
            positions.iter_mut().for_each(|(_, position)| position.epoch = epoch);
            task.answer(Ok(Written::Now(positions)));
        }
        Ok(())
    }

    /// A batch is stored, as [`WriterTask::finish`] is told.
    pub(super) async fn settle_batch(
        &mut self,
        batch: Batch,
        last: u64,
        count: u64,
        seen: u64,
    ) -> Result<(), Fault> {
        if count > 0 {
            self.settle(batch.placed, batch.dropped, last + 1 - count);
            if last <= seen {
                // The stream lost what it had. What was stored now is told in the next epoch.
                self.logs.clear();
                self.context.epochs.look().await?;
            }
            self.context.epochs.seen(last);
        }
        Ok(())
    }

    /// Reads what has to be known before: the ends of the logs of these channels, and what is stored at these
    /// subjects.
    pub(super) async fn look(
        &mut self,
        channels: Vec<&ChannelName>,
        mut subjects: Vec<String>,
        fresh: bool,
        ages: &mut Ages,
    ) -> Result<HashMap<String, Stored>, Fault> {
        let mut logs: HashMap<String, ChannelName> = HashMap::new();
        let mut known: HashMap<ChannelName, u64> = HashMap::new();
        for channel in channels {
            if fresh || self.logs.get(channel).is_some_and(|log| log.is_spoiled()) {
                known.extend(self.logs.remove(channel).map(|log| (channel.clone(), log.seq)));
            }
            if self.logs.get(channel).is_none() {
                let subject = self.context.names.channel(channel);
                if logs.insert(subject.clone(), channel.clone()).is_none() {
                    subjects.push(subject);
                }
            }
        }
        if subjects.is_empty() {
            return Ok(HashMap::new());
        }
        // A log that is not there may have been there in a stream that was purged since; then the epoch is
        // not there either.
        subjects.push(self.context.names.epoch());
        let mut found = self.context.link.lasts(&self.context.names.log, &subjects, fresh).await?;
        let mut lost = found
            .remove(&self.context.names.epoch())
            .is_none_or(|stored| !self.context.epochs.is_told_by(&stored));
        for (subject, channel) in logs {
            let log = match found.remove(&subject) {
                Some(stored) => Log::found(Record::parse(&stored)?),
                None => Log::new(ages.now),
            };
            lost |= known.get(&channel).is_some_and(|seq| log.seq < *seq) || log.extent.epoch > ages.now;
            self.logs.insert(channel, log);
        }
        if lost {
            // Either the stream is behind what this node knows of it, or this node behind the others.
            self.context.epochs.look().await?;
            *ages = self.context.epochs.ages();
        }
        Ok(found)
    }

    /// Adds a message to a batch.
    async fn add(
        &mut self,
        batch: &mut Batch,
        task: &Task,
        ages: &Ages,
        found: &HashMap<String, Stored>,
    ) -> Result<(), Fault> {
        let mut positions = Vec::with_capacity(task.work.channels.len());
        for channel in &task.work.channels {
            let message = (&task.work.said, task.payload.clone());
            let offset = self.add_message(batch, channel, message, ages).await?;
            positions.push((channel.clone(), Position { epoch: ages.now, offset }));
        }
        if let Some(beside) = &task.work.beside {
            for mut put in beside(&positions) {
                if task.work.once.iter().any(|one| one.subject == put.subject) {
                    put.expect = Some(found.get(&put.subject).map_or(0, |stored| stored.seq));
                }
                batch.puts.push(put);
            }
        }
        batch.positions.push(positions);
        Ok(())
    }

    /// Adds a message for one log to a batch; its offset.
    pub(super) async fn add_message(
        &mut self,
        batch: &mut Batch,
        channel: &ChannelName,
        (said, payload): (&Said, Bytes),
        ages: &Ages,
    ) -> Result<Offset, Fault> {
        let retention = self.context.retention.of(channel);
        let Some(log) = self.logs.get(channel) else { return Err(Fault::Mismatch) };
        // Only the first message of a batch on a subject may be tied to what is there; those behind it are,
        // as the batch is stored as one.
        let expect = batch.touched.insert(channel.clone()).then_some(log.seq);
        let due = retention.due(said.time, said.expires);
        let offset = log.append(said, ages, due);
        batch.dropped.extend(log.take_note(channel));
        while retention.is_over(log.extent.messages(), log.extent.kept_bytes()) {
            if !log.knows_tail()
                && !log.read_front(&self.context.link, &self.context.names, channel, &retention).await?
            {
                break;
            }
            let leave =
                self.context.trims_itself(&retention) && log.extent.messages() > retention.max_messages;
            batch.dropped.extend(log.drop_oldest(channel, said.time, leave));
        }
        self.context.expiry_index.note(channel, log.next_due().unwrap_or(due));
        let subject = self.context.names.channel(channel);
        batch.placed.push((channel.clone(), offset, batch.puts.len()));
        batch.puts.push(record::put(subject, &log.extent, Some((said, payload)), expect));
        Ok(offset)
    }

    /// What was put together is not known to be stored.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for channel in &batch.touched {
            // What it was before is remembered only for its sequence, which nothing has changed yet.
            if let Some(log) = self.logs.get(channel) {
                log.spoil();
            }
        }
    }

    /// It is stored, from the sequence `first` on.
    fn settle(&mut self, placed: Vec<(ChannelName, u64, usize)>, mut dropped: Vec<Dropped>, first: u64) {
        let unplaced = dropped.iter().any(|gone| gone.seq == 0);
        for (channel, offset, index) in placed {
            let seq = first + index as u64;
            // A batch may drop what it brings itself.
            let same = |gone: &&mut Dropped| {
                gone.seq == 0 && gone.channel == channel && gone.place.is_some_and(|place| place.1 == offset)
            };
            if unplaced && let Some(gone) = dropped.iter_mut().find(same) {
                gone.seq = seq;
            }
            if let Some(log) = self.logs.get(&channel) {
                log.stored(offset, seq);
            }
        }
        self.context.trimmer.drop_all(dropped);
    }
}

/// Why one of the logs of a message does not take it.
fn refusal(logs: &mut Recent<ChannelName, Log>, work: &Work) -> Option<LogRefusal> {
    let at = work.said.time;
    work.channels.iter().find_map(|channel| logs.get(channel)?.extent.metadata.as_ref()?.refuses(at))
}

/// The users of a push who were deleted since they were made known for it.
fn deleted_users(logs: &mut Recent<ChannelName, Log>, work: &Work) -> Vec<UserId> {
    if work.known_anew {
        return Vec::new();
    }
    let own = work.channels.iter().filter(|channel| channel.is_own());
    let deleted = own.filter(|channel| logs.get(*channel).is_some_and(|log| log.is_deleted));
    deleted.filter_map(ChannelName::owner).collect()
}

/// Long enough for the first writer to be done, and not as long as the others that wait.
pub(super) async fn pause() {
    let chance = random().unwrap_or(0) % PAUSE_MAX_MS;
    tokio::time::sleep(Duration::from_millis(1 + chance)).await;
}
