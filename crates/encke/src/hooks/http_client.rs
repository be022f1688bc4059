//! Sends signed requests to the application's endpoint. What they say, and what becomes of the answer, is not
//! known here.

use std::time::Duration;

use encke_proto::{Time, limits::BODY_MAX_BYTES};
use futures_util::StreamExt;
use reqwest::{Client, redirect};

use crate::{
    config::{Hooks, Secret},
    public_addresses::PublicAddresses,
    signing_secret::{BadSecret, SigningSecret},
};

/// The most bytes of an answer. It may hold what a client has published, written otherwise, and more.
const ANSWER_MAX_BYTES: usize = 4 * BODY_MAX_BYTES;
/// How long a connection to the endpoint is kept that is not used. Less than most servers keep one, so that
/// few requests meet one that is being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Why an endpoint has not done what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It cannot be reached, there was no answer in time, or a broken one.
    #[error("no answer: {}", cause(.0))]
    Http(#[from] reqwest::Error),
    /// Another status than was expected; a redirection is one.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// Too large.
    #[error("the answer has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge,
}

impl CallError {
    /// Whether it says that the endpoint does not work, whatever it is asked.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Status(status) => *status >= 500,
            Self::TooLarge => false,
        }
    }

    /// Whether it is an answer that refuses what was asked: a status of 400 to 499, but for the two that ask
    /// for another time (RFC 9110 section 15.5.9, RFC 6585 section 4).
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(status @ 400..=499) if !matches!(status, 408 | 429))
    }

    /// Whether it is a status by which servers say that requests as such are wrong, whatever they ask: the
    /// signature (401), the address (404, 410) or the method (405). An application may refuse by it as well.
    #[must_use]
    pub fn is_of_endpoint(&self) -> bool {
        matches!(self, Self::Status(401 | 404 | 405 | 410))
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There can be no TLS.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// A secret is none.
    #[error(transparent)]
    Secret(#[from] BadSecret),
}

/// The way to an endpoint, whatever it is sent.
#[derive(Debug)]
pub struct EndpointClient {
    url: String,
    client: Client,
}

impl EndpointClient {
    /// To this URL, whose answers take no longer than `timeout`; also if it is at an address that is not
    /// public, if that is allowed.
    ///
    /// # Errors
    /// There can be no TLS.
    pub fn new(url: &str, allow_private: bool, timeout: Duration) -> Result<Self, ClientError> {
        // An answer that leads elsewhere would let the endpoint choose what this server asks for, and a proxy
        // would look names up where nothing is checked.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .timeout(timeout);
        let client = if allow_private { client } else { client.dns_resolver(PublicAddresses) };
        Ok(Self { url: url.to_owned(), client: client.build()? })
    }

    /// Sends JSON with these header fields, and gives the body of an answer whose status is 200 to 299.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn post(&self, fields: &[(&'static str, String)], body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("user-agent", concat!("encke/", env!("CARGO_PKG_VERSION")));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let answer = request.body(body).send().await?;
        if !answer.status().is_success() {
            return Err(CallError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if body.len() + piece.len() > ANSWER_MAX_BYTES {
                return Err(CallError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// The way to the application's endpoint.
#[derive(Debug)]
pub struct HookClient {
    client: EndpointClient,
    secrets: Vec<SigningSecret>,
}

impl HookClient {
    /// To the endpoint of this configuration, whose answers take no longer than `timeout`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(hooks: &Hooks, timeout: Duration) -> Result<Self, ClientError> {
        let secrets =
            hooks.secret.iter().chain(&hooks.former_secrets).map(Secret::expose).map(SigningSecret::read);
        let url = hooks.url.as_deref().unwrap_or_default();
        Ok(Self {
            client: EndpointClient::new(url, hooks.allow_private, timeout)?,
            secrets: secrets.collect::<Result<_, _>>()?,
        })
    }

    /// Sends a request with this id, signed by all secrets, and gives the body of an answer whose status is
    /// 200 to 299.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn post(&self, id: &str, now: Time, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let at_s = now.0 / 1000;
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| secret.sign(id, at_s, &body)).collect();
        let fields = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        self.client.post(&fields, body).await
    }
}

/// The last cause of an error, which says most; those before it repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
