//! The heads and chunks of HTTP/1 responses that the table writes by itself.

use std::sync::LazyLock;

use encke_proto::Refusal;
use http::StatusCode;

use crate::http::refusal::retry_after_s;

/// The type of JSON answers.
pub const JSON: &str = "application/json";
/// The type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
/// The type of one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson; charset=utf-8";
/// The type of documents.
pub const HTML: &str = "text/html; charset=utf-8";

/// Fields that every answer has which is not held, unless its handler knew better: no cache keeps it, it is
/// no document, no frame shows it, no browser guesses its type, and no other site embeds it.
pub const PROTECTION: [(&str, &str); 6] = [
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The same as they stand in a head.
static PROTECTION_LINES: LazyLock<String> =
    LazyLock::new(|| PROTECTION.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect());

/// The fields of an answer that a page of another origin may read, besides those that every page may (Fetch
/// standard, section 3.3.5): when to come back, and what time it is here.
pub const EXPOSED: &str = "Retry-After, Date";

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection; for HTTP/1.0.
    UntilClose,
    /// There is none.
    None,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its status.
    pub status: u16,
    /// The type of its body.
    pub content_type: &'a str,
    /// How its body ends.
    pub body: Body,
    /// Whether the connection stays for another request.
    pub keep_alive: bool,
    /// The origin whose pages may read it; one of those that are allowed. `*` is for what is the same for all
    /// users; pages that bring a cookie may not read that.
    pub origin: Option<&'a str>,
    /// The value of `Date:`.
    pub date: &'a str,
    /// After how many seconds the client should come back, if the refusal passes.
    pub retry_after_s: Option<u64>,
    /// Fields that only this kind of answer has: the policy of a document for instance.
    pub fields: &'a [(&'a str, &'a str)],
}

impl Head<'_> {
    /// Appends the head, with the empty line behind it.
    pub fn write(&self, out: &mut Vec<u8>) {
        push_status_line(out, self.status);
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        match self.body {
            Body::Length(length) => {
                let mut digits = itoa::Buffer::new();
                push(&[
                    "content-type: ",
                    self.content_type,
                    "\r\ncontent-length: ",
                    digits.format(length),
                    "\r\n",
                ]);
            }
            Body::Chunked => {
                push(&["content-type: ", self.content_type, "\r\ntransfer-encoding: chunked\r\n"])
            }
            Body::UntilClose => push(&["content-type: ", self.content_type, "\r\n"]),
            Body::None => {}
        }
        // What is said to one user is for no other: no cache keeps it, no proxy holds it back, no browser
        // guesses its type.
        push(&[
            "cache-control: no-store\r\nx-accel-buffering: no\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\nvary: origin\r\n",
        ]);
        if let Some(origin) = self.origin {
            push(&[
                "access-control-allow-origin: ",
                origin,
                "\r\naccess-control-expose-headers: ",
                EXPOSED,
                "\r\n",
            ]);
            if origin != "*" {
                push(&["access-control-allow-credentials: true\r\n"]);
            }
        }
        for (name, value) in self.fields {
            push(&[name, ": ", value, "\r\n"]);
        }
        if self.status == 426 {
            // One address changes the protocol, to this one, of which there is one version (RFC 6455 section
            // 4.4, RFC 9110 section 15.5.22).
            push(&["upgrade: websocket\r\nsec-websocket-version: 13\r\n"]);
        }
        if self.status == 401 {
            // Such an answer has to say how to do better (RFC 9110 section 11.6.1).
            push(&["www-authenticate: Bearer\r\n"]);
        }
        if let Some(seconds) = self.retry_after_s {
            push(&["retry-after: ", itoa::Buffer::new().format(seconds), "\r\n"]);
        }
        match (self.status, self.keep_alive) {
            (426, true) => push(&["connection: upgrade\r\n"]),
            (426, false) => push(&["connection: upgrade, close\r\n"]),
            (_, true) => {}
            (_, false) => push(&["connection: close\r\n"]),
        }
        push(&["date: ", self.date, "\r\n\r\n"]);
    }
}

/// The first lines of nearly all responses, put together.
const FIRST_LINES: [(u16, &[u8]); 2] = [(200, b"HTTP/1.1 200 OK\r\n"), (202, b"HTTP/1.1 202 Accepted\r\n")];

/// Appends the first line of a response (RFC 9112 section 4).
fn push_status_line(out: &mut Vec<u8>, status: u16) {
    if let Some((_, line)) = FIRST_LINES.iter().find(|(known, _)| *known == status) {
        return out.extend_from_slice(line);
    }
    // A number that is no status of HTTP is a fault of the server's own.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // The text may be empty; the space before it may not be left out.
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes a refusal as a whole response, after which the connection ends. `origin` as in [`Head`].
pub fn whole(out: &mut Vec<u8>, refusal: &Refusal, origin: Option<&str>, date: &str) {
    let (status, retry_after_s) = (refusal.code.status(), retry_after_s(refusal.code));
    let json = refusal.json();
    let body = Body::Length(json.len());
    Head { status, content_type: JSON, body, keep_alive: false, origin, date, retry_after_s, fields: &[] }
        .write(out);
    out.extend_from_slice(json.as_bytes());
}

/// Writes the whole answer to a request of the server API, with the fields that the router puts into all of
/// its answers.
pub fn answer(
    out: &mut Vec<u8>,
    status: u16,
    retry_after_s: Option<u64>,
    keep_alive: bool,
    date: &str,
    json: &[u8],
) {
    let mut digits = itoa::Buffer::new();
    match status {
        202 => out.extend_from_slice(&ACCEPTED),
        _ => begin_answer(out, status),
    }
    let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    push(&[digits.format(json.len())]);
    if let Some(seconds) = retry_after_s {
        push(&["\r\nretry-after: ", digits.format(seconds)]);
    }
    if !keep_alive {
        push(&["\r\nconnection: close"]);
    }
    push(&["\r\ndate: ", date, "\r\n\r\n"]);
    out.extend_from_slice(json);
}

/// What the answers begin with to nearly all requests that shards answer by themselves.
static ACCEPTED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    begin_answer(&mut out, 202);
    out
});

/// Appends what does not depend on the request, up to where the length of the body stands.
fn begin_answer(out: &mut Vec<u8>, status: u16) {
    push_status_line(out, status);
    for part in ["content-type: ", JSON, "\r\n", &PROTECTION_LINES, "content-length: "] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The bytes that stand for a chunk's size until it is known.
const SIZE: &[u8] = b"00000000\r\n";

/// A chunk in the making (RFC 9112 section 7.1): its size is filled in at the end.
#[derive(Debug)]
pub struct Chunk {
    at: Option<usize>,
}

impl Chunk {
    /// Begins a chunk; without chunked coding, nothing.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>, plain: bool) -> Self {
        if plain {
            return Self { at: None };
        }
        let at = out.len();
        out.extend_from_slice(SIZE);
        Self { at: Some(at) }
    }

    /// Ends it. An empty chunk would end the body, so it is taken back.
    pub fn end(self, out: &mut Vec<u8>) {
        let Some(at) = self.at else { return };
        let size = out.len() - at - SIZE.len();
        if size == 0 {
            out.truncate(at);
            return;
        }
        for (index, slot) in out[at..at + 8].iter_mut().enumerate() {
            *slot = b"0123456789abcdef"[(size >> (28 - 4 * index)) & 15];
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first line that both writers of heads give a status.
    fn first_lines(status: u16) -> [String; 2] {
        let (mut held, mut answered) = (Vec::new(), Vec::new());
        let (content_type, date) = (JSON, "Thu, 01 Jan 1970 00:00:00 GMT");
        let (body, keep_alive, retry_after_s) = (Body::Length(2), true, None);
        Head { status, content_type, body, keep_alive, origin: None, date, retry_after_s, fields: &[] }
            .write(&mut held);
        answer(&mut answered, status, None, keep_alive, date, b"{}");
        [held, answered].map(|out| String::from_utf8(out).unwrap().lines().next().unwrap().to_owned())
    }

    #[test]
    fn every_status_keeps_its_number() {
        for status in 100..1000 {
            let text = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or_default();
            assert_eq!(first_lines(status), [(); 2].map(|()| format!("HTTP/1.1 {status} {text}")));
        }
        for line in first_lines(413).into_iter().chain(first_lines(404)) {
            assert!(line.len() > "HTTP/1.1 404 ".len(), "{line} has a text");
        }
        for status in [0, 99, 1000, u16::MAX] {
            assert_eq!(first_lines(status), ["HTTP/1.1 500 Internal Server Error"; 2], "{status}");
        }
    }

    #[test]
    fn a_page_may_read_what_is_written_for_its_origin() {
        let write = |origin| {
            let mut out = Vec::new();
            whole(
                &mut out,
                &Refusal::new(encke_proto::ErrorCode::HeadTooLarge, "x"),
                origin,
                "Thu, 01 Jan 1970 00:00:00 GMT",
            );
            String::from_utf8(out).unwrap()
        };
        assert!(
            write(None).starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n")
                && !write(None).contains("access-control")
        );
        let own = write(Some("capacitor://localhost"));
        for field in ["origin: capacitor://localhost", "credentials: true"] {
            assert!(own.contains(&format!("\r\naccess-control-allow-{field}\r\n")), "{own}");
        }
        assert!(own.contains("\r\naccess-control-expose-headers: Retry-After, Date\r\n"));
        let all = write(Some("*"));
        assert!(
            all.contains("\r\naccess-control-allow-origin: *\r\n") && !all.contains("credentials"),
            "{all}"
        );
    }

    #[test]
    fn an_answer_has_every_field_of_protection_once() {
        let mut out = Vec::new();
        answer(&mut out, 202, None, true, "Thu, 01 Jan 1970 00:00:00 GMT", b"{}");
        let text = String::from_utf8(out).unwrap();
        for (name, value) in PROTECTION {
            assert_eq!(text.matches(&format!("\r\n{name}: {value}\r\n")).count(), 1, "{name}");
        }
        assert!(text.ends_with("\r\n\r\n{}"));
    }

    #[test]
    fn a_chunk_says_its_size_and_an_empty_one_is_not_there() {
        let mut out = b"x".to_vec();
        let chunk = Chunk::begin(&mut out, false);
        out.extend_from_slice(&[b'y'; 300]);
        chunk.end(&mut out);
        assert!(out.starts_with(b"x0000012c\r\nyyy") && out.ends_with(b"yyy\r\n"));
        let mut out = b"x".to_vec();
        Chunk::begin(&mut out, false).end(&mut out);
        let chunk = Chunk::begin(&mut out, true);
        out.push(b'y');
        chunk.end(&mut out);
        assert_eq!(out, b"xy");
    }
}
