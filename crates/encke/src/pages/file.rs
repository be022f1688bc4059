//! A file that is built in: its content, as it is and compressed, and how long browsers may keep it. Not
//! which files there are.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// What a page may do: run this server's own scripts, ask this server, and show web pages in frames. Nothing
/// else, above all nothing inline.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   frame-src http: https:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// How long browsers may keep a file without asking.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caching {
    /// They ask each time whether it has changed.
    Asked,
    /// For a year: its name changes with its content.
    Immutable,
}

impl Caching {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Asked => "no-cache",
            Self::Immutable => "public, max-age=31536000, immutable",
        })
    }
}

/// A content under one coding.
#[derive(Clone, Copy, Debug)]
struct Variant {
    /// As in `Content-Encoding`; none as it is.
    coding: Option<&'static str>,
    content: &'static [u8],
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct File {
    content_type: &'static str,
    caching: Caching,
    /// The preferred coding first, the content as it is last.
    variants: Vec<Variant>,
    hash: u64,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl File {
    /// A file that browsers ask for each time.
    pub(super) fn new(content_type: &'static str, content: &'static [u8]) -> Self {
        // The keys of this hasher are always the same, so that a restart does not make browsers fetch
        // everything anew.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self {
            content_type,
            caching: Caching::Asked,
            variants: vec![Variant { coding: None, content }],
            hash: hasher.finish(),
            fields: Vec::new(),
        }
    }

    /// The same under a coding, which clients get that take it. The best is added last.
    pub(super) fn with_coding(mut self, coding: &'static str, content: Option<&'static [u8]>) -> Self {
        if let Some(content) = content {
            self.variants.insert(0, Variant { coding: Some(coding), content });
        }
        self
    }

    pub(super) fn with_caching(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    /// Adds a field to each answer.
    pub(super) fn with_field(mut self, name: HeaderName, value: &str) -> Self {
        self.fields.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Answers a request with the content, or with 304 when the client has it.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let Some(variant) =
            self.variants.iter().find(|variant| variant.coding.is_none_or(|name| takes(asked, name)))
        else {
            return StatusCode::NOT_ACCEPTABLE.into_response();
        };
        let etag = self.etag(variant);
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let is_known =
            known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == etag);
        let mut answer = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.content_type)], variant.content).into_response()
        };
        let headers = answer.headers_mut();
        if let (Some(coding), false) = (variant.coding, is_known) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if self.variants.len() > 1 {
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        headers.extend(HeaderValue::from_str(&etag).ok().map(|etag| (header::ETAG, etag)));
        headers.insert(header::CACHE_CONTROL, self.caching.value());
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        // A page of another site that opens one of these has no hold on its window, and the other way round.
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        headers.extend(self.fields.iter().cloned());
        answer
    }

    /// Each coding has a tag of its own, since their bytes differ (RFC 9110 section 8.8.3).
    fn etag(&self, variant: &Variant) -> String {
        match variant.coding {
            Some(coding) => format!("\"{:016x}-{coding}\"", self.hash),
            None => format!("\"{:016x}\"", self.hash),
        }
    }
}

/// Whether a client takes a content under this coding (RFC 9110 section 12.5.3). One that says nothing gets
/// it as it is.
fn takes(asked: &HeaderMap, coding: &str) -> bool {
    let lists = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|entry| {
        let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = weight.trim().trim_start_matches("q=").trim_start_matches('0');
        let is_refused = entry.contains(';') && weight.trim_start_matches('.').trim_matches('0').is_empty();
        name.trim().eq_ignore_ascii_case(coding) && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_taken_that_is_named_and_not_refused() {
        let takes_br = |value: &'static str| {
            let mut asked = HeaderMap::new();
            asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes(&asked, "br")
        };
        for good in
            ["br", "gzip, deflate, br", "gzip, BR;q=0.5", "br;q=1", "br;q=1.0, gzip;q=0", "br;q=0.001"]
        {
            assert!(takes_br(good), "{good}");
        }
        for bad in ["", "gzip", "brotli", "br;q=0", "br;q=0.000", "br; q=0", "*"] {
            assert!(!takes_br(bad), "{bad}");
        }
        assert!(!takes(&HeaderMap::new(), "br"));
    }
}
