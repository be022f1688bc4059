//! Reads pages of a log. A message's offset says nothing of its sequence, so the place to read from is
//! searched for between the log's ends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use encke_proto::{ChannelName, Entry, Offset};
use tokio::time::Instant;

use super::{
    fault::Fault,
    link::DEADLINE_MS,
    record::{Extent, Record, Spot},
    store::{Head, Store},
};
use crate::{Page, PageLimit, ReadFrom, append::body_bytes};

/// The most messages, and about the most bytes, that one question asks for.
const ASK_MAX_MESSAGES: usize = 256;
const ASK_MAX_BYTES: usize = 1 << 20;
/// How far before the wanted message the search may end: it costs less to read past these than to ask once
/// more.
const NEAR_OFFSETS: u64 = 16;
/// The most questions of a search; halving 64 bits takes no more.
const PROBES_MAX: usize = 64;
/// How long to wait before a replica that is behind is asked again, in milliseconds.
const BEHIND_PAUSE_MS: u64 = 5;
/// After how many of these the log is looked at by the writer, which finds a beginning that is gone.
const BEHIND_TRIES: usize = 40;

impl Store {
    /// A page of a log.
    pub(super) async fn page(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, Fault> {
        let end = Instant::now() + Duration::from_millis(DEADLINE_MS);
        let (mut trimmed, mut tries) = (false, 0);
        loop {
            let head = self.head(channel).await?;
            let entries = match from {
                ReadFrom::Head => Some(Vec::new()),
                ReadFrom::After(offset) => self.forwards(channel, &head, offset, limit).await?,
                ReadFrom::Before(offset) => self.backwards(channel, &head, offset, limit).await?,
            };
            let Some(entries) = entries else {
                // Either the log was trimmed meanwhile, or a replica that is behind has answered.
                if Instant::now() > end {
                    return Err(Fault::Unknown("the replicas of the log do not agree in time".into()));
                }
                tries += 1;
                if tries == BEHIND_TRIES {
                    self.writer.trim(channel, self.told()).await?;
                }
                tokio::time::sleep(Duration::from_millis(BEHIND_PAUSE_MS)).await;
                continue;
            };
            if !trimmed && self.begins_too_old(channel, &head.extent, &entries) {
                trimmed = true;
                self.writer.trim(channel, self.told()).await?;
                continue;
            }
            let entries = self.with_cancelled(channel, &head.extent, entries).await?;
            let (lineage, closed) = (head.extent.lineage(), head.extent.is_closed());
            let Extent { epoch, head: newest, tail, .. } = head.extent;
            return Ok(Page { epoch, lineage, tail, head: newest, closed, entries });
        }
    }

    /// Whether the log's oldest message should have been trimmed by the sweep, which did not know of it.
    fn begins_too_old(&self, channel: &ChannelName, extent: &Extent, entries: &[Arc<Entry>]) -> bool {
        let oldest = entries
            .first()
            .map(|entry| entry.message())
            .filter(|oldest| oldest.position.offset == extent.tail);
        !self.expiry_index.knows(channel)
            && oldest.is_some_and(|oldest| {
                self.retention.of(channel).due(oldest.time, oldest.expires) <= self.told()
            })
    }

    async fn forwards(
        &self,
        channel: &ChannelName,
        head: &Head,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Option<Vec<Arc<Entry>>>, Fault> {
        let extent = &head.extent;
        let first = after.saturating_add(1).max(extent.tail);
        if after >= extent.head || first > extent.head {
            return Ok(Some(Vec::new()));
        }
        let count = limit.messages.max(1);
        let mut from = self.locate(channel, head, first).await?;
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, first);
        loop {
            let left = usize::try_from(extent.head + 1 - next).unwrap_or(usize::MAX);
            let wanted = (count - entries.len()).min(left).min(ASK_MAX_MESSAGES);
            // A little more than is wanted: notes and what lies before the place are among them.
            let page = self.ask(channel, from, wanted + NEAR_OFFSETS as usize).await?;
            let Some(last) = page.last() else { return Ok(None) };
            from = last.seq + 1;
            for record in &page {
                let offset = record.extent.head;
                if record.said.is_none() || offset < next {
                    continue;
                }
                let Some(entry) = record.entry(channel, extent.epoch).filter(|_| offset == next) else {
                    return Ok(None);
                };
                bytes += body_bytes(&entry.message().body);
                if !entries.is_empty() && (entries.len() >= count || bytes > limit.bytes as u64) {
                    return Ok(Some(entries));
                }
                entries.push(entry);
                next += 1;
                if next > extent.head || entries.len() >= count {
                    return Ok(Some(entries));
                }
            }
        }
    }

    async fn backwards(
        &self,
        channel: &ChannelName,
        head: &Head,
        before: Offset,
        limit: PageLimit,
    ) -> Result<Option<Vec<Arc<Entry>>>, Fault> {
        let extent = &head.extent;
        let mut last = before.saturating_sub(1).min(extent.head);
        let mut taken: VecDeque<Arc<Entry>> = VecDeque::new();
        let mut bytes = 0;
        let count = limit.messages.max(1);
        while last >= extent.tail && last > 0 && taken.len() < count {
            let wanted = (count - taken.len()).min(ASK_MAX_MESSAGES) as u64;
            let first = (last + 1).saturating_sub(wanted).max(extent.tail);
            let some =
                PageLimit { messages: usize::try_from(last + 1 - first).unwrap_or(1), bytes: usize::MAX };
            let Some(page) = self.forwards(channel, head, first - 1, some).await? else { return Ok(None) };
            for entry in page.into_iter().rev() {
                bytes += body_bytes(&entry.message().body);
                if !taken.is_empty() && bytes > limit.bytes as u64 {
                    return Ok(Some(taken.into()));
                }
                taken.push_front(entry);
            }
            last = first - 1;
        }
        Ok(Some(taken.into()))
    }

    /// A sequence from which on the message at `wanted` comes soon, but not before it.
    async fn locate(&self, channel: &ChannelName, head: &Head, wanted: Offset) -> Result<u64, Fault> {
        let mut high = Spot { offset: head.extent.head, seq: head.seq };
        match head.extent.back {
            Some(back) if back.offset <= wanted => return Ok(back.seq),
            Some(back) => high = back,
            None => {}
        }
        let Some(mut low) = self.probe(channel, 0).await? else { return Ok(0) };
        for probe in 0..PROBES_MAX {
            if low.offset + NEAR_OFFSETS >= wanted || high.seq <= low.seq + 1 {
                break;
            }
            // Where it would be if all messages came at the same pace; every other time the middle, so that
            // an uneven pace cannot draw out the search.
            let span = high.seq - low.seq;
            let share = (wanted - low.offset) as f64 / (high.offset - low.offset).max(1) as f64;
            let guess = if probe % 2 == 0 { ((span as f64) * share) as u64 } else { span / 2 };
            let at = low.seq + guess.clamp(1, span - 1);
            match self.probe(channel, at).await? {
                Some(spot) if spot.offset <= wanted && spot.seq < high.seq => low = spot,
                Some(spot) => high = Spot { offset: spot.offset.min(high.offset), seq: at },
                None => high = Spot { offset: high.offset, seq: at },
            }
        }
        Ok(low.seq)
    }

    /// The first message of a log that has at least this sequence.
    async fn probe(&self, channel: &ChannelName, seq: u64) -> Result<Option<Spot>, Fault> {
        let found = self.ask(channel, seq, 1).await?;
        // A note stands behind the message whose offset it has, so it is before the next one.
        let spot = |record: &Record| Spot {
            offset: record.extent.head + u64::from(record.said.is_none()),
            seq: record.seq,
        };
        Ok(found.first().map(spot))
    }

    async fn ask(&self, channel: &ChannelName, from: u64, count: usize) -> Result<Vec<Record>, Fault> {
        let page =
            self.link.next(&self.names.log, &self.names.channel(channel), from, count, ASK_MAX_BYTES).await?;
        page.iter().map(Record::parse).collect()
    }
}
