//! The origin check for requests that a cookie authenticates (CSRF), and the list that CORS uses. Requests
//! with a bearer token need no origin.

use std::{borrow::Cow, num::NonZeroU32, sync::Arc};

use super::Credentials;

/// The origins of pages on this machine, without their ports.
const LOOPBACK: [&str; 6] = [
    "http://127.0.0.1",
    "http://localhost",
    "http://[::1]",
    "https://127.0.0.1",
    "https://localhost",
    "https://[::1]",
];
/// Where the port ends in the number of a loopback origin; the numbers of listed ones are lower.
const PORT_BITS: u32 = 16;

/// Which origins may use the cookie: the server's own, and those that are allowed. Compared exactly, by
/// scheme, host and port.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    listed: Arc<[String]>,
    loopback: bool,
}

/// An allowed origin, in the few bytes that the table of connections has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginNumber(NonZeroU32);

impl Origins {
    /// The configured ones, in the form in which browsers send them.
    #[must_use]
    pub fn new(listed: &[String]) -> Self {
        Self { listed: listed.into(), loopback: false }
    }

    /// Allows pages of this machine besides, on whatever port: in dev mode, where anyone on it may log in.
    #[must_use]
    pub fn with_loopback(self, loopback: bool) -> Self {
        Self { loopback, ..self }
    }

    /// Whether an origin is allowed.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.number(origin).is_some()
    }

    /// The number of an origin that is allowed.
    #[must_use]
    pub fn number(&self, origin: &str) -> Option<OriginNumber> {
        let listed = self.listed.iter().position(|listed| listed == origin);
        let number = match listed.and_then(|index| u16::try_from(index + 1).ok()) {
            Some(number) => u32::from(number),
            None if self.loopback => loopback_number(origin)?,
            None => return None,
        };
        NonZeroU32::new(number).map(OriginNumber)
    }

    /// The origin that has this number.
    #[must_use]
    pub fn text(&self, OriginNumber(number): OriginNumber) -> Option<Cow<'_, str>> {
        let (host, port) = (number.get() >> PORT_BITS, number.get() & u32::from(u16::MAX));
        let Some(host) = usize::try_from(host).ok()?.checked_sub(1) else {
            let index = usize::try_from(port).ok()?.checked_sub(1)?;
            return self.listed.get(index).map(|listed| Cow::Borrowed(listed.as_str()));
        };
        let host = *LOOPBACK.get(host)?;
        Some(if port == 0 { Cow::Borrowed(host) } else { Cow::Owned(format!("{host}:{port}")) })
    }

    /// Whether an origin is allowed, or the one under which this request reached the server.
    #[must_use]
    pub fn accepts(&self, origin: &str, credentials: &Credentials<'_>) -> bool {
        self.lists(origin) || own(credentials).is_some_and(|own| own == canonical(origin))
    }

    /// Whether a request that a cookie alone authenticates may be served.
    #[must_use]
    pub fn permits(&self, credentials: &Credentials<'_>) -> bool {
        match (credentials.origin, credentials.sec_fetch_site) {
            // `null` is the origin of sandboxed frames and of whatever else hides where it comes from.
            (Some(origin), _) => origin != "null" && self.accepts(origin, credentials),
            (None, Some("same-origin")) => true,
            // A person typed the address, or followed no page's link: that reads at most.
            (None, Some("none")) => !credentials.changes,
            (None, Some(_)) => false,
            // Browsers send neither with a GET of the own origin over plain http. With whatever changes
            // something, all of them send `Origin`.
            (None, None) => !credentials.changes,
        }
    }
}

/// The number of an origin on this machine, in the form in which browsers send them. No port is 0, which is
/// the port of no page.
fn loopback_number(origin: &str) -> Option<u32> {
    let (host, port) =
        LOOPBACK.iter().zip(1_u32..).find_map(|(host, number)| Some((number, origin.strip_prefix(host)?)))?;
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 0,
        None => return None,
        Some(digits) => digits.parse::<u16>().ok().filter(|port| *port != 0 && port.to_string() == digits)?,
    };
    Some(host << PORT_BITS | u32::from(port))
}

/// The origin under which the request reached the server.
fn own(credentials: &Credentials<'_>) -> Option<String> {
    let scheme = if credentials.is_https() { "https" } else { "http" };
    Some(canonical(&format!("{scheme}://{}", credentials.host?)))
}

/// Hosts have no case, and a scheme's own port is not written.
fn canonical(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let port = match origin.split_once("://") {
        Some(("http", _)) => ":80",
        Some(("https", _)) => ":443",
        _ => return origin,
    };
    origin.strip_suffix(port).map(str::to_owned).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(origin: Option<&'a str>, site: Option<&'a str>, changes: bool) -> Credentials<'a> {
        Credentials {
            origin,
            sec_fetch_site: site,
            host: Some("encke.example:8080"),
            changes,
            ..Credentials::default()
        }
    }

    #[test]
    fn origins_are_compared_exactly() {
        let origins = Origins::new(&["https://app.example".to_owned()]);
        for origin in ["http://encke.example:8080", "https://app.example"] {
            assert!(origins.permits(&request(Some(origin), None, true)), "{origin}");
        }
        for origin in [
            "https://encke.example:8080",
            "http://encke.example",
            "http://encke.example:80800",
            "http://encke.example:8080.evil.example",
            "http://evil.example",
            "http://sub.encke.example:8080",
            "https://app.example.evil.example",
            "http://app.example",
            "https://app.example:444",
            "null",
            "",
        ] {
            assert!(!origins.permits(&request(Some(origin), Some("same-origin"), true)), "{origin}");
            assert!(!origins.permits(&request(Some(origin), None, false)), "{origin}");
        }
    }

    #[test]
    fn behind_a_proxy_with_https_the_own_origin_has_https() {
        let origins = Origins::default();
        let behind = |origin| Credentials {
            host: Some("Encke.Example"),
            forwarded_proto: Some("https"),
            ..request(Some(origin), None, true)
        };
        assert!(origins.permits(&behind("https://encke.example")));
        assert!(!origins.permits(&behind("http://encke.example")));
    }

    #[test]
    fn without_an_origin_the_browser_must_say_that_it_is_the_same() {
        let origins = Origins::default();
        assert!(origins.permits(&request(None, Some("same-origin"), true)));
        for site in ["none", "same-site", "cross-site", ""] {
            assert!(!origins.permits(&request(None, Some(site), true)), "{site}");
        }
        assert!(!origins.permits(&request(None, None, true)));
        assert!(origins.permits(&request(None, None, false)));
        assert!(origins.permits(&request(None, Some("none"), false)));
        assert!(!origins.permits(&request(None, Some("cross-site"), false)));
    }

    #[test]
    fn a_schemes_own_port_is_not_written() {
        let plain = Credentials {
            host: Some("encke.example:80"),
            origin: Some("http://encke.example"),
            changes: true,
            ..Credentials::default()
        };
        assert!(Origins::default().permits(&plain));
    }

    #[test]
    fn pages_of_this_machine_are_allowed_where_that_is_said() {
        let listed = ["https://app.example".to_owned(), "http://localhost:1".to_owned()];
        let origins = Origins::new(&listed).with_loopback(true);
        for origin in [
            "https://app.example",
            "http://localhost:1",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:65535",
            "http://[::1]:8080",
            "https://localhost:5173",
            "https://127.0.0.1",
            "https://[::1]",
        ] {
            let number = origins.number(origin).unwrap_or_else(|| panic!("{origin}"));
            assert_eq!(origins.text(number).as_deref(), Some(origin));
            let others = Origins::new(&listed).lists(origin);
            assert_eq!(others, listed.iter().any(|listed| listed == origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "http://",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:080",
            "http://localhost:65536",
            "http://localhost:+80",
            "http://localhost:80/",
            "http://localhost.evil.example",
            "http://localhost:80.evil.example",
            "http://127.0.0.1.evil.example:80",
            "http://127.0.0.11",
            "http://a.localhost",
            "http://user@localhost",
            "file://localhost",
        ] {
            assert_eq!(origins.number(origin), None, "{origin}");
        }
    }
}
