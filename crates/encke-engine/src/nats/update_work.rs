//! A change of a log on its way to the writer.

use crate::LogUpdate;

/// A change on its way to the writer.
pub(super) struct UpdateWork {
    pub(super) update: LogUpdate,
    /// What was stored of producers up to this sequence does not count any more.
    pub(super) void_up_to: u64,
}
