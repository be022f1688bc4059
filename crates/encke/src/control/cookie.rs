//! The cookie that holds a client's token: where it goes, and how it is taken back.

use http::HeaderMap;

use crate::auth::COOKIE;

/// The longest prefix that is heeded, in bytes.
const PREFIX_MAX_BYTES: usize = 255;

/// The cookie for a verified token, which is base64 and dots, so that nothing in it ends the cookie early.
pub(crate) fn holding(token: &str, left_s: u64, path: &str, by_https: bool) -> String {
    let secure = if by_https { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={left_s}{secure}")
}

/// What makes a browser forget the cookie.
pub(crate) fn cleared(path: &str) -> String {
    format!("{COOKIE}=; Path={path}; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The path under which a browser sees this server: what a proxy in front has cut off, as it says in
/// `X-Forwarded-Prefix`, the first of several; else `/`. A foreign page cannot make a browser send that
/// unasked. The cookie is then not sent to the neighbours of that path.
pub(crate) fn path(headers: &HeaderMap) -> String {
    let first = headers.get("x-forwarded-prefix").and_then(|value| value.to_str().ok()).and_then(|list| list.split(',').next());
    let prefix = first.unwrap_or_default().trim().trim_end_matches('/');
    // What RFC 3986 section 3.3 lets a path hold, without what has a meaning in a cookie.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+=:@".contains(&byte);
    let is_path = prefix.starts_with('/') && prefix.len() <= PREFIX_MAX_BYTES && prefix.bytes().all(is_plain);
    if is_path { format!("{prefix}/") } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_what_the_proxy_cut_off_and_nothing_else() {
        let of =
            |prefix: &str| path(&HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-prefix"), prefix.parse().unwrap())]));
        for (prefix, path) in [("/push", "/push/"), ("/push/", "/push/"), (" /a/b , /c", "/a/b/"), ("/%C3%BC", "/%C3%BC/")] {
            assert_eq!(of(prefix), path, "{prefix}");
        }
        for prefix in ["", "/", "push", "//", ", /push", "/a; Domain=example.com", "/a b", "/a\"", "/ü", &format!("/{}", "a".repeat(255))]
        {
            assert_eq!(of(prefix), "/", "{prefix}");
        }
        assert_eq!(path(&HeaderMap::new()), "/");
    }

    #[test]
    fn a_cookie_is_cleared_where_it_was_set() {
        assert_eq!(holding("a.b.c", 60, "/push/", true), "encke_token=a.b.c; Path=/push/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert_eq!(holding("a.b.c", 60, "/", false), "encke_token=a.b.c; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        assert_eq!(cleared("/push/"), "encke_token=; Path=/push/; HttpOnly; SameSite=Lax; Max-Age=0");
    }
}
