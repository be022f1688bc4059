//! The opening handshake (RFC 6455 section 4), judged by header fields that the caller has parsed. Reading
//! the request head and writing the 101 response are the caller's part.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig},
};
use sha1::{Digest, Sha1};

use super::Compression;

/// What every server appends to the key (RFC 6455 section 1.3), so that nothing but a WebSocket server
/// answers as one.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version (RFC 6455 section 4.1).
const VERSION: &str = "13";
/// The bytes of a key.
const KEY_BYTES: usize = 16;
/// The longest text of offered extensions that is looked at.
const EXTENSIONS_MAX_BYTES: usize = 1024;
/// The longest text of offered subprotocols that is looked at.
const PROTOCOLS_MAX_BYTES: usize = 1024;
/// Base64 as clients write it; what is left over in its last character does not matter, since the key is
/// never used as bytes.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.trim());
    hash.update(GUID);
    BASE64.encode(hash.finalize())
}

/// The value of `Sec-WebSocket-Key` for what a client has drawn by chance (RFC 6455 section 4.1).
#[must_use]
pub fn key(random: [u8; KEY_BYTES]) -> String {
    BASE64.encode(random)
}

/// What a request's fields say of the change to WebSocket, taken in one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `Upgrade` names `websocket`.
    upgrade: bool,
    /// `Connection` names `upgrade`.
    connection: bool,
    version: Option<String>,
    key: Option<String>,
    extensions: String,
    protocols: String,
    /// A field that may be there once is there twice.
    twice: bool,
}

/// A change that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The compression that the client offers, if it offers one that can be had.
    pub compression: Option<Compression>,
}

/// Why the change cannot be made (RFC 6455 section 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is not asked for; 426, with `Upgrade: websocket`.
    #[error(
        "this address speaks WebSocket: GET over HTTP/1.1 with Upgrade: websocket and Connection: Upgrade"
    )]
    NoUpgrade,
    /// Another version is asked for; 426, with `Sec-WebSocket-Version: 13`.
    #[error("Sec-WebSocket-Version has to be 13")]
    Version,
    /// The key is missing, or is not 16 bytes; 400.
    #[error("Sec-WebSocket-Key has to be 16 bytes in base64")]
    Key,
    /// Something is said twice; 400.
    #[error("Sec-WebSocket-Key and Sec-WebSocket-Version may be there once")]
    Twice,
}

impl Rejection {
    /// The HTTP status that fits. With 426 go `Upgrade: websocket` (RFC 9110 section 15.5.22) and
    /// `Sec-WebSocket-Version: 13`.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoUpgrade | Self::Version => 426,
            Self::Key | Self::Twice => 400,
        }
    }
}

impl Handshake {
    /// Takes in a field, if it is one of those that matter here; whether it is.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let names = |token: &str| value.split(',').any(|other| other.trim().eq_ignore_ascii_case(token));
        if is("upgrade") {
            self.upgrade |= names("websocket");
        } else if is("connection") {
            self.connection |= names("upgrade");
        } else if is("sec-websocket-version") {
            self.twice |= self.version.replace(value.trim().to_owned()).is_some();
        } else if is("sec-websocket-key") {
            self.twice |= self.key.replace(value.trim().to_owned()).is_some();
        } else if is("sec-websocket-extensions") {
            if self.extensions.len() + value.len() < EXTENSIONS_MAX_BYTES {
                // Several fields mean the same as one (RFC 6455 section 9.1).
                self.extensions.push_str(value);
                self.extensions.push(',');
            }
        } else if is("sec-websocket-protocol") {
            if self.protocols.len() + value.len() < PROTOCOLS_MAX_BYTES {
                // Several fields mean the same as one (RFC 6455 section 11.3.4).
                self.protocols.push_str(value);
                self.protocols.push(',');
            }
        } else {
            return false;
        }
        true
    }

    /// The first subprotocol that the client offers and the server speaks (RFC 6455 section 4.2.2); none when
    /// the client offers none of them.
    #[must_use]
    pub fn protocol(&self, spoken: &[&'static str]) -> Option<&'static str> {
        let mut offered = self.protocols.split(',').map(str::trim);
        offered.find_map(|offer| spoken.iter().copied().find(|spoken| *spoken == offer))
    }

    /// Whether the change is asked for at all.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.upgrade && self.connection
    }

    /// Decides on the request, whose method and version the caller has read.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn check(&self, method: &str, http_11: bool) -> Result<Opening, Rejection> {
        if method != "GET" || !http_11 || !self.is_asked_for() {
            return Err(Rejection::NoUpgrade);
        }
        if self.twice {
            return Err(Rejection::Twice);
        }
        if self.version.as_deref() != Some(VERSION) {
            return Err(Rejection::Version);
        }
        let key =
            self.key.as_deref().filter(|key| BASE64.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES));
        let accept = accept(key.ok_or(Rejection::Key)?);
        Ok(Opening { accept, compression: Compression::negotiate(&self.extensions) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn with(changed: usize, value: &str) -> Handshake {
        let mut handshake = Handshake::default();
        for (index, (name, usual)) in GOOD.iter().enumerate() {
            assert!(handshake.take(name, if index == changed { value } else { usual }));
        }
        handshake
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        assert_eq!(with(9, "").check("GET", true).unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_subprotocol_is_the_clients_first_that_is_spoken() {
        for (fields, chosen) in [
            (&["a, b"][..], Some("b")),
            (&["c,b"], Some("c")),
            (&["x", " c ", "b"], Some("c")),
            (&["B"], None),
            (&["bc"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut handshake = with(9, "");
            fields.iter().for_each(|value| assert!(handshake.take("Sec-WebSocket-Protocol", value)));
            assert_eq!(handshake.protocol(&["b", "c"]), chosen, "{fields:?}");
        }
        let mut long = with(9, "");
        long.take("sec-websocket-protocol", &"x".repeat(PROTOCOLS_MAX_BYTES));
        long.take("sec-websocket-protocol", "b");
        assert_eq!(long.protocol(&["b"]), Some("b"), "what is too long is passed over");
    }

    #[test]
    fn what_is_not_a_handshake_is_told_why() {
        for (changed, value, rejection) in [
            (0, "h2c", Rejection::NoUpgrade),
            (1, "keep-alive", Rejection::NoUpgrade),
            (2, "", Rejection::Key),
            (2, "dGhlIHNhbXBsZSBub25j", Rejection::Key),
            (2, "dGhlIHNhbXBsZSBub25jZTEyMzQ=", Rejection::Key),
            (2, "dGhlIHNhbXBsZSBub25jZQ", Rejection::Key),
            (2, "not base64 at all!!", Rejection::Key),
            (3, "8", Rejection::Version),
            (3, "013", Rejection::Version),
        ] {
            assert_eq!(with(changed, value).check("GET", true), Err(rejection), "{value}");
        }
        assert_eq!(with(9, "").check("POST", true), Err(Rejection::NoUpgrade));
        assert_eq!(with(9, "").check("GET", false), Err(Rejection::NoUpgrade));
        let mut twice = with(9, "");
        twice.take("sec-websocket-key", GOOD[2].1);
        assert_eq!(twice.check("GET", true), Err(Rejection::Twice));
        assert!(!twice.take("Host", "a"));
    }
}
