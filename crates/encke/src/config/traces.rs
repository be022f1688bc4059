//! `[traces]`: where spans of messages are sent.

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::Secret;
use super::setting::{self, ratio, secrets, settings, text};

settings! {
    /// The collector that is sent spans, and how many.
    #[derive(Debug, Clone, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Traces {
        /// Where the collector takes spans: OTLP over HTTP, in JSON; the whole address, with its path.
        endpoint: Option<String> =>
            text().unset("nothing is recorded").sample("\"http://127.0.0.1:4318/v1/traces\"");
        /// Header fields that it is sent, such as `"authorization: Bearer …"`; at most 16.
        headers: Vec<Secret> = [] => secrets();
        /// Which part of the messages begins a trace of its own. What a backend's request says by
        /// `traceparent` goes before it.
        ratio: f64 = 1.0 => ratio();
        /// What the server is called there, `service.name`.
        service: String = "encke" => text();
    }
}

impl Default for Traces {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
    }
}

impl Traces {
    /// The header fields; none for each that is no field.
    pub(crate) fn header_fields(&self) -> impl Iterator<Item = Option<(HeaderName, HeaderValue)>> {
        self.headers.iter().map(|field| read_field(field.expose()))
    }
}

/// Reads `name: value`.
fn read_field(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_field_has_a_name_and_a_value() {
        let (name, value) = read_field("Authorization: Bearer a:b").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer a:b"));
        for bad in ["", "authorization", "a b: c", ": c", "a: b\nc: d"] {
            assert!(read_field(bad).is_none(), "{bad}");
        }
    }
}
