//! The framing of the HTTP transports, which is that of SockJS: lines that begin with what they are.

use serde::Deserialize;

use super::Malformed;
use crate::json::{depth, push_string};

/// The connection is open.
pub const OPEN: &str = "o\n";
/// What breaks a silence.
pub const HEARTBEAT: &str = "h\n";
/// The most frames of one request.
pub const SENT_MAX_FRAMES: usize = 128;

/// Which of the HTTP transports a request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackAction {
    /// Frames come in one response that goes on.
    Stream,
    /// Frames come in one answer each time.
    Poll,
    /// Frames are sent.
    Send,
}

/// The path of a request of the HTTP transports, behind what they are mounted at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackPath<'a> {
    /// The key of the application.
    pub key: &'a str,
    /// What names the connection: the key with two segments that the client has made up.
    pub session: &'a str,
    /// What is asked.
    pub action: FallbackAction,
}

/// Reads `KEY/SERVER/SESSION/ACTION`: the server is up to 3 digits, the session 8 characters of `0` to `9`
/// and `a` to `v`. None if it is something else.
#[must_use]
pub fn fallback_path(path: &str) -> Option<FallbackPath<'_>> {
    let (session, action) = path.rsplit_once('/')?;
    let mut segments = session.split('/');
    let (key, server, name) = (segments.next()?, segments.next()?, segments.next()?);
    let is_server = (1..=3).contains(&server.len()) && server.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = name.len() == 8 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'));
    let action = match action {
        "xhr_streaming" => FallbackAction::Stream,
        "xhr" => FallbackAction::Poll,
        "xhr_send" => FallbackAction::Send,
        _ => return None,
    };
    (segments.next().is_none() && is_server && is_name).then_some(FallbackPath { key, session, action })
}

/// Reads the frames that a client sends: an array of texts. An empty one asks whether the server is there.
///
/// # Errors
/// [`Malformed`].
pub fn read_sent(body: &str) -> Result<Vec<String>, Malformed> {
    #[derive(Deserialize)]
    struct Sent(Vec<String>);
    if depth(body) > 1 {
        return Err(Malformed::TooDeep);
    }
    let Sent(frames) = serde_json::from_str(body).map_err(|_| Malformed::Json)?;
    if frames.len() > SENT_MAX_FRAMES { Err(Malformed::Json) } else { Ok(frames) }
}

/// A frame as it stands in the array of a line.
#[must_use]
pub fn quoted(frame: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.len() + frame.len() / 4 + 2);
    push_string(&mut out, frame);
    out
}

/// A line with frames that were [`quoted`], with commas between.
#[must_use]
pub fn line_of(quoted: &[u8]) -> Vec<u8> {
    [b"a[", quoted, b"]\n"].concat()
}

/// The line that ends a connection.
#[must_use]
pub fn close_line(code: u16, reason: &str) -> String {
    let reason = String::from_utf8(quoted(reason)).unwrap_or_default();
    format!("c[{code},{reason}]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_application_and_a_session() {
        let path = fallback_path("app-key/7/0123abcv/xhr_streaming").unwrap();
        assert_eq!(
            (path.key, path.session, path.action),
            ("app-key", "app-key/7/0123abcv", FallbackAction::Stream)
        );
        assert_eq!(fallback_path("k/999/00000000/xhr").unwrap().action, FallbackAction::Poll);
        assert_eq!(fallback_path("k/0/00000000/xhr_send").unwrap().action, FallbackAction::Send);
        for wrong in [
            "",
            "k/7/0123abcv",
            "k/7/0123abcv/other",
            "k/1000/0123abcv/xhr",
            "k/x/0123abcv/xhr",
            "k/7/0123abcw/xhr",
            "k/7/0123abc/xhr",
            "k/7/more/0123abcv/xhr",
            "7/0123abcv/xhr",
        ] {
            assert_eq!(fallback_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_sent_is_an_array_of_texts() {
        assert_eq!(read_sent("[]"), Ok(vec![]));
        assert_eq!(read_sent(r#"["{\"a\":[1]}"]"#), Ok(vec!["{\"a\":[1]}".to_owned()]));
        let many = format!("[{}]", ["\"\""; SENT_MAX_FRAMES + 1].join(","));
        for (body, fault) in [
            ("", Malformed::Json),
            ("{}", Malformed::Json),
            ("[1]", Malformed::Json),
            ("[[]]", Malformed::TooDeep),
            (many.as_str(), Malformed::Json),
        ] {
            assert_eq!(read_sent(body), Err(fault), "{body}");
        }
    }

    #[test]
    fn a_line_has_frames_as_texts() {
        let frames = [quoted("{\"a\":\"\u{fc}\"}"), quoted("b")].join(&b","[..]);
        assert_eq!(line_of(&frames), "a[\"{\\\"a\\\":\\\"\u{fc}\\\"}\",\"b\"]\n".as_bytes());
        assert_eq!(close_line(4009, "a\""), "c[4009,\"a\\\"\"]\n");
    }
}
