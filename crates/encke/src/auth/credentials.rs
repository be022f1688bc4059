use http::{HeaderMap, Method, header};

/// The cookie that a login sets.
pub const COOKIE: &str = "encke_token";

/// The names under which people put tokens into addresses. None of them is taken.
const TOKEN_PARAMETERS: [&str; 5] = ["token", "access_token", "jwt", "auth", "authorization"];

/// What a request brings to prove who sends it. Borrowed from its head, whoever parsed that.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// The header `Cookie`.
    pub cookie: Option<&'a str>,
    /// The query parameter `ticket`, decoded; on the held routes only.
    pub ticket: Option<&'a str>,
    /// Whether the query holds a token, which is refused: addresses end up in logs and histories. See [`query_holds_token`].
    pub query_token: bool,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// The header `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// The header `Host`.
    pub host: Option<&'a str>,
    /// The header `X-Forwarded-Proto`, by which a proxy says that it was reached by `https`. A foreign page cannot make a browser send it unasked.
    pub forwarded_proto: Option<&'a str>,
    /// Whether the request changes something (every method but GET and HEAD): a cookie alone then needs a proof of where it comes from.
    pub changes: bool,
}

/// Whether one of the parameters of this query is a token by its name.
#[must_use]
pub fn query_holds_token(query: Option<&str>) -> bool {
    let names = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.into_iter().any(|name| TOKEN_PARAMETERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)))
}

impl<'a> Credentials<'a> {
    /// Those of a request that is not held, so that a ticket counts for nothing.
    #[must_use]
    pub fn of(method: &Method, headers: &'a HeaderMap, query: Option<&str>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            authorization: text(header::AUTHORIZATION.as_str()),
            cookie: text(header::COOKIE.as_str()),
            ticket: None,
            query_token: query_holds_token(query),
            origin: text(header::ORIGIN.as_str()),
            sec_fetch_site: text("sec-fetch-site"),
            host: text(header::HOST.as_str()),
            forwarded_proto: text("x-forwarded-proto"),
            changes: !matches!(*method, Method::GET | Method::HEAD),
        }
    }

    /// The bearer token, if there is one. Another scheme is some proxy's business, not ours.
    #[must_use]
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Whether the request reached the server, or the proxy in front of it, by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        // Behind several proxies, the first of the list is what the browser used.
        let first = self.forwarded_proto.and_then(|list| list.split(',').next());
        first.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
    }

    /// The token in the cookie. Two cookies of that name are none: the second was put there by somebody else, a neighbouring subdomain for instance.
    #[must_use]
    pub fn cookie_token(&self) -> Option<&'a str> {
        let pairs = self.cookie?.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut tokens = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
        let token = tokens.next().filter(|token| !token.is_empty())?;
        tokens.next().is_none().then_some(token)
    }
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
    fn the_cookie_is_found_among_others_and_only_once() {
        let token = |text| Credentials { cookie: Some(text), ..Credentials::default() }.cookie_token();
        assert_eq!(token("a=1; encke_token=xyz; b=2"), Some("xyz"));
        assert_eq!(token("encke_token="), None);
        assert_eq!(token("not_encke_token=xyz"), None);
        assert_eq!(token("encke_token=mine; encke_token=tossed"), None);
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
            cookie: Some("encke_token=hush"),
            ticket: Some("hush"),
            ..Credentials::default()
        };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
