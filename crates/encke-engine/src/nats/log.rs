//! What the writer remembers of one log: its extent, its last sequence and its oldest messages. It is a
//! cache; the truth is in the stream, from which it is read again when it may be wrong.

use std::collections::VecDeque;

use encke_proto::{ChannelName, Epoch, Offset, Time};

use super::{
    epoch::Ages,
    fault::Fault,
    link::Link,
    names::Names,
    record::{Extent, Record, Said, Spot},
};
use crate::Retention;

/// The most of a log's oldest messages that are remembered.
const FRONT_MAX_MESSAGES: usize = 64;
/// The most bytes that are read to remember them.
const FRONT_MAX_BYTES: usize = 1 << 20;
/// How far apart the last messages are that are remembered, in offsets, and how many they are.
const SPOT_OFFSETS: u64 = 16;
const SPOTS_MAX: usize = 3;
/// How often is read on until the oldest message is found. What lies before it is on its way out.
const READS_MAX: usize = 64;

/// The end of a log and some of its beginning, as the writer remembers them.
#[derive(Debug)]
pub(super) struct Log {
    /// The sequence of the subject's last message; 0 when it has none.
    pub(super) seq: u64,
    pub(super) extent: Extent,
    /// Whether that last message is a note.
    ends_in_note: bool,
    /// Whether that note says that it was deleted.
    pub(super) is_deleted: bool,
    /// The oldest messages that are kept, without a hole.
    front: VecDeque<Oldest>,
    /// Whether those are all.
    whole: bool,
    /// From which sequence on the oldest are to be looked for.
    front_seq: u64,
    /// Whether only `seq` may still be believed.
    spoiled: bool,
    /// Some of the last messages, the oldest first.
    spots: VecDeque<Spot>,
}

/// One of the oldest messages.
#[derive(Clone, Debug)]
struct Oldest {
    seq: u64,
    epoch: Epoch,
    offset: Offset,
    size: u64,
    due: Time,
    expires: Option<Time>,
}

/// What a log does not keep any more.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    pub(super) channel: ChannelName,
    /// 0 when it is gone already.
    pub(super) seq: u64,
    /// Where it was, in the epoch that it was stored in; none for a note.
    pub(super) place: Option<(Epoch, Offset)>,
    pub(super) expires: Option<Time>,
    /// When it was dropped.
    pub(super) at: Time,
    /// Whether the stream takes it out by itself.
    pub(super) leave: bool,
}

impl Dropped {
    pub(super) fn note(channel: &ChannelName, seq: u64) -> Self {
        Self { channel: channel.clone(), seq, place: None, expires: None, at: Time(0), leave: false }
    }
}

impl Log {
    /// A log that nothing was appended to.
    pub(super) fn new(epoch: Epoch) -> Self {
        let extent = Extent::empty(epoch);
        Self {
            seq: 0,
            extent,
            ends_in_note: false,
            is_deleted: false,
            front: VecDeque::new(),
            whole: true,
            front_seq: 0,
            spoiled: false,
            spots: VecDeque::new(),
        }
    }

    /// The log that ends in `last`.
    pub(super) fn found(last: Record) -> Self {
        let whole = last.extent.messages() == 0;
        let ends_in_note = last.said.is_none();
        // A note stands behind the message whose offset it has.
        let spot = Spot { offset: last.extent.head, seq: last.seq };
        let spots = last.said.iter().map(|_| spot).collect();
        Self {
            seq: last.seq,
            extent: last.extent,
            ends_in_note,
            is_deleted: last.deletes,
            front: VecDeque::new(),
            whole,
            front_seq: 0,
            spoiled: false,
            spots,
        }
    }

    /// Whether something was stored of it since it was last deleted.
    pub(super) fn is_there(&self) -> bool {
        self.seq > 0 && !self.is_deleted
    }

    /// When the sweep has to look at it: when its oldest message is due, if that is known, or it ends.
    pub(super) fn next_due(&self) -> Option<Time> {
        [self.due(), self.extent.ends()].into_iter().flatten().min()
    }

    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Appends a message, and says at which offset.
    pub(super) fn append(&mut self, said: &Said, ages: &Ages, due: Time) -> Offset {
        let extent = std::mem::replace(&mut self.extent, Extent::empty(ages.now));
        self.extent = extent.in_age(ages);
        self.extent.head += 1;
        self.extent.back = self.spots.front().copied().or(self.extent.back);
        self.extent.bytes += said.size();
        if let Some(metadata) = &mut self.extent.metadata {
            metadata.touch(said.time);
        }
        let offset = self.extent.head;
        self.whole &= self.front.len() < FRONT_MAX_MESSAGES;
        if self.whole {
            self.front.push_back(Oldest {
                seq: 0,
                epoch: ages.now,
                offset,
                size: said.size(),
                due,
                expires: said.expires,
            });
        }
        offset
    }

    /// The message at `offset` got a sequence.
    pub(super) fn stored(&mut self, offset: Offset, seq: u64) {
        self.seq = self.seq.max(seq);
        if self.spots.back().is_none_or(|last| last.offset + SPOT_OFFSETS <= offset) {
            self.spots.push_back(Spot { offset, seq });
            if self.spots.len() > SPOTS_MAX {
                self.spots.pop_front();
            }
        }
        if let Some(oldest) = self.front.iter_mut().rev().find(|oldest| oldest.offset == offset) {
            oldest.seq = seq;
        }
    }

    /// The sequence of the note that the log ends in.
    pub(super) fn note(&self) -> Option<u64> {
        self.ends_in_note.then_some(self.seq)
    }

    /// The same, which is of no use once something is behind it.
    pub(super) fn take_note(&mut self, channel: &ChannelName) -> Option<Dropped> {
        let note = self.note()?;
        self.ends_in_note = false;
        self.is_deleted = false;
        Some(Dropped::note(channel, note))
    }

    /// A note was stored behind the last message.
    pub(super) fn noted(&mut self, extent: Extent, seq: u64) {
        self.extent = extent;
        self.seq = seq;
        self.ends_in_note = true;
        self.is_deleted = false;
    }

    /// Whether the oldest message is among those that are remembered.
    pub(super) fn knows_tail(&self) -> bool {
        self.front.front().is_some_and(|oldest| oldest.offset == self.extent.tail)
    }

    /// When the oldest message is too old or expires, if that is known.
    pub(super) fn due(&self) -> Option<Time> {
        self.front.front().filter(|oldest| oldest.offset == self.extent.tail).map(|oldest| oldest.due)
    }

    /// Takes the oldest message out of what is kept. It must be known.
    pub(super) fn drop_oldest(&mut self, channel: &ChannelName, at: Time, leave: bool) -> Option<Dropped> {
        let oldest = self.front.pop_front()?;
        self.extent.tail = oldest.offset + 1;
        self.extent.trimmed_bytes += oldest.size;
        self.front_seq = self.front_seq.max(oldest.seq + 1);
        let place = Some((oldest.epoch, oldest.offset));
        Some(Dropped { channel: channel.clone(), seq: oldest.seq, place, expires: oldest.expires, at, leave })
    }

    /// Reads the oldest messages, and says whether the log's oldest is known then.
    pub(super) async fn read_front(
        &mut self,
        link: &Link,
        names: &Names,
        channel: &ChannelName,
        retention: &Retention,
    ) -> Result<bool, Fault> {
        self.front.clear();
        let subject = names.channel(channel);
        let mut from = self.front_seq;
        for _ in 0..READS_MAX {
            let page = link.next(&names.log, &subject, from, FRONT_MAX_MESSAGES, FRONT_MAX_BYTES).await?;
            let Some(last) = page.last() else { break };
            from = last.seq + 1;
            for stored in &page {
                self.remember(&Record::parse(stored)?, retention);
            }
            if self.knows_tail() {
                break;
            }
        }
        self.whole = self.front.back().is_some_and(|newest| newest.offset == self.extent.head);
        Ok(self.knows_tail())
    }

    fn remember(&mut self, record: &Record, retention: &Retention) {
        let Some(said) = &record.said else { return };
        let offset = record.extent.head;
        if offset < self.extent.tail || offset > self.extent.head {
            return;
        }
        if self.front.is_empty() && offset > self.extent.tail {
            // What was before it is gone without having been dropped; then the log begins here.
            self.extent.tail = offset;
            self.extent.trimmed_bytes = record.extent.bytes.saturating_sub(said.size());
        }
        if self.front.back().is_some_and(|newest| newest.offset + 1 != offset) {
            return;
        }
        let due = retention.due(said.time, said.expires);
        self.front.push_back(Oldest {
            seq: record.seq,
            epoch: record.extent.epoch,
            offset,
            size: said.size(),
            due,
            expires: said.expires,
        });
    }

    /// What is still in the stream although it was dropped: the node that dropped it did not take it out.
    pub(super) async fn garbage(
        &self,
        link: &Link,
        names: &Names,
        channel: &ChannelName,
        at: Time,
    ) -> Result<Vec<Dropped>, Fault> {
        let subject = names.channel(channel);
        let page = link.next(&names.log, &subject, 0, FRONT_MAX_MESSAGES, FRONT_MAX_BYTES).await?;
        let mut garbage = Vec::new();
        for stored in &page {
            let record = Record::parse(stored)?;
            if record.extent.head >= self.extent.tail || record.seq == self.seq {
                break;
            }
            let place = record.said.as_ref().map(|_| (record.extent.epoch, record.extent.head));
            let expires = record.said.and_then(|said| said.expires);
            garbage.push(Dropped {
                channel: channel.clone(),
                seq: record.seq,
                place,
                expires,
                at,
                leave: false,
            });
        }
        Ok(garbage)
    }
}
