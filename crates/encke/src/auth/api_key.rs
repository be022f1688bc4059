//! The key of the server API, compared in constant time. Client tokens are in `token.rs`.

use subtle::{Choice, ConstantTimeEq};

use crate::config::Secret;

/// The longest key that is compared; the head of a request holds longer ones, but none is configured.
const KEY_MAX_BYTES: usize = 512;

/// The key of the server API, compared in a time that depends on what is given alone, and so tells nothing:
/// neither where the first wrong byte is, nor how long the right key is.
#[derive(Clone)]
pub struct ApiKey {
    padded: [u8; KEY_MAX_BYTES],
    length: u64,
}

impl ApiKey {
    /// The configured key.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let mut padded = [0; KEY_MAX_BYTES];
        for (slot, byte) in padded.iter_mut().zip(secret.expose().bytes()) {
            *slot = byte;
        }
        Self { padded, length: secret.expose().len() as u64 }
    }

    /// Whether this is the key.
    #[must_use]
    pub fn fits(&self, given: &str) -> bool {
        let is_short = Choice::from(u8::from(given.len() <= KEY_MAX_BYTES));
        let is_as_long = (given.len() as u64).ct_eq(&self.length);
        let mut differs = 0;
        for (own, byte) in self.padded.iter().zip(given.bytes()) {
            differs |= own ^ byte;
        }
        (is_short & is_as_long & differs.ct_eq(&0)).into()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_fits() {
        let key = ApiKey::new(&Secret::new("4f1c9be07d3a4f1c".into()));
        assert!(key.fits("4f1c9be07d3a4f1c"));
        for wrong in [
            "",
            "4f1c9be07d3a4f1",
            "4f1c9be07d3a4f1c\0",
            "4f1c9be07d3a4f1d",
            "5f1c9be07d3a4f1c",
            "4F1C9BE07D3A4F1C",
        ] {
            assert!(!key.fits(wrong), "{wrong:?}");
        }
        assert!(!key.fits(&"4f1c9be07d3a4f1c".repeat(64)));
    }

    #[test]
    fn a_key_that_is_too_long_fits_nothing() {
        let long = "k".repeat(KEY_MAX_BYTES + 1);
        assert!(!ApiKey::new(&Secret::new(long.clone())).fits(&long));
    }

    #[test]
    fn the_key_is_not_in_its_debug_form() {
        assert!(!format!("{:?}", ApiKey::new(&Secret::new("hush".into()))).contains("hush"));
    }
}
