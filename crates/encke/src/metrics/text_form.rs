//! The two texts in which metrics are told, and which of them a reader wants.

use std::fmt;

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// OpenMetrics 1.0: with units, and an end that shows that all of it has come.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which everything reads.
    Prometheus,
}

impl TextForm {
    /// What a reader with this `Accept` is told in. The old one, unless OpenMetrics is named and not weighed
    /// below the old one (RFC 9110 section 12.5.1).
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let ranges = || accept.unwrap_or_default().split(',').map(range);
        let weight = |wanted: &[&str]| {
            let weights =
                ranges().filter(|(kind, _)| wanted.iter().any(|one| kind.eq_ignore_ascii_case(one)));
            weights.map(|(_, weight)| weight).fold(0.0, f64::max)
        };
        let open = weight(&["application/openmetrics-text"]);
        if open > 0.0 && open >= weight(&["text/plain"]) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }

    /// Writes all of several registries.
    pub(super) fn write(self, out: &mut String, registries: &[&Registry]) -> Result<(), fmt::Error> {
        for registry in registries {
            match self {
                Self::OpenMetrics => text::encode_registry(out, registry)?,
                Self::Prometheus => prometheus_text::encode(out, registry)?,
            }
        }
        if self == Self::OpenMetrics { text::encode_eof(out) } else { Ok(()) }
    }
}

/// A media range without its parameters, and its weight from 0 to 1.
fn range(text: &str) -> (&str, f64) {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (kind, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_says_which_text_it_wants() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            (None, TextForm::Prometheus),
            (Some("*/*"), TextForm::Prometheus),
            (Some("text/plain"), TextForm::Prometheus),
            (Some(prometheus), TextForm::OpenMetrics),
            (Some("Application/OpenMetrics-Text"), TextForm::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), TextForm::Prometheus),
            (Some("application/openmetrics-text;q=0.1, text/plain"), TextForm::Prometheus),
            (Some("application/openmetrics-text;q=x"), TextForm::Prometheus),
            (Some(",;;q=,"), TextForm::Prometheus),
        ] {
            assert_eq!(TextForm::accepted(accept), form, "{accept:?}");
        }
    }
}
