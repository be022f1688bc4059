//! The cookie that holds a client's token: where it goes, and how it is taken back.

use std::iter;

use axum::response::AppendHeaders;
use encke_proto::Time;
use http::{HeaderMap, HeaderName, header};

use crate::auth::{COOKIE, HOST_COOKIE};

/// The longest prefix that is heeded, in bytes.
const PREFIX_MAX_BYTES: usize = 255;
/// The path of a cookie for the whole host.
const ROOT: &str = "/";

/// The fields `Set-Cookie` of an answer.
pub(crate) type Fields = AppendHeaders<Vec<(HeaderName, String)>>;

/// What a cookie is to be: a token, and for how many seconds. One that ends at once is cleared.
#[derive(Clone, Copy)]
struct Value<'a> {
    token: &'a str,
    left_s: u64,
}

const CLEARED: Value<'static> = Value { token: "", left_s: 0 };

/// The fields of an answer that set the cookie for a verified token that ends then. It is base64 and dots, so
/// that nothing in it ends the cookie early.
pub(crate) fn setting(token: &str, (ends, now): (Time, Time), path: &str, by_https: bool) -> Fields {
    let left_s = (ends.0 / 1000).saturating_sub(now.0 / 1000);
    fields(Value { token, left_s }, path, by_https)
}

/// The fields of an answer that make a browser forget the cookie.
pub(crate) fn clearing(path: &str, by_https: bool) -> Fields {
    fields(CLEARED, path, by_https)
}

/// Gives the cookie of this path this value, and clears those that a browser would send beside it: one of
/// the whole host, from a login before the prefix was there, before the site came by https, or at another
/// Encke of this host. That one would lock the user out, or log another in after a logout.
fn fields(value: Value<'_>, path: &str, by_https: bool) -> Fields {
    let own = if by_https && path == ROOT { (HOST_COOKIE, ROOT) } else { (COOKIE, path) };
    // By http a browser takes no cookie of that name, not even one that clears it.
    let others = [by_https.then_some((HOST_COOKIE, ROOT)), Some((COOKIE, ROOT))];
    let others = others.into_iter().flatten().filter(|other| *other != own);
    let all = iter::once((own, value)).chain(others.map(|other| (other, CLEARED)));
    AppendHeaders(all.map(|(place, value)| (header::SET_COOKIE, field(place, value, by_https))).collect())
}

fn field((name, path): (&str, &str), Value { token, left_s }: Value<'_>, by_https: bool) -> String {
    let secure = if by_https { "; Secure" } else { "" };
    format!("{name}={token}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={left_s}{secure}")
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
    fn one_cookie_is_set_and_those_that_would_be_sent_beside_it_are_cleared() {
        let texts = |fields: Fields| fields.0.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let set = |path, by_https| texts(setting("a.b.c", (Time(61_999), Time(1_000)), path, by_https));
        let gone =
            |name, path, secure| format!("{name}=; Path={path}; HttpOnly; SameSite=Lax; Max-Age=0{secure}");
        let (plain, host) = ("encke_token", "__Host-encke_token");
        let is = |name, path, secure| {
            format!("{name}=a.b.c; Path={path}; HttpOnly; SameSite=Lax; Max-Age=60{secure}")
        };
        let secure = "; Secure";
        assert_eq!(set("/", false), [is(plain, "/", "")]);
        assert_eq!(set("/push/", false), [is(plain, "/push/", ""), gone(plain, "/", "")]);
        assert_eq!(set("/", true), [is(host, "/", secure), gone(plain, "/", secure)]);
        // A cookie of that name has to be one of the whole host.
        assert_eq!(
            set("/push/", true),
            [is(plain, "/push/", secure), gone(host, "/", secure), gone(plain, "/", secure)]
        );
        assert_eq!(texts(clearing("/", false)), [gone(plain, "/", "")]);
        assert_eq!(texts(clearing("/", true)), [gone(host, "/", secure), gone(plain, "/", secure)]);
    }
}
