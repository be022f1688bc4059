//! A verified user, and what the token grants. How the user was verified is in `authenticator.rs`, what may
//! be done with a channel in `channel_access.rs`.

use std::sync::Arc;

use encke_proto::{Time, UserId};

use super::{Claims, Grants};

/// Who sends a request, and what that user may do. It comes from a verified token alone, never from what a
/// client says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// What the user may do.
    pub grants: Arc<Grants>,
    /// When the token ends.
    pub expires: Time,
    /// Whether a cookie alone said so.
    pub by_cookie: bool,
}

impl Identity {
    /// What a verified token says.
    #[must_use]
    pub fn new(claims: Claims, by_cookie: bool) -> Self {
        let Claims { user, expires_s, channels, publish } = claims;
        Self::known(user, Arc::new(Grants { channels, publish }), expires_s, by_cookie)
    }

    /// The same, put together from its parts.
    pub(super) fn known(user: UserId, grants: Arc<Grants>, expires_s: u64, by_cookie: bool) -> Self {
        Self { user, grants, expires: Time(expires_s.saturating_mul(1000)), by_cookie }
    }
}
