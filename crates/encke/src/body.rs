//! Request bodies, read strictly: what is not exactly as it should be is refused, and the answer says what it was.

use std::{error::Error, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use encke_proto::{
    ErrorCode, json,
    limits::{BODY_MAX_BYTES, JSON_MAX_DEPTH},
};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::refusal::Refused;

/// How long a whole body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// A refusal's message quotes what was sent; it need not quote all of it.
const QUOTE_MAX_CHARS: usize = 300;

/// A body of `application/json` that is a `T` and nothing more. Comes last among a handler's arguments, after whoever checks who asks.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        if !is_type(request.headers(), "application/json") {
            return Err(ErrorCode::UnsupportedMediaType.into());
        }
        parse(&read(request).await?).map(Self)
    }
}

/// A body that has nothing to say: it is empty, or an empty object.
#[derive(Debug)]
pub(crate) struct Nothing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyObject {}

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let is_json = is_type(request.headers(), "application/json");
        let body = read(request).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        if !is_json {
            return Err(ErrorCode::UnsupportedMediaType.into());
        }
        parse::<EmptyObject>(&body).map(|EmptyObject {}| Self)
    }
}

/// Whether the body is of this type by its own word, and not compressed: a small body that swells is refused unread.
pub(crate) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return false;
    }
    is_media_type(text(header::CONTENT_TYPE).unwrap_or_default(), wanted)
}

/// Whether the text of a `Content-Type` means this type, in UTF-8.
pub(crate) fn is_media_type(text: &str, wanted: &str) -> bool {
    let mut parts = text.split(';');
    let is_wanted = parts.next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted);
    // JSON and beacons are UTF-8; whoever says otherwise is not understood.
    is_wanted
        && text.is_ascii()
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// The whole body, if it is within its bounds.
pub(crate) async fn read(request: Request) -> Result<Bytes, Refused> {
    read_within(request.into_body(), BODY_WITHIN).await
}

async fn read_within(body: Body, within: Duration) -> Result<Bytes, Refused> {
    // A length that is announced and too large is refused before anything is read.
    if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
        return Err(ErrorCode::TooLarge.into());
    }
    match tokio::time::timeout(within, Limited::new(body, BODY_MAX_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_long(error.as_ref()) => Err(ErrorCode::TooLarge.into()),
        Ok(Err(_)) => Err(Refused::bad("the body did not come whole")),
        Err(_) => Err(Refused::new(ErrorCode::RequestTimeout, "the body took too long to come")),
    }
}

fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_long)
}

/// Reads JSON as a `T`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::bad("the body is not UTF-8"))?;
    // Looked at before a parser is. The request's own object is one level around the data that it carries.
    if json::depth(text) > JSON_MAX_DEPTH + 1 {
        return Err(ErrorCode::TooDeep.into());
    }
    serde_json::from_str(text).map_err(|error| Refused::bad(quoted(&error.to_string())))
}

/// A message that quotes what was sent, in bounds.
pub(crate) fn quoted(message: &str) -> String {
    match message.char_indices().nth(QUOTE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Keeps `null` apart from a field that is not there: `null` is a message like any other.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: String,
    }

    fn code<T: DeserializeOwned + std::fmt::Debug>(body: &[u8]) -> (ErrorCode, String) {
        let Refused(refusal) = parse::<T>(body).unwrap_err();
        (refusal.code, refusal.message)
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        assert_eq!(parse::<Example>(br#"{"name":"x"}"#), Ok(Example { name: "x".into() }));
        for (body, word) in [
            (&br#"{"name":"x","colour":1}"#[..], "`colour`"),
            (br#"{}"#, "`name`"),
            (br#"{"name":1}"#, "string"),
            (br#"{"name":"x","name":"y"}"#, "duplicate field `name`"),
            (br#"{"name":"x"} trailing"#, "trailing"),
            (br#"{"name":"x""#, "EOF"),
            (b"", "EOF"),
            (b"\xff", "UTF-8"),
        ] {
            let (code, message) = code::<Example>(body);
            assert_eq!(code, ErrorCode::BadRequest);
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn deep_json_is_refused_before_it_is_parsed() {
        let deep = format!("{{\"name\":{}", "[".repeat(60_000));
        assert_eq!(code::<Example>(deep.as_bytes()).0, ErrorCode::TooDeep);
    }

    #[test]
    fn what_is_quoted_is_short() {
        let long = format!("{{\"{}\":1}}", "ü".repeat(5_000));
        assert!(code::<Example>(long.as_bytes()).1.chars().count() <= QUOTE_MAX_CHARS + 1);
    }

    #[test]
    fn types_are_read_as_they_are_written() {
        let of = |text: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]);
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(is_type(&of(good), "application/json"), "{good}");
        }
        for bad in ["text/plain", "application/jsonp", "application/json; charset=utf-16", "application/x-www-form-urlencoded", ""] {
            assert!(!is_type(&of(bad), "application/json"), "{bad}");
        }
        assert!(!is_type(&HeaderMap::new(), "application/json"));
        // A header with other than ASCII in it cannot be read as text at all; the text alone is judged alike.
        let odd = "application/json; x=\u{fc}";
        assert!(!is_media_type(odd, "application/json"));
        let odd = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_bytes(odd.as_bytes()).unwrap())]);
        assert!(!is_type(&odd, "application/json"));
        let mut compressed = of("application/json");
        compressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_type(&compressed, "application/json"));
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let Refused(refusal) = read_within(Body::new(Never), Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RequestTimeout);
    }

    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Pending
        }
    }
}
