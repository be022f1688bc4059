//! Foreign origins that may use the cookie.

use serde::{Deserialize, Deserializer};
use url::Url;

/// Reads a list of origins into the form in which browsers send them.
pub(crate) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| origin(text).map_err(serde::de::Error::custom)).collect()
}

fn origin(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is no origin: write https://HOST or https://HOST:PORT, without a path; patterns are not allowed here");
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.contains('*');
    if plain { Ok(url.origin().ascii_serialization()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        assert_eq!(origin("https://App.Example.com:443/"), Ok("https://app.example.com".into()));
        assert_eq!(origin("http://localhost:3000"), Ok("http://localhost:3000".into()));
        for bad in
            ["*", "null", "https://*.example.com", "app.example.com", "https://x.example/path", "https://u@x.example", "ftp://x.example"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
