//! Which certificate a client is shown while one may be got by ACME.

use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::challenges::Challenges;
use crate::{connection::tls::ACME_TLS, listeners::certificates::Certificates};

/// Shows a directory the certificate of its challenge, and all others what is for them.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) certificates: Arc<Certificates>,
    pub(super) challenges: Challenges,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A directory offers that alone (RFC 8737 section 3). Without a challenge it is refused: no service
        // is agreed on by this name.
        if hello.alpn().is_some_and(|mut offered| offered.all(|protocol| protocol == ACME_TLS)) {
            return self.challenges.certificate_of(hello.server_name()?);
        }
        self.certificates.resolve(hello)
    }
}
