//! A verified user, and what the token grants. How the user was verified is in `authenticator.rs`, what may
//! be done with a channel in `channel_access.rs`.

use std::sync::Arc;

use encke_proto::{Time, TokenInfo, UserId};

use super::{Claims, Grants, remembered::Known};

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

/// Who sends a request, and by what token. It is kept for no longer than that is looked at: a connection that
/// waits keeps the [`Identity`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Who it is.
    pub identity: Identity,
    /// What revocations need to know of the token.
    pub token: TokenInfo,
}

impl Authenticated {
    /// What a verified token says.
    #[must_use]
    pub fn new(claims: Claims, by_cookie: bool) -> Self {
        let known = Self::known(Known::of(claims));
        if by_cookie { known.by_cookie() } else { known }
    }

    /// The same of a token that was verified before, and came in a header.
    pub(super) fn known(known: Known) -> Self {
        let Known { user, grants, expires_s, token } = known;
        let expires = Time(expires_s.saturating_mul(1000));
        Self { identity: Identity { user, grants, expires, by_cookie: false }, token }
    }

    /// The same, of a token that came as a cookie alone.
    pub(super) fn by_cookie(mut self) -> Self {
        self.identity.by_cookie = true;
        self
    }
}

impl Identity {
    /// What a verified token says.
    #[must_use]
    pub fn new(claims: Claims, by_cookie: bool) -> Self {
        Authenticated::new(claims, by_cookie).identity
    }
}
