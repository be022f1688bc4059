//! Whether what a directory issued is what was ordered.

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::listeners::certificates::is_for;

/// Checks a key and a certificate with its chain, in PEM, for all of these names. In words, what is wrong.
pub(super) fn check(pem: &[u8], names: &[String], provider: &CryptoProvider) -> Result<(), String> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
    match names.iter().find(|name| !covers(&certified, name)) {
        Some(name) => Err(format!("it is not for {name}")),
        None => Ok(()),
    }
}

/// Whether a certificate is for a name of the configuration.
pub(super) fn covers(certified: &CertifiedKey, name: &str) -> bool {
    ServerName::try_from(name).is_ok_and(|name| is_for(certified, &name))
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    #[test]
    fn what_was_not_ordered_is_refused() {
        let provider = default_provider();
        let names = ["a.example", "b.example"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names.to_vec()).unwrap();
        let other = rcgen::generate_simple_self_signed(names.to_vec()).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let check = |pem: &str, names: &[String]| check(pem.as_bytes(), names, &provider);
        assert_eq!(check(&format!("{key}{chain}"), &names), Ok(()));
        assert_eq!(check(&format!("{key}{chain}"), &names[..1]), Ok(()));
        let more = [&names[..], &["c.example".to_owned()]].concat();
        assert_eq!(check(&format!("{key}{chain}"), &more), Err("it is not for c.example".to_owned()));
        let damaged = chain.replacen("MII", "MIJ", 1);
        for wrong in ["", &key, &chain, &format!("{}{chain}", other.signing_key.serialize_pem())] {
            assert!(check(wrong, &names).is_err());
        }
        assert!(check(&format!("{key}{damaged}"), &names).is_err());
    }
}
