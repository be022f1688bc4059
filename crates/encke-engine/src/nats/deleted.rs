//! What the writer says of a log that it has deleted.

use encke_proto::{Epoch, Offset};

/// A log that was deleted, now or before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleted {
    /// The offset of the deletion, and the epoch that it was given in.
    pub(super) floor: Offset,
    pub(super) epoch: Epoch,
    /// The sequence of the note that says so.
    pub(super) seq: u64,
    /// Whether it was there until now.
    pub(super) was_there: bool,
}
