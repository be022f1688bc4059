//! The table of error codes with their HTTP statuses, and the JSON of a refused request. Errors of other
//! layers are mapped to these codes in the server (`refusal.rs`), not here.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::json;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// The one table of errors: each code, the HTTP status it goes with, and its text on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that fits.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// Malformed JSON, an unknown or a missing field, a wrong type.
    BadRequest = "bad_request", 400;
    /// A user or channel name that breaks the rules.
    BadName = "bad_name", 400;
    /// A cursor that is not one.
    BadCursor = "bad_cursor", 400;
    /// A page whose address is not http or https.
    BadUrl = "bad_url", 400;
    /// JSON nested too deep.
    TooDeep = "too_deep", 400;
    /// No token or key, or one that does not verify.
    Unauthorized = "unauthorized", 401;
    /// A token that was good once.
    TokenExpired = "token_expired", 401;
    /// A token that was revoked.
    Revoked = "revoked", 401;
    /// The user is kept away for a time.
    Banned = "banned", 403;
    /// A page that is not on the allow-list.
    UrlNotAllowed = "url_not_allowed", 403;
    /// A cookie that came from a foreign origin.
    OriginForbidden = "origin_forbidden", 403;
    /// Neither the token nor a rule grants this in that channel.
    ChannelForbidden = "channel_forbidden", 403;
    /// The API key is not for this.
    Forbidden = "forbidden", 403;
    /// Login by an id alone, outside dev mode.
    LoginDisabled = "login_disabled", 403;
    /// No such address.
    NotFound = "not_found", 404;
    /// No such user.
    UserUnknown = "user_unknown", 404;
    /// No such channel.
    ChannelUnknown = "channel_unknown", 404;
    /// No such session.
    SessionUnknown = "session_unknown", 404;
    /// No such push.
    PushUnknown = "push_unknown", 404;
    /// The address takes other methods.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The client took longer over its request than it may.
    RequestTimeout = "request_timeout", 408;
    /// A newer data connection of the session took over.
    SessionTakenOver = "session_taken_over", 409;
    /// The idempotency key was used for another request.
    KeyReused = "key_reused", 409;
    /// The session was closed on purpose.
    SessionClosed = "session_closed", 410;
    /// A body over the limit.
    TooLarge = "too_large", 413;
    /// A body that is not JSON by its own word.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// More channels than a session or a user may follow.
    TooManyChannels = "too_many_channels", 422;
    /// The channel has as many followers as it may have.
    ChannelFull = "channel_full", 422;
    /// More users than one push may name.
    TooManyTargets = "too_many_targets", 422;
    /// The address speaks a protocol that the request does not ask for.
    UpgradeRequired = "upgrade_required", 426;
    /// More requests than the client may make.
    RateLimited = "rate_limited", 429;
    /// A request head over the limit.
    HeadTooLarge = "head_too_large", 431;
    /// A mistake of the server's.
    Internal = "internal", 500;
    /// The engine cannot take or give messages now.
    EngineUnavailable = "engine_unavailable", 503;
    /// A limit of the whole server is reached.
    Overloaded = "overloaded", 503;
    /// The server stops.
    ShuttingDown = "shutting_down", 503;
}

impl ErrorCode {
    /// Whether a client that is refused with it must not come back by itself.
    #[must_use]
    pub fn keeps_away(self) -> bool {
        matches!(self, Self::SessionClosed | Self::Revoked | Self::Banned)
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::{ObjectBuilder, Type};
        let codes = Self::ALL.iter().map(|code| code.as_str());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).build().into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ErrorCode {}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of each refusal.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorAnswer<'a> {
    /// What is wrong.
    pub error: ErrorDetail<'a>,
    /// False when a client must not come back by itself; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<bool>,
}

/// What is wrong.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetail<'a> {
    /// For programs.
    pub code: ErrorCode,
    /// A text for logs. Its words may change.
    pub message: &'a str,
}

/// A request that was refused: the code for programs, the message for the person who reads the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Which row of the table.
    pub code: ErrorCode,
    /// What exactly is wrong; holds no secret.
    pub message: String,
}

impl Refusal {
    /// A refusal with a message of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The body of the answer, `{"error":{"code","message"}}`, with `reconnect` for a client that must not
    /// come back by itself.
    #[must_use]
    pub fn json(&self) -> String {
        json::write(&ErrorAnswer {
            error: ErrorDetail { code: self.code, message: &self.message },
            reconnect: self.code.keeps_away().then_some(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_document_lists_every_code_with_its_status() {
        let document = include_str!("../../../docs/PROTOCOL.md");
        let table = document.split("## Errors").nth(1).unwrap();
        for code in ErrorCode::ALL {
            let row = table.lines().find(|line| line.contains(&format!("`{code}`")));
            let row = row.unwrap_or_else(|| panic!("{code} is not documented"));
            assert!(row.contains(&format!("| {} |", code.status())), "{code}: {row}");
        }
    }
}
