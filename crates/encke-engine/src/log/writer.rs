//! The writer: the one thread that changes the store. It takes what waits, writes it as one frame, syncs
//! once, and answers all. What comes meanwhile forms the next group; no timer is involved.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use encke_proto::{ChannelName, Entry, Message, Position, Time};

use super::{
    appender::Appender,
    draft::Draft,
    fault::Fault,
    frame::Frame,
    maintenance::Maintenance,
    queue::Queue,
    record::{Record, Target},
    request::{Answer, Request, Swept},
    state::State,
    stored::Place,
};
use crate::{Append, Appended, Commits, EngineError, Feed, LogUpdate, LogUpdated, Targets, passed::Passed};

/// How many logs one sweep looks at, and how many messages of each it trims at most.
const SWEEP_MAX_LOGS: usize = 5000;
const SWEEP_MAX_MESSAGES: usize = 200;
/// How many messages the feed is handed at once.
const FEED_MAX_ENTRIES: usize = 1000;
/// How often it is tried to take back a frame that failed, when that fails, too.
const TAKE_BACK_INTERVAL: Duration = Duration::from_millis(100);
/// What has to fit for the store to be ready, in bytes.
const READY_BYTES: usize = 64 << 10;

/// What a record that frees space takes of a frame at most, in bytes.
const FREEING_BYTES: usize = 40;

/// Where a frame may go.
#[derive(Clone, Copy)]
enum Room {
    /// Into this segment, or into the next one.
    Any,
    /// Only into what is kept at the end of this one for what frees space.
    Kept,
}

/// A call that is answered when its frame is on the disk.
enum Drafted {
    Append { append: Box<Append>, appended: Appended, answer: Answer<Appended> },
    Done(Answer<()>),
    Deleted { channel: ChannelName, found: bool, answer: Answer<bool> },
    Updated { update: Box<LogUpdate>, updated: LogUpdated, answer: Answer<LogUpdated> },
    Swept { swept: Swept, answer: Answer<Swept> },
    Ended { channels: Vec<ChannelName>, answer: Answer<()> },
    Cancelled { targets: Vec<Target>, answer: Answer<usize> },
}

/// A message that was appended, and where.
type Added = (Box<Append>, Vec<(ChannelName, Position)>);

/// The thread's own things.
pub(super) struct Writer {
    queue: Arc<Queue>,
    state: Arc<RwLock<State>>,
    appender: Appender,
    maintenance: Maintenance,
    feed: Arc<dyn Feed>,
    commits: Arc<Mutex<Commits>>,
    passed: Passed,
    /// Why nothing is written any more.
    broken: Option<String>,
    /// When a frame that failed was not taken back, and why: until it is, nothing is written.
    in_doubt: Option<(Instant, EngineError)>,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        state: Arc<RwLock<State>>,
        appender: Appender,
        maintenance: Maintenance,
        feed: Arc<dyn Feed>,
        commits: Arc<Mutex<Commits>>,
    ) -> Self {
        let stamp = state.read().unwrap_or_else(PoisonError::into_inner).stamp;
        let passed = Passed::from(stamp);
        Self { queue, state, appender, maintenance, feed, commits, passed, broken: None, in_doubt: None }
    }

    /// Works until the queue was closed and is empty.
    pub(super) fn work(mut self) {
        while let Some(requests) = self.queue.take(self.broken.is_none() && self.maintenance.is_busy()) {
            match self.recover() {
                Ok(()) => self.group(requests),
                Err(error) => requests.into_iter().for_each(|request| request.refuse(error.clone())),
            }
        }
        self.appender.close();
    }

    /// Makes the end of the log right again after a frame that failed, if one did.
    fn recover(&mut self) -> Result<(), EngineError> {
        if let Some(why) = &self.broken {
            return Err(EngineError::Unavailable(why.clone()));
        }
        if let Some((since, error)) = &self.in_doubt
            && since.elapsed() < TAKE_BACK_INTERVAL
        {
            return Err(error.clone());
        }
        match self.appender.take_back() {
            Ok(()) => {
                self.in_doubt = None;
                Ok(())
            }
            Err(fault) => {
                tracing::warn!(?fault, "the log cannot be written");
                let error = EngineError::from(fault);
                self.in_doubt = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Does what waits, as one frame.
    fn group(&mut self, requests: Vec<Request>) {
        let mut draft = Draft::default();
        match self.maintenance.draft(&mut self.appender) {
            Ok(records) => draft.records = records,
            Err(fault) => self.abandon_maintenance(&fault),
        }
        let drafted = self.draft(requests, &mut draft);
        let freeing: Vec<Record> =
            draft.records.iter().filter(|record| frees_space(record)).cloned().collect();
        let (began, calls) = (Instant::now(), drafted.len() as u64);
        match self.write(draft.records, Room::Any) {
            Ok(()) => {
                self.committed(began, calls);
                self.answer(drafted);
            }
            Err(fault) => {
                tracing::warn!(?fault, calls = drafted.len(), "a group of calls was not written");
                self.maintenance.failed();
                self.mark_broken(&fault);
                let any = !freeing.is_empty();
                let freed = matches!(fault, Fault::Full(_)) && self.free_space(freeing);
                let error = EngineError::from(fault);
                drafted.into_iter().for_each(|one| match one {
                    Drafted::Swept { swept, answer } if freed => {
                        drop(answer.send(Ok(Swept { more: swept.more || any, ..swept })));
                    }
                    // If all of these did not fit, the others end with the next sweep.
                    gone @ (Drafted::Deleted { .. } | Drafted::Ended { .. }) if freed => {
                        self.answer(vec![gone]);
                    }
                    one => one.refuse(&error),
                });
            }
        }
    }

    /// A group of calls is on the disk. One of none was the store's own.
    fn committed(&self, began: Instant, calls: u64) {
        if calls > 0 {
            let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
            commits.took_us.record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            commits.sync_us.record(u64::try_from(self.appender.sync_took().as_micros()).unwrap_or(u64::MAX));
            commits.calls.record(calls);
        }
    }

    fn mark_broken(&mut self, fault: &Fault) {
        if let Fault::Broken(why) = fault {
            tracing::error!(why, "the store takes nothing until it is opened again");
            self.broken = Some(format!("the store takes nothing until it is opened again: {why}"));
        }
    }

    /// There was no space for a frame: writes as much of what frees space as fits into what is kept for it,
    /// so that segments can be removed. The rest is due again with the next sweep. Says whether it worked.
    fn free_space(&mut self, mut freeing: Vec<Record>) -> bool {
        freeing.truncate(usize::try_from(self.appender.reserve()).unwrap_or_default() / FREEING_BYTES / 2);
        if freeing.is_empty() {
            return true;
        }
        let written = self.write(freeing, Room::Kept);
        if let Err(fault) = &written {
            tracing::warn!(?fault, "there is no space for what frees space");
            self.mark_broken(fault);
        }
        written.is_ok()
    }

    fn abandon_maintenance(&mut self, fault: &Fault) {
        tracing::warn!(?fault, "a checkpoint or a compaction does not go on");
        self.maintenance.failed();
    }

    /// Makes records of calls. One that is refused is answered at once.
    fn draft(&mut self, requests: Vec<Request>, draft: &mut Draft) -> Vec<Drafted> {
        let mut drafted = Vec::with_capacity(requests.len());
        let state = Arc::clone(&self.state);
        let mut reading = state.read().unwrap_or_else(PoisonError::into_inner);
        for request in requests {
            match request {
                Request::Append(append, answer) => {
                    let stamp = if append.key.is_some() { self.passed.at(append.time) } else { Time(0) };
                    match draft.append(&reading, &append, stamp) {
                        Ok(appended) => drafted.push(Drafted::Append { append, appended, answer }),
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
                Request::Seen(user, at, answer) => match draft.seen(&reading, &user, at) {
                    Ok(()) => drafted.push(Drafted::Done(answer)),
                    Err(error) => drop(answer.send(Err(error))),
                },
                Request::Mark(marks, answer) => {
                    marks.iter().for_each(|mark| draft.mark(&reading, mark));
                    drafted.push(Drafted::Done(answer));
                }
                Request::Delete(channel, answer) => {
                    let found = draft.delete(&reading, &channel);
                    drafted.push(Drafted::Deleted { channel, found, answer });
                }
                Request::Update(update, answer) => {
                    let stamp = update.producer.as_ref().map_or(Time(0), |_| self.passed.at(update.time));
                    match draft.update(&reading, &update, stamp) {
                        Ok(updated) => drafted.push(Drafted::Updated { update, updated, answer }),
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
                Request::End(mut channels, now, answer) => {
                    channels.retain(|channel| draft.end(&reading, channel, now));
                    drafted.push(Drafted::Ended { channels, answer });
                }
                Request::Cancel(push, at, answer) => {
                    let targets = draft.cancel(&reading, &push, at);
                    drafted.push(Drafted::Cancelled { targets, answer });
                }
                Request::Sweep(now, answer) => {
                    drop(reading);
                    let swept = self.sweep(now, draft);
                    drafted.push(Drafted::Swept { swept, answer });
                    reading = state.read().unwrap_or_else(PoisonError::into_inner);
                }
                Request::Retain(table, answer) => {
                    if reading.rules != *table {
                        draft.records.push(Record::Rules(*table));
                    }
                    drafted.push(Drafted::Done(answer));
                }
                Request::Ready(answer) => {
                    drop(reading);
                    match self.make_room(READY_BYTES) {
                        Ok(()) => drafted.push(Drafted::Done(answer)),
                        Err(fault) => drop(answer.send(Err(fault.into()))),
                    }
                    reading = state.read().unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        drafted
    }

    fn sweep(&mut self, now: Time, draft: &mut Draft) -> Swept {
        let stamp = self.passed.at(now);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let more_keys = state.keys.forget_some(stamp);
        state.stamp = state.stamp.max(stamp);
        state.metadata.forget_producers(stamp);
        let due = state.take_due(now, SWEEP_MAX_LOGS, SWEEP_MAX_MESSAGES);
        drop(state);
        let trimmed = due.trimmed_to.into_iter();
        draft.records.extend(trimmed.map(|(log, tail)| Record::Trim { log, tail, at: now }));
        self.maintenance.look();
        Swept { more: due.more || more_keys, ended: due.ended }
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.appender.is_full_for(bytes) && !self.appender.grow(bytes)? {
            self.maintenance.roll(&mut self.appender, bytes)?;
        }
        Ok(())
    }

    /// Writes records as one frame, and makes them true once they are on the disk.
    fn write(&mut self, records: Vec<Record>, room: Room) -> Result<(), Fault> {
        let mut frame = Frame::new();
        let places: Vec<(usize, usize)> =
            records.iter().map(|record| frame.add(|out| record.encode(out))).collect();
        if frame.is_empty() {
            self.maintenance.written(0);
            return Ok(());
        }
        let bytes = frame.length();
        match room {
            Room::Any => self.make_room(bytes)?,
            Room::Kept if self.appender.is_full_to_the_end_for(bytes) => {
                return Err(Fault::Full("nothing is left of what is kept for trims".into()));
            }
            Room::Kept => {}
        }
        let base = self.appender.write(frame)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = state.segments.get_mut(&base.segment) {
            segment.end = self.appender.end();
        }
        for (record, (at, length)) in records.into_iter().zip(places) {
            if record.is_checkpoint() {
                match record {
                    Record::Keys(image) => state.record_stamp(image.now),
                    Record::Rules(rules) if rules != state.rules => state.set_rules(rules),
                    _ => {}
                }
                continue;
            }
            let place = Place { segment: base.segment, at: base.at + at as u32 };
            // What is drafted fits the state, so this fails only by a mistake; then nothing may follow it.
            state.apply(record, place, length as u32).map_err(|fault| Fault::Broken(format!("{fault:?}")))?;
        }
        drop(state);
        self.maintenance.written(bytes as u64);
        Ok(())
    }

    /// Answers all callers, then tells the feed.
    fn answer(&self, drafted: Vec<Drafted>) {
        // Logs that have ended or are closed, and what was taken back of logs: receivers look for themselves.
        let (mut added, mut behind, mut retracted) = (Vec::new(), Vec::new(), Vec::new());
        let mut cancelled = Vec::new();
        for one in drafted {
            match one {
                Drafted::Append { append, appended, answer } => {
                    if !appended.repeated {
                        added.push((append, appended.positions.clone()));
                    }
                    // A caller that has gone away finds by its key what became of it.
                    drop(answer.send(Ok(appended)));
                }
                Drafted::Done(answer) => drop(answer.send(Ok(()))),
                Drafted::Deleted { channel, found, answer } => {
                    retracted.extend(found.then_some(channel));
                    drop(answer.send(Ok(found)));
                }
                Drafted::Updated { update, updated, answer } => {
                    behind.extend(update.close.then(|| update.channel.clone()));
                    let position = updated.message.as_ref().filter(|_| !updated.repeated);
                    if let (Some(new), Some((_, position))) = (update.message, position) {
                        let (id, body, from, expires) = (new.id, new.body, new.from, new.expires);
                        let append = Append {
                            id,
                            key: None,
                            targets: Targets::Channels(Vec::new()),
                            body,
                            from,
                            time: update.time,
                            expires,
                            trace: None,
                        };
                        added.push((Box::new(append), vec![(update.channel, *position)]));
                    }
                    drop(answer.send(Ok(updated)));
                }
                Drafted::Swept { swept, answer } => drop(answer.send(Ok(swept))),
                Drafted::Ended { channels, answer } => {
                    behind.extend(channels);
                    drop(answer.send(Ok(())));
                }
                Drafted::Cancelled { targets, answer } => {
                    drop(answer.send(Ok(targets.len())));
                    cancelled.extend(targets);
                }
            }
        }
        self.tell_added(added);
        if !behind.is_empty() {
            feed(|| self.feed.behind(&behind));
        }
        if !retracted.is_empty() {
            feed(|| self.feed.retracted(&retracted));
        }
        if !cancelled.is_empty() {
            let channels = self.names(&cancelled);
            feed(|| self.feed.retracted(&channels));
        }
    }

    /// Tells the feed of messages, a bounded number in one call.
    fn tell_added(&self, added: Vec<Added>) {
        let mut entries = Vec::new();
        for (append, positions) in added {
            for (channel, position) in positions {
                entries.push(Arc::new(Entry::new(Message {
                    id: append.id.clone(),
                    channel,
                    position,
                    time: append.time,
                    body: append.body.clone(),
                    from: append.from.clone(),
                    expires: append.expires,
                    trace: append.trace.clone(),
                })));
                if entries.len() == FEED_MAX_ENTRIES {
                    self.tell(&entries);
                    entries.clear();
                }
            }
        }
        if !entries.is_empty() {
            self.tell(&entries);
        }
    }

    /// The names of the logs of targets.
    fn names(&self, targets: &[Target]) -> Vec<ChannelName> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        targets.iter().filter_map(|target| Some(state.log(target.log)?.name.clone())).collect()
    }

    fn tell(&self, entries: &[Arc<Entry>]) {
        feed(|| self.feed.appended(entries));
    }
}

/// Tells what listens. It may fail; the log goes on, and the hole is found by the offsets.
fn feed(tell: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(tell)).is_err() {
        tracing::error!("the feed panicked");
    }
}

/// Whether a record lets segments be removed: it trims, deletes, or says that their keys are too old to be
/// missed.
fn frees_space(record: &Record) -> bool {
    match record {
        Record::Trim { .. } | Record::Deleted(_) => true,
        Record::Keys(image) => image.keys.is_empty(),
        _ => false,
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Reached in a panic too: no caller may wait for a thread that is no more.
        self.queue.close();
        self.queue.clear();
    }
}

impl Drafted {
    fn refuse(self, error: &EngineError) {
        match self {
            Self::Append { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Done(answer) => drop(answer.send(Err(error.clone()))),
            Self::Updated { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Deleted { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Swept { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Ended { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Cancelled { answer, .. } => drop(answer.send(Err(error.clone()))),
        }
    }
}
