//! Names and other short texts from outside, each checked in one place.

use axum::extract::{FromRequestParts, Path};
use encke_proto::{
    ChannelName, ErrorCode, SessionId, UserId,
    limits::{KEY_MAX_BYTES, REASON_MAX_BYTES, SESSION_MAX_CHANNELS},
};
use http::request::Parts;

use crate::http::refusal::Refused;

/// What a request may be refused with for a name, in its path or elsewhere.
pub(crate) const ERRORS: &[ErrorCode] = &[ErrorCode::BadName];

/// The one name in a request's path, decoded.
#[derive(Debug)]
pub(crate) struct InPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => {
                Err(Refused::new(ErrorCode::BadName, "a name in a path has to be UTF-8, percent-encoded"))
            }
        }
    }
}

/// A user.
pub(crate) fn user(text: &str) -> Result<UserId, Refused> {
    Ok(UserId::new(text)?)
}

/// Public channels, each once; at least one, and no more than a session may have.
pub(crate) fn public_channels(texts: &[String]) -> Result<Vec<ChannelName>, Refused> {
    if texts.is_empty() {
        return Err(Refused::bad("`channels` names none"));
    }
    if texts.len() > SESSION_MAX_CHANNELS {
        return Err(ErrorCode::TooManyChannels.into());
    }
    let mut channels: Vec<ChannelName> = Vec::with_capacity(texts.len());
    for text in texts {
        let channel = ChannelName::public(text)?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// A session. What is not one by its form is as unknown as one that never was.
pub(crate) fn session(text: &str) -> Result<SessionId, Refused> {
    text.parse().map_err(|_| ErrorCode::SessionUnknown.into())
}

/// A reason that users are told.
pub(crate) fn reason(text: Option<String>) -> Result<String, Refused> {
    let text = text.unwrap_or_default();
    if text.len() > REASON_MAX_BYTES {
        return Err(Refused::bad(format!("`reason` has at most {REASON_MAX_BYTES} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::bad("`reason` must not hold control characters"));
    }
    Ok(text)
}

/// An idempotency key within the scope of its sender. No scope holds a line break, and no key either, so that
/// two scopes never share one.
pub(crate) fn key(scope: &str, text: Option<&str>) -> Result<Option<String>, Refused> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() || text.len() > KEY_MAX_BYTES {
        return Err(Refused::bad(format!("`id` has 1 to {KEY_MAX_BYTES} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::bad("`id` must not hold control characters"));
    }
    Ok(Some(format!("{scope}\n{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_public_and_each_once() {
        let names =
            |list: &[&str]| public_channels(&list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["b", "a", "b"]).unwrap().len(), 2);
        assert_eq!(names(&["@alice"]).unwrap_err().0.code, ErrorCode::BadName);
        assert_eq!(names(&[]).unwrap_err().0.code, ErrorCode::BadRequest);
        let many: Vec<String> = (0..129).map(|n| n.to_string()).collect();
        assert_eq!(public_channels(&many).unwrap_err().0.code, ErrorCode::TooManyChannels);
    }

    #[test]
    fn keys_and_reasons_are_short_and_plain() {
        assert_eq!(key("api", None), Ok(None));
        assert_eq!(key("api", Some("k")), Ok(Some("api\nk".into())));
        for bad in ["", "a\nb", "x".repeat(129).as_str()] {
            assert!(key("api", Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(reason(None), Ok(String::new()));
        assert!(reason(Some("x".repeat(257))).is_err());
        assert!(reason(Some("\u{1b}[2J".into())).is_err());
    }
}
