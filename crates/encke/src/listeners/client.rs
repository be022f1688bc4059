//! Whom the requests of a connection that hyper has are from, and what they may say about it.

use std::net::{IpAddr, Ipv4Addr};

use encke_proto::ErrorCode;
use http::{HeaderValue, Request};
use tokio::net::TcpStream;

use crate::{
    connection::{ForwardedFields, Peer, Permit},
    http::{client_address::ClientAddress, refusal::Refused},
};

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

/// Says by which protocol a request came under TLS, whatever a proxy or the client says.
pub(super) fn note_tls<B>(is_tls: bool, request: &mut Request<B>) {
    if is_tls {
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
    }
}

/// Counts a connection for the client whose request a proxy passes on over it.
///
/// # Errors
/// `overloaded` for a client that has too many.
pub(super) fn count(permit: &Permit, client: IpAddr) -> Result<(), Refused> {
    if permit.peer() != Peer::Proxy || permit.move_to(client) {
        return Ok(());
    }
    Err(Refused::new(ErrorCode::Overloaded, "too many connections"))
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
    let of_socket = || socket.peer_addr().ok().map(|address| address.ip());
    let address = if permit.peer() == Peer::Proxy { of_socket() } else { permit.address() };
    address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
