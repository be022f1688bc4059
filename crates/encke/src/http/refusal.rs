//! Every refusal becomes an answer here, and nowhere else.

use axum::response::{IntoResponse, Response};
use encke_engine::EngineError;
use encke_proto::{ErrorCode, NameError, PageUrlError, Refusal, json::TooDeep};
use http::{HeaderValue, StatusCode, header};

use crate::random::NoRandomness;

/// A refusal on its way to becoming an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Refusal);

impl Refused {
    /// A refusal with a message of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Refusal::new(code, message))
    }

    /// A method that an address does not take; these are those that it does (RFC 9110 section 15.5.6).
    pub(crate) fn only(methods: &'static str) -> Response {
        let mut response = Self::from(ErrorCode::MethodNotAllowed).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        response
    }

    /// A request that is not as it should be.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }
}

/// What any request may be refused with, wherever it leads: its head is too long, or the server is full.
const ANY: &[ErrorCode] = &[ErrorCode::HeadTooLarge, ErrorCode::Overloaded];
/// What a request may be refused with that needs the engine, or the other nodes of one engine.
pub(crate) const ENGINE: &[ErrorCode] = &[ErrorCode::EngineUnavailable, ErrorCode::Internal];

/// What a request with an idempotency key may be refused with, besides.
pub(crate) const KEYED: &[ErrorCode] = &[ErrorCode::KeyReused];

/// What a control request may be refused with for the session that it names.
pub(crate) const SESSION: &[ErrorCode] = &[ErrorCode::SessionUnknown, ErrorCode::SessionClosed];

/// The codes that an operation may be refused with, each once, in the order of the table: these, and those of
/// any request. For the description of the API; a test asks the server for each.
pub(crate) fn codes(groups: &[&[ErrorCode]]) -> Vec<ErrorCode> {
    let has = |code: &&ErrorCode| ANY.contains(code) || groups.iter().any(|group| group.contains(code));
    ErrorCode::ALL.iter().filter(has).copied().collect()
}

/// After how many seconds it is worth while to try again, for those refusals that pass.
#[must_use]
pub fn retry_after_s(code: ErrorCode) -> Option<u64> {
    match code {
        ErrorCode::RateLimited | ErrorCode::ShuttingDown => Some(5),
        ErrorCode::EngineUnavailable | ErrorCode::Overloaded => Some(2),
        _ => None,
    }
}

/// What a code says as text when the code that refused had nothing to add.
#[must_use]
pub fn sentence(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadRequest => "the request is not as it should be",
        ErrorCode::BadName => "this is no name for a user or a channel",
        ErrorCode::BadCursor => "this is not a cursor",
        ErrorCode::BadUrl => "a page needs an absolute http or https URL",
        ErrorCode::TooDeep => "JSON may nest at most 32 deep",
        ErrorCode::Unauthorized => "no token or key, or one that does not verify",
        ErrorCode::TokenExpired => "the token has expired",
        ErrorCode::Revoked => "the token was revoked",
        ErrorCode::Banned => "the user is kept away for a time",
        ErrorCode::UrlNotAllowed => "this URL is not on the allow-list",
        ErrorCode::OriginForbidden => {
            "a request with a cookie has to come from this origin, or from an allowed one"
        }
        ErrorCode::ChannelForbidden => "neither the token nor a rule grants this channel",
        ErrorCode::Forbidden => "the API key is not for this",
        ErrorCode::LoginDisabled => "login by id alone is for dev mode; log in with a token",
        ErrorCode::NotFound => "there is nothing at this address",
        ErrorCode::UserUnknown => "no such user",
        ErrorCode::ChannelUnknown => "no such channel",
        ErrorCode::SessionUnknown => "no such session",
        ErrorCode::PushUnknown => "no such push",
        ErrorCode::MethodNotAllowed => "this address takes other methods",
        ErrorCode::RequestTimeout => "the request took too long to come",
        ErrorCode::SessionTakenOver => "a newer data connection of this session took over",
        ErrorCode::KeyReused => "this `id` was used for another request",
        ErrorCode::SessionClosed => "this session was closed",
        ErrorCode::TooLarge => "a body may have at most 65536 bytes",
        ErrorCode::UnsupportedMediaType => "the body has to be application/json",
        ErrorCode::TooManyChannels => {
            "a session has at most 128 channels, and a user at most max_channels_per_user"
        }
        ErrorCode::ChannelFull => "this channel has as many followers as it may have",
        ErrorCode::TooManyTargets => "a push names at most 10000 users",
        ErrorCode::UpgradeRequired => "this address speaks WebSocket",
        ErrorCode::RateLimited => "too many requests",
        ErrorCode::HeadTooLarge => "the head of the request is too large",
        ErrorCode::Internal => "a mistake of the server's",
        ErrorCode::EngineUnavailable => "the log cannot be written or read now",
        ErrorCode::Overloaded => "the server has too much to do",
        ErrorCode::ShuttingDown => "the server stops",
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/json")], self.0.json()).into_response();
        // For what counts failures, and writes down answers.
        response.extensions_mut().insert(code);
        if let Some(seconds) = retry_after_s(code) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, sentence(code))
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        // What exactly is wrong with the store is for the operator's log, not for the caller.
        match error {
            EngineError::Unavailable(_) => {
                tracing::warn!(%error, "the engine refused");
                ErrorCode::EngineUnavailable.into()
            }
            // No endpoint closes a log or appends as a producer, so none can be refused for that.
            EngineError::Refused(_) | EngineError::Unsupported(_) => {
                tracing::warn!(%error, "the engine was asked for what it cannot do");
                ErrorCode::EngineUnavailable.into()
            }
            EngineError::KeyReused => ErrorCode::KeyReused.into(),
            EngineError::Damaged(_) => {
                tracing::error!(%error, "the engine found damage");
                ErrorCode::Internal.into()
            }
        }
    }
}

impl From<NoRandomness> for Refused {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "nothing secret can be made");
        ErrorCode::Internal.into()
    }
}

impl From<NameError> for Refused {
    fn from(error: NameError) -> Self {
        Self::new(ErrorCode::BadName, error.to_string())
    }
}

impl From<TooDeep> for Refused {
    fn from(error: TooDeep) -> Self {
        Self::new(ErrorCode::TooDeep, error.to_string())
    }
}

impl From<PageUrlError> for Refused {
    fn from(error: PageUrlError) -> Self {
        let code = match error {
            PageUrlError::NotAllowed => ErrorCode::UrlNotAllowed,
            PageUrlError::NotHttp | PageUrlError::TooLong | PageUrlError::Credentials => ErrorCode::BadUrl,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_becomes_its_status() {
        for code in ErrorCode::ALL {
            let response = Refused::from(*code).into_response();
            assert_eq!(response.status().as_u16(), code.status(), "{code}");
            let passes = matches!(code.status(), 429 | 503);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), passes, "{code}");
            assert_eq!(
                response.headers().contains_key(header::WWW_AUTHENTICATE),
                code.status() == 401,
                "{code}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_the_store_stays_here() {
        let Refused(refusal) = EngineError::Unavailable("/secret/path is full".into()).into();
        assert_eq!(refusal.code, ErrorCode::EngineUnavailable);
        assert!(!refusal.message.contains("secret"));
        let Refused(refusal) = EngineError::Damaged("row 7".into()).into();
        assert_eq!(refusal.code, ErrorCode::Internal);
    }
}
