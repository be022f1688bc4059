//! What a request head brings for authentication, borrowed and not yet verified. Cookies are parsed here;
//! whether any of it is valid is for the authenticator to say.

use std::borrow::Cow;

use http::{HeaderMap, Method, header};

/// The cookie that a login sets.
pub const COOKIE: &str = "encke_token";
/// The cookie that a login by https sets for the whole host. A browser takes one of this name from that host
/// alone, by https, and for all of it (RFC 6265bis section 4.1.3.2): no neighbouring subdomain can put it
/// there.
pub const HOST_COOKIE: &str = "__Host-encke_token";
/// The addresses to which clients send a token in the body.
pub const TOKEN_IN_BODY: [&str; 2] = ["/v1/login", "/v1/refresh"];
/// The most cookies of that name that are looked at: each is a signature to verify. A browser has one for
/// each path and domain that set one.
pub const COOKIES_MAX: usize = 8;

/// The scheme of a token, with the space that ends it (RFC 6750 section 2.1).
const BEARER: &str = "bearer ";

/// The names under which applications put tokens into addresses. None of them is taken.
const TOKEN_PARAMETERS: [&str; 5] = ["token", "access_token", "jwt", "auth", "authorization"];

/// Whether a client asks with the same address again, and so with the same ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Returns {
    /// It does not.
    #[default]
    Never,
    /// It is a stream that will.
    Later,
    /// It is a stream that does, with its last event id.
    Now,
}

/// What a request brings to prove who sends it. Borrowed from its head, as hyper or a shard parsed it.
#[derive(Clone, Default)]
pub struct Credentials<'a> {
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// The header `Cookie`; several of them joined as one (RFC 9113 section 8.2.3).
    pub cookie: Option<Cow<'a, str>>,
    /// The query parameter `ticket`, decoded; on the held routes only.
    pub ticket: Option<&'a str>,
    /// Whether its client asks with the same address when it comes back, as a browser's EventSource does.
    pub returns: Returns,
    /// Whether the query holds a token, which is refused: addresses end up in logs and histories. See
    /// [`query_holds_token`].
    pub query_token: bool,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// The header `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// The header `Host`.
    pub host: Option<&'a str>,
    /// The header `X-Forwarded-Proto`, the first of several, by which a proxy says that it was reached by
    /// `https`. A foreign page cannot make a browser send it unasked.
    pub forwarded_proto: Option<&'a str>,
    /// Whether the request changes something (every method but GET and HEAD): a cookie alone then needs a
    /// proof of where it comes from.
    pub changes: bool,
    /// The header fields that the configuration names for the application, in the order of the request; see
    /// [`Credentials::choosing`].
    pub chosen: Vec<(&'a str, &'a str)>,
    /// Whether the request lasts, as a stream does. Its token comes once, so it is not remembered.
    pub lasts: bool,
}

/// Whether one of the parameters of this query is a token by its name.
#[must_use]
pub fn query_holds_token(query: Option<&str>) -> bool {
    let names = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names
        .into_iter()
        .any(|name| TOKEN_PARAMETERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)))
}

impl<'a> Credentials<'a> {
    /// Those of a request that is not held, so that a ticket counts for nothing.
    #[must_use]
    pub fn of(method: &Method, headers: &'a HeaderMap, query: Option<&str>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            authorization: text(header::AUTHORIZATION.as_str()),
            cookie: cookies(headers),
            ticket: None,
            query_token: query_holds_token(query),
            origin: text(header::ORIGIN.as_str()),
            sec_fetch_site: text("sec-fetch-site"),
            host: text(header::HOST.as_str()),
            forwarded_proto: text("x-forwarded-proto"),
            changes: !matches!(*method, Method::GET | Method::HEAD),
            chosen: Vec::new(),
            lasts: false,
            returns: Returns::Never,
        }
    }

    /// The same, with the fields of these names, which are in lower case.
    #[must_use]
    pub fn choosing(self, headers: &'a HeaderMap, names: &[String]) -> Self {
        let named = headers.iter().filter(|(name, _)| names.iter().any(|chosen| name.as_str() == chosen));
        let chosen = named.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        Self { chosen, ..self }
    }

    /// The bearer token, if there is one. Another scheme is some proxy's business, not ours.
    #[must_use]
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
    }

    /// Whether it brings a token, good or not.
    #[must_use]
    pub fn brings_token(&self) -> bool {
        self.bearer().is_some() || self.cookie_tokens().next().is_some()
    }

    /// Whether the request reached the server, or the proxy in front of it, by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        // Behind several proxies, the first of the list is what the browser used.
        let first = self.forwarded_proto.and_then(|list| list.split(',').next()).unwrap_or_default().trim();
        // Some proxies name the protocol that the connection changes to: `wss` is WebSocket over https.
        ["https", "wss"].iter().any(|proto| first.eq_ignore_ascii_case(proto))
    }

    /// The tokens in cookies of our name, in the order in which they came. There may be several: of other
    /// paths, of a parent domain, or left from another time. Where there is one that no other host can have
    /// set, it alone counts.
    pub fn cookie_tokens(&self) -> impl Iterator<Item = &str> {
        let cookies = self.cookie.as_deref().unwrap_or_default();
        let is_of_host = values(cookies, HOST_COOKIE).next().is_some();
        values(cookies, if is_of_host { HOST_COOKIE } else { COOKIE })
    }
}

/// The values of all cookies of a name in a `Cookie` field, without the quotes that may stand around one (RFC
/// 6265 section 4.1.1). Empty ones are none.
pub fn values<'a>(cookies: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = cookies.split(';').filter_map(|pair| pair.split_once('='));
    let values =
        pairs.filter(move |(found, _)| found.trim() == name).map(|(_, value)| unquoted(value.trim()));
    values.filter(|value| !value.is_empty())
}

/// All `Cookie` fields of a request as one. What is no text is left out.
pub fn cookies(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let first = Cow::Borrowed(fields.next()?);
    Some(fields.fold(first, |all, more| Cow::Owned(format!("{all}; {more}"))))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Says what is there, never what it is.
impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("authorization", &self.authorization.is_some())
            .field("cookie", &self.cookie.is_some())
            .field("ticket", &self.ticket.is_some())
            .field("origin", &self.origin)
            .field("sec_fetch_site", &self.sec_fetch_site)
            .field("host", &self.host)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let bearer = |text| Credentials { authorization: Some(text), ..Credentials::default() }.bearer();
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer"), None);
    }

    #[test]
    fn all_cookies_of_the_name_are_found_among_others() {
        for (text, expected) in [
            ("a=1; encke_token=xyz; b=2", &["xyz"][..]),
            ("encke_token=", &[]),
            ("encke_token=\"\"", &[]),
            ("encke_token", &[]),
            ("not_encke_token=xyz; encke_token2=xyz", &[]),
            ("encke_token=old; encke_token=new", &["old", "new"]),
            ("encke_token=; encke_token=new", &["new"]),
            ("a=\"b\";encke_token=\"xyz\" ;c", &["xyz"]),
            ("encke_token = xyz", &["xyz"]),
            ("encke_token=\"xyz", &["\"xyz"]),
            ("encke_token=\"", &["\""]),
        ] {
            let credentials = Credentials { cookie: Some(text.into()), ..Credentials::default() };
            assert_eq!(credentials.cookie_tokens().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn several_cookie_fields_are_one() {
        let mut headers = HeaderMap::new();
        for field in ["a=1", "encke_token=x", "encke_token=y"] {
            headers.append(header::COOKIE, field.parse().unwrap());
        }
        let credentials = Credentials::of(&Method::GET, &headers, None);
        assert_eq!(credentials.cookie_tokens().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(credentials.cookie.as_deref(), Some("a=1; encke_token=x; encke_token=y"));
    }

    #[test]
    fn of_several_forwarded_protocols_the_first_counts() {
        for (list, is_https) in [
            ("https", true),
            ("HTTPS", true),
            ("wss", true),
            ("Wss", true),
            ("http", false),
            ("ws", false),
            ("https,http", true),
            ("https, http", true),
            (" wss , ws", true),
            ("http, https", false),
            ("ws, wss", false),
            (", https", false),
            ("", false),
            ("httpss", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-proto", list.parse().unwrap());
            // What a proxy further behind adds as a field of its own comes later in the list.
            headers.append("x-forwarded-proto", if is_https { "http" } else { "https" }.parse().unwrap());
            assert_eq!(Credentials::of(&Method::GET, &headers, None).is_https(), is_https, "{list}");
        }
        assert!(!Credentials::default().is_https());
    }

    #[test]
    fn tokens_in_addresses_are_noticed() {
        for query in ["token=x", "a=1&access_token=x", "JWT=x", "token"] {
            assert!(query_holds_token(Some(query)), "{query}");
        }
        for query in ["ticket=x", "cursor=token", "tokens=1", ""] {
            assert!(!query_holds_token(Some(query)), "{query}");
        }
        assert!(!query_holds_token(None));
    }

    #[test]
    fn nothing_secret_is_in_the_debug_form() {
        let credentials = Credentials {
            authorization: Some("Bearer hush"),
            cookie: Some("encke_token=hush".into()),
            ticket: Some("hush"),
            ..Credentials::default()
        };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
