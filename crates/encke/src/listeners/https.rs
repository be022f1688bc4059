//! What makes browsers use https: requests in plain text are led there, and answers under TLS say that it is
//! to be used from then on (HSTS, RFC 6797).

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, uri::Authority,
};
use rustls::pki_types::ServerName;

use super::certificates::Certificates;
use crate::{
    auth::Credentials,
    http::{refusal::Refused, response::PROTECTION},
};

/// The port of https that is not written into addresses.
const HTTPS_PORT: u16 = 443;

/// What this server does so that browsers use https. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Https {
    /// Where requests in plain text are led, if they are.
    pub redirect: Option<Redirect>,
    /// The value of `Strict-Transport-Security`, if it is said.
    pub hsts: Option<HeaderValue>,
}

impl Https {
    /// Says in an answer under TLS that https is to be used from now on.
    pub(super) fn say<B>(&self, response: &mut Response<B>) {
        if let Some(hsts) = &self.hsts {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}

/// Leads requests to the same address by https, at names that there is a certificate for.
#[derive(Clone, Debug)]
pub struct Redirect {
    port: u16,
    certificates: Arc<Certificates>,
}

impl Redirect {
    /// To this port.
    pub(super) fn new(port: u16, certificates: Arc<Certificates>) -> Self {
        Self { port, certificates }
    }

    /// The answer to a request in plain text; none for those that are served: probes, those which prove that
    /// a name is this server's, and those which a proxy has got by https.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let path = request.uri().path();
        if is_kept(path) || came_by_https(request.headers()) {
            return None;
        }
        let Some(authority) = host(request.headers()).and_then(|host| self.authority(host)) else {
            return Some(
                Refused::bad("use https, at a name that there is a certificate for").into_response(),
            );
        };
        // What names no path asks about the server as a whole (`OPTIONS *`).
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target } else { "/" };
        let location = HeaderValue::try_from(format!("https://{authority}{target}")).ok()?;
        let mut response = Response::new(Body::empty());
        // The older status lets clients change the method, which a GET has no need of.
        *response.status_mut() = if matches!(*request.method(), Method::GET | Method::HEAD) {
            StatusCode::MOVED_PERMANENTLY
        } else {
            StatusCode::PERMANENT_REDIRECT
        };
        let headers = response.headers_mut();
        for (name, value) in PROTECTION {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert(header::LOCATION, location);
        Some(response)
    }

    /// Where https is, for a `Host`. None if that is no name, or none that there is a certificate for: no
    /// other name is ever in an answer.
    fn authority(&self, host: &str) -> Option<String> {
        let authority = Authority::try_from(host).ok().filter(|_| !host.contains('@'))?;
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare).ok()?;
        if !self.certificates.has(&name) {
            return None;
        }
        Some(if self.port == HTTPS_PORT { host.to_owned() } else { format!("{host}:{}", self.port) })
    }
}

/// Addresses that are served in plain text: of probes, which tell nothing, and those by which an authority is
/// shown that a name is this server's (RFC 8555 section 8.3).
fn is_kept(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz") || path.starts_with("/.well-known/acme-challenge/")
}

fn came_by_https(headers: &HeaderMap) -> bool {
    let forwarded_proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    Credentials { forwarded_proto, ..Credentials::default() }.is_https()
}

/// The host that a request names, if it names one.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}
