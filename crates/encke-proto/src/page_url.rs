//! The address of a page that may be pushed, and the allow-list. It is checked before a message is made, so
//! that a message never holds an address that was not checked.

use std::{fmt, sync::Arc};

use url::Url;

use crate::limits::URL_MAX_BYTES;

/// Why an address is not shown to any user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageUrlError {
    /// Not an absolute http or https URL, or one in disguise.
    #[error("a page needs an absolute http or https URL")]
    NotHttp,
    /// Longer than [`URL_MAX_BYTES`].
    #[error("a URL has at most {URL_MAX_BYTES} bytes")]
    TooLong,
    /// User name or password in a URL is a way to deceive who reads it.
    #[error("a page's URL must not hold a user name or a password")]
    Credentials,
    /// Not on the allow-list.
    #[error("this URL is not on the allow-list")]
    NotAllowed,
}

/// The address of a page that may be shown: http or https, as browsers understand it, and nothing in it that
/// pretends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageUrl(Url);

impl PageUrl {
    /// Checks an address from outside by the rules that browsers use (the WHATWG URL standard).
    ///
    /// # Errors
    /// [`PageUrlError`] says why it is refused.
    pub fn parse(text: &str) -> Result<Self, PageUrlError> {
        if text.len() > URL_MAX_BYTES {
            return Err(PageUrlError::TooLong);
        }
        // Browsers drop tabs and line breaks anywhere, and white space at the ends; a sender that writes them
        // there means to hide a scheme.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(PageUrlError::NotHttp);
        }
        let url = Url::parse(text).map_err(|_| PageUrlError::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(PageUrlError::NotHttp);
        }
        // Two slashes are what a reader takes for "here is the host"; the standard also takes none, or
        // backslashes.
        let rest = text.get(url.scheme().len()..).unwrap_or_default();
        if !rest.starts_with("://") || rest[3..].starts_with(['/', '\\']) {
            return Err(PageUrlError::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PageUrlError::Credentials);
        }
        Ok(Self(url))
    }

    /// The address in the form that browsers give it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address, to be shared by all whom it is pushed to.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        self.0.as_str().into()
    }
}

/// Which pages may be pushed. Empty: every http and https page.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<Url>);

impl AllowList {
    /// Reads the configured prefixes: each an http or https URL whose scheme, host and port must match and
    /// whose path must be a prefix at a `/`.
    ///
    /// # Errors
    /// The first prefix that is not a page's URL, and why.
    pub fn parse<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self, (String, PageUrlError)> {
        let read =
            |text: &'a str| PageUrl::parse(text).map(|page| page.0).map_err(|error| (text.to_owned(), error));
        prefixes.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `page` may be pushed.
    ///
    /// # Errors
    /// [`PageUrlError::NotAllowed`].
    pub fn check(&self, page: &PageUrl) -> Result<(), PageUrlError> {
        let fits = |prefix: &Url| {
            let root = prefix.path().trim_end_matches('/');
            prefix.origin() == page.0.origin()
                && page
                    .0
                    .path()
                    .strip_prefix(root)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.0.is_empty() || self.0.iter().any(fits) { Ok(()) } else { Err(PageUrlError::NotAllowed) }
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_http_or_https() {
        for text in [
            "http://example.com",
            "https://example.com/a?b=c#d",
            "HTTPS://EXAMPLE.com:8443/",
            "http://127.0.0.1:8080/x",
            "http://[::1]/",
        ] {
            assert!(PageUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn scripts_and_their_disguises_are_refused() {
        for text in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "java\nscript:alert(1)",
            "\u{1}javascript:alert(1)",
            "javascript://example.com/%0aalert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://example.com/x",
            "about:blank",
            "view-source:http://example.com",
            "ftp://example.com",
            "//example.com",
            "/relative",
            "",
            "example.com",
            "http:",
            "http://",
            "http:example.com",
            "http:/example.com",
            "http:\\\\example.com",
            "http:///example.com",
            "ht\ttp://example.com",
            "http://example.com/\u{a0}",
            "http://exa mple.com",
        ] {
            assert!(PageUrl::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(PageUrl::parse("https://bank.example@evil.example/"), Err(PageUrlError::Credentials));
    }

    #[test]
    fn an_allow_list_allows_what_it_lists_and_nothing_that_looks_like_it() {
        let list = AllowList::parse(["https://example.com/shop", "http://localhost:3000"]).unwrap();
        let allowed = |text: &str| list.check(&PageUrl::parse(text).unwrap()).is_ok();
        assert!(allowed("https://example.com/shop"));
        assert!(allowed("https://example.com/shop/1?x=2"));
        assert!(allowed("http://localhost:3000/any"));
        assert!(!allowed("https://example.com/shopping"));
        assert!(!allowed("https://example.com/shop/../admin"));
        assert!(!allowed("http://example.com/shop"));
        assert!(!allowed("https://example.com.evil.example/shop"));
        assert!(!allowed("http://localhost:3001/"));
        assert!(AllowList::default().check(&PageUrl::parse("https://anything.example/").unwrap()).is_ok());
    }
}
