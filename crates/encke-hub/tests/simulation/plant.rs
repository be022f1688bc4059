//! Known bugs, planted to prove the checker.

use encke_history::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A node leaves a message out of what it sends.
    Drop,
    /// A client hands a message to its application twice.
    Double,
    /// Two messages of a channel change places.
    Swap,
    /// A message is said to be of another epoch.
    WrongEpoch,
    /// A client goes on from an old cursor and does not know what it had.
    StaleResume,
    /// Gaps are not told.
    UndeclaredGap,
    /// A gap is told where nothing is missing.
    FalseGap,
    /// A push to another user.
    CrossUser,
    /// A message of a channel that was never asked for.
    Stranger,
    /// The end of a connection is never told to the hub.
    Ghost,
    /// A message that was never sent.
    Phantom,
    /// A subscription is answered and not made.
    EmptyPromise,
    /// The feed is silent and the logs are not looked at.
    DeafFeed,
    /// A client takes over the cursor of an answer whose messages were lost.
    CursorAhead,
    /// A hub is not told what was cancelled or deleted.
    TrustsMemory,
}

impl Plant {
    pub const ALL: [(Self, &'static [Kind]); 15] = [
        (Self::Drop, &[Kind::Lost]),
        (Self::Double, &[Kind::Dup]),
        (Self::Swap, &[Kind::Order, Kind::Lost]),
        (Self::WrongEpoch, &[Kind::Order]),
        (Self::StaleResume, &[Kind::Dup]),
        (Self::UndeclaredGap, &[Kind::Lost, Kind::Order]),
        (Self::FalseGap, &[Kind::FalseGap]),
        (Self::CrossUser, &[Kind::Leak]),
        (Self::Stranger, &[Kind::Leak]),
        (Self::Ghost, &[Kind::Ghost]),
        (Self::Phantom, &[Kind::Phantom]),
        (Self::EmptyPromise, &[Kind::Lost]),
        (Self::DeafFeed, &[Kind::Lost]),
        (Self::CursorAhead, &[Kind::Lost]),
        (Self::TrustsMemory, &[Kind::Retracted]),
    ];
}
