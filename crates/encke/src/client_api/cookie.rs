//! The cookie that holds a client's token: where it goes, and how it is taken back.

use axum::response::AppendHeaders;
use http::{HeaderMap, HeaderName, header};

use crate::auth::COOKIE;

/// The longest prefix that is heeded, in bytes.
const PREFIX_MAX_BYTES: usize = 255;
/// The path of a cookie for the whole host.
const ROOT: &str = "/";

/// The cookie for a verified token, which is base64 and dots, so that nothing in it ends the cookie early.
pub(crate) fn holding(token: &str, left_s: u64, path: &str, by_https: bool) -> String {
    let secure = if by_https { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={left_s}{secure}")
}

/// What makes a browser forget the cookie.
pub(crate) fn cleared(path: &str) -> String {
    format!("{COOKIE}=; Path={path}; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The fields of an answer that sets or clears the cookie of this path. A browser sends one of the whole host
/// beside it: from a login before the prefix was there, or at another Encke of this host. That one would lock
/// the user out, or log another in after a logout, so it is cleared too.
pub(crate) fn alone(cookie: String, path: &str) -> AppendHeaders<Vec<(HeaderName, String)>> {
    let above = (path != ROOT).then(|| cleared(ROOT));
    AppendHeaders(
        [Some(cookie), above].into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)).collect(),
    )
}

/// The path under which a browser sees this server: what a proxy in front has cut off, as it says in
/// `X-Forwarded-Prefix`, the first of several; else `/`. A foreign page cannot make a browser send that
/// unasked. The cookie is then not sent to the neighbours of that path.
pub(crate) fn path(headers: &HeaderMap) -> String {
    let first = headers
        .get("x-forwarded-prefix")
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.split(',').next());
    let prefix = first.unwrap_or_default().trim();
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if is_plain(prefix) { format!("{prefix}/") } else { ROOT.to_owned() }
}

/// Whether this is a slash and segments of unreserved characters (RFC 3986 section 2.3), which mean the same
/// to every browser and proxy: nothing is decoded, and no segment is empty or leads elsewhere.
fn is_plain(prefix: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_unreserved);
    prefix.len() <= PREFIX_MAX_BYTES
        && prefix.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_what_the_proxy_cut_off_and_nothing_else() {
        let of = |prefix: &str| {
            path(&HeaderMap::from_iter([(
                http::HeaderName::from_static("x-forwarded-prefix"),
                prefix.parse().unwrap(),
            )]))
        };
        let longest = format!("/{}", "a".repeat(254));
        for (prefix, path) in [
            ("/push", "/push/"),
            ("/push/", "/push/"),
            (" /a/b , /c", "/a/b/"),
            ("/A-z.0_9~/...", "/A-z.0_9~/.../"),
            ("/.well-known", "/.well-known/"),
            (&longest, &format!("{longest}/")),
        ] {
            assert_eq!(of(prefix), path, "{prefix}");
        }
        let too_long = format!("{longest}a");
        for prefix in [
            "",
            "/",
            "push",
            "//",
            "///",
            "//evil.example",
            "/a//b",
            "/a//",
            "//a",
            "/.",
            "/..",
            "/../x",
            "/a/../b",
            "/a/./b",
            "/a/..",
        ]
        .into_iter()
        .chain([
            ", /push",
            "/a; Domain=example.com",
            "/a b",
            "/a\"",
            "/ü",
            "/%C3%BC",
            "/%2e%2e/a",
            "/a=b",
            "/a\\b",
            "/a:b",
            &too_long,
        ]) {
            assert_eq!(of(prefix), "/", "{prefix}");
        }
        assert_eq!(path(&HeaderMap::new()), "/");
    }

    #[test]
    fn a_cookie_is_cleared_where_it_was_set() {
        assert_eq!(
            holding("a.b.c", 60, "/push/", true),
            "encke_token=a.b.c; Path=/push/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        assert_eq!(
            holding("a.b.c", 60, "/", false),
            "encke_token=a.b.c; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert_eq!(cleared("/push/"), "encke_token=; Path=/push/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn with_a_cookie_of_a_path_goes_the_end_of_that_of_the_host() {
        let of = |path: &str| {
            alone(cleared(path), path).0.into_iter().map(|(_, cookie)| cookie).collect::<Vec<_>>()
        };
        assert_eq!(of("/push/"), [cleared("/push/"), cleared("/")]);
        assert_eq!(of("/"), [cleared("/")]);
    }
}
