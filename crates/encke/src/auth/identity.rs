//! A verified user, and whether that user may subscribe or publish to a channel. How the user was verified is
//! in `authenticator.rs`.

use std::sync::Arc;

use encke_proto::{ChannelName, Time, TokenInfo, UserId};

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
        Self::known(Known::of(claims), by_cookie)
    }

    /// The same of a token that was verified before.
    pub(super) fn known(known: Known, by_cookie: bool) -> Self {
        let Known { user, grants, expires_s, token } = known;
        let expires = Time(expires_s.saturating_mul(1000));
        Self { identity: Identity { user, grants, expires, by_cookie }, token }
    }
}

impl Identity {
    /// What a verified token says.
    #[must_use]
    pub fn new(claims: Claims, by_cookie: bool) -> Self {
        Authenticated::new(claims, by_cookie).identity
    }

    /// Whether the user may follow a channel: the own one always, another user's never, a public one when it
    /// is granted.
    #[must_use]
    pub fn may_subscribe(&self, channel: &ChannelName) -> bool {
        if channel.is_own() {
            channel.is_own_of(&self.user)
        } else {
            self.grants.channels.allows(channel.as_str())
        }
    }

    /// Whether the user may publish to a channel: only to a public one, and when it is granted.
    #[must_use]
    pub fn may_publish(&self, channel: &ChannelName) -> bool {
        !channel.is_own() && self.grants.publish.allows(channel.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;

    #[test]
    fn a_user_has_the_own_channel_the_granted_ones_and_no_other() {
        let alice = UserId::new("alice").unwrap();
        let claims = Claims {
            user: alice,
            expires_s: 1,
            issued_s: None,
            jti: None,
            channels: Grant::all(),
            publish: Grant::of(vec!["room:*".into()]),
        };
        let identity = Identity::new(claims, false);
        let channel = |name| ChannelName::any(name).unwrap();
        assert!(identity.may_subscribe(&channel("@alice")));
        assert!(identity.may_subscribe(&channel("news")));
        assert!(!identity.may_subscribe(&channel("@bob")));
        assert!(identity.may_publish(&channel("room:1")));
        assert!(!identity.may_publish(&channel("news")));
        assert!(!identity.may_publish(&channel("@alice")));
        assert_eq!(identity.expires, Time(1000));
    }
}
