//! The keys by which a page that is being closed ends its session: a code of the session's id under a secret
//! of the server's own, so that nothing is kept for them.

use encke_proto::{CloseKey, SessionId};
use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// What parts the secret of these keys from those of tokens and tickets.
const PURPOSE: &str = "encke close key\0";

/// Makes the keys, and compares them. SipHash-2-4 is a code of short messages by its design; its key of 128
/// bits is used for nothing else.
#[derive(Clone)]
pub struct CloseKeys(SipHasher24);

impl CloseKeys {
    /// Those of this secret. Nodes that share it make the same, also after a restart.
    pub(super) fn of(secret: &Secret) -> Self {
        let digest = Sha256::new().chain_update(PURPOSE).chain_update(secret.expose()).finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(SipHasher24::new_with_key(&key))
    }

    /// Those of random bits, of a server that is alone and has no secret: its sessions end with it.
    pub(super) fn random(bits: u128) -> Self {
        Self(SipHasher24::new_with_key(&bits.to_ne_bytes()))
    }

    /// The key of a session.
    #[must_use]
    pub fn of_session(&self, session: SessionId) -> CloseKey {
        CloseKey::from_bits(self.0.hash(&session.bytes()).as_u128())
    }

    /// Whether this is the key of the session.
    #[must_use]
    pub fn fits(&self, session: SessionId, given: &str) -> bool {
        let Ok(given) = given.parse::<CloseKey>() else { return false };
        self.of_session(session).bytes().ct_eq(given.bytes()).into()
    }
}

impl std::fmt::Debug for CloseKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CloseKeys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(c: &str) -> CloseKeys {
        CloseKeys::of(&Secret::new(c.repeat(32)))
    }

    #[test]
    fn t16_a_key_is_of_one_session_and_one_secret() {
        let [one, other] = [1, 2].map(SessionId::from_bits);
        let key = keys("s").of_session(one);
        let text = key.text().as_str().to_owned();
        assert!(keys("s").fits(one, &text), "another node makes the same");
        assert!(!keys("s").fits(other, &text));
        assert!(!keys("t").fits(one, &text));
        assert!(!CloseKeys::random(7).fits(one, &text));
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(!keys("s").fits(one, std::str::from_utf8(&wrong).unwrap()), "{at}");
            assert!(!keys("s").fits(one, &text[..at]));
        }
        assert!(!keys("s").fits(one, one.text().as_str()), "the id is no key");
    }

    #[test]
    fn the_keys_of_one_server_are_not_alike() {
        let random = CloseKeys::random(7);
        let all: std::collections::HashSet<String> = (0..1000)
            .map(|bits| random.of_session(SessionId::from_bits(bits)).text().as_str().to_owned())
            .collect();
        assert_eq!(all.len(), 1000);
    }
}
