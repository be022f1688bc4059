//! What is known of logs besides their messages, of those of which something is. It changes only by records
//! that are on the disk, like all of the state.

use std::{collections::BTreeMap, ops::Bound};

use encke_proto::Time;

use super::record::{Configured, LogId, Produced, Record};
use crate::{
    LogRefusal,
    metadata::{Metadata, Sequences},
};

/// The most producers of all logs. Each takes some 500 bytes.
pub(super) const PRODUCERS_IN_ALL_MAX: usize = 1_000_000;
/// The most logs whose producers one sweep looks at.
const FORGET_MAX_LOGS: usize = 1000;
/// What a producer takes of a checkpoint, in bytes, roughly.
const PRODUCER_BYTES: usize = 256;

/// The metadata of logs, by log.
#[derive(Debug, Default)]
pub(super) struct MetadataTable {
    by_log: BTreeMap<LogId, Metadata>,
    /// How many producers they have together.
    producers: usize,
    /// From which log on the next sweep looks for producers to forget.
    next: LogId,
}

impl MetadataTable {
    pub(super) fn is_empty(&self) -> bool {
        self.by_log.is_empty()
    }

    pub(super) fn get(&self, log: LogId) -> Option<&Metadata> {
        // Asked for with every page; nearly always nothing is known of any log.
        if self.by_log.is_empty() { None } else { self.by_log.get(&log) }
    }

    pub(super) fn is_closed(&self, log: LogId) -> bool {
        self.get(log).is_some_and(|metadata| metadata.closed)
    }

    /// When a log ends by itself.
    pub(super) fn ends(&self, log: LogId) -> Option<Time> {
        self.get(log).and_then(Metadata::ends)
    }

    pub(super) fn touch(&mut self, log: LogId, at: Time) {
        if let Some(metadata) = self.by_log.get_mut(&log) {
            metadata.touch(at);
        }
    }

    pub(super) fn close(&mut self, log: LogId) {
        self.by_log.entry(log).or_default().closed = true;
    }

    pub(super) fn configure(&mut self, configured: Configured) {
        let metadata = self.by_log.entry(configured.log).or_default();
        metadata.config = configured.config;
        metadata.touch(configured.touched);
    }

    pub(super) fn produced(&mut self, produced: Produced) {
        let Produced { log, producer, stamp, place } = produced;
        let metadata = self.by_log.entry(log).or_default();
        let known = metadata.producers.get(producer.id());
        if known.is_some_and(|known| known.has(&producer))
            && metadata.sequences(producer.id(), stamp).is_some()
        {
            return;
        }
        let known = metadata.sequences(producer.id(), stamp);
        let after = Sequences::after(known, &producer, stamp, place);
        let before = metadata.producers.insert(producer.id().clone(), after);
        self.producers += usize::from(before.is_none());
    }

    pub(super) fn remove(&mut self, log: LogId) {
        if let Some(metadata) = self.by_log.remove(&log) {
            self.producers -= metadata.producers.len();
        }
    }

    /// Whether one more producer may be remembered for a log. Of the log `drafted`, and of all `in_all`, are
    /// on their way already.
    pub(super) fn check_room(
        &self,
        log: LogId,
        (drafted, in_all): (usize, usize),
        stamp: Time,
    ) -> Result<(), LogRefusal> {
        let has_room = self.get(log).is_none_or(|metadata| metadata.has_room(drafted, stamp));
        if !has_room || drafted >= crate::PRODUCERS_MAX || self.producers + in_all >= PRODUCERS_IN_ALL_MAX {
            return Err(LogRefusal::TooManyProducers);
        }
        Ok(())
    }

    /// Forgets the producers of some logs that were not heard of for long. Nothing is written for that: they
    /// are as old after a replay.
    pub(super) fn forget_producers(&mut self, stamp: Time) {
        let logs = self.by_log.range_mut((Bound::Included(self.next), Bound::Unbounded));
        let mut next = 0;
        for (at, (log, metadata)) in logs.enumerate() {
            if at == FORGET_MAX_LOGS {
                next = *log;
                break;
            }
            self.producers -= metadata.forget_producers(stamp);
        }
        self.next = next;
    }

    /// Adds to a checkpoint what is known of a log, and says how many bytes that takes, roughly.
    pub(super) fn image(&self, log: LogId, records: &mut Vec<Record>) -> usize {
        let Some(metadata) = self.get(log) else { return 0 };
        if metadata.closed {
            records.push(Record::Closed { log });
        }
        let (config, touched) = (metadata.config.clone(), metadata.touched);
        records.push(Record::Configured(Configured { log, config, touched }));
        for (id, sequences) in &metadata.producers {
            let each = sequences.each(id);
            let produced = each
                .map(|(producer, stamp, place)| Record::Produced(Produced { log, producer, stamp, place }));
            records.extend(produced);
        }
        metadata.config.content_type().map_or(0, str::len) + metadata.producers.len() * PRODUCER_BYTES
    }
}
