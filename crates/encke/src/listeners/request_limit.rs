//! The limit of connections with requests that do not wait: in all and by address, with room for what probes
//! and operators ask. It counts those that hyper has one request at a time of; HTTP/2 is bounded by
//! connections and streams.

use std::{net::IpAddr, sync::Arc};

use encke_proto::Time;

use crate::{
    admission::Admit,
    auth::{ApiKeyError, Credentials},
    config::Scope,
    connection::{ConnectionLimit, ConnectionLimits, Permit},
    http::operation::{is_operation, is_probe},
    shards::Handoff,
};

/// The share of an address, as a part of all, where none is configured.
const SHARE: usize = 8;
/// The same of this machine, which may be a proxy for many: the rest is for others, whatever comes from here.
const LOOPBACK_SHARE: usize = 2;
/// The most header fields of a head that is looked at for a key.
const FIELDS_MAX: usize = 64;

/// How many connections may have requests that do not wait. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestLimit(Arc<ConnectionLimit>);

impl RequestLimit {
    /// So many in all, and so many from an address (0 stands for no limit). Without a limit by address it is
    /// an eighth of all, and half for each address of this machine.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Self {
        Self(ConnectionLimit::of(ConnectionLimits {
            max,
            max_per_address: Some(max_per_address.unwrap_or(max.div_ceil(SHARE))),
            max_on_loopback: Some(max_per_address.unwrap_or(max.div_ceil(LOOPBACK_SHARE))),
            ..ConnectionLimits::default()
        }))
    }

    /// A place for a connection, which is a reserved one if there is no other. None when there is no room:
    /// what is reserved is for whole heads that ask for what probes need, or bring a key of the server API.
    /// So what is silent, slow or unknown never has it.
    pub(super) fn enter(&self, handoff: &Handoff, admit: &Admit, now: Time) -> Option<Permit> {
        let address = handoff.permit.address()?;
        let peer = handoff.permit.proxies().peer(address);
        let place = self.0.enter_as(peer, address)?;
        if !place.is_reserved() {
            return Some(place);
        }
        let claim = Claim::of(&handoff.bytes).filter(|claim| match claim {
            Claim::Probe => true,
            Claim::Key(given) => is_key(given, admit, (address, now)),
        });
        claim.map(|_| place)
    }

    /// Lets a place count for the client whose request a proxy passes on. False if that one has too many.
    pub(super) fn move_to(place: &Permit, client: IpAddr) -> bool {
        place.is_reserved() || place.move_to(client)
    }
}

/// What a reserved place is asked for by.
enum Claim<'a> {
    /// An address that probes need.
    Probe,
    /// A key of the server API, at an address that needs one.
    Key(&'a str),
}

impl<'a> Claim<'a> {
    /// What a request has, of which this is the beginning. None also if its head is not whole.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        if !request.parse(bytes).ok()?.is_complete() {
            return None;
        }
        let path = request.path?.split('?').next()?;
        if is_probe(path) {
            return Some(Self::Probe);
        }
        let mut fields = request.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case("authorization"))?;
        let authorization = std::str::from_utf8(field.value).ok();
        let given = Credentials { authorization, ..Credentials::default() }.bearer()?;
        is_operation(path).then_some(Self::Key(given))
    }
}

/// Whether this is a key, whatever it allows. One that is none counts as it does elsewhere: a server that is
/// full is no place to guess at.
fn is_key(given: &str, admit: &Admit, (address, now): (IpAddr, Time)) -> bool {
    let checked = admit.auth.api_keys().check(given, Scope::Read, now);
    let is_key = matches!(checked, Ok(_) | Err(ApiKeyError::Scope { .. }));
    if !is_key {
        // Refused either way.
        let _ = admit.rate_limits.failure(address, now);
    }
    is_key
}
