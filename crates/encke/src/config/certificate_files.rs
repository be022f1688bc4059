//! Where a certificate and its key are.

use std::path::PathBuf;

use serde::Deserialize;

use super::Config;
use super::setting::{settings, text};

settings! {
    /// The files of a certificate, in PEM.
    #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct CertificateFiles {
        /// The file with the certificate, and behind it those that lead from it to a root.
        cert: PathBuf => text().unset("required").sample("\"/etc/encke/other.pem\"");
        /// The file with its private key.
        key: PathBuf => text().unset("required").sample("\"/etc/encke/other-key.pem\"");
    }
}

impl Config {
    /// All certificates, in the order in which they are chosen from.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateFiles> {
        let first = self.tls_cert.clone().zip(self.tls_key.clone());
        let first = first.map(|(cert, key)| CertificateFiles { cert, key });
        first.into_iter().chain(self.tls_certificates.iter().cloned()).collect()
    }
}
