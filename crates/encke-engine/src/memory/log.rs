//! The memory engine's log of one channel: its messages, offsets, and trimming at the tail. Receipts of
//! trimmed messages are in `pushes.rs`.

use std::{collections::VecDeque, sync::Arc};

use encke_proto::{Entry, Epoch, Lineage, Message, Offset, Time};

use super::open_receipts::OpenReceipts;
use crate::{CANCELLED, Page, PageLimit, ReadFrom, Retention, append::body_bytes};

/// The log of one channel: what is kept of it, and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    /// Stays when everything was trimmed, so that no offset is given twice.
    head: Offset,
    bytes: u64,
    /// When the sweep looks at this log next, as the state has it in its agenda.
    pub(super) due: Option<Time>,
    /// Of a user's own: up to where it was handed over.
    pub(super) handed: Offset,
    /// And up to where it was shown.
    pub(super) shown: Offset,
    /// And which of its receipts can still change.
    pub(super) open: OpenReceipts,
    /// Of a user's own: whether the next push makes the user known.
    pub(super) makes_known: bool,
    /// Behind which offset it began. Places up to there are those of a log that was deleted.
    floor: Offset,
}

impl Log {
    /// A log without messages whose first one comes behind `floor`.
    pub(super) fn behind(floor: Offset) -> Self {
        Self { head: floor, handed: floor, shown: floor, makes_known: true, floor, ..Self::default() }
    }

    pub(super) fn floor(&self) -> Offset {
        self.floor
    }

    pub(super) fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn tail(&self) -> Offset {
        self.head + 1 - self.entries.len() as u64
    }

    /// Appends a message that carries the offset after the head.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.head = entry.message().position.offset;
        self.bytes += body_bytes(&entry.message().body);
        self.entries.push_back(entry);
    }

    /// Whether no message is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the oldest message out if there are too many, or too many bytes.
    pub(super) fn trim_over(&mut self, retention: &Retention) -> Option<Arc<Entry>> {
        if retention.is_over(self.entries.len() as u64, self.bytes) { self.pop() } else { None }
    }

    /// Takes the oldest message out if its time is over.
    pub(super) fn trim_due(&mut self, retention: &Retention, now: Time) -> Option<Arc<Entry>> {
        if self.next_due(retention)? <= now { self.pop() } else { None }
    }

    /// When the oldest message is too old or expires.
    pub(super) fn next_due(&self, retention: &Retention) -> Option<Time> {
        self.entries.front().map(|entry| retention.due(entry.message().time, entry.message().expires))
    }

    /// The message at an offset is not to be delivered any more.
    pub(super) fn cancel(&mut self, offset: Offset) {
        let at = offset.checked_sub(self.tail()).and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            *entry = Arc::new(Entry::new(Message { expires: Some(CANCELLED), ..entry.message().clone() }));
        }
    }

    fn pop(&mut self) -> Option<Arc<Entry>> {
        let entry = self.entries.pop_front()?;
        self.bytes -= body_bytes(&entry.message().body);
        Some(entry)
    }

    pub(super) fn read(&self, epoch: Epoch, from: ReadFrom, limit: PageLimit) -> Page {
        let tail = self.tail();
        let entries = match from {
            ReadFrom::Head => Vec::new(),
            ReadFrom::After(offset) => {
                let skipped = offset.saturating_add(1).saturating_sub(tail);
                let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
                take(self.entries.iter().skip(skipped), limit)
            }
            ReadFrom::Before(offset) => {
                let wanted = usize::try_from(offset.saturating_sub(tail)).unwrap_or(usize::MAX);
                let mut entries = take(self.entries.iter().take(wanted).rev(), limit);
                entries.reverse();
                entries
            }
        };
        let lineage = Lineage::default();
        Page { epoch, lineage, tail, head: self.head, closed: false, entries }
    }
}

/// The first of `entries` that fit into `limit`, and at least one.
fn take<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>, limit: PageLimit) -> Vec<Arc<Entry>> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += body_bytes(&entry.message().body);
        let full = taken.len() >= limit.messages || bytes > limit.bytes as u64;
        if full && !taken.is_empty() {
            break;
        }
        taken.push(Arc::clone(entry));
    }
    taken
}
