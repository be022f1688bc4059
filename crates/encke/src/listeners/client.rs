//! Whom the requests of a connection that hyper has are from, and what they may say about it.

use std::net::IpAddr;

use axum::{body::Body, response::IntoResponse};
use encke_proto::{ErrorCode, Time};
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tokio::net::TcpStream;

use super::request_limit::RequestLimit;
use crate::{
    admission::{Admit, Verdict},
    auth::TOKEN_IN_BODY,
    connection::{ForwardedFields, LOCAL, Peer, Permit, peer_ip},
    http::{client_address::ClientAddress, refusal::Refused},
};

/// What the paths of requests of clients begin with.
const CLIENTS: &str = "/v1/";
/// What a client may not say of itself, where proxies are declared and it is none.
const OF_PROXIES: [&str; 4] = ["x-forwarded-proto", "x-forwarded-for", "x-forwarded-prefix", "forwarded"];

/// Lets a request say whom it is from, for those who handle it. `peer` is the address of the connection.
pub(super) fn identify<B>(permit: &Permit, peer: IpAddr, request: &mut Request<B>) -> IpAddr {
    let address = match permit.peer() {
        Peer::Undeclared => peer,
        Peer::Client => {
            for name in OF_PROXIES {
                request.headers_mut().remove(name);
            }
            peer
        }
        Peer::Proxy => {
            let mut fields = ForwardedFields::default();
            for (name, value) in request.headers() {
                if let Ok(value) = value.to_str() {
                    fields.take(name.as_str(), value);
                }
            }
            let client = permit.proxies().client(peer, &fields);
            if let Some(https) = client.https {
                let proto = if https { "https" } else { "http" };
                request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static(proto));
            }
            client.address
        }
    };
    request.extensions_mut().insert(ClientAddress(address));
    address
}

/// Whether a client may ask now for what does not wait.
///
/// # Errors
/// `rate_limited`.
pub(super) fn may_ask(admit: &Admit, parts: &Parts, now: Time) -> Result<(), Refused> {
    let address = parts.extensions.get().filter(|_| parts.uri.path().starts_with(CLIENTS));
    match address {
        Some(ClientAddress(address)) => Ok(admit.rate_limits.request(*address, now)?),
        None => Ok(()),
    }
}

/// Counts a refused key or token, and says so instead if there are too many from its client. What was good
/// is answered by now, so it is not concerned.
pub(super) fn count_failure(
    admit: &Admit,
    (address, tries): (IpAddr, bool),
    now: Time,
    response: Response<Body>,
) -> Response<Body> {
    let is_failure = tries
        && match response.extensions().get::<ErrorCode>() {
            Some(code) => *code == ErrorCode::Unauthorized,
            // The table has refused a request that wanted to wait.
            None => response.status() == StatusCode::UNAUTHORIZED,
        };
    match if is_failure { admit.rate_limits.failure(address, now) } else { Ok(()) } {
        Ok(()) => response,
        Err(refusal) => {
            let (mut parts, _) = response.into_parts();
            let limited = Refused(refusal).into_response();
            // Whose page may read it, and whether the connection ends, stays as it was said.
            parts.status = limited.status();
            parts.headers.remove(header::WWW_AUTHENTICATE);
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.extend(limited.headers().clone());
            Response::from_parts(parts, limited.into_body())
        }
    }
}

/// Whether a request brings something that may show who sends it; without, nothing is guessed. The header
/// fields that the application chose do.
pub(super) fn brings_credentials<B>(admit: &Admit, request: &Request<B>) -> bool {
    let (headers, uri) = (request.headers(), request.uri());
    headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key(header::COOKIE)
        || admit.auth.chosen_headers().iter().any(|chosen| headers.contains_key(chosen.as_str()))
        || uri.query().is_some_and(|query| query.contains("ticket="))
        // These bring a token in their body.
        || TOKEN_IN_BODY.contains(&uri.path())
}

/// The same for a request that was to wait, and is still to be answered by the table.
pub(super) fn count_refused(
    admit: &Admit,
    (address, tries): (IpAddr, bool),
    now: Time,
    verdict: Verdict,
) -> Verdict {
    match verdict {
        Verdict::Refused(refusal, state) if tries && refusal.code == ErrorCode::Unauthorized => {
            let refusal = admit.rate_limits.failure(address, now).err().unwrap_or(refusal);
            Verdict::Refused(refusal, state)
        }
        verdict => verdict,
    }
}

/// Says by which protocol a request came under TLS, whatever a proxy or the client says.
fn note_tls<B>(is_tls: bool, request: &mut Request<B>) {
    if is_tls {
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
    }
}

/// Takes in a request on a connection that has one at a time: from which address it is, whether it brings
/// something that may show who sends it, and whether that client may have the connection and its place.
pub(super) fn receive<B>(
    admit: &Admit,
    (permit, place): (&Permit, Option<&Permit>),
    peer: IpAddr,
    is_tls: bool,
    request: &mut Request<B>,
) -> ((IpAddr, bool), Result<(), Refused>) {
    let address = identify(permit, peer, request);
    note_tls(is_tls, request);
    ((address, brings_credentials(admit, request)), count((permit, place), address))
}

/// Counts a connection for the client whose request a proxy passes on over it.
///
/// # Errors
/// `overloaded` for a client that has too many.
fn count((permit, place): (&Permit, Option<&Permit>), client: IpAddr) -> Result<(), Refused> {
    // A place that is kept for operators serves nothing else, whichever client asks.
    if permit.peer() != Peer::Proxy || permit.is_reserved() {
        return Ok(());
    }
    if !permit.move_to(client) {
        return Err(Refused::new(ErrorCode::Overloaded, "too many connections"));
    }
    if place.is_some_and(|place| !RequestLimit::move_to(place, client)) {
        return Err(Refused::new(ErrorCode::Overloaded, "too many requests at a time"));
    }
    Ok(())
}

/// One connection more for the client whose request a proxy passes on over a connection of many requests.
///
/// # Errors
/// `overloaded` for a client that has too many.
pub(super) fn beside(permit: &Permit, client: IpAddr) -> Result<Option<Permit>, Refused> {
    if permit.peer() != Peer::Proxy {
        return Ok(None);
    }
    let beside = permit.beside(client);
    beside.map(Some).ok_or_else(|| Refused::new(ErrorCode::Overloaded, "too many connections"))
}

/// The address of a connection. What it counts for may be that of a client behind it.
pub(super) fn peer_address(socket: &TcpStream, permit: &Permit) -> IpAddr {
    if permit.peer() == Peer::Proxy {
        return peer_ip(socket.peer_addr());
    }
    permit.address().unwrap_or(LOCAL)
}
