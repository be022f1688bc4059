//! The preface of the PROXY protocol, version 2, by which a proxy says at the beginning of a connection whose
//! it is. What it looks like: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What every preface begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, the version with the command, the family, and the length of the rest.
const HEAD_BYTES: usize = 16;
/// The longest preface: addresses, and what proxies add of their own.
pub const PREFACE_MAX_BYTES: usize = 4 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Not enough to know: so many are needed to go on.
    More(usize),
    /// A whole preface of so many bytes.
    Whole {
        /// The client, or none where the proxy speaks for itself, or of what has no address.
        client: Option<IpAddr>,
        /// The length.
        bytes: usize,
    },
    /// Anything else.
    Invalid,
}

impl Preface {
    /// Looks at the first bytes of a connection.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let looks = bytes.len().min(SIGNATURE.len());
        if bytes[..looks] != SIGNATURE[..looks] {
            return Self::Invalid;
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Self::More(HEAD_BYTES);
        };
        let (command, family) = (head[12], head[13]);
        let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
        if HEAD_BYTES + length > PREFACE_MAX_BYTES {
            return Self::Invalid;
        }
        let Some(rest) = rest.get(..length) else { return Self::More(HEAD_BYTES + length) };
        let client = match (command, family) {
            // LOCAL: the proxy's own connection. Whatever else it says is to be passed over.
            (0x20, _) => Some(None),
            // PROXY over IPv4 and IPv6, of streams.
            (0x21, 0x11) => source::<4>(rest, 12).map(|octets| Some(Ipv4Addr::from(octets).into())),
            (0x21, 0x21) => {
                source::<16>(rest, 36).map(|octets| Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()))
            }
            // Of a unix socket, or not known.
            (0x21, 0x31 | 0x00) => Some(None),
            _ => None,
        };
        match client {
            Some(client) => Self::Whole { client, bytes: HEAD_BYTES + length },
            None => Self::Invalid,
        }
    }
}

/// The address of the client, which stands first, where both addresses and ports are there.
fn source<const N: usize>(rest: &[u8], both_bytes: usize) -> Option<[u8; N]> {
    rest.first_chunk().filter(|_| rest.len() >= both_bytes).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preface(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn ipv4() -> Vec<u8> {
        preface(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 0x10, 0, 0, 80])
    }

    #[test]
    fn the_client_is_told_whole_and_what_follows_is_left() {
        let client = |bytes: &[u8]| match Preface::read(&[bytes, b"GET / "].concat()) {
            Preface::Whole { client, bytes: length } if length == bytes.len() => {
                client.map(|address| address.to_string())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(client(&ipv4()), Some("203.0.113.7".into()));
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        ipv6[15] = 7;
        assert_eq!(client(&preface(0x21, 0x21, &ipv6)), Some("2001:db8::7".into()));
        let more = [&[203, 0, 113, 7, 10, 0, 0, 1, 0, 1, 0, 80][..], &[4, 0, 1, 0]].concat();
        assert_eq!(client(&preface(0x21, 0x11, &more)), Some("203.0.113.7".into()), "more may follow");
        for own in [
            preface(0x20, 0, &[]),
            preface(0x20, 0x11, &more),
            preface(0x21, 0, &[]),
            preface(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(client(&own), None);
        }
    }

    #[test]
    fn every_beginning_asks_for_more_and_everything_else_is_refused() {
        let whole = ipv4();
        for length in 0..whole.len() {
            let needed = if length < HEAD_BYTES { HEAD_BYTES } else { whole.len() };
            assert_eq!(Preface::read(&whole[..length]), Preface::More(needed), "{length}");
        }
        for wrong in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 80\r\n",
            &[0x16, 3, 1],
            &preface(0x11, 0x11, &[0; 12]),
            &preface(0x22, 0x11, &[0; 12]),
            &preface(0x21, 0x12, &[0; 12]),
            &preface(0x21, 0x11, &[0; 11]),
            &preface(0x21, 0x21, &[0; 35]),
            &preface(0x20, 0, &[0; PREFACE_MAX_BYTES])[..HEAD_BYTES],
        ] {
            assert_eq!(Preface::read(wrong), Preface::Invalid, "{wrong:?}");
        }
    }

    /// Bytes by a generator that is always the same: xorshift64.
    #[test]
    fn whatever_comes_is_read_within_its_bounds() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..200_000 {
            let mut bytes = ipv4();
            for _ in 0..next() % 4 {
                let at = usize::try_from(next()).unwrap() % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(usize::try_from(next()).unwrap() % (bytes.len() + 8));
            match Preface::read(&bytes) {
                Preface::Whole { bytes: length, .. } => assert!((HEAD_BYTES..=bytes.len()).contains(&length)),
                Preface::More(needed) => assert!((bytes.len() + 1..=PREFACE_MAX_BYTES).contains(&needed)),
                Preface::Invalid => {}
            }
        }
    }
}
