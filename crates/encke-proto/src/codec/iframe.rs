//! The forever frame: an HTML document that never ends, whose scripts hand events to the page around it.
//!
//! Every script carries the response's nonce, so that the frame's own policy lets it run and nothing else.
//! The JSON in it is escaped so that no data can end the script, open another, or break its line (HTML
//! standard, section 4.12.1.3; ECMA-262, section 12.3).

use super::MessageForm;
use crate::{Entry, Event};

/// How much is written before the first event. Browsers begin to run scripts of a document when they have
/// seen enough of it to be sure of its encoding.
pub const PADDING_BYTES: usize = 2 * 1024;

/// The event that breaks a silence. It exists only here: a page sees nothing of what is in a frame, comments
/// least of all, but what the frame sends it.
const HEARTBEAT: &str = r#"{"event":"heartbeat"}"#;

/// The policy of the frame's document. `ancestors` is the origin of the page around it, or `'self'`.
#[must_use]
pub fn policy(nonce: &str, ancestors: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; frame-ancestors {ancestors}; base-uri 'none'; form-action 'none'"
    )
}

/// Writes the beginning of the document. Events go to exactly `origin`, or to the document's own origin when
/// there is none given.
pub fn begin(out: &mut Vec<u8>, nonce: &str, origin: Option<&str>) {
    out.extend_from_slice(b"<!doctype html><meta charset=\"utf-8\"><title>Encke</title>\n<script nonce=\"");
    out.extend_from_slice(nonce.as_bytes());
    out.extend_from_slice(b"\">\"use strict\";var o=");
    match origin {
        Some(origin) => escape(out, &serde_json::to_string(origin).unwrap_or_default()),
        None => out.extend_from_slice(b"location.origin"),
    }
    // Each script takes itself away, or the document would grow for ever. Events are parsed as JSON and not
    // read as a script's own literals, in which a member called `__proto__` is none.
    out.extend_from_slice(
        b";function p(e){document.currentScript.remove();parent.postMessage(JSON.parse(e),o)}document.currentScript.remove()</script>\n<!--",
    );
    out.resize(out.len() + PADDING_BYTES, b' ');
    out.extend_from_slice(b"-->\n");
}

/// Writes a message.
pub fn message(out: &mut Vec<u8>, nonce: &str, entry: &Entry, form: MessageForm) {
    script(out, nonce, form.json(entry));
}

/// Writes an event other than a message.
pub fn event(out: &mut Vec<u8>, nonce: &str, event: &Event) {
    script(out, nonce, &event.json());
}

/// Breaks a silence.
pub fn heartbeat(out: &mut Vec<u8>, nonce: &str) {
    script(out, nonce, HEARTBEAT);
}

fn script(out: &mut Vec<u8>, nonce: &str, json: &str) {
    out.extend_from_slice(b"<script nonce=\"");
    out.extend_from_slice(nonce.as_bytes());
    out.extend_from_slice(b"\">p(");
    // A text always encodes.
    escape(out, &serde_json::to_string(json).unwrap_or_default());
    out.extend_from_slice(b")</script>\n");
}

/// Writes a string's JSON so that HTML and ECMAScript both read it as the same string.
fn escape(out: &mut Vec<u8>, json: &str) {
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes())
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t4_no_data_can_end_the_script_or_its_line() {
        for data in [
            "</script><script>alert(1)</script>",
            "<!--",
            "]]>",
            "\u{2028}\u{2029}\u{85}",
            "&lt;",
            "</SCRIPT >",
            "\\</script>",
        ] {
            let json = serde_json::to_string(data).unwrap();
            let mut out = Vec::new();
            script(&mut out, "n", &json);
            let text = String::from_utf8(out).unwrap();
            let inner =
                text.strip_prefix("<script nonce=\"n\">p(").unwrap().strip_suffix(")</script>\n").unwrap();
            assert!(!inner.contains(['<', '>', '&', '\u{85}', '\u{2028}', '\u{2029}', '\n']), "{inner}");
            let literal: String = serde_json::from_str(inner).unwrap();
            assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), data, "it is the same JSON");
        }
    }

    #[test]
    fn the_document_is_long_enough_before_its_first_event() {
        let mut out = Vec::new();
        begin(&mut out, "n", Some("https://example.com"));
        assert!(out.len() > PADDING_BYTES);
        assert!(String::from_utf8(out).unwrap().contains("var o=\"https://example.com\";"));
    }
}
