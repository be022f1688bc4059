//! Changes of single logs besides appends. What a log is set to stands in its own messages, how far a
//! producer has come on a subject of its own; a change is one batch of both, on condition that neither has
//! changed.

use std::time::Duration;

use encke_proto::{ChannelName, MessageId, Offset, Position, Time};
use tokio::time::Instant;

use super::{
    epoch::Ages,
    fault::Fault,
    link::DEADLINE_MS,
    log_metadata::LogMetadata,
    produced::Produced,
    record::{self, Record, Said},
    store::Store,
    stored::Stored,
    update_work::UpdateWork,
    writer::{Batch, WriterTask, pause},
};
use crate::{
    Configure, LogRefusal, LogStatus, LogUpdate, LogUpdated, PRODUCERS_MAX, Producer,
    metadata::{Sequence, Sequences},
};

/// What is stored of the producer of a change.
struct ProducerFound {
    subject: String,
    /// The sequence of what is stored; 0 for nothing.
    seq: u64,
    sequences: Option<Sequences>,
}

impl WriterTask {
    pub(super) async fn update(&mut self, work: &UpdateWork) -> Result<LogUpdated, Fault> {
        let end = Instant::now() + Duration::from_millis(DEADLINE_MS);
        loop {
            let fault = match self.try_update(work).await {
                Err(fault @ (Fault::Mismatch | Fault::Busy(_) | Fault::NoStream)) if Instant::now() < end => {
                    fault
                }
                other => return other,
            };
            if fault == Fault::NoStream {
                // Looking makes it anew; if it cannot, the next try says so.
                let _ = self.context.epochs.look().await;
            }
            pause().await;
        }
    }

    async fn try_update(&mut self, work: &UpdateWork) -> Result<LogUpdated, Fault> {
        let UpdateWork { update, void_up_to } = work;
        let mut ages = self.context.epochs.sure().await?;
        let names = &self.context.names;
        let producer =
            update.producer.as_ref().map(|producer| names.producer(&update.channel, producer.id()));
        let subjects = producer.clone().into_iter().collect();
        let found = self.look(vec![&update.channel], subjects, true, &mut ages).await?;
        let Some(log) = self.logs.get(&update.channel) else { return Err(Fault::Mismatch) };
        let (is_there, metadata) = (log.is_there(), log.extent.metadata.clone());
        let told = LogUpdated {
            created: false,
            repeated: false,
            message: None,
            head: Position { epoch: ages.now, offset: log.extent.head },
            closed: log.extent.is_closed(),
        };
        if metadata.as_ref().is_some_and(|known| known.refuses(update.time) == Some(LogRefusal::Ended)) {
            return Err(LogRefusal::Ended.into());
        }
        if is_there && matches!(update.configure, Configure::Create(_)) || !is_there && !update.makes_log() {
            return Ok(told);
        }
        let since = metadata.as_ref().map_or(told.head.offset, |known| known.since);
        let mut producer_found = None;
        if let (Some(producer), Some(subject)) = (&update.producer, producer) {
            let known = ProducerFound::of(found.get(&subject), subject, *void_up_to, since)?;
            if let Sequence::Repeated(place) = Sequences::check(known.sequences.as_ref(), producer)? {
                let at = |(id, offset): (MessageId, Offset)| (id, Position { epoch: ages.now, offset });
                return Ok(LogUpdated { repeated: true, message: place.map(at), ..told });
            }
            if known.sequences.is_none() {
                self.check_room(&update.channel, *void_up_to, since).await?;
            }
            producer_found = Some((producer, known));
        }
        if told.closed && update.message.is_some() {
            return Err(LogRefusal::Closed.into());
        }
        let is_touched = metadata.as_ref().is_some_and(|known| known.is_moved_by(update.time));
        let is_set = update.configure != Configure::Keep || update.close && !told.closed;
        if !is_set && !is_touched && producer_found.is_none() && update.message.is_none() {
            return Ok(told);
        }
        let (message, head) = self.store_update(update, producer_found, &ages).await?;
        let closed = told.closed || update.close;
        Ok(LogUpdated { created: !is_there, repeated: false, message, head, closed })
    }

    /// Stores a change that is to be done; its message's place, and the head of the log.
    async fn store_update(
        &mut self,
        update: &LogUpdate,
        producer: Option<(&Producer, ProducerFound)>,
        ages: &Ages,
    ) -> Result<(Option<(MessageId, Position)>, Position), Fault> {
        let mut batch = Batch::default();
        let added = self.add_update(&mut batch, update, producer, ages).await;
        let seen = self.context.epochs.highest();
        let count = batch.puts.len() as u64;
        let stored = match added {
            Ok(added) => {
                self.context.link.put_all(std::mem::take(&mut batch.puts)).await.map(|last| (added, last))
            }
            Err(fault) => Err(fault),
        };
        let (offset, last) = match stored {
            Ok(stored) => stored,
            Err(fault) => {
                self.forget(&batch);
                return Err(fault);
            }
        };
        if update.message.is_none()
            && let Some(log) = self.logs.get(&update.channel)
        {
            // The note of the log is the first of the batch.
            let extent = log.extent.clone();
            log.noted(extent, last + 1 - count);
        }
        self.settle_batch(batch, last, count, seen).await?;
        let at = |offset| Position { epoch: self.context.epochs.now(), offset };
        Ok((update.message.as_ref().map(|message| (message.id.clone(), at(offset))), at(offset)))
    }

    /// Adds a change to a batch: its message, or a note, and how far its producer has come then. Returns the
    /// head of the log behind it.
    async fn add_update(
        &mut self,
        batch: &mut Batch,
        update: &LogUpdate,
        producer: Option<(&Producer, ProducerFound)>,
        ages: &Ages,
    ) -> Result<Offset, Fault> {
        let channel = &update.channel;
        let Some(log) = self.logs.get(channel) else { return Err(Fault::Mismatch) };
        log.extent = log.extent.clone().in_age(ages);
        if update.configure != Configure::Keep || update.close || producer.is_some() {
            let head = log.extent.head;
            log.extent.metadata.get_or_insert_with(|| Box::new(LogMetadata::begun(head, update.time)));
        }
        if let Some(metadata) = &mut log.extent.metadata {
            metadata.configure(&update.configure);
            metadata.closed |= update.close;
            metadata.touch(update.time);
        }
        let offset = match &update.message {
            Some(message) => {
                let said = Said {
                    id: message.id.clone(),
                    time: update.time,
                    expires: message.expires,
                    from: message.from.clone(),
                    trace: None,
                    body: message.body.clone(),
                };
                let payload = said.payload();
                self.add_message(batch, channel, (&said, payload), ages).await?
            }
            None => {
                let expect = batch.touched.insert(channel.clone()).then_some(log.seq);
                batch.dropped.extend(log.take_note(channel));
                if let Some(due) = log.next_due() {
                    self.context.expiry_index.note(channel, due);
                }
                let subject = self.context.names.channel(channel);
                batch.puts.push(record::put(subject, &log.extent, None, expect));
                log.extent.head
            }
        };
        if let Some((producer, found)) = producer {
            let place = update.message.as_ref().map(|message| (message.id.clone(), offset));
            let produced = Produced::after(found.sequences.as_ref(), producer, place, offset);
            batch.puts.push(produced.put(found.subject, found.seq));
        }
        Ok(offset)
    }

    /// Whether one more producer may be remembered for a log. Those that are too old are forgotten for it.
    async fn check_room(
        &mut self,
        channel: &ChannelName,
        void_up_to: u64,
        since: Offset,
    ) -> Result<(), Fault> {
        let (link, names) = (&self.context.link, &self.context.names);
        let subjects = link.subjects(&names.log, &names.producers(channel), None, PRODUCERS_MAX).await?;
        if subjects.len() < PRODUCERS_MAX {
            return Ok(());
        }
        let found = link.lasts(&names.log, &subjects, true).await?;
        let mut has_room = false;
        for (subject, stored) in found {
            let seq = stored.seq;
            let known = ProducerFound::of(Some(&stored), subject, void_up_to, since)?;
            if known.sequences.is_none() {
                link.delete(&names.log, seq).await?;
                has_room = true;
            }
        }
        if has_room { Ok(()) } else { Err(LogRefusal::TooManyProducers.into()) }
    }
}

impl ProducerFound {
    fn of(stored: Option<&Stored>, subject: String, void_up_to: u64, since: Offset) -> Result<Self, Fault> {
        let Some(stored) = stored else { return Ok(Self { subject, seq: 0, sequences: None }) };
        let produced = if stored.seq > void_up_to { Produced::parse(stored, since)? } else { None };
        Ok(Self { subject, seq: stored.seq, sequences: produced.map(|produced| produced.sequences()) })
    }
}

impl Store {
    /// Changes a log.
    pub(super) async fn update(&self, update: LogUpdate) -> Result<LogUpdated, Fault> {
        let void_up_to = self.producers.void_up_to(self.epochs.now());
        self.writer.update(UpdateWork { update, void_up_to }).await
    }

    /// Where a public channel's log stands, and what it is set to; none when there is no log.
    pub(super) async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, Fault> {
        self.epochs.sure().await?;
        let Some(stored) = self.link.last(&self.names.log, &self.names.channel(channel)).await? else {
            return Ok(None);
        };
        let last = Record::parse(&stored)?;
        if last.deletes {
            return Ok(None);
        }
        let extent = self.head_of(last).await?.extent;
        let config = extent.metadata.as_ref().map(|metadata| metadata.config.clone()).unwrap_or_default();
        Ok(Some(LogStatus {
            head: Position { epoch: extent.epoch, offset: extent.head },
            closed: extent.is_closed(),
            config,
            ends: extent.ends(),
        }))
    }

    /// Those of some channels whose logs take no appends at this time, each with the reason.
    pub(super) async fn refusing(
        &self,
        channels: &[ChannelName],
        at: Time,
    ) -> Result<Vec<(ChannelName, LogRefusal)>, Fault> {
        // Nothing but its messages is ever known of a user's own channel.
        let public: Vec<&ChannelName> = channels.iter().filter(|channel| !channel.is_own()).collect();
        let subjects: Vec<String> = public.iter().map(|channel| self.names.channel(channel)).collect();
        let found = self.link.lasts(&self.names.log, &subjects, true).await?;
        let mut refusing = Vec::new();
        for (channel, subject) in public.into_iter().zip(&subjects) {
            let Some(stored) = found.get(subject) else { continue };
            let metadata = Record::parse(stored)?.extent.metadata;
            if let Some(refusal) = metadata.and_then(|metadata| metadata.refuses(at)) {
                refusing.push((channel.clone(), refusal));
            }
        }
        Ok(refusing)
    }
}
