//! The waker of one inline request: tells the shard to poll its future again, with at most one command on its
//! way at a time. The shard's own wakeup is in `mailbox.rs`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use encke_hub::Key;

use super::{Mailbox, ShardCommand};

/// Wakes a shard for one of its inline requests. However often it goes off, one command is on its way at
/// most.
#[derive(Debug)]
pub struct InlineWaker {
    mailbox: Mailbox<ShardCommand>,
    place: Key,
    sent: AtomicBool,
}

impl InlineWaker {
    /// For the inline request at this place of the table.
    #[must_use]
    pub fn new(mailbox: Mailbox<ShardCommand>, place: Key) -> Arc<Self> {
        Arc::new(Self { mailbox, place, sent: AtomicBool::new(false) })
    }

    /// The shard looks at the inline request now; from here on another command is needed.
    pub fn polled(&self) {
        self.sent.store(false, Ordering::Release);
    }
}

impl Wake for InlineWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            // Bounded by the connections: each has one inline request at a time.
            self.mailbox.post_always(ShardCommand::Go(self.place));
        }
    }
}
