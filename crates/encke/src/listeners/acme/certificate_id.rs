//! By what a directory knows a certificate again (RFC 9773 section 4.1): the key of its issuer, and its
//! number.

use instant_acme::CertificateIdentifier;
use rustls::pki_types::Der;

use crate::listeners::der::{
    BOOLEAN, INTEGER, NUMBER_0, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, any, value,
};

/// The tag of the extensions (RFC 5280 section 4.1).
const EXTENSIONS: u8 = 0xa3;
/// The tag of the key's identifier in its extension (RFC 5280 section 4.2.1.1).
const KEY_IDENTIFIER: u8 = 0x80;
/// 2.5.29.35, id-ce-authorityKeyIdentifier.
const AUTHORITY_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 0x23];

/// That of a certificate; none when it names no key of its issuer, or cannot be read.
pub(super) fn certificate_id(certificate: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let (whole, _) = value(certificate, SEQUENCE)?;
    let (fields, _) = value(whole, SEQUENCE)?;
    let fields = value(fields, NUMBER_0).map_or(fields, |(_, rest)| rest);
    let (number, mut fields) = value(fields, INTEGER)?;
    let extensions = loop {
        let (tag, extensions, rest) = any(fields)?;
        if tag == EXTENSIONS {
            break extensions;
        }
        fields = rest;
    };
    let (mut extensions, _) = value(extensions, SEQUENCE)?;
    loop {
        let (extension, rest) = value(extensions, SEQUENCE)?;
        let (kind, held) = value(extension, OBJECT_IDENTIFIER)?;
        if kind == AUTHORITY_KEY_IDENTIFIER {
            let held = value(held, BOOLEAN).map_or(held, |(_, rest)| rest);
            let (held, _) = value(held, OCTET_STRING)?;
            let (held, _) = value(held, SEQUENCE)?;
            let (key, _) = value(held, KEY_IDENTIFIER)?;
            return Some(CertificateIdentifier::new(Der::from_slice(key), Der::from_slice(number)));
        }
        extensions = rest;
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber};

    use super::*;

    fn issued(names_issuer: bool) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // The bytes of the example in RFC 9773 section 4.1.
        let key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c,
            0xde, 0x01, 0xc8, 0xd4,
        ];
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.to_vec());
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = names_issuer;
        params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x87, 0x65, 0x43, 0x21]));
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn it_is_that_of_the_specification() {
        let id = certificate_id(&issued(true)).unwrap();
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }

    #[test]
    fn what_names_no_key_or_is_damaged_has_none() {
        assert_eq!(certificate_id(&issued(false)), None);
        let whole = issued(true);
        let read = (0..whole.len()).find(|end| certificate_id(&whole[..*end]).is_some());
        assert_eq!(read, None);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            // Whatever comes of it, it is read to its end.
            let _ = certificate_id(&changed);
        }
    }
}
