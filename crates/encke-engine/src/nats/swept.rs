//! What the sweep remembers between two of its rounds.

use std::collections::HashSet;

use encke_proto::MessageId;

/// What one sweep leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Where the walk goes on.
    pub(super) walked_to: u64,
    /// Messages that were unfinished then already: the node that was at them has had time enough.
    pub(super) unfinished: HashSet<MessageId>,
}
