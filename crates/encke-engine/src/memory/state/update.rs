//! Changes of single logs besides appends, and what the memory engine knows of a log besides its messages.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use encke_proto::{ChannelName, Entry, Message, MessageId, Offset, Position, Time};

use super::{Log, State, reschedule};
use crate::{
    Configure, EngineError, LogRefusal, LogStatus, LogUpdate, LogUpdated, NewMessage, Producer,
    metadata::{Metadata, Sequence, Sequences},
};

/// The most producers of all logs.
const PRODUCERS_IN_ALL_MAX: usize = 1_000_000;
/// The most logs whose producers one sweep looks at.
const FORGET_MAX_LOGS: usize = 1000;

/// A producer's sequence that is taken, with its stamp and its message.
type Sequenced = (Producer, Time, Option<(MessageId, Offset)>);

/// What is known of logs besides their messages, of those of which something is.
#[derive(Debug, Default)]
pub(super) struct MetadataTable {
    by_log: BTreeMap<ChannelName, Metadata>,
    /// How many producers they have together.
    producers: usize,
    /// Behind which log the next sweep looks for producers to forget.
    swept: Option<ChannelName>,
}

impl MetadataTable {
    pub(super) fn is_empty(&self) -> bool {
        self.by_log.is_empty()
    }

    pub(super) fn is_closed(&self, channel: &ChannelName) -> bool {
        // Asked for with every page; nearly always nothing is known of any log.
        !self.by_log.is_empty() && self.by_log.get(channel).is_some_and(|metadata| metadata.closed)
    }

    pub(super) fn touch(&mut self, channel: &ChannelName, at: Time) {
        if let Some(metadata) = self.by_log.get_mut(channel) {
            metadata.touch(at);
        }
    }

    /// When a log ends by itself.
    pub(super) fn ends(&self, channel: &ChannelName) -> Option<Time> {
        self.by_log.get(channel).and_then(Metadata::ends)
    }

    pub(super) fn remove(&mut self, channel: &ChannelName) {
        if let Some(metadata) = self.by_log.remove(channel) {
            self.producers -= metadata.producers.len();
        }
    }

    /// Forgets the producers of some logs that were not heard of for long.
    pub(super) fn forget_producers(&mut self, stamp: Time) {
        let begin = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = FORGET_MAX_LOGS;
        for (channel, metadata) in self.by_log.range_mut((begin, Bound::Unbounded)) {
            if left == 0 {
                break;
            }
            self.producers -= metadata.forget_producers(stamp);
            left -= 1;
            self.swept = Some(channel.clone());
        }
        if left > 0 {
            self.swept = None;
        }
    }

    /// Whether one more producer may be remembered for a log.
    fn check_room(&mut self, channel: &ChannelName, stamp: Time) -> Result<(), LogRefusal> {
        let Self { by_log, producers, .. } = self;
        let is_full = by_log.get_mut(channel).is_some_and(|metadata| {
            if !metadata.has_room(0, stamp) {
                return true;
            }
            *producers -= metadata.forget_producers(stamp);
            false
        });
        if is_full || *producers >= PRODUCERS_IN_ALL_MAX {
            return Err(LogRefusal::TooManyProducers);
        }
        Ok(())
    }
}

impl State {
    /// Public logs are about to be appended to: refuses if one of them is closed, or has ended and waits for
    /// the sweep, which would take the message with it.
    pub(super) fn begin_use(&mut self, channels: &[ChannelName], at: Time) -> Result<(), LogRefusal> {
        if self.metadata.is_empty() {
            return Ok(());
        }
        for channel in channels {
            if self.metadata.ends(channel).is_some_and(|end| end <= at) {
                return Err(LogRefusal::Ended);
            }
            if self.metadata.is_closed(channel) {
                return Err(LogRefusal::Closed);
            }
        }
        channels.iter().for_each(|channel| self.metadata.touch(channel, at));
        Ok(())
    }

    /// Changes a log, and adds what came into it to `entries`.
    pub(in crate::memory) fn update_log(
        &mut self,
        update: LogUpdate,
        entries: &mut Vec<Arc<Entry>>,
    ) -> Result<LogUpdated, EngineError> {
        let is_there = self.logs.contains(&update.channel);
        if self.metadata.ends(&update.channel).is_some_and(|end| end <= update.time) {
            return Err(LogRefusal::Ended.into());
        }
        if is_there && matches!(update.configure, Configure::Create(_)) || !is_there && !update.makes_log() {
            return Ok(self.told(&update.channel));
        }
        let stamp = self.keys.stamp(update.time);
        if let Some(producer) = &update.producer
            && let Sequence::Repeated(place) = self.check_producer(&update.channel, producer, stamp)?
        {
            let at = |(id, offset): (MessageId, Offset)| (id, Position { epoch: self.epoch, offset });
            let message = place.map(at);
            return Ok(LogUpdated { repeated: true, message, ..self.told(&update.channel) });
        }
        if self.metadata.is_closed(&update.channel) && update.message.is_some() {
            return Err(LogRefusal::Closed.into());
        }
        self.check_rooms(std::slice::from_ref(&update.channel), false)?;
        self.logs.get_or_begin(update.channel.clone(), |channel| Log::behind(self.floors.of(channel)));
        let LogUpdate { channel, time, configure, producer, message, close } = update;
        let message = message.map(|message| self.append_new(&channel, time, message, entries));
        let place = message.as_ref().map(|(id, position)| (id.clone(), position.offset));
        self.set_metadata(&channel, configure, close, producer.map(|producer| (producer, stamp, place)));
        self.metadata.touch(&channel, time);
        self.schedule_end(&channel);
        Ok(LogUpdated { created: !is_there, message, ..self.told(&channel) })
    }

    fn check_producer(
        &mut self,
        channel: &ChannelName,
        producer: &Producer,
        stamp: Time,
    ) -> Result<Sequence, LogRefusal> {
        let metadata = self.metadata.by_log.get(channel);
        let known = metadata.and_then(|metadata| metadata.sequences(producer.id(), stamp));
        let sequence = Sequences::check(known, producer)?;
        if known.is_none() {
            self.metadata.check_room(channel, stamp)?;
        }
        Ok(sequence)
    }

    fn append_new(
        &mut self,
        channel: &ChannelName,
        time: Time,
        message: NewMessage,
        entries: &mut Vec<Arc<Entry>>,
    ) -> (MessageId, Position) {
        let NewMessage { id, body, from, expires } = message;
        let of_log = |channel, position| Message {
            id: id.clone(),
            channel,
            position,
            time,
            body,
            from,
            expires,
            trace: None,
        };
        let (_, position) = self.append_one(channel.clone(), time, None, entries, of_log);
        (id, position)
    }

    fn set_metadata(
        &mut self,
        channel: &ChannelName,
        configure: Configure,
        close: bool,
        producer: Option<Sequenced>,
    ) {
        if configure == Configure::Keep && !close && producer.is_none() {
            return;
        }
        let metadata = self.metadata.by_log.entry(channel.clone()).or_default();
        metadata.closed |= close;
        match configure {
            Configure::Keep => {}
            Configure::Create(config) | Configure::Replace(config) => metadata.config = config,
        }
        if let Some((producer, stamp, place)) = producer {
            let known = metadata.sequences(producer.id(), stamp);
            let after = Sequences::after(known, &producer, stamp, place);
            let before = metadata.producers.insert(producer.id().clone(), after);
            self.metadata.producers += usize::from(before.is_none());
        }
    }

    /// Sees to it that the sweep looks at a log when its time is over. A time that is too early only makes
    /// the sweep look in vain.
    fn schedule_end(&mut self, channel: &ChannelName) {
        let Some(end) = self.metadata.ends(channel) else { return };
        if let Some(log) = self.logs.get_mut(channel)
            && log.due.is_none_or(|known| end < known)
        {
            reschedule(&mut self.expiry_index, channel, log, Some(end));
        }
    }

    /// What is told of a log by which nothing was done.
    fn told(&self, channel: &ChannelName) -> LogUpdated {
        let offset = self.logs.get(channel).map_or_else(|| self.floors.of(channel), Log::head);
        LogUpdated {
            created: false,
            repeated: false,
            message: None,
            head: Position { epoch: self.epoch, offset },
            closed: self.metadata.is_closed(channel),
        }
    }

    pub(in crate::memory) fn log_status(&self, channel: &ChannelName) -> Option<LogStatus> {
        let log = self.logs.get(channel)?;
        let metadata = self.metadata.by_log.get(channel);
        Some(LogStatus {
            head: Position { epoch: self.epoch, offset: log.head() },
            closed: metadata.is_some_and(|metadata| metadata.closed),
            config: metadata.map(|metadata| metadata.config.clone()).unwrap_or_default(),
            ends: metadata.and_then(Metadata::ends),
        })
    }
}
