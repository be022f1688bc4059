//! All that there is to say of a session, for a later process or another node: it goes on from that.

use encke_proto::{Grant, SessionId, Time, TokenId, TokenInfo, UserId};
use serde::{Deserialize, Serialize};

use super::session::{Session, Snapshot};
use crate::auth::{Authenticated, Grants, Identity};

/// A session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    user: UserId,
    /// When the token ends, in milliseconds since 1970.
    ends: u64,
    /// When the token was issued, and its id: what revocations look at.
    issued_s: Option<u64>,
    token: Option<TokenId>,
    /// Left out when the token said nothing, which rules tell from a grant of nothing.
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    channels: Grant,
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    publish: Grant,
    acks: bool,
    retries: bool,
    #[serde(flatten)]
    snapshot: Snapshot,
}

impl Record {
    /// A session, which stands as `snapshot` says.
    pub(super) fn of(session: &Session, snapshot: Snapshot) -> Self {
        let Authenticated { identity, token } = Authenticated::clone(&session.owner());
        let Grants { channels, publish } = (*identity.grants).clone();
        Self {
            user: identity.user,
            ends: identity.expires.0,
            issued_s: token.issued_s,
            token: token.id,
            channels,
            publish,
            acks: session.acks,
            retries: session.retries,
            snapshot,
        }
    }

    /// The session, as it stood, whose id is not in the record.
    pub(super) fn session(self, id: SessionId) -> (Session, Snapshot) {
        let Self { user, ends, issued_s, token, channels, publish, acks, retries, snapshot } = self;
        let (grants, token) = (Grants { channels, publish }.into(), TokenInfo { issued_s, id: token });
        let identity = Identity { user, grants, expires: Time(ends), by_cookie: false };
        (Session::new(id, Authenticated { identity, token }, acks, retries), snapshot)
    }
}
