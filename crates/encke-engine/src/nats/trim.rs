//! Trims a log of what is too old, past its expiry, or too much. That a log's time is over is found here too;
//! it is deleted by the sweep, as more belongs to that than the writer does.

use std::time::Duration;

use encke_proto::{ChannelName, Time};
use tokio::time::Instant;

use super::{
    fault::Fault,
    link::DEADLINE_MS,
    log::{Dropped, Log},
    record::{self, Extent, Record},
    trimmed::Trimmed,
    writer::{WriterTask, pause},
};

/// The most messages that one look at a log trims.
const TRIM_MAX_MESSAGES: usize = 2_000;

impl WriterTask {
    pub(super) async fn trim(&mut self, channel: &ChannelName, now: Time) -> Result<Trimmed, Fault> {
        let end = Instant::now() + Duration::from_millis(DEADLINE_MS);
        loop {
            match self.try_trim(channel, now).await {
                Err(Fault::Mismatch | Fault::Busy(_)) if Instant::now() < end => pause().await,
                other => return other,
            }
        }
    }

    async fn try_trim(&mut self, channel: &ChannelName, now: Time) -> Result<Trimmed, Fault> {
        let ages = self.context.epochs.sure().await?;
        let subject = self.context.names.channel(channel);
        let retention = self.context.retention.of(channel);
        if self.logs.get(channel).is_none_or(|log| log.is_spoiled()) {
            let Some(stored) = self.context.link.last(&self.context.names.log, &subject).await? else {
                return Ok(Trimmed::Due(None));
            };
            self.logs.insert(channel.clone(), Log::found(Record::parse(&stored)?));
        }
        let Some(log) = self.logs.get(channel) else { return Err(Fault::Mismatch) };
        if log.extent.ends().is_some_and(|end| end <= now) {
            return Ok(Trimmed::Ended);
        }
        let mut dropped: Vec<Dropped> =
            log.garbage(&self.context.link, &self.context.names, channel, now).await?;
        let (before, note) = (log.extent.tail, log.note());
        for _ in 0..TRIM_MAX_MESSAGES {
            if log.extent.messages() == 0
                || (!log.knows_tail()
                    && !log.read_front(&self.context.link, &self.context.names, channel, &retention).await?)
            {
                break;
            }
            let over = retention.is_over(log.extent.messages(), log.extent.kept_bytes());
            if !over && log.due().is_none_or(|due| due > now) {
                break;
            }
            dropped.extend(log.drop_oldest(channel, now, false));
        }
        let due = log.next_due();
        if log.extent.tail != before {
            dropped.extend(note.map(|seq| Dropped::note(channel, seq)));
            let extent: Extent = log.extent.clone().in_age(&ages);
            let put = record::put(subject, &extent, None, Some(log.seq));
            let stored = self.context.link.put(put).await;
            let Some(log) = self.logs.get(channel) else { return Err(Fault::Mismatch) };
            match stored {
                Ok(seq) => {
                    log.noted(extent, seq);
                    self.context.epochs.seen(seq);
                }
                Err(fault) => {
                    log.spoil();
                    return Err(fault);
                }
            }
        }
        self.context.trimmer.drop_all(dropped);
        Ok(Trimmed::Due(due))
    }
}
