//! Published JSON: checked for depth, and made one line; and how JSON is written.

use memchr::memchr2;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{JsonText, limits::JSON_MAX_DEPTH};

/// Nested deeper than [`JSON_MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSON may nest at most {JSON_MAX_DEPTH} deep")]
pub struct TooDeep;

/// How deep arrays and objects nest in `json`, which need not be valid: it is looked at before a parser is.
#[must_use]
pub fn depth(json: &str) -> usize {
    Look::at(json).deepest
}

/// The same JSON without the white space between its tokens, so that it holds no line break (SSE and NDJSON
/// end a line at one). Numbers and strings stay as they were written.
///
/// # Errors
/// [`TooDeep`].
pub fn compact(json: &RawValue) -> Result<JsonText, TooDeep> {
    let look = Look::at(json.get());
    if look.deepest > JSON_MAX_DEPTH {
        return Err(TooDeep);
    }
    Ok(shared(json, &look))
}

/// JSON to be shared, without the white space that one look at it has found.
pub(crate) fn shared(json: &RawValue, look: &Look) -> JsonText {
    if !look.spaces {
        return json.into();
    }
    // Valid JSON without insignificant white space is valid JSON; if that were wrong, the original is still
    // right.
    RawValue::from_string(without_spaces(json.get())).map_or_else(|_| json.into(), JsonText::from)
}

/// Makes one line of the JSON that `out` ends with, from `start` on: see [`one_line`].
pub(crate) fn end_in_one_line(out: &mut Vec<u8>, start: usize) {
    if !out[start..].is_ascii()
        && let Ok(text) = std::str::from_utf8(&out[start..])
    {
        let line = one_line(text.to_owned());
        out.truncate(start);
        out.extend_from_slice(line.as_bytes());
    }
}

/// Writes `text` as a JSON string.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(write(&text).as_bytes());
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    if is_plain(text) { ["\"", text, "\""].concat() } else { write(&text) }
}

/// Whether a text holds nothing that is to be escaped (RFC 8259 section 7), as most do.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// The characters that stand in a JSON string as they are. Names are looked at with every message, so theirs
/// are looked up.
pub(crate) const PLAIN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], b' ');
    while byte.is_ascii() {
        table[byte as usize] = !matches!(byte, b'"' | b'\\');
        byte += 1;
    }
    table
};

/// The characters at which readers of text end a line, and JSON does not: NEXT LINE, LINE SEPARATOR and
/// PARAGRAPH SEPARATOR (Unicode standard, section 5.8). All others that do are control characters below
/// U+0020, which JSON escapes always (RFC 8259 section 7).
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// JSON with those characters escaped at which readers of text end a line, though JSON does not. It means the
/// same: outside strings they cannot stand, and none is part of an escape.
#[must_use]
pub fn one_line(json: String) -> String {
    // Most texts hold none of them. The first look takes many bytes at a time.
    if json.is_ascii() || !json.contains(LINE_ENDS) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            '\u{85}' => out.push_str("\\u0085"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

/// Writes a value as JSON in one line, for every reader of lines. The types of this product have neither maps
/// with odd keys nor numbers that JSON lacks, so that it does not fail; it would give an empty text.
#[must_use]
pub fn write(value: &impl Serialize) -> String {
    one_line(serde_json::to_string(value).unwrap_or_default())
}

/// What one look at JSON tells.
pub(crate) struct Look {
    pub(crate) deepest: usize,
    /// Whether there is white space between tokens.
    spaces: bool,
}

impl Look {
    fn at(json: &str) -> Self {
        let (bytes, mut at, mut depth) = (json.as_bytes(), 0, 0);
        let mut look = Self { deepest: 0, spaces: false };
        while at < bytes.len() {
            at = look.past_token(bytes, at, &mut depth);
        }
        look
    }

    /// Looks at the token, or the part of one, that begins at `at`; the place behind it.
    fn past_token(&mut self, bytes: &[u8], at: usize, depth: &mut usize) -> usize {
        match bytes[at] {
            b'"' => return past_string(bytes, at + 1),
            b'[' | b'{' => {
                *depth += 1;
                self.deepest = self.deepest.max(*depth);
            }
            b']' | b'}' => *depth = depth.saturating_sub(1),
            byte => self.spaces |= is_space(byte),
        }
        at + 1
    }
}

/// Looks at the one value that begins at `at`, which need not be valid; the place behind it. None when it
/// does not end.
pub(crate) fn one_value(bytes: &[u8], at: usize) -> Option<(usize, Look)> {
    let (mut end, mut depth) = (at, 0);
    let mut look = Look { deepest: 0, spaces: false };
    if !matches!(bytes.get(at)?, b'"' | b'[' | b'{') {
        // A number or a word ends with the next mark.
        let is_mark = |byte: &u8| is_space(*byte) || matches!(byte, b',' | b']' | b'}');
        let length = bytes[at..].iter().position(is_mark).unwrap_or(bytes.len() - at);
        return Some((at + length, look));
    }
    while end == at || depth > 0 {
        bytes.get(end)?;
        end = look.past_token(bytes, end, &mut depth);
    }
    Some((end, look))
}

fn without_spaces(json: &str) -> String {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    let mut at = 0;
    while at < bytes.len() {
        // White space is one byte long and a string ends in a quote, so these are never in the midst of a
        // character.
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
    // Many bytes at a time: most of what is published is within strings.
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        let raw: &RawValue =
            serde_json::from_str("{ \"a b\\\"\" : [ 1.50 ,\n\t2e+3 ] ,\r\n\"c\" : \"x\\n y\" }").unwrap();
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
            assert!(
                serde_json::to_string(&value(text)).unwrap().len() >= compacted.get().len() || text == plain,
                "{text}"
            );
        }
        // Looked at before it is known to be JSON.
        for text in ["\"", "\"\\", "[[\"\\", "\\\"", "ü\"ü", "]]]"] {
            let _ = depth(text);
        }
    }

    #[test]
    fn a_line_ends_nowhere_within_json() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            lines: Vec<Line>,
        }
        #[derive(serde::Deserialize)]
        struct Line {
            published: String,
            written: String,
        }
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../tests/vectors/lines.json")).unwrap();
        assert!(vectors.lines.len() > 8);
        for Line { published, written } in vectors.lines {
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let compacted = compact(serde_json::from_str(&published).unwrap()).unwrap();
            assert_eq!(one_line(compacted.get().to_owned()), written, "{published}");
            assert_eq!(value(&written), value(&published));
            assert!(!write(&value(&published)).contains(LINE_ENDS), "{published}");
            assert_eq!(value(&write(&value(&published))), value(&published));
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
