//! What proxies say of the client whose requests they pass on: `X-Forwarded-For`, `X-Forwarded-Proto`, and
//! `Forwarded` (RFC 7239).

use std::{
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
};

use super::head::FIELDS_MAX;

/// The most proxies that a request may have come through; what is named before them is not looked at.
const HOPS_MAX: usize = 32;

/// The fields of a head that proxies write, each as often as it stands there, in order.
#[derive(Debug, Default)]
pub struct ForwardedFields<'a> {
    addresses: Vec<&'a str>,
    forwarded: Vec<&'a str>,
    has_proto: bool,
}

/// Whom a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedClient {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by https to the proxy that it reached, if `Forwarded` alone says so.
    pub https: Option<bool>,
}

impl<'a> ForwardedFields<'a> {
    /// Those of a head that was read before.
    #[must_use]
    pub fn of_head(bytes: &'a [u8]) -> Self {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let mut read = Self::default();
        if request.parse_with_uninit_headers(bytes, &mut fields).is_ok() {
            for field in request.headers.iter() {
                if let Ok(value) = std::str::from_utf8(field.value) {
                    read.take(field.name, value);
                }
            }
        }
        read
    }

    /// Takes in a field, if it is one of them.
    pub fn take(&mut self, name: &str, value: &'a str) {
        if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.addresses.push(value);
        } else if name.eq_ignore_ascii_case("forwarded") {
            self.forwarded.push(value);
        } else if name.eq_ignore_ascii_case("x-forwarded-proto") {
            self.has_proto = true;
        }
    }

    /// The client behind a trusted proxy at `peer`: read from the right, the first address that is of no
    /// trusted proxy, since whatever stands before it the client may have made up. `X-Forwarded-For` counts
    /// where it stands, else `Forwarded`. What is no address ends the list: the last known before it counts.
    #[must_use]
    pub fn client(&self, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> ForwardedClient {
        let (mut client, mut https) = (peer, None);
        let hops: Box<dyn Iterator<Item = (Option<IpAddr>, Option<bool>)>> = if self.addresses.is_empty() {
            let elements = self.forwarded.iter().rev().flat_map(|field| field.rsplit(','));
            Box::new(elements.map(element))
        } else {
            let listed = self.addresses.iter().rev().flat_map(|field| field.rsplit(','));
            Box::new(listed.map(|text| (address(text), None)))
        };
        for (address, by_https) in hops.take(HOPS_MAX) {
            let Some(address) = address else { break };
            (client, https) = (address, by_https.or(https));
            if !is_trusted(client) {
                break;
            }
        }
        ForwardedClient { address: client, https: https.filter(|_| !self.has_proto) }
    }
}

/// One element of `Forwarded`: whose request it was, and whether by https.
fn element(text: &str) -> (Option<IpAddr>, Option<bool>) {
    let (mut from, mut https) = (None, None);
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim();
        if name.trim().eq_ignore_ascii_case("for") {
            from = address(value);
        } else if name.trim().eq_ignore_ascii_case("proto") {
            let proto = value.trim_matches('"');
            https = Some(["https", "wss"].iter().any(|secure| proto.eq_ignore_ascii_case(secure)));
        }
    }
    (from, https)
}

/// An address with or without a port, in quotes and brackets or not. `unknown` and names that a proxy made
/// up (RFC 7239 section 6.3) are none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address: IpAddr = text.parse().ok().or_else(in_brackets).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1";

    fn client(fields: &[(&str, &str)]) -> (String, Option<bool>) {
        let mut read = ForwardedFields::default();
        for (name, value) in fields {
            read.take(name, value);
        }
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let found = read.client(PEER.parse().unwrap(), is_trusted);
        (found.address.to_string(), found.https)
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_trusted_proxy() {
        for (list, found) in [
            ("203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7,10.0.0.2 , 10.0.0.3", "203.0.113.7"),
            ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, unknown", PEER),
            ("203.0.113.7, 10.0.0.2x, 10.0.0.3", "10.0.0.3"),
            ("", PEER),
            (",", PEER),
        ] {
            assert_eq!(client(&[("X-Forwarded-For", list)]).0, found, "{list:?}");
        }
        let lines = [("x-forwarded-for", "203.0.113.7"), ("X-FORWARDED-FOR", "10.0.0.2")];
        assert_eq!(client(&lines).0, "203.0.113.7", "several lines are one list");
        let many = ["10.0.0.2"; 1000].join(",");
        assert_eq!(client(&[("x-forwarded-for", &format!("1.1.1.1,{many}"))]).0, "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_list() {
        for (list, found, https) in [
            ("for=203.0.113.7;proto=https", "203.0.113.7", Some(true)),
            ("For=\"[2001:db8::1]:80\"; Proto=http", "2001:db8::1", Some(false)),
            ("for=1.1.1.1;proto=https, for=203.0.113.7, for=10.0.0.2;proto=http", "203.0.113.7", Some(false)),
            ("for=203.0.113.7;by=10.0.0.9;host=a", "203.0.113.7", None),
            ("for=_hidden", PEER, None),
            ("proto=https", PEER, None),
            ("for", PEER, None),
        ] {
            assert_eq!(client(&[("Forwarded", list)]), (found.to_owned(), https), "{list:?}");
        }
        let both = [("Forwarded", "for=1.1.1.1;proto=https"), ("X-Forwarded-For", "203.0.113.7")];
        assert_eq!(client(&both), ("203.0.113.7".to_owned(), None));
        let said = [("Forwarded", "for=203.0.113.7;proto=https"), ("X-Forwarded-Proto", "http")];
        assert_eq!(client(&said), ("203.0.113.7".to_owned(), None), "the field of its own counts");
    }
}
