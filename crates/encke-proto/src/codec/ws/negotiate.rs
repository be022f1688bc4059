//! The negotiation of permessage-deflate (RFC 7692 section 7.1): offers parsed, one accepted, the response
//! written. Only compression without context takeover is accepted, as it needs no memory between messages.

/// The compression that a client can take part in, without anything kept from one message to the next on
/// either side (RFC 7692 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// How far back the client can look while it inflates, as a power of two: 8 to 15. None when it said
    /// nothing, which is 15.
    server_window_bits: Option<u8>,
}

/// How far back either side can look.
pub(super) const WINDOW_BITS_MAX: u8 = 15;

impl Compression {
    /// The first of the offers in `Sec-WebSocket-Extensions` that can be accepted, since clients name them in
    /// the order in which they like them.
    #[must_use]
    pub fn negotiate(offers: &str) -> Option<Self> {
        split(offers, ',').find_map(accept)
    }

    /// The value of `Sec-WebSocket-Extensions` that accepts it. A server may ask for both kinds of forgetting
    /// unasked (RFC 7692 sections 7.1.1.1 and 7.1.1.2).
    #[must_use]
    pub fn response(self) -> String {
        let mut out =
            String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_window_bits {
            out.push_str("; server_max_window_bits=");
            out.push_str(&bits.to_string());
        }
        out
    }

    /// How far back the client can look while it inflates, as a power of two.
    #[must_use]
    pub fn window_bits(self) -> u8 {
        self.server_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }

    /// Whether a message of so many bytes may be sent compressed. What is compressed once for all looks back
    /// as far as it likes within the message, which is too far for a client with a small window if the
    /// message is longer than that; such a message is sent plain, as any message may be (RFC 7692 section 6).
    #[must_use]
    pub fn fits(self, message_bytes: usize) -> bool {
        self.window_bits() == WINDOW_BITS_MAX || message_bytes <= 1 << self.window_bits()
    }
}

/// One offer: the extension's name and its parameters. One that has anything unknown, twice or wrong is
/// declined (RFC 7692 section 7).
fn accept(offer: &str) -> Option<Compression> {
    let mut parts = split(offer, ';');
    if parts.next()? != "permessage-deflate" {
        return None;
    }
    let mut server_window_bits = None;
    let mut seen: [bool; 4] = [false; 4];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start()))),
            None => (part, None),
        };
        let which = match (name, value) {
            ("server_no_context_takeover", None) => 0,
            ("client_no_context_takeover", None) => 1,
            ("server_max_window_bits", Some(value)) => {
                server_window_bits = Some(bits(value)?);
                2
            }
            // How far back the client will look is for those to know who save memory by it.
            ("client_max_window_bits", None) => 3,
            ("client_max_window_bits", Some(value)) => {
                bits(value)?;
                3
            }
            _ => return None,
        };
        if std::mem::replace(&mut seen[which], true) {
            return None;
        }
    }
    Some(Compression { server_window_bits })
}

/// A number from 8 to 15 without zeros in front (RFC 7692 section 7.1.2.1).
fn bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=WINDOW_BITS_MAX).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

/// A quoted value means the same as the token in it (RFC 6455 section 9.1); what cannot be a token is wrong
/// in either form.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// The parts of a list. A separator within quotes parts as well: no value that is accepted holds one.
fn split(list: &str, separator: char) -> impl Iterator<Item = &str> {
    list.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_that_can_be_had_is_taken() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for (offers, response) in [
            ("permessage-deflate", Some(plain.to_owned())),
            ("permessage-deflate; client_max_window_bits", Some(plain.to_owned())),
            ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=9", Some(plain.to_owned())),
            (
                "permessage-deflate; server_max_window_bits=10; server_no_context_takeover",
                Some(format!("{plain}; server_max_window_bits=10")),
            ),
            (
                "permessage-deflate; server_max_window_bits = \"8\"",
                Some(format!("{plain}; server_max_window_bits=8")),
            ),
            ("permessage-deflate; server_max_window_bits=7, permessage-deflate", Some(plain.to_owned())),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=08", None),
            ("permessage-deflate; server_max_window_bits=+9", None),
            ("permessage-deflate; client_max_window_bits=0", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("permessage-deflate; colour=red", None),
            ("permessage-bzip2", None),
            ("", None),
        ] {
            assert_eq!(Compression::negotiate(offers).map(Compression::response), response, "{offers}");
        }
    }

    #[test]
    fn a_small_window_takes_small_messages_only() {
        let small = Compression::negotiate("permessage-deflate; server_max_window_bits=9").unwrap();
        assert!(small.fits(512) && !small.fits(513));
        for offers in ["permessage-deflate", "permessage-deflate; server_max_window_bits=15"] {
            assert!(Compression::negotiate(offers).unwrap().fits(1 << 20));
        }
    }
}
