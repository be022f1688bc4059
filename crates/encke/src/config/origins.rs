//! Foreign origins that may use the cookie.

use serde::{Deserialize, Deserializer};
use url::Url;

/// Reads a list of origins into the form in which browsers send them.
pub(crate) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| origin(text).map_err(serde::de::Error::custom)).collect()
}

/// Schemes whose pages have no origin of their own, or that name no page: an entry with one of them would
/// never fit, or fit too much.
const NO_ORIGINS: [&str; 9] =
    ["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"];
/// The longest origin, in bytes.
const ORIGIN_MAX_BYTES: usize = 255;

fn origin(text: &str) -> Result<String, String> {
    let bad = || {
        format!(
            "{text:?} is no origin: write https://HOST or https://HOST:PORT (an app's own scheme may stand for https), without a path; \
             patterns are not allowed here"
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let scheme = scheme.to_ascii_lowercase();
    if text.len() > ORIGIN_MAX_BYTES {
        return Err(bad());
    }
    if !matches!(scheme.as_str(), "http" | "https") {
        return app_origin(&scheme, rest).ok_or_else(bad);
    }
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.contains('*');
    if plain { Ok(url.origin().ascii_serialization()) } else { Err(bad()) }
}

/// The origin of an app's pages, such as `capacitor://localhost` or `chrome-extension://` and an id. Its host
/// stays as it is written, since browsers do not agree on whether it has a case. It consists of what a source
/// in a policy may hold (CSP level 3, section 2.3.1), so that it can stand in one.
fn app_origin(scheme: &str, rest: &str) -> Option<String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
        });
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    (is_scheme && !NO_ORIGINS.contains(&scheme) && is_host && is_port).then(|| format!("{scheme}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        assert_eq!(origin("https://App.Example.com:443/"), Ok("https://app.example.com".into()));
        assert_eq!(origin("HTTP://localhost:3000"), Ok("http://localhost:3000".into()));
        for bad in [
            "*",
            "null",
            "https://*.example.com",
            "app.example.com",
            "https://x.example/path",
            "https://u@x.example",
            "ftp://x.example",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_app_has_an_origin_of_its_own_scheme() {
        for good in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://localhost:3000",
            "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
            "moz-extension://7c1a1a8e-0c5f-4a5c-9d0a-2b7f6f3a9b11",
            "safari-web-extension://8F6E2D1C-0A1B-4C2D-8E3F-5A6B7C8D9E0F",
        ] {
            assert_eq!(origin(good), Ok(good.into()));
        }
        assert_eq!(origin("Capacitor://localhost/"), Ok("capacitor://localhost".into()));
        for bad in [
            "capacitor://",
            "capacitor:localhost",
            "capacitor://local host",
            "capacitor://localhost/path",
            "capacitor://localhost//",
            "capacitor://*",
            "capacitor://local*",
            "capacitor://localhost; script-src *",
            "capacitor://localhost,https://a.example",
            "capacitor://localhost'",
            "capacitor://u@localhost",
            "capacitor://localhost:",
            "capacitor://localhost:080",
            "capacitor://localhost:65536",
            "capacitor://localhost?x",
            "capacitor://localhost\r\nx: y",
            "1app://localhost",
            "://localhost",
            "file://",
            "file://localhost",
            "data://x",
            "wss://x.example",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert!(origin(&format!("app://{}", "a".repeat(250))).is_err());
    }
}
