//! The header fields by which pages of another origin may read an answer (CORS).

use http::{HeaderMap, HeaderValue, header};

use super::response::EXPOSED;

/// Lets the pages of an allowed origin read an answer.
pub(crate) fn open(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}
