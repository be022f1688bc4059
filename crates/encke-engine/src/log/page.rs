//! Reading a page of a log. What it consists of is looked up in memory, under the lock; the bodies are then
//! read from their segments, without it.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry, Epoch, Lineage, Message, Offset, Page, Position};

use super::{
    fault::Fault,
    record::{LogId, read_message_in},
    segment::read_record,
    state::State,
    stored::Stored,
    volume::VolumeFile,
};
use crate::{CANCELLED, PageLimit, ReadFrom};

/// A page of which the bodies are still to be read.
pub(super) struct PagePlan {
    epoch: Epoch,
    tail: Offset,
    head: Offset,
    channel: ChannelName,
    log: LogId,
    wanted: Vec<(Offset, Stored, Arc<dyn VolumeFile>)>,
    /// Where messages were cancelled.
    cancelled: Vec<Offset>,
}

impl PagePlan {
    pub(super) fn new(
        state: &State,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Self, Fault> {
        let mut plan = Self {
            epoch: state.epoch,
            tail: 1,
            head: 0,
            channel: channel.clone(),
            log: 0,
            wanted: Vec::new(),
            cancelled: Vec::new(),
        };
        plan.head = state.floors.of(channel);
        plan.tail = plan.head + 1;
        let Some(id) = state.find(channel) else { return Ok(plan) };
        let Some(log) = state.log(id) else { return Ok(plan) };
        (plan.log, plan.tail, plan.head) = (id, log.tail(), log.head());
        let offsets: &mut dyn Iterator<Item = Offset> = match from {
            ReadFrom::Head => return Ok(plan),
            ReadFrom::After(after) => &mut (after.saturating_add(1).max(plan.tail)..=plan.head),
            ReadFrom::Before(before) => &mut (plan.tail..before.min(plan.head + 1)).rev(),
        };
        plan.cancelled.extend(log.cancelled());
        let mut bytes = 0_u64;
        for offset in offsets {
            let Some(stored) = log.get(offset) else { break };
            bytes += u64::from(stored.body_bytes());
            let full = plan.wanted.len() >= limit.messages || bytes > limit.bytes as u64;
            if full && !plan.wanted.is_empty() {
                break;
            }
            let place = stored.place();
            let missing = || Fault::damaged(format!("segment {} is missing", place.segment));
            let segment = state.segments.get(&place.segment).ok_or_else(missing)?;
            plan.wanted.push((offset, stored, Arc::clone(&segment.file)));
        }
        if matches!(from, ReadFrom::Before(_)) {
            plan.wanted.reverse();
        }
        Ok(plan)
    }

    /// Whether nothing has to be read.
    pub(super) fn is_ready(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Reads the bodies. One that is damaged is told, and nothing is served in its place.
    pub(super) fn read(self) -> Result<Page, Fault> {
        let mut entries = Vec::with_capacity(self.wanted.len());
        for (offset, stored, file) in &self.wanted {
            let payload = read_record(&**file, stored.place(), stored.length())?;
            entries.push(Arc::new(self.entry(*offset, &payload)?));
        }
        Ok(Page { epoch: self.epoch, lineage: Lineage::default(), tail: self.tail, head: self.head, entries })
    }

    fn entry(&self, offset: Offset, payload: &[u8]) -> Result<Entry, Fault> {
        let wrong =
            || Fault::damaged(format!("{}: the message {offset} is not where it should be", self.channel));
        let message = read_message_in(payload, self.log)?;
        if message.offset_in(self.log) != Some(offset) {
            return Err(wrong());
        }
        Ok(Entry::new(Message {
            id: message.id,
            channel: self.channel.clone(),
            position: Position { epoch: self.epoch, offset },
            time: message.time,
            body: message.body.ok_or_else(wrong)?,
            from: message.from,
            expires: if self.cancelled.contains(&offset) { Some(CANCELLED) } else { message.expires },
        }))
    }
}
