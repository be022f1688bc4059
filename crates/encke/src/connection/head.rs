//! The head of a request that may wait, read by the parser that hyper uses. In any doubt the verdict is
//! [`Verdict::Handoff`]: then hyper decides.

use std::mem::MaybeUninit;

use crate::admission::{Endpoints, Waiting};

/// The longest head that is read here; a longer one goes to hyper, which refuses it.
pub const HEAD_MAX_BYTES: usize = 8 * 1024;
/// The most header fields that are read here.
pub const FIELDS_MAX: usize = 64;

/// What the bytes so far are.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
pub enum Verdict<'a> {
    /// Not enough to know.
    More,
    /// A request that waits: the number of its endpoint, itself, and how many bytes it has. Its body is
    /// there.
    Waits(usize, Waiting<'a>, usize),
    /// Anything else.
    Handoff,
}

/// Looks at the first bytes of a request.
#[must_use]
pub fn read<'a>(bytes: &'a [u8], endpoints: &Endpoints) -> Verdict<'a> {
    if !endpoints.may_begin_with(bytes) || bytes.len() > HEAD_MAX_BYTES {
        return Verdict::Handoff;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Partial) => Verdict::More,
        Ok(httparse::Status::Complete(length)) => {
            waiting(bytes, &request, length, endpoints).unwrap_or(Verdict::Handoff)
        }
        Err(_) => Verdict::Handoff,
    }
}

/// The origin of the page that a request comes from, by as much of its head as is there: for answers to what
/// is not read any further.
#[must_use]
pub fn origin_of(bytes: &[u8]) -> Option<&str> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
    let field = lines.find_map(|line| {
        let line = line.strip_suffix(b"\n")?.trim_ascii();
        let (name, value) =
            line.split_at_checked(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()))?;
        // Behind the head comes what the client chose to send.
        (name.is_empty() || name.eq_ignore_ascii_case(b"origin")).then_some(value)
    })?;
    std::str::from_utf8(field.strip_prefix(b":")?).ok().map(str::trim)
}

/// Whether a query has what may not stand in a target (RFC 9112 section 3.2), although the parser lets it
/// through: hyper refuses it, or reads the query without the fragment.
fn has_forbidden(query: &str) -> bool {
    // All bytes are looked at whatever the first of them are, so that many are compared at a time.
    query.bytes().fold(false, |found, byte| found | matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\x7f'))
}

/// The request, with its body; none if it is not to be read here. A body that does not come with its head in
/// [`HEAD_MAX_BYTES`] is waited for elsewhere, where fewer are at a time.
fn waiting<'a>(
    bytes: &'a [u8],
    request: &httparse::Request<'_, 'a>,
    head_bytes: usize,
    endpoints: &Endpoints,
) -> Option<Verdict<'a>> {
    // hyper reads HTTP/1.0, whose rules for keeping a connection are others.
    if request.version != Some(1) {
        return None;
    }
    let (path, query) = request.path?.split_once('?').unwrap_or((request.path?, ""));
    if has_forbidden(query) {
        return None;
    }
    let (number, address) = endpoints.find(request.method?, path, query)?;
    let mut waiting = Waiting::new(&address, path, query);
    waiting.choose(endpoints.chosen_headers());
    for field in request.headers.iter() {
        let value = std::str::from_utf8(field.value).ok()?;
        if !waiting.take(field.name, value) {
            return None;
        }
    }
    waiting.host?;
    let length = head_bytes + waiting.body_bytes;
    if length > HEAD_MAX_BYTES {
        return None;
    }
    let Some(body) = bytes.get(head_bytes..length) else { return Some(Verdict::More) };
    waiting.body = body;
    Some(Verdict::Waits(number, waiting, length))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use encke_proto::{Time, limits::BODY_MAX_BYTES};

    use super::*;
    use crate::{
        admission::{Address, Admit, Endpoint, Method, Path, Verdict as Decision},
        auth::Authenticator,
        config::{Config, Secret},
        stopping::Stopping,
        transports::CompressionPolicy,
    };

    /// An address whose requests are not decided on here.
    #[derive(Debug)]
    struct At(Method, Path, Option<&'static str>, bool);

    impl Endpoint for At {
        fn address(&self) -> Address {
            Address { method: self.0, path: self.1, form: self.2, websocket: self.3 }
        }

        fn decide(&self, _: &Waiting<'_>, _: Time) -> Decision {
            panic!("it is only read")
        }
    }

    fn endpoints() -> Endpoints {
        let config = Config {
            dev: true,
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            ..Config::default()
        };
        let auth = Arc::new(Authenticator::new(&config).unwrap());
        let admit = Admit {
            auth,
            stopping: Stopping::default(),
            hold_s: 25,
            rate_limits: Arc::default(),
            compression: CompressionPolicy::default(),
            decisions: None,
        };
        let all = [
            At(Method::Get, Path::Is("/v1/poll"), None, false),
            At(Method::Get, Path::Is("/v1/sse"), None, false),
            At(Method::Get, Path::Is("/v1/stream"), Some("ndjson"), false),
            At(Method::Get, Path::Is("/v1/ws"), None, true),
            At(Method::Post, Path::Under("/other/"), None, false),
            At(Method::Post, Path::Is("/other"), None, false),
        ];
        Endpoints::new(admit, all.into_iter().map(|at| Arc::new(at) as Arc<dyn Endpoint>).collect())
    }

    fn read(bytes: &[u8]) -> Verdict<'_> {
        super::read(bytes, &endpoints())
    }

    const GOOD: &str = "GET /v1/poll?cursor=1~0 HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: y=2\r\nOrigin: http://a\r\n\r\nGET /next";

    #[test]
    fn a_request_that_waits_is_read_up_to_its_end() {
        let Verdict::Waits(number, waiting, length) = read(GOOD.as_bytes()) else { panic!("not read") };
        assert_eq!(&GOOD[length..], "GET /next");
        assert_eq!(
            (waiting.query, waiting.cookie.as_deref(), waiting.keep_alive),
            ("cursor=1~0", Some("x=1; y=2"), true)
        );
        assert_eq!((number, waiting.path), (0, "/v1/poll"));
    }

    #[test]
    fn the_origin_is_found_in_a_part_of_a_head() {
        let head = "GET /v1/poll HTTP/1.1\r\nHost: a\r\norigin:  https://app.example \r\nX: ";
        assert_eq!(origin_of(head.as_bytes()), Some("https://app.example"));
        for text in [
            "",
            "GET / HTTP/1.1\r\n",
            "Origin: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nOrigin: https://app.example\r\n",
            "GET / HTTP/1.1\r\nX-Origin: https://app.example\r\nOrigin\r\n",
            "GET / HTTP/1.1\r\nOrigin: https://app.exa",
        ] {
            assert_eq!(origin_of(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(origin_of(b"GET / HTTP/1.1\r\nOrigin: \xff\r\n"), None);
    }

    #[test]
    fn the_first_forwarded_protocol_counts() {
        let text =
            "GET /v1/ws HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: wss\r\nx-forwarded-proto: http\r\n\r\n";
        let Verdict::Waits(_, waiting, _) = read(text.as_bytes()) else { panic!("not read") };
        assert_eq!(waiting.forwarded_proto, Some("wss"));
    }

    #[test]
    fn an_offer_of_another_protocol_is_passed_over_and_no_body_may_be_said() {
        for fields in
            ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x", "Content-Length: 0"]
        {
            let text = format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert!(matches!(read(text.as_bytes()), Verdict::Waits(..)), "{fields}");
        }
    }

    #[test]
    fn bytes_may_come_one_at_a_time() {
        let end = GOOD.find("\r\n\r\n").unwrap() + 4;
        for length in 0..end {
            assert!(matches!(read(&GOOD.as_bytes()[..length]), Verdict::More), "{length}");
        }
        assert!(matches!(read(&GOOD.as_bytes()[..end]), Verdict::Waits(..)));
    }

    #[test]
    fn a_change_of_protocol_is_read_where_one_is_spoken() {
        let ask = |path: &str| {
            let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n\x01").into_bytes()
        };
        let here = ask("/v1/ws?cursor=1~0");
        let Verdict::Waits(_, waiting, _) = read(&here) else { panic!("not read") };
        assert_eq!(
            waiting.handshake.unwrap().check("GET", true).unwrap().accept,
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(matches!(read(&ask("/v1/sse")), Verdict::Waits(..)), "elsewhere the offer is passed over");
        let plain = read(b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(matches!(
            plain,
            Verdict::Waits(_, waiting, _) if !waiting.handshake.as_ref().unwrap().is_asked_for()
        ));
    }

    #[test]
    fn a_body_is_taken_with_its_head_if_both_are_short() {
        let ask = |path: &str, fields: &str, body: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
        };
        let whole = ask("/other", "Content-Type: text/plain\r\nContent-Length: 4\r\n", "bodyPOST /next");
        let end = whole.find("POST /next").unwrap();
        for length in 0..end {
            assert!(matches!(read(&whole.as_bytes()[..length]), Verdict::More), "{length}");
        }
        let Verdict::Waits(5, waiting, length) = read(whole.as_bytes()) else { panic!("not read") };
        assert_eq!((waiting.body, waiting.content_type, length), (&b"body"[..], Some("text/plain"), end));
        assert!(matches!(
            read(ask("/other/a/b", "", "").as_bytes()),
            Verdict::Waits(4, Waiting { body: &[], .. }, _)
        ));
        let long = ask("/other", &format!("Content-Length: {HEAD_MAX_BYTES}\r\n"), "x");
        assert!(matches!(read(long.as_bytes()), Verdict::Handoff), "others wait for it");
        for fields in [
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Content-Length: +4\r\n",
            "Content-Length: 4, 4\r\n",
            "Content-Length: 0x4\r\n",
            "Content-Length: \r\n",
            &format!("Content-Length: {}\r\n", BODY_MAX_BYTES + 1),
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 4\r\nContent-Encoding: gzip\r\n",
            "Content-Length: 4\r\nExpect: 100-continue\r\n",
        ] {
            assert!(matches!(read(ask("/other", fields, "body").as_bytes()), Verdict::Handoff), "{fields}");
        }
    }

    #[test]
    fn whatever_is_in_doubt_is_left_to_hyper() {
        for text in [
            "POST /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/other HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll?#cursor=1~0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll#?cursor=1~0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll?cursor=1>0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll?cursor=\"<\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v1/poll HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n",
            "\r\nGET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(matches!(read(text.as_bytes()), Verdict::Handoff), "{text:?}");
        }
        let long = format!("GET /v1/poll HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_MAX_BYTES));
        assert!(matches!(read(long.as_bytes()), Verdict::Handoff));
    }
}
