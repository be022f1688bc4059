//! Receipts: how far a push has come with each of its users, and the marks that move them forward.

use std::fmt;

use encke_proto::{Offset, Position, Time, UserId};

/// How far a push has come with one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptState {
    /// Safe in the user's log.
    Queued,
    /// Handed whole to a connection of the user.
    Delivered,
    /// The client said that a person saw it.
    Shown,
    /// Its time was over before it was handed to any connection.
    Expired,
    /// It was called back before it was handed to any connection.
    Cancelled,
}

impl ReceiptState {
    /// The state on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Shown => "shown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ReceiptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From when on a message is expired whose push was cancelled: readers that pass over what has expired pass
/// over it whatever their clocks say.
pub const CANCELLED: Time = Time(0);

/// A user's receipts reach `state` up to `position` of the user's own channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The user.
    pub user: UserId,
    /// Up to here, this one included.
    pub position: Position,
    /// [`ReceiptState::Delivered`] or [`ReceiptState::Shown`].
    pub state: ReceiptState,
    /// When.
    pub at: Time,
}

/// What became of a push for one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The user.
    pub user: UserId,
    /// The push's place in the user's own log.
    pub offset: Offset,
    /// How far it has come.
    pub state: ReceiptState,
    /// Since when.
    pub at: Time,
}
