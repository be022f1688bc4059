//! Requests to a directory: HTTPS, bounded in time and bytes, with when it wants not to be asked again.

use std::{
    error::Error as _,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate, Client, redirect::Policy};
use serde::Deserialize;

/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// The most bytes of an answer; a chain of certificates has some thousand.
const ANSWER_MAX_BYTES: usize = 256 * 1024;
/// The most bytes of the file with the roots.
const ROOTS_MAX_BYTES: u64 = 1024 * 1024;
/// How a directory says what is wrong (RFC 8555 section 6.7).
const PROBLEM: &str = "application/problem+json";

/// Why a directory cannot be asked, or gives no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// The roots cannot be used.
    #[error("`tls_acme_root`: {0}")]
    Roots(String),
    /// There is no connection, or it breaks off.
    #[error("{0}")]
    Request(String),
    /// It answers something else than what it was asked for.
    #[error("it answered with the status {0}")]
    Status(u16),
    /// Its answer has no end.
    #[error("its answer has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge,
}

/// Asks one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DirectoryClient {
    client: Client,
    /// Until when the directory wants not to be asked, in seconds since 1970; 0 when it has not said so.
    retry_s: Arc<AtomicI64>,
}

impl DirectoryClient {
    /// One whose directory has a certificate of these roots, or else of those that the system trusts. It
    /// waits for the disk.
    ///
    /// # Errors
    /// [`DirectoryError::Roots`].
    pub(super) fn new(directory: &str, root: Option<&Path>) -> Result<Self, DirectoryError> {
        let mut builder = Client::builder()
            .user_agent(concat!("encke/", env!("CARGO_PKG_VERSION")))
            .timeout(REQUEST_MAX)
            .redirect(Policy::none())
            .https_only(directory.starts_with("https:"));
        if let Some(path) = root {
            builder = builder.tls_certs_only(roots(path)?);
        }
        let client = builder.build().map_err(|error| DirectoryError::Roots(told(&error)))?;
        Ok(Self { client, retry_s: Arc::default() })
    }

    /// Until when the directory wants not to be asked, in seconds since 1970.
    pub(super) fn retry_s(&self) -> Option<i64> {
        Some(self.retry_s.load(Ordering::Relaxed)).filter(|retry_s| *retry_s > 0)
    }

    /// Where its terms of service are, if it says so.
    pub(super) async fn terms(&self, directory: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Directory {
            meta: Meta,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta {
            terms_of_service: String,
        }
        let request = self.client.get(directory).build().ok()?;
        let answer = self.ask(request).await.ok()?;
        Some(serde_json::from_slice::<Directory>(answer.body()).ok()?.meta.terms_of_service)
    }

    async fn ask(&self, request: reqwest::Request) -> Result<Response<Bytes>, DirectoryError> {
        let broken = |error: reqwest::Error| DirectoryError::Request(told(&error));
        let mut response = self.client.execute(request).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            self.note_retry(response.headers());
            if !is_problem(response.headers()) {
                return Err(DirectoryError::Status(status.as_u16()));
            }
        }
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(broken)? {
            if body.len() + part.len() > ANSWER_MAX_BYTES {
                return Err(DirectoryError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = status;
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    fn note_retry(&self, headers: &HeaderMap) {
        let value = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        if let Some(retry_s) = value.and_then(|value| retry_s(value, SystemTime::now())) {
            self.retry_s.fetch_max(retry_s, Ordering::Relaxed);
        }
    }
}

impl HttpClient for DirectoryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
            let asked = async {
                let request = reqwest::Request::try_from(Request::from_parts(parts, body))
                    .map_err(|error| DirectoryError::Request(told(&error)))?;
                this.ask(request).await
            };
            match asked.await {
                Ok(answer) => Ok(BytesResponse::from(answer.map(Full::new))),
                Err(error) => Err(Error::Other(Box::new(error))),
            }
        })
    }
}

fn is_problem(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == PROBLEM))
}

/// Until when `Retry-After` asks to wait, in seconds since 1970 (RFC 9110 section 10.2.3).
fn retry_s(value: &str, now: SystemTime) -> Option<i64> {
    let since_1970 = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
    };
    match value.trim().parse::<u32>() {
        Ok(seconds) => since_1970(now)?.checked_add(i64::from(seconds)),
        Err(_) => since_1970(httpdate::parse_http_date(value.trim()).ok()?),
    }
}

fn roots(path: &Path) -> Result<Vec<Certificate>, DirectoryError> {
    let failed = |problem: String| DirectoryError::Roots(format!("{}: {problem}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > ROOTS_MAX_BYTES {
        return Err(failed("is no file of at most a megabyte".to_owned()));
    }
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| failed(told(&error)))?;
    if roots.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// An error with what brought it about, in one line.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for (value, read) in [
            ("120", Some(1_120)),
            (" 0 ", Some(1_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(retry_s(value, now), read, "{value}");
        }
    }

    #[test]
    fn roots_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("root.pem");
        let refusal = || DirectoryClient::new("https://ca.example/", Some(&file)).unwrap_err().to_string();
        assert!(refusal().contains("root.pem"), "it is not there");
        for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\n"] {
            std::fs::write(&file, text).unwrap();
            assert!(refusal().contains("root.pem"), "{text}");
        }
        assert!(DirectoryClient::new("https://ca.example/", Some(dir.path())).is_err(), "a folder");
        let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        assert!(DirectoryClient::new("https://ca.example/", Some(&file)).is_ok());
    }
}
