//! Requests and answers: addresses, credentials, errors, and trying again.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, Version};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::backoff::{jittered, jittered_over, random};

/// How long a request that is never held may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent at most; the pauses between are about 0.1, 0.4 and 1.6 seconds.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that `Retry-After` can ask of a request.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The most bytes that are read of an answer: a page of history with a thousand messages of 64 KiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 80 * 1024 * 1024;
/// The most bytes that are read of the body of an error.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A server's address with the credentials for it, which its clones share.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    authorization: Arc<RwLock<Option<HeaderValue>>>,
}

impl Http {
    /// `credentials` is an API key or a token.
    pub(crate) fn new(address: &str, credentials: Option<&str>) -> Result<Self, Error> {
        let bad = || Error::BadAddress(address.to_owned());
        let socket = address.strip_prefix("unix:");
        if socket.is_some_and(|path| !path.starts_with('/')) {
            return Err(bad());
        }
        // The host that a request over a unix socket names is nowhere looked up.
        let url = if socket.is_some() { "http://localhost" } else { address };
        let mut base = Url::parse(url).map_err(|_| bad())?;
        let host = base.host_str().filter(|_| matches!(base.scheme(), "http" | "https")).ok_or_else(bad)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("encke-client/", env!("CARGO_PKG_VERSION")))
            // No call of this protocol redirects; following one would carry the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if matches!(host, "localhost" | "[::1]") || host.starts_with("127.") {
            // A proxy that the environment names cannot reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        #[cfg(unix)]
        if let Some(path) = socket {
            builder = builder.unix_socket(path);
        }
        let client = builder.build().map_err(|error| Error::BadAddress(format!("{address}: {error}")))?;
        // A server behind a path prefix keeps it, with or without a slash at its end.
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        base.set_query(None);
        base.set_fragment(None);
        let authorization = credentials.map(bearer).transpose()?;
        Ok(Self { client, base, authorization: Arc::new(RwLock::new(authorization)) })
    }

    /// Other credentials, from the next request on.
    pub(crate) fn set_credentials(&self, credentials: &str) -> Result<(), Error> {
        let value = bearer(credentials)?;
        // Nothing that holds the lock can panic.
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// GET until it succeeds or is hopeless, and parse the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        self.with_retries(Method::GET, path, query, None).await
    }

    /// POST until it succeeds or is hopeless, and parse the answer. Only for requests that may safely arrive
    /// twice.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(Error::Encode)?;
        self.with_retries(Method::POST, path, &Query::default(), Some(body)).await
    }

    /// DELETE until it succeeds or is hopeless.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.with_retries(Method::DELETE, path, &Query::default(), None).await
    }

    async fn with_retries<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Vec<u8>>,
    ) -> Result<T, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.once(method.clone(), path, query, body.clone()).await {
                Err(error) if error.is_temporary() && attempt < ATTEMPTS => error,
                done => return done,
            };
            tracing::debug!(path, attempt, %error, "trying again");
            tokio::time::sleep(pause_after(&error, attempt, random())).await;
            attempt += 1;
        }
    }

    async fn once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Vec<u8>>,
    ) -> Result<T, Error> {
        let exchange = async {
            let response = self.send(method, path, query, body).await?;
            let bytes = read_at_most(response, MAX_ANSWER_BYTES).await?;
            serde_json::from_slice(&bytes).map_err(|error| Error::BadAnswer(format!("{path}: {error}")))
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Sends one request and waits for the head of the answer, without a bound in time. Any status but 2xx is
    /// an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Vec<u8>>,
    ) -> Result<Response, Error> {
        let mut request = self.request(method, path, query);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// POSTs a body of lines that is still being made, and waits for the head of the answer. Never sent
    /// again.
    pub(crate) async fn send_lines(&self, path: &str, body: reqwest::Body) -> Result<Response, Error> {
        let request = self.request(Method::POST, path, &Query::default());
        let sent = request.header(reqwest::header::CONTENT_TYPE, "application/x-ndjson").body(body).send();
        let response = tokio::time::timeout(REQUEST_TIMEOUT, sent).await.map_err(|_| self.silent())??;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Asks for another protocol on the connection, by these fields. The answer is 101 or another that is no
    /// refusal.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        query: &Query,
        fields: HeaderMap,
    ) -> Result<Response, Error> {
        // Only HTTP/1.1 has a change of protocol.
        let request = self.request(Method::GET, path, query).version(Version::HTTP_11).headers(fields);
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }

    /// The server has not answered in time.
    fn silent(&self) -> Error {
        let (address, seconds) = (self.base.origin().ascii_serialization(), REQUEST_TIMEOUT.as_secs());
        Error::Unreachable(format!("{address}: no answer within {seconds} s"))
    }

    fn request(&self, method: Method, path: &str, query: &Query) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query.as_str());
        let request = self.client.request(method, url);
        match self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }
}

/// The field that shows who sends a request.
fn bearer(credentials: &str) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {credentials}")).map_err(|_| Error::BadCredentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long to wait after the attempt of this number, counted from 1. Callers that were told the same time to
/// come back do not come back together.
fn pause_after(error: &Error, attempt: u32, random: u64) -> Duration {
    let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
    jittered(FIRST_PAUSE * 4_u32.pow(attempt.saturating_sub(1)), random).max(jittered_over(asked, random))
}

/// The query of a URL, put together so that a comma between names stays apart from a comma within one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.add_encoded(name, &encode(value));
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// A list, each of its parts encoded by itself.
    pub(crate) fn add_list<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a str>) {
        let values: Vec<_> = values.into_iter().map(encode).collect();
        if !values.is_empty() {
            self.add_encoded(name, &values.join(","));
        }
    }

    fn add_encoded(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    fn as_str(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

/// Percent-encodes everything that is not unreserved in a URL.
pub(crate) fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// One name as a segment of a path.
pub(crate) fn segment(name: &str) -> Result<String, Error> {
    // URLs cannot carry these as segments: they are resolved away, even when they are encoded.
    if matches!(name, "" | "." | "..") {
        return Err(Error::BadName(name.to_owned()));
    }
    Ok(encode(name))
}

/// Reads the body of an answer, which must not be longer than `max` bytes.
pub(crate) async fn read_at_most(mut response: Response, max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Error::broken(&error))? {
        if bytes.len() + chunk.len() > max {
            return Err(Error::BadAnswer(format!("it is longer than {max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The body of an error.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorWords,
    #[serde(default)]
    reconnect: bool,
}

#[derive(Deserialize, Default)]
struct ErrorWords {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer that is not 2xx means.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // A body that cannot be read takes nothing from what the status says.
    let bytes = tokio::time::timeout(REQUEST_TIMEOUT, read_at_most(response, MAX_ERROR_BYTES)).await;
    let body = bytes.ok().and_then(Result::ok).unwrap_or_default();
    classify(status, retry_after, &body)
}

fn classify(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let (words, reconnect) = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => (body.error, body.reconnect),
        // Not Encke's own error: something in between answered.
        Err(_) => (ErrorWords::default(), false),
    };
    let code = if words.code.is_empty() { format!("http_{}", status.as_u16()) } else { words.code };
    let message = if words.message.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").to_owned()
    } else {
        words.message
    };
    refused(status.as_u16(), code, message, reconnect, retry_after)
}

/// The code of a request whose idempotency key was used for another one.
const KEY_REUSED: &str = "key_reused";

/// What a refusal with this status means.
pub(crate) fn refused(
    status: u16,
    code: String,
    message: String,
    reconnect: bool,
    retry_after: Option<Duration>,
) -> Error {
    match status {
        401 => Error::Unauthorized { code, message },
        409 if code != KEY_REUSED => Error::TakenOver,
        410 => Error::SessionClosed { message, reconnect },
        408 | 429 | 500..=599 => Error::Unavailable { status, code, message, retry_after },
        status => Error::Refused { status, code, message },
    }
}

/// `Retry-After` in its form with seconds, which is the one that Encke writes.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_server_asks_for_is_the_least_and_not_all_come_back_together() {
        let asked = |seconds| Error::Unavailable {
            status: 503,
            code: String::new(),
            message: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        for attempt in 1..ATTEMPTS {
            assert_eq!(pause_after(&asked(8), attempt, 0), Duration::from_secs(8));
            assert_eq!(pause_after(&asked(8), attempt, u64::MAX), Duration::from_secs(10));
        }
        assert_eq!(pause_after(&asked(9999), 1, u64::MAX), MAX_RETRY_AFTER + MAX_RETRY_AFTER / 4);
        // Where nothing is asked for, or less than the client waits by itself.
        for (attempt, least_ms) in [(1, 50), (2, 200), (3, 800)] {
            for error in [Error::Ended, asked(0)] {
                assert_eq!(pause_after(&error, attempt, 0), Duration::from_millis(least_ms));
                assert_eq!(pause_after(&error, attempt, u64::MAX), Duration::from_millis(2 * least_ms));
            }
        }
    }

    #[test]
    fn only_http_addresses_are_taken() {
        for good in ["http://127.0.0.1:8080", "https://x.example/prefix/", "http://[::1]:1", "unix:/x"] {
            assert!(Http::new(good, None).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:8080", "ftp://x.example", "localhost:8080", "unix:"] {
            assert!(matches!(Http::new(bad, None), Err(Error::BadAddress(_))), "{bad}");
        }
        assert!(matches!(Http::new("http://x.example", Some("a\nb")), Err(Error::BadCredentials)));
    }

    #[test]
    fn the_credentials_are_not_in_the_debug_form() {
        let http = Http::new("http://x.example", Some("hush-hush")).unwrap();
        assert!(!format!("{http:?}").contains("hush"));
    }

    #[test]
    fn a_comma_within_a_name_stays_apart_from_one_between_names() {
        let mut query = Query::default();
        query.add_some("cursor", Some("1~e~a!2cb~1"));
        query.add_some("none", None);
        query.add_list("channels", ["a,b", "c d"]);
        query.add_list("empty", []);
        assert_eq!(query.as_str(), Some("cursor=1~e~a%212cb~1&channels=a%2Cb,c%20d"));
    }

    #[test]
    fn segments_that_would_be_resolved_away_are_refused() {
        assert_eq!(segment("a/b?").unwrap(), "a%2Fb%3F");
        for bad in ["", ".", ".."] {
            assert!(matches!(segment(bad), Err(Error::BadName(_))));
        }
    }

    #[test]
    fn the_status_and_the_code_make_the_error() {
        let body = br#"{"error":{"code":"token_expired","message":"it is"}}"#;
        assert!(matches!(
            classify(StatusCode::UNAUTHORIZED, None, body),
            Error::Unauthorized { code, .. } if code == "token_expired"
        ));
        assert!(matches!(classify(StatusCode::CONFLICT, None, b""), Error::TakenOver));
        assert!(matches!(
            classify(StatusCode::GONE, None, b"{}"),
            Error::SessionClosed { reconnect: false, .. }
        ));
        let wait = Some(Duration::from_secs(3));
        let unavailable = classify(StatusCode::SERVICE_UNAVAILABLE, wait, b"<html>");
        assert!(unavailable.is_temporary());
        assert_eq!(unavailable.retry_after(), wait);
        assert_eq!(unavailable.code(), Some("http_503"));
        assert!(!classify(StatusCode::FORBIDDEN, None, b"").is_temporary());
        assert!(!classify(StatusCode::FOUND, None, b"").is_temporary());
    }
}
