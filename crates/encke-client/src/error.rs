//! What can go wrong.

use std::io;
use std::time::Duration;

/// Why a request failed, or why a listener stopped or lost its connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address is not an http or https URL.
    #[error("{0:?} is not the address of a server: it must be an http or https URL")]
    BadAddress(String),
    /// The key or token holds characters that no header can carry.
    #[error("the key or token holds characters that a header cannot carry")]
    BadCredentials,
    /// A name that cannot stand in the path of a URL: empty, `.` or `..`.
    #[error("{0:?} cannot be asked for by name")]
    BadName(String),
    /// What was to be sent does not serialise to JSON.
    #[error("the data does not serialise to JSON: {0}")]
    Encode(#[source] serde_json::Error),
    /// The application's source of tokens gave none; see [`Client::with_token_source`](crate::Client).
    #[error("there is no fresh token: {0}")]
    NoToken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system gave no randomness, which ids are made from.
    #[error("the operating system gives no randomness")]
    NoRandomness,
    /// No answer came: there is no connection, or it broke before, or it took too long. Holds the server's
    /// address, where it is known, and why.
    #[error("cannot reach {0}")]
    Unreachable(String),
    /// The connection broke in the midst of an answer. Holds why.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// The server cannot just now (5xx, 408, 429).
    #[error("the server cannot answer just now: {status} {code}: {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The protocol's error code, or empty if the answer had none.
        code: String,
        /// The server's words.
        message: String,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// The token or key is missing, wrong or expired (401).
    #[error("{code}: {message}")]
    Unauthorized {
        /// `unauthorized`, `token_expired` or `revoked`.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The server refuses the request (any other 4xx), and would again.
    #[error("{code}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The protocol's error code, or empty if the answer had none.
        code: String,
        /// The server's words.
        message: String,
    },
    /// Another connection goes on with this session (409). Nothing is lost, but it is not this listener's any
    /// more.
    ///
    /// A listener comes back once, since an earlier request of its own may have overtaken a later one, and
    /// ends when that happens again within a minute.
    #[error("another connection took over the session")]
    TakenOver,
    /// The session was closed on purpose (410, or 204 on a stream).
    #[error("the session is closed: {message}")]
    SessionClosed {
        /// The server's words.
        message: String,
        /// Whether the server wants the client back.
        reconnect: bool,
    },
    /// The server answered something that is not of this protocol.
    #[error("the server's answer is not understood: {0}")]
    BadAnswer(String),
    /// The stream was silent for longer than two and a half heartbeats, so the connection is dead.
    #[error("the connection was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The stream ended without a word.
    #[error("the server ended the connection")]
    Ended,
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Broken(_)
                | Self::Unavailable { .. }
                | Self::Silent(_)
                | Self::Ended
                | Self::NoToken(_)
        )
    }

    /// The protocol's error code, when the server told one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Unavailable { code, .. } | Self::Unauthorized { code, .. } | Self::Refused { code, .. } => {
                Some(code)
            }
            Self::TakenOver => Some("session_taken_over"),
            Self::SessionClosed { .. } => Some("session_closed"),
            _ => None,
        }
    }

    /// A connection that was there and broke.
    pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Broken(why(error))
    }

    /// How long the server asked to wait, when it did.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    /// A failure of the HTTP library before the head of an answer is one of reaching the server.
    fn from(error: reqwest::Error) -> Self {
        // The query may hold a ticket, so no more is told than where the server is.
        let address =
            error.url().map_or_else(|| "the server".to_owned(), |url| url.origin().ascii_serialization());
        Self::Unreachable(format!("{address}: {}", why(&error)))
    }
}

/// Why a request failed, in the words of the innermost error: the outermost only says that it did. What a
/// wrong scheme or a certificate looks like is explained.
fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let words = innermost.to_string();
    // The errors of TLS are known by their texts: their types are of libraries below the HTTP library.
    if let Some((_, what)) = words.split_once("invalid peer certificate: ") {
        return format!(
            "the TLS handshake was refused: the certificate does not verify ({what}); authorities of your own can be named by SSL_CERT_FILE"
        );
    }
    if words.contains("InvalidContentType") {
        return "the TLS handshake was refused: what answers there does not speak TLS; try http://"
            .to_owned();
    }
    if words.contains("received fatal alert") {
        return format!("the TLS handshake was refused by the server: {words}");
    }
    if words.contains("invalid HTTP version parsed") {
        return "what answers there does not speak HTTP; if that is TLS, try https://".to_owned();
    }
    match innermost.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => words,
    }
}
