//! Request bodies, read strictly: what is not exactly as it should be is refused, and the answer says what it
//! was.

use std::{error::Error, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use encke_proto::{
    ErrorCode, JsonText, Object,
    json::{self, TooDeep},
    limits::{BODY_MAX_BYTES, JSON_MAX_DEPTH},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::http::refusal::Refused;

/// What a request may be refused with for its body.
pub(crate) const ERRORS: &[ErrorCode] = &[
    ErrorCode::BadRequest,
    ErrorCode::TooDeep,
    ErrorCode::RequestTimeout,
    ErrorCode::TooLarge,
    ErrorCode::UnsupportedMediaType,
];
/// How long a whole body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// What some editors and libraries put before text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// A refusal's message quotes what was sent; it need not quote all of it.
const QUOTE_MAX_CHARS: usize = 300;

/// A body of `application/json` that is a `T` and nothing more. Comes last among a handler's arguments, after
/// the extractor that checks who asks.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        parse(&read_json(request, BODY_MAX_BYTES).await?).map(Self)
    }
}

/// A whole body of `application/json`, not yet parsed, of at most `max_bytes`.
pub(crate) async fn read_json(request: Request, max_bytes: usize) -> Result<Bytes, Refused> {
    require_type(request.headers(), "application/json")?;
    read_within(request.into_body(), max_bytes, BODY_WITHIN).await
}

/// A whole body of any type, of at most `max_bytes`.
pub(crate) async fn read_up_to(request: Request, max_bytes: usize) -> Result<Bytes, Refused> {
    read_within(request.into_body(), max_bytes, BODY_WITHIN).await
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
        let is_json = require_type(request.headers(), "application/json");
        let body = read(request).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        is_json?;
        parse::<EmptyObject>(&body).map(|EmptyObject {}| Self)
    }
}

/// Whether the body is of this type by its own word, and not compressed: a small body that swells is refused
/// unread.
pub(crate) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    require_type(headers, wanted).is_ok()
}

/// The same, and what is wrong with it.
///
/// # Errors
/// [`ErrorCode::UnsupportedMediaType`], whose message names the field that is wrong.
pub(crate) fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refused> {
    let unsupported = |message: String| Err(Refused::new(ErrorCode::UnsupportedMediaType, message));
    if let Some(coding) = coding(headers) {
        let coding = quoted(&String::from_utf8_lossy(coding.as_bytes()));
        return unsupported(format!("the body has to be sent as it is, without Content-Encoding: {coding}"));
    }
    let given = headers.get(header::CONTENT_TYPE);
    let text = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_media_type(text, wanted) {
        return Ok(());
    }
    if is_media_type(text.split(';').next().unwrap_or_default(), wanted) {
        return unsupported(format!("the body has to be UTF-8, and Content-Type says {}", quoted(text)));
    }
    match given {
        Some(given) => {
            let given = quoted(&String::from_utf8_lossy(given.as_bytes()));
            unsupported(format!("the body has to be {wanted}, and Content-Type says {given}"))
        }
        None => unsupported(format!("the body has to be {wanted}, and there is no Content-Type")),
    }
}

/// How the body is encoded, if it is in any way.
fn coding(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Says in the refusal of an encoded body which encodings are taken: none (RFC 9110 section 15.5.16). Other
/// refusals with that status must not say so (section 12.5.3).
pub(crate) async fn name_codings(request: Request, next: Next) -> Response {
    let encoded = coding(request.headers()).is_some();
    let mut response = next.run(request).await;
    if encoded && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    response
}

/// Whether the text of a `Content-Type` means this type, in UTF-8.
pub(crate) fn is_media_type(text: &str, wanted: &str) -> bool {
    let mut parts = text.split(';');
    let is_wanted = parts.next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted);
    // JSON and beacons are UTF-8; a body that says otherwise is refused.
    is_wanted
        && text.is_ascii()
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// The whole body, if it is within its bounds.
pub(crate) async fn read(request: Request) -> Result<Bytes, Refused> {
    read_within(request.into_body(), BODY_MAX_BYTES, BODY_WITHIN).await
}

/// A body that was read whole.
#[derive(Debug, Default)]
pub(crate) struct Whole(pub(crate) Bytes);

/// The whole of a body whose head was read elsewhere, if it is within its bounds.
///
/// # Errors
/// [`ErrorCode::TooLarge`] and [`ErrorCode::RequestTimeout`].
pub(crate) async fn read_whole(body: Body) -> Result<Whole, Refused> {
    read_within(body, BODY_MAX_BYTES, BODY_WITHIN).await.map(Whole)
}

async fn read_within(body: Body, max_bytes: usize, within: Duration) -> Result<Bytes, Refused> {
    // A length that is announced and too large is refused before anything is read.
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large("a body", max_bytes));
    }
    match tokio::time::timeout(within, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_long(error.as_ref()) => Err(too_large("a body", max_bytes)),
        Ok(Err(_)) => Err(Refused::bad("the body did not come whole")),
        Err(_) => Err(Refused::new(ErrorCode::RequestTimeout, "the body took too long to come")),
    }
}

/// The refusal of what is longer than it may be.
pub(crate) fn too_large(what: &str, max_bytes: usize) -> Refused {
    Refused::new(ErrorCode::TooLarge, format!("{what} may have at most {max_bytes} bytes"))
}

fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_long)
}

/// An answer as JSON.
///
/// # Errors
/// [`ErrorCode::Internal`], which is a fault of the server's own.
pub(crate) fn written(answer: &impl Serialize) -> Result<Vec<u8>, Refused> {
    serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        ErrorCode::Internal.into()
    })
}

/// Reads JSON as a `T`, which has to come as an object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    // Looked at before a parser is. The request's own object is one level around the data that it carries.
    let text = utf8(body)?;
    if json::depth(text) > JSON_MAX_DEPTH + 1 {
        return Err(ErrorCode::TooDeep.into());
    }
    read_object(text)
}

/// The same for a `T` that takes what is in it as it is written, at any depth, and leaves it to its reader.
pub(crate) fn parse_around<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    read_object(utf8(body)?)
}

fn read_object<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    let read =
        serde_json::from_str::<Object<T>>(text).map_err(|error| Refused::bad(quoted(&error.to_string())));
    read.map(|Object(value)| value)
}

fn utf8(body: &[u8]) -> Result<&str, Refused> {
    if body.starts_with(BYTE_ORDER_MARK) {
        return Err(Refused::bad(
            "the body begins with a byte order mark, which JSON has none of (RFC 8259 section 8.1)",
        ));
    }
    std::str::from_utf8(body).map_err(|_| Refused::bad("the body is not UTF-8"))
}

/// A message that quotes what was sent, in bounds.
pub(crate) fn quoted(message: &str) -> String {
    match message.char_indices().nth(QUOTE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Published JSON without the white space in it. It is read from where the body stands, and copied once.
/// `null` is a message like any other, unlike a field that is not there. JSON that is too deep is no error of
/// the deserializer's: the caller refuses it.
pub(crate) fn compact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Published>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|data| Some(json::compact(data)))
}

/// What [`compact`] reads.
pub(crate) type Published = Result<JsonText, TooDeep>;

/// Keeps `null` apart from a field that is not there: `null` is a message like any other.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (b"[]", "expected an object"),
            (br#"["x"]"#, "expected an object"),
            (b"null", "expected an object"),
            (b"\xff", "UTF-8"),
            (b"\xef\xbb\xbf{\"name\":\"x\"}", "byte order mark"),
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
        let of = |text: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))])
        };
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_type(&of(good), "application/json"), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonp",
            "application/json; charset=utf-16",
            "application/x-www-form-urlencoded",
            "",
        ] {
            assert!(!is_type(&of(bad), "application/json"), "{bad}");
        }
        assert!(!is_type(&HeaderMap::new(), "application/json"));
        // A header with other than ASCII in it cannot be read as text at all; the text alone is judged alike.
        let odd = "application/json; x=\u{fc}";
        assert!(!is_media_type(odd, "application/json"));
        let odd =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_bytes(odd.as_bytes()).unwrap())]);
        assert!(!is_type(&odd, "application/json"));
        let mut compressed = of("application/json");
        compressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_type(&compressed, "application/json"));
    }

    #[test]
    fn what_is_wrong_with_a_type_is_named() {
        let (kind, coding) = (header::CONTENT_TYPE, header::CONTENT_ENCODING);
        for (fields, word) in [
            (vec![(&kind, "application/json"), (&coding, "gzip")], "Content-Encoding: gzip"),
            (
                vec![(&kind, "application/json"), (&coding, "identity"), (&coding, "br")],
                "Content-Encoding: br",
            ),
            (
                vec![(&kind, "application/json"), (&coding, "identity, gzip")],
                "Content-Encoding: identity, gzip",
            ),
            (vec![(&kind, "text/plain"), (&coding, "gzip")], "Content-Encoding: gzip"),
            (vec![(&kind, "application/json; charset=utf-16")], "charset=utf-16"),
            (vec![(&kind, "text/plain")], "Content-Type says text/plain"),
            (vec![], "no Content-Type"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            let Refused(refusal) = require_type(&headers, "application/json").unwrap_err();
            assert_eq!(refusal.code, ErrorCode::UnsupportedMediaType);
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
    }

    #[tokio::test]
    async fn t7_a_body_that_does_not_end_is_not_waited_for() {
        let Refused(refusal) =
            read_within(Body::new(Never), BODY_MAX_BYTES, Duration::from_millis(20)).await.unwrap_err();
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
