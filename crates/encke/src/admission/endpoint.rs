//! Where requests come in that may wait, and what decides on them.

use std::{fmt, sync::Arc};

use encke_proto::{ErrorCode, Refusal, Time};

use super::{Admit, Verdict, Waiting, subscribing::asked};

/// The methods of requests that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With a body, which is whole before it is decided on the request; at most
    /// [`encke_proto::limits::BODY_MAX_BYTES`].
    Post,
}

impl Method {
    /// Its name (RFC 9110 section 9.3).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Which paths are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// This one.
    Is(&'static str),
    /// All that begin with this, which ends with a slash.
    Under(&'static str),
    /// All that begin with the first, which ends with a slash, and end with the second, with one segment
    /// between.
    Around(&'static str, &'static str),
}

impl Path {
    fn text(self) -> &'static str {
        match self {
            Self::Is(path) | Self::Under(path) | Self::Around(path, _) => path,
        }
    }

    /// What stands between, in a path that is around something.
    pub(crate) fn segment(self, path: &str) -> Option<&str> {
        let Self::Around(before, behind) = self else { return None };
        let segment = path.strip_prefix(before)?.strip_suffix(behind)?;
        (!segment.is_empty() && !segment.contains('/')).then_some(segment)
    }

    fn fits(self, path: &str) -> bool {
        match self {
            Self::Is(own) => own == path,
            Self::Under(own) => path.starts_with(own),
            Self::Around(..) => self.segment(path).is_some(),
        }
    }
}

/// What asks for an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: Path,
    /// The `as` parameter, where several share a path.
    pub form: Option<&'static str>,
    /// Whether the connection changes to WebSocket.
    pub websocket: bool,
}

/// An address of a dialect where requests may wait.
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// What asks for it.
    fn address(&self) -> Address;

    /// Whether it is of the server API, which is served where operators come in.
    fn is_for_operators(&self) -> bool {
        false
    }

    /// Decides on a request. It waits for nothing: what takes a while is [`Verdict::Later`].
    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict;
}

/// All endpoints of a server.
#[derive(Debug)]
pub struct Endpoints {
    all: Vec<(Address, Arc<dyn Endpoint>)>,
    /// What requests for them begin with, so that most others are told apart by a few bytes.
    prefixes: Vec<Vec<u8>>,
    /// The header fields that the application is told.
    chosen_headers: Option<Arc<[String]>>,
    admit: Admit,
}

impl Endpoints {
    /// These, of which the first that fits is asked.
    #[must_use]
    pub fn new(admit: Admit, all: Vec<Arc<dyn Endpoint>>) -> Self {
        let all: Vec<_> = all.into_iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
        let mut prefixes: Vec<Vec<u8>> = Vec::new();
        for (address, _) in &all {
            let prefix = prefix(address).into_bytes();
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        let chosen_headers = admit.auth.chosen_headers();
        let chosen_headers = (!chosen_headers.is_empty()).then(|| chosen_headers.into());
        Self { all, prefixes, chosen_headers, admit }
    }

    /// The names of the header fields that the application is told, in lower case; none without any.
    #[must_use]
    pub fn chosen_headers(&self) -> Option<Arc<[String]>> {
        self.chosen_headers.clone()
    }

    /// Whether these may be the first bytes of a request for one of them.
    #[must_use]
    pub fn may_begin_with(&self, bytes: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| {
            let looks = bytes.len().min(prefix.len());
            bytes[..looks] == prefix[..looks]
        })
    }

    /// The number and the address of the one that a request asks for.
    #[must_use]
    pub fn find(&self, method: &str, path: &str, query: &str) -> Option<(usize, Address)> {
        let form = || query.split('&').find_map(|pair| pair.strip_prefix("as="));
        let fits = |(address, _): &(Address, Arc<dyn Endpoint>)| {
            address.method.as_str() == method
                && address.path.fits(path)
                && (address.form.is_none() || address.form == form())
        };
        let number = self.all.iter().position(fits)?;
        Some((number, self.all.get(number)?.0))
    }

    /// Whether the endpoint of this number is of the server API.
    #[must_use]
    pub fn is_for_operators(&self, number: usize) -> bool {
        self.all.get(number).is_some_and(|(_, endpoint)| endpoint.is_for_operators())
    }

    /// Decides on a request for the endpoint of this number.
    #[must_use]
    pub fn decide(&self, number: usize, waiting: &Waiting<'_>, now: Time) -> Verdict {
        if self.admit.stopping.has_begun() {
            return Verdict::Refused(
                Refusal::new(ErrorCode::ShuttingDown, "the server stops"),
                self.admit.request_state(waiting),
            );
        }
        let verdict = match self.all.get(number) {
            Some((_, endpoint)) => endpoint.decide(waiting, now),
            None => Verdict::Refused(
                Refusal::new(ErrorCode::NotFound, "there is nothing at this address"),
                self.admit.request_state(waiting),
            ),
        };
        match &self.admit.decisions {
            Some(decisions) => asked(decisions, verdict),
            None => verdict,
        }
    }
}

/// The method and the first segment of the path, with the slash behind it if there are more.
fn prefix(address: &Address) -> String {
    let path = address.path.text();
    let end = path.char_indices().skip(1).find(|(_, c)| *c == '/').map_or(path.len(), |(at, _)| at + 1);
    format!("{} {}", address.method.as_str(), &path[..end])
}
