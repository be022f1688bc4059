//! Published JSON: checked for depth, and made one line.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::limits::JSON_MAX_DEPTH;

/// Nested deeper than [`JSON_MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSON may nest at most {JSON_MAX_DEPTH} deep")]
pub struct TooDeep;

/// How deep arrays and objects nest in `json`, which need not be valid: it is looked at before a parser is.
#[must_use]
pub fn depth(json: &str) -> usize {
    Look::at(json).deepest
}

/// The same JSON without the white space between its tokens, so that it holds no line break (SSE and NDJSON end a line at one). Numbers and strings stay as they were written.
///
/// # Errors
/// [`TooDeep`].
pub fn compact(json: &RawValue) -> Result<Arc<RawValue>, TooDeep> {
    let look = Look::at(json.get());
    if look.deepest > JSON_MAX_DEPTH {
        return Err(TooDeep);
    }
    if !look.spaces {
        return Ok(json.to_owned().into());
    }
    // Valid JSON without insignificant white space is valid JSON; if that were wrong, the original is still right.
    Ok(RawValue::from_string(without_spaces(json.get())).unwrap_or_else(|_| json.to_owned()).into())
}

/// What one look at JSON tells.
struct Look {
    deepest: usize,
    /// Whether there is white space between tokens.
    spaces: bool,
}

impl Look {
    fn at(json: &str) -> Self {
        let bytes = json.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        let mut look = Self { deepest: 0, spaces: false };
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at = past_string(bytes, at),
                b'[' | b'{' => {
                    depth += 1;
                    look.deepest = look.deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                byte => look.spaces |= is_space(*byte),
            }
        }
        look
    }
}

fn without_spaces(json: &str) -> String {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    let mut at = 0;
    while at < bytes.len() {
        // White space is one byte long and a string ends in a quote, so these are never in the midst of a character.
        let from = at;
        if is_space(bytes[at]) {
            at += 1;
            continue;
        }
        while at < bytes.len() && !is_space(bytes[at]) {
            at = if bytes[at] == b'"' { past_string(bytes, at + 1) } else { at + 1 };
        }
        out.push_str(&json[from..at]);
    }
    out
}

/// The place behind the string whose content begins at `at`; the end if it is not closed.
fn past_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        let raw: &RawValue = serde_json::from_str("{ \"a b\\\"\" : [ 1.50 ,\n\t2e+3 ] ,\r\n\"c\" : \"x\\n y\" }").unwrap();
        assert_eq!(compact(raw).unwrap().get(), "{\"a b\\\"\":[1.50,2e+3],\"c\":\"x\\n y\"}");
    }

    #[test]
    fn whatever_is_left_means_the_same() {
        let plain = "{\"ü \\\\\":[\"\\\"[ \",{},[ ],null , -1.5e3],\"\":\"\\u0020\"}";
        for text in [plain, "  1  ", "\" a \"", "[\t\r\n]", "{ }", "\"\\\\\""] {
            let raw: &RawValue = serde_json::from_str(text.trim()).unwrap();
            let compacted = compact(raw).unwrap();
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(value(compacted.get()), value(text), "{text}");
            assert!(serde_json::to_string(&value(text)).unwrap().len() >= compacted.get().len() || text == plain, "{text}");
        }
        // Looked at before anybody knows that it is JSON.
        for text in ["\"", "\"\\", "[[\"\\", "\\\"", "ü\"ü", "]]]"] {
            let _ = depth(text);
        }
    }

    #[test]
    fn depth_is_counted_outside_strings_only() {
        assert_eq!(depth("\"[[[[\""), 0);
        assert_eq!(depth("[{\"a\":[]},{}]"), 3);
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        assert!(compact(serde_json::from_str(&deep).unwrap()).is_err());
    }
}
