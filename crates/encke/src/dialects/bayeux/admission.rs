//! What the shard is told of a connection that is of a session: who it is, and where it goes on.

use std::any::Any;

use super::session::{GoesOn, Session};
use crate::{
    admission::{Admission, Identified, Verdict},
    auth::Authenticated,
    transports::{ConnectionState, RequestState, Transport},
};

/// A request that waits in this session, with what is kept of it.
pub(super) fn admitted(
    session: &Session,
    goes_on: GoesOn,
    transport: &'static dyn Transport,
    request_state: RequestState,
    kept: Box<dyn Any + Send>,
) -> Verdict {
    let Identified { user, token_ends, token, granted, session, fresh, lasting, start, channels, .. } =
        identified(session, goes_on);
    Verdict::Admitted(Box::new(Admission {
        transport,
        request_state,
        user,
        token_ends,
        token,
        granted,
        session,
        fresh,
        lasting,
        start,
        device: None,
        channels,
        state: Some(Box::new(ConnectionState::Request(kept))),
        ticket: None,
        looks_on: None,
    }))
}

/// That a connection which is open is of this session from now on.
pub(super) fn identified(session: &Session, goes_on: GoesOn) -> Identified {
    let Authenticated { identity, token } = Authenticated::clone(&session.owner());
    Identified {
        token_ends: identity.expires,
        token: Some(token),
        granted: identity.grants.channels.clone(),
        user: identity.user.clone(),
        identity: Some(identity),
        session: Some(session.id),
        fresh: Some(session.id),
        lasting: true,
        start: goes_on.start,
        channels: goes_on.unplaced,
        ticket: None,
    }
}
