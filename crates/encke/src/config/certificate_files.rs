//! Where a certificate and its key are.

use std::path::PathBuf;

use serde::Deserialize;

use super::Config;

/// The files of a certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and behind it those that lead from it to a root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
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
