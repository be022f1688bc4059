//! The origin check for requests that a cookie authenticates (CSRF), and the list that CORS uses. Requests
//! with a bearer token need no origin.

use std::collections::HashSet;

use super::Credentials;

/// Which origins may use the cookie: the server's own, and those that are listed. Compared exactly, by
/// scheme, host and port.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    listed: HashSet<String>,
}

impl Origins {
    /// The configured ones, in the form in which browsers send them.
    #[must_use]
    pub fn new(listed: &[String]) -> Self {
        Self { listed: listed.iter().cloned().collect() }
    }

    /// Whether an origin is on the list.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.listed.contains(origin)
    }

    /// Whether an origin is on the list, or the one under which this request reached the server.
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
}
