//! What an engine stores of a user. Whether a user is online is not stored: sessions say that.

use encke_proto::{Time, UserId};

/// What is kept of a user: for good once the user was here, and else as long as a message is kept for it.
/// Whether a user is online is not kept: it is asked of the living sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The user.
    pub user: UserId,
    /// When the user was first here or first pushed to. Anew after it was forgotten.
    pub first_seen: Time,
    /// When a session of the user last began or ended; none for one who was only pushed to.
    pub last_seen: Option<Time>,
}
