//! Bytes with their content type: a body that is not JSON. They are kept as they were sent.

use std::sync::OnceLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::{RawValue, to_raw_value};

use crate::{JsonText, limits::CONTENT_TYPE_MAX_BYTES};

/// A text that is no content type: empty, longer than [`CONTENT_TYPE_MAX_BYTES`], or with other characters
/// than visible ASCII and inner spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a content type has 1 to {CONTENT_TYPE_MAX_BYTES} visible ASCII characters")]
pub struct NotAContentType;

/// Checks a content type as a field value of HTTP has it (RFC 9110, section 8.3). Its parameters are not
/// looked at.
///
/// # Errors
/// [`NotAContentType`].
pub fn check_content_type(text: &str) -> Result<(), NotAContentType> {
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let is_one = !text.is_empty()
        && text.len() <= CONTENT_TYPE_MAX_BYTES
        && text.trim() == text
        && text.bytes().all(is_visible);
    if is_one { Ok(()) } else { Err(NotAContentType) }
}

/// Bytes, and what they are.
#[derive(Clone, Debug)]
pub struct TypedBytes {
    content_type: Box<str>,
    bytes: Box<[u8]>,
    /// For receivers that take JSON alone; made when the first one asks.
    json: OnceLock<JsonText>,
}

impl TypedBytes {
    /// These bytes with this content type.
    ///
    /// # Errors
    /// [`NotAContentType`].
    pub fn new(content_type: &str, bytes: impl Into<Box<[u8]>>) -> Result<Self, NotAContentType> {
        check_content_type(content_type)?;
        Ok(Self { content_type: content_type.into(), bytes: bytes.into(), json: OnceLock::new() })
    }

    /// What they are, as the publisher said it.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The bytes as they were sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as JSON, `{"content_type":…,"base64":…}`, for receivers that take nothing else.
    #[must_use]
    pub fn json(&self) -> &JsonText {
        self.json.get_or_init(|| {
            let (content_type, base64) = (&self.content_type, STANDARD.encode(&self.bytes));
            let object = serde_json::json!({"content_type": content_type, "base64": base64});
            // A map of two texts always can be written; the other way to say nothing is `null`.
            to_raw_value(&object).map_or_else(|_| RawValue::NULL.into(), JsonText::from)
        })
    }
}

impl PartialEq for TypedBytes {
    fn eq(&self, other: &Self) -> bool {
        (&self.content_type, &self.bytes) == (&other.content_type, &other.bytes)
    }
}

impl Eq for TypedBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_kept_and_told_as_json() {
        let all: Vec<u8> = (0..=255).collect();
        let typed = TypedBytes::new("text/plain; charset=utf-8", all.clone()).unwrap();
        assert_eq!((typed.content_type(), typed.bytes()), ("text/plain; charset=utf-8", &*all));
        let json: serde_json::Value = serde_json::from_str(typed.json().get()).unwrap();
        assert_eq!(json["content_type"], "text/plain; charset=utf-8");
        assert_eq!(STANDARD.decode(json["base64"].as_str().unwrap()).unwrap(), all);
    }

    #[test]
    fn what_no_field_of_http_holds_is_no_content_type() {
        let longest = "x".repeat(CONTENT_TYPE_MAX_BYTES);
        for good in ["a", "application/json", "a/b; c=\"d e\"", &longest] {
            assert_eq!(check_content_type(good), Ok(()), "{good}");
        }
        let long = format!("{longest}x");
        for bad in ["", " a", "a ", "a\nb", "a\0", "ä", "a\tb", &long] {
            assert_eq!(check_content_type(bad), Err(NotAContentType), "{bad:?}");
        }
    }
}
