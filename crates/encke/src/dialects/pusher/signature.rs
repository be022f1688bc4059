//! Signatures: HMAC-SHA256 in hexadecimal digits (RFC 2104), compared in constant time, and the MD5 of
//! bodies, which are signed by it.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

/// Whether a text is signed so. Digits may be of either case.
pub(super) fn verify(secret: &str, text: &[u8], signature: &str) -> bool {
    let (Some(given), Ok(mut mac)) = (bytes(signature), Hmac::<Sha256>::new_from_slice(secret.as_bytes()))
    else {
        return false;
    };
    mac.update(text);
    mac.verify_slice(&given).is_ok()
}

/// The signature of a text, in hexadecimal digits.
pub(super) fn sign(secret: &str, text: &[u8]) -> String {
    // HMAC takes keys of all lengths (RFC 2104 section 2).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(text);
    digits(&mac.finalize().into_bytes())
}

/// The MD5 of a body.
pub(super) fn md5(body: &[u8]) -> String {
    digits(&Md5::digest(body))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits: 32 of them, or none.
fn bytes(digits: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    if digits.len() != 64 {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7ad3773142a6692b25b8";

    #[test]
    fn the_vectors_of_the_documentation_are_signed_so() {
        let request = "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179\
                       &auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f";
        for (text, signature) in [
            ("1234.1234:private-foobar", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
            (
                r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
            (
                r#"1234.1234::user::{"id":"12345"}"#,
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
            ),
            (request, "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"),
        ] {
            assert!(verify(SECRET, text.as_bytes(), signature), "{text}");
            assert_eq!(sign(SECRET, text.as_bytes()), signature);
            assert!(!verify(SECRET, format!("{text} ").as_bytes(), signature));
            assert!(!verify("other", text.as_bytes(), signature));
            for wrong in ["", &signature[..62], &format!("{signature}00"), &"x".repeat(64)] {
                assert!(!verify(SECRET, text.as_bytes(), wrong), "{wrong}");
            }
        }
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(md5(body.as_bytes()), "ec365a775a4cd0599faeb73354201b6f");
    }
}
