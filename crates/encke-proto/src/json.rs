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
    let (mut depth, mut deepest) = (0_usize, 0);
    scan(json, |byte, in_string| {
        if !in_string {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    });
    deepest
}

/// The same JSON without the white space between its tokens, so that it holds no line break (SSE and NDJSON end a line at one). Numbers and strings stay as they were written.
///
/// # Errors
/// [`TooDeep`].
pub fn compact(json: &RawValue) -> Result<Arc<RawValue>, TooDeep> {
    if depth(json.get()) > JSON_MAX_DEPTH {
        return Err(TooDeep);
    }
    let mut out = Vec::with_capacity(json.get().len());
    scan(json.get(), |byte, in_string| {
        if in_string || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            out.push(byte);
        }
    });
    let text = String::from_utf8_lossy(&out).into_owned();
    // Valid JSON without insignificant white space is valid JSON; if that were wrong, the original is still right.
    Ok(RawValue::from_string(text).unwrap_or_else(|_| json.to_owned()).into())
}

fn scan(json: &str, mut each: impl FnMut(u8, bool)) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        each(byte, in_string);
        if escaped {
            escaped = false;
        } else if in_string && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            in_string = !in_string;
        }
    }
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
    fn depth_is_counted_outside_strings_only() {
        assert_eq!(depth("\"[[[[\""), 0);
        assert_eq!(depth("[{\"a\":[]},{}]"), 3);
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        assert!(compact(serde_json::from_str(&deep).unwrap()).is_err());
    }
}
