//! What the writer says of a log that it was asked to trim.

use encke_proto::Time;

/// What came of a look at a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trimmed {
    /// It is trimmed, and due again then.
    Due(Option<Time>),
    /// Its time is over, as far as this node knows.
    Ended,
}
