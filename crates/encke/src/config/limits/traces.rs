//! The bounds of `[traces]`.

use super::Checker;
use crate::config::Config;

/// The most header fields that the collector is sent.
const HEADERS_MAX: usize = 16;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let traces = &config.traces;
    let is_url = |url: &str| {
        url::Url::parse(url).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none()
        })
    };
    checker.rule("traces.endpoint", traces.endpoint.as_deref().is_none_or(is_url), || {
        "must be an https or http URL without a user; what shows who sends it belongs into traces.headers"
            .to_owned()
    });
    let are_fields = traces.header_fields().all(|field| field.is_some());
    checker.rule("traces.headers", traces.headers.len() <= HEADERS_MAX && are_fields, || {
        format!("must be at most {HEADERS_MAX} header fields, each `name: value`")
    });
    checker.rule("traces.service", !traces.service.is_empty(), || "must not be empty".to_owned());
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use crate::config::limits::tests::refusal;

    #[test]
    fn every_setting_has_bounds_and_its_key_is_named() {
        for (key, value) in [
            ("traces.endpoint", Value::from("collector:4318")),
            ("traces.endpoint", "ftp://collector/".into()),
            ("traces.endpoint", "https://a:b@collector/".into()),
            ("traces.headers", vec!["authorization"].into()),
            ("traces.headers", vec!["a: b"; 17].into()),
            ("traces.ratio", 1.01.into()),
            ("traces.ratio", (-0.1).into()),
            ("traces.ratio", "0.1".into()),
            ("traces.service", "".into()),
        ] {
            let told = refusal(key, value.clone());
            assert!(told.starts_with(&format!("--option: {key}: ")), "{key} {value}: {told}");
        }
    }
}
