//! Whether a native request that waits may: who it is, where it wants to go on, and whether that is granted.

use std::borrow::Cow;

use encke_hub::{Device, Start};
use encke_proto::{
    Action, ChannelName, Cursor, ErrorCode, Grant, Refusal, SessionId, Time, codec::ws::Rejection,
};

use super::{
    Forms,
    query::{Query, read_cursor},
};
use crate::{
    admission::{Address, Admission, Admit, Endpoint, Later, Verdict, Waiting},
    auth::{Authenticated, ChannelAccess, Credentials, Identity, OriginNumber, Returns},
    transports::{ConnectionState, Duplex, HoldKind, RequestState},
};

/// An address where a native request waits.
#[derive(Clone, Debug)]
pub(super) struct NativeEndpoint {
    pub(super) address: Address,
    pub(super) forms: Forms,
    pub(super) admit: Admit,
}

impl Endpoint for NativeEndpoint {
    fn address(&self) -> Address {
        self.address
    }

    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let attempts = self.admit.auth.keys().attempts();
        let verdict = self.decide_now(waiting, now);
        let Verdict::Refused(refusal, _) = &verdict else { return verdict };
        let Ok(query) = Query::read(waiting.query) else { return verdict };
        let given = credentials(waiting, &query, waiting.handshake.is_some());
        let Some(pending) = self.admit.auth.pending(&given, refusal, attempts, now) else { return verdict };
        // The token names a key that is being fetched, or the application says who this is.
        let (endpoint, waiting) = (self.clone(), waiting.to_kept());
        Verdict::Later(Later::new(async move {
            pending.over().await;
            endpoint.decide_now(&waiting.waiting(), now)
        }))
    }
}

impl NativeEndpoint {
    fn decide_now(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let mut request_state = self.admit.request_state(waiting);
        match self.admit(waiting, &mut request_state, now) {
            Ok(Some(admission)) => Verdict::Admitted(Box::new(admission)),
            Ok(None) => Verdict::StayAway(request_state),
            Err(refusal) => Verdict::Refused(refusal, request_state),
        }
    }

    fn admit(
        &self,
        waiting: &Waiting<'_>,
        request_state: &mut RequestState,
        now: Time,
    ) -> Result<Option<Admission>, Refusal> {
        let query = Query::read(waiting.query)?;
        let transport = self.forms.of(query.form)?;
        let opening = waiting
            .handshake
            .as_ref()
            .map(|handshake| handshake.check("GET", !waiting.http_10))
            .transpose()
            .map_err(rejected)?;
        let is_duplex = opening.is_some();
        let lasts = transport.hold_kind() == HoldKind::Stream;
        // The one that wins is read alone, so that nothing needs to be right in the other.
        let given = [waiting.last_event_id, Some(&*query.last_event_id)]
            .into_iter()
            .flatten()
            .find(|id| !Cursor::is_none_yet(id));
        let returns = returns(lasts && !is_duplex, given.is_some());
        let credentials = Credentials { lasts, returns, ..credentials(waiting, &query, is_duplex) };
        let auth = &self.admit.auth;
        if is_duplex && !auth.own_or_allowed(&credentials) {
            return Err(Refusal::new(
                ErrorCode::OriginForbidden,
                "pages of this origin may not open a WebSocket here",
            ));
        }
        let Authenticated { identity, token } = auth.identify(&credentials, now)?;
        let ticket = auth.to_be_spent(&credentials, now);
        let of_ticket = auth.session_of_ticket(&credentials, now);
        if let Some(embedder) = query.embedder.as_deref() {
            request_state.embedder = self.embedder(embedder, waiting)?;
        }
        if let Some(hold_s) = query.hold_s {
            request_state.hold_s = request_state.hold_s.min(hold_s);
        }
        let start = match given.map(read_cursor).transpose()? {
            Some(cursor) if cursor.closed => return Ok(None),
            Some(cursor) => Start::Cursor(cursor),
            None => query.start,
        };
        let granted = granted(auth.access(), &identity, query.session, &query.channels, &start)?;
        let (user, token_ends) = (identity.user.clone(), identity.expires);
        let state = opening.map(|opening| {
            let compression = opening.compression.filter(|_| self.admit.compression.is_offered);
            Box::new(ConnectionState::Duplex(Duplex::new(Some(identity), opening.accept, compression)))
        });
        let fresh = of_ticket.filter(|_| query.session.is_none());
        let (session, channels) = (session(query.session, of_ticket, returns)?, query.channels);
        Ok(Some(Admission {
            transport,
            request_state: *request_state,
            user,
            token_ends,
            token: Some(token),
            granted,
            session,
            fresh,
            lasting: true,
            start,
            device: query.device.map(|name| Device { name, place: None }),
            channels,
            state,
            ticket,
            looks_on: None,
        }))
    }

    /// The number of the origin of a page that embeds a stream; none when it is the server's own.
    fn embedder(&self, origin: &str, waiting: &Waiting<'_>) -> Result<Option<OriginNumber>, Refusal> {
        if let Some(number) = self.admit.auth.origins().number(origin) {
            return Ok(Some(number));
        }
        let host = waiting.host.unwrap_or_default();
        if ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host)) {
            return Ok(None);
        }
        Err(Refusal::new(ErrorCode::OriginForbidden, "pages of this origin may not embed the stream"))
    }
}

/// What the request brings to prove who sends it.
fn credentials<'a>(waiting: &'a Waiting<'_>, query: &'a Query<'_>, is_duplex: bool) -> Credentials<'a> {
    Credentials {
        authorization: waiting.authorization,
        cookie: waiting.cookie.as_deref().map(Cow::Borrowed),
        ticket: query.ticket.as_deref(),
        query_token: query.token,
        origin: waiting.origin,
        // Every browser says where the page is from that opens a WebSocket (RFC 6455 section 4.1); nothing
        // else will do.
        sec_fetch_site: waiting.sec_fetch_site.filter(|_| !is_duplex),
        host: waiting.host,
        forwarded_proto: waiting.forwarded_proto,
        changes: is_duplex,
        chosen: waiting.chosen.clone(),
        lasts: false,
        returns: Returns::Never,
    }
}

/// Whether a browser's EventSource, which comes back to the same address with its last event id, does so now.
fn returns(is_stream: bool, has_id: bool) -> Returns {
    match (is_stream, has_id) {
        (false, _) => Returns::Never,
        (true, false) => Returns::Later,
        (true, true) => Returns::Now,
    }
}

/// The session to go on in. A ticket in an address leads back to the session that it began, and to no other.
fn session(
    named: Option<SessionId>,
    of_ticket: Option<SessionId>,
    returns: Returns,
) -> Result<Option<SessionId>, Refusal> {
    match of_ticket.filter(|_| returns == Returns::Now) {
        Some(own) if named.is_some_and(|named| named != own) => {
            Err(Refusal::new(ErrorCode::Unauthorized, "this ticket began another session"))
        }
        Some(own) => Ok(Some(own)),
        None => Ok(named),
    }
}

/// What the token grants. A request without a session that names a channel that its user may not follow is
/// refused; with one, such a channel was followed by a former token or under other rules, and is dropped and
/// told, since its client cannot know better.
fn granted(
    access: &ChannelAccess,
    identity: &Identity,
    session: Option<SessionId>,
    channels: &[ChannelName],
    start: &Start,
) -> Result<Grant, Refusal> {
    if session.is_none() {
        if let Start::Cursor(cursor) = start {
            check_granted(access, identity, cursor.entries.iter().map(|(channel, _)| channel))?;
        }
        check_granted(access, identity, channels)?;
    }
    Ok(identity.grants.channels.clone())
}

fn check_granted<'a>(
    access: &ChannelAccess,
    identity: &Identity,
    channels: impl IntoIterator<Item = &'a ChannelName>,
) -> Result<(), Refusal> {
    channels.into_iter().try_for_each(|channel| access.check(identity, Action::Subscribe, channel))
}

fn rejected(rejection: Rejection) -> Refusal {
    let code = if rejection.status() == 426 { ErrorCode::UpgradeRequired } else { ErrorCode::BadRequest };
    Refusal::new(code, rejection.to_string())
}
