//! The certificate that a directory is shown when it checks a name over TLS (TLS-ALPN-01).

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{crypto::CryptoProvider, pki_types::PrivatePkcs8KeyDer, sign::CertifiedKey};

/// How many bytes a digest by SHA-256 has.
pub(super) const DIGEST_BYTES: usize = 32;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChallengeCertificateError {
    /// It cannot be made.
    #[error("a certificate for a challenge cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// It cannot be used.
    #[error("a certificate for a challenge cannot be used: {0}")]
    Use(#[from] rustls::Error),
    /// The digest is of another length.
    #[error("a challenge has a digest of another length")]
    Digest,
}

/// One that is for the name alone and holds the digest of the key authorization in an extension that is
/// critical (RFC 8737 section 3): nothing that checks certificates as usual takes it for one.
pub(super) fn certify(
    name: &str,
    digest: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, ChallengeCertificateError> {
    if digest.len() != DIGEST_BYTES {
        return Err(ChallengeCertificateError::Digest);
    }
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let signing = provider.key_provider.load_private_key(private.into())?;
    // Without a look whether the two fit: that would read the certificate, and refuse it for its extension.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)))
}

#[cfg(test)]
mod tests {
    use rustls::{crypto::aws_lc_rs::default_provider, server::ParsedCertificate};

    use super::*;
    use crate::listeners::der::{BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING, value};

    /// 1.3.6.1.5.5.7.1.31, id-pe-acmeIdentifier (RFC 8737 section 6.1).
    const ACME_IDENTIFIER: [u8; 8] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f];

    #[test]
    fn it_has_the_digest_in_a_critical_extension() {
        let digest: Vec<u8> = (100..132).collect();
        let made = certify("push.example.com", &digest, &default_provider()).unwrap();
        let der = made.end_entity_cert().unwrap();
        let places = || der.windows(ACME_IDENTIFIER.len()).enumerate();
        let found: Vec<_> = places().filter(|(_, part)| *part == ACME_IDENTIFIER).collect();
        let [(place, _)] = found[..] else { panic!("the extension is there once: {}", found.len()) };
        let (_, rest) = value(&der[place - 2..], OBJECT_IDENTIFIER).unwrap();
        let (critical, rest) = value(rest, BOOLEAN).unwrap();
        assert_eq!(critical, [0xff]);
        // The digest is an octet string in the octet string that any extension is.
        let (extension, _) = value(rest, OCTET_STRING).unwrap();
        let (held, behind) = value(extension, OCTET_STRING).unwrap();
        assert_eq!((held, behind), (&digest[..], &[][..]));
        let names = der.windows(16).filter(|part| *part == b"push.example.com").count();
        assert_eq!(names, 1, "the name is in the alternative names alone");
        // No client that checks certificates as usual takes it for one of the host.
        assert!(ParsedCertificate::try_from(der).is_err());
        assert_eq!(made.key.algorithm(), rustls::SignatureAlgorithm::ECDSA);
    }

    #[test]
    fn a_digest_of_another_length_is_refused_and_a_key_is_used_once() {
        let provider = default_provider();
        for length in [0, 31, 33] {
            assert!(certify("a.example", &vec![0; length], &provider).is_err(), "{length}");
        }
        let key = |made: Arc<CertifiedKey>| made.key.public_key().unwrap().as_ref().to_vec();
        let [first, second] = [0, 1].map(|_| key(certify("a.example", &[0; 32], &provider).unwrap()));
        assert_ne!(first, second);
    }
}
