//! On which condition the writer deletes a log, and what it says of one that it has deleted.

use encke_proto::{Epoch, Offset, Time};

/// On which condition a log is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeleteIf {
    /// If anything was ever stored there.
    There,
    /// The same, and besides if it is of a user who was known.
    Known,
    /// If its time is over.
    Ended(Time),
}

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
