//! Reading a page of a log. What it consists of is looked up in memory, under the lock; the bodies are then
//! read from their segments, without it.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry, Epoch, Lineage, Message, Offset, Page, Position};

use super::{
    fault::Fault,
    record::{LogId, MessageRecord, read_message_in, read_message_start, start_bytes},
    segment::{read_record, read_record_start},
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
    closed: bool,
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
            closed: false,
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
        plan.closed = state.metadata.is_closed(id);
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
            let message = match read_start(*stored, &**file)? {
                Some(message) => message,
                None => self.read_whole(*offset, *stored, &**file)?,
            };
            entries.push(Arc::new(self.entry(*offset, message)?));
        }
        let Self { epoch, tail, head, closed, .. } = self;
        Ok(Page { epoch, lineage: Lineage::default(), tail, head, closed, entries })
    }

    fn wrong(&self, offset: Offset) -> Fault {
        Fault::damaged(format!("{}: the message {offset} is not where it should be", self.channel))
    }

    fn read_whole(
        &self,
        offset: Offset,
        stored: Stored,
        file: &dyn VolumeFile,
    ) -> Result<MessageRecord, Fault> {
        let payload = read_record(file, stored.place(), stored.length())?;
        let message = read_message_in(&payload, self.log)?;
        if message.offset_in(self.log) != Some(offset) {
            return Err(self.wrong(offset));
        }
        Ok(message)
    }

    fn entry(&self, offset: Offset, message: MessageRecord) -> Result<Entry, Fault> {
        Ok(Entry::new(Message {
            id: message.id,
            channel: self.channel.clone(),
            position: Position { epoch: self.epoch, offset },
            time: message.time,
            body: message.body.ok_or_else(|| self.wrong(offset))?,
            from: message.from,
            expires: if self.cancelled.contains(&offset) { Some(CANCELLED) } else { message.expires },
            trace: message.trace,
        }))
    }
}

/// Reads a message of a push to very many users without the places of the others, which are megabytes; none
/// of one that has to be read whole.
fn read_start(stored: Stored, file: &dyn VolumeFile) -> Result<Option<MessageRecord>, Fault> {
    let (length, body_bytes) = (stored.length(), stored.body_bytes());
    let Some(bytes) = start_bytes(length, body_bytes).filter(|_| stored.is_shared()) else {
        return Ok(None);
    };
    let start = read_record_start(file, stored.place(), length, bytes)?;
    // What cannot be read so is read whole, which tells what is wrong with it.
    let message = read_message_start(&start).unwrap_or_default();
    Ok(message.filter(|message| message.body_bytes == body_bytes))
}
