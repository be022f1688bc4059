//! The JavaScript around an answer for pages that load it as a script (specification section 5.2,
//! `callback-polling`).

/// The longest name of a function, in bytes.
pub const CALLBACK_MAX_BYTES: usize = 64;
/// The function that is called if the page names none.
pub const DEFAULT_CALLBACK: &str = "jsonpcallback";

/// Whether this names a function and is nothing else: names of letters, digits, `_` and `$`, parted by dots.
/// Anything more would let a foreign page choose what this server's script does.
#[must_use]
pub fn is_callback(text: &str) -> bool {
    let is_name = |name: &str| {
        let first = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
    };
    text.len() <= CALLBACK_MAX_BYTES && text.split('.').all(is_name)
}

/// The script: a call of `callback` with `json`, which has to be one line. The comment before it keeps the
/// first bytes from being of the caller's choice, as some plug-ins take a file for what its first bytes say.
#[must_use]
pub fn script(callback: &str, json: &[u8]) -> Vec<u8> {
    [b"/**/", callback.as_bytes(), b"(", json, b");"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_a_name_and_nothing_else() {
        for name in ["_cometd_jsonp_0", "__jsonp12__", "a.b.c", "$", "jQuery123_4", DEFAULT_CALLBACK] {
            assert!(is_callback(name), "{name}");
        }
        let long = "a".repeat(CALLBACK_MAX_BYTES + 1);
        for text in ["", ".", "a.", ".a", "1a", "a b", "alert(1)//", "a;b", "a[0]", "ü", "a\n", "<x>", &long]
        {
            assert!(!is_callback(text), "{text}");
        }
        assert_eq!(script("f", b"[1]"), b"/**/f([1]);");
    }
}
