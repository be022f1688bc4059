//! The head of an inline request. In any doubt the verdict is [`Verdict::Handoff`]: then hyper
//! decides, so nothing here needs to understand more than the plainest of requests.

use std::{mem::MaybeUninit, ops::Range};

use encke_proto::limits::BODY_MAX_BYTES;

use super::head::HEAD_MAX_BYTES;
use crate::{auth::Credentials, http::body::is_media_type, inline::InlineRoutes};

/// The most header fields that are read here.
const FIELDS_MAX: usize = 64;
/// The most digits of a length.
pub const LENGTH_MAX_DIGITS: usize = 6;

/// The head of an inline request, borrowed from the bytes that were read.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The number of its route.
    pub route: usize,
    /// Whether the client keeps the connection afterwards.
    pub keep_alive: bool,
    /// Who asks.
    pub credentials: Credentials<'a>,
    /// How many bytes the head has.
    pub head_bytes: usize,
    /// How many bytes the body has; at most [`BODY_MAX_BYTES`].
    pub body_bytes: usize,
    /// Where in the bytes that is said: the digits alone.
    pub length: Range<usize>,
}

/// What the bytes so far are.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Not enough to know.
    More,
    /// An inline request; its body need not be there yet.
    Inline(Asking<'a>),
    /// Anything else.
    Handoff,
}

/// Looks at the first bytes of a request.
#[must_use]
pub fn read<'a>(bytes: &'a [u8], routes: &InlineRoutes) -> Verdict<'a> {
    if !routes.may_begin_with(bytes) {
        return Verdict::Handoff;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(&bytes[..bytes.len().min(HEAD_MAX_BYTES)], &mut fields) {
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX_BYTES => Verdict::More,
        Ok(httparse::Status::Complete(length)) => {
            asking(bytes, &request, length, routes).map_or(Verdict::Handoff, Verdict::Inline)
        }
        Ok(httparse::Status::Partial) | Err(_) => Verdict::Handoff,
    }
}

fn asking<'a>(
    bytes: &[u8],
    request: &httparse::Request<'_, 'a>,
    head_bytes: usize,
    routes: &InlineRoutes,
) -> Option<Asking<'a>> {
    if request.version != Some(1) || request.method != Some("POST") {
        return None;
    }
    let route = routes.find(request.path?)?;
    let mut keep_alive = true;
    let mut credentials = Credentials { changes: true, ..Credentials::default() };
    let (mut body_bytes, mut length, mut is_json) = (None, 0..0, false);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = std::str::from_utf8(field.value).ok()?;
        if is("content-length") {
            // Digits and nothing else, once (RFC 9112 section 6.3): two readers who disagree on where a body
            // ends are how requests are smuggled.
            let digits = (1..=LENGTH_MAX_DIGITS).contains(&value.len())
                && value.bytes().all(|byte| byte.is_ascii_digit());
            if body_bytes.is_some() || !digits {
                return None;
            }
            body_bytes = Some(value.parse().ok().filter(|length| *length <= BODY_MAX_BYTES)?);
            // The value is a part of the bytes.
            let start = value.as_ptr().addr() - bytes.as_ptr().addr();
            length = start..start + value.len();
        } else if is("content-type") {
            if is_json || !is_media_type(value, "application/json") {
                return None;
            }
            is_json = true;
        } else if is("connection") {
            // A request that asks for more than this is hyper's.
            keep_alive &= match value.trim() {
                "close" => false,
                "keep-alive" | "Keep-Alive" => true,
                _ => return None,
            };
        } else if is("authorization") {
            once(&mut credentials.authorization, value)?;
        } else if is("host") {
            once(&mut credentials.host, value)?;
        } else if (routes.leave_traced() && is("traceparent"))
            || ["transfer-encoding", "content-encoding", "expect", "upgrade", "trailer", "te"]
                .into_iter()
                .any(is)
        {
            return None;
        }
    }
    let body_bytes = body_bytes.filter(|_| is_json && credentials.host.is_some())?;
    Some(Asking { route, keep_alive, credentials, head_bytes, body_bytes, length })
}

fn once<'a>(place: &mut Option<&'a str>, value: &'a str) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Scope,
        inline::{Begun, InlineRoute},
    };

    fn routes() -> InlineRoutes {
        let route = |path| InlineRoute {
            path,
            scope: Scope::Push,
            action: "push",
            what: |_| "".into(),
            run: Box::new(|_| Begun::Goes(Box::pin(std::future::pending()))),
        };
        InlineRoutes::new(vec![route("/api/push"), route("/api/publish")])
    }

    const GOOD: &str = "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}POST /next";

    #[test]
    fn an_inline_request_is_read_up_to_its_end() {
        let Verdict::Inline(asking) = read(GOOD.as_bytes(), &routes()) else { panic!("not read") };
        assert_eq!(&GOOD[asking.head_bytes..][..asking.body_bytes], "{}");
        assert_eq!(
            (routes().get(asking.route).unwrap().path, asking.keep_alive, asking.credentials.bearer()),
            ("/api/push", true, Some("k"))
        );
    }

    #[test]
    fn the_type_may_be_written_as_hyper_takes_it() {
        for good in
            ["Application/JSON", "application/json;charset=UTF-8", "application/json; charset=\"utf-8\""]
        {
            let text = GOOD.replace("application/json", good);
            assert!(matches!(read(text.as_bytes(), &routes()), Verdict::Inline(_)), "{good}");
        }
        for bad in [
            "application/json; charset=utf-16",
            "application/json-patch+json",
            "application/json; x=\u{fc}",
            "",
        ] {
            let text = GOOD.replace("application/json", bad);
            assert!(matches!(read(text.as_bytes(), &routes()), Verdict::Handoff), "{bad}");
        }
        let twice = GOOD.replace("Host: a\r\n", "Host: a\r\nContent-Type: application/json\r\n");
        assert!(matches!(read(twice.as_bytes(), &routes()), Verdict::Handoff));
    }

    #[test]
    fn a_request_that_names_a_trace_is_left_to_hyper_where_traces_are_recorded() {
        let text = GOOD.replace("Host: a\r\n", "Host: a\r\nTraceparent: 00-a-b-01\r\n");
        assert!(matches!(read(text.as_bytes(), &routes()), Verdict::Inline(_)));
        let recording = routes().leaving_traced(true);
        assert!(matches!(read(text.as_bytes(), &recording), Verdict::Handoff));
        assert!(matches!(read(GOOD.as_bytes(), &recording), Verdict::Inline(_)));
    }

    #[test]
    fn bytes_may_come_one_at_a_time() {
        let end = GOOD.find("\r\n\r\n").unwrap() + 4;
        for length in 0..end {
            assert!(routes().may_begin_with(&GOOD.as_bytes()[..length]), "{length}");
            assert!(matches!(read(&GOOD.as_bytes()[..length], &routes()), Verdict::More), "{length}");
        }
        assert!(matches!(read(&GOOD.as_bytes()[..end], &routes()), Verdict::Inline(_)));
    }

    #[test]
    fn whatever_is_in_doubt_is_left_to_hyper() {
        let with = |fields: &str| format!("POST /api/push HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{{}}");
        let json = "Content-Type: application/json\r\n";
        for text in [
            GOOD.replace("POST /api/push ", "POST /api/push?x=1 "),
            GOOD.replace("POST /api/push ", "POST /api/pushes "),
            GOOD.replace("POST ", "post "),
            GOOD.replace("HTTP/1.1", "HTTP/1.0"),
            GOOD.replace("Host: a\r\n", ""),
            GOOD.replace("Host: a\r\n", "Host: a\r\nHost: b\r\n"),
            GOOD.replace("Length: 2", "Length: +2"),
            GOOD.replace("Length: 2", "Length: 2, 2"),
            GOOD.replace("Length: 2", "Length: 65537"),
            GOOD.replace("Length: 2", "Length: 0x2"),
            GOOD.replace("Length: 2", "Length: 0000000000000000000000000002"),
            with(json),
            with(&format!("{json}Content-Length: 2\r\nContent-Length: 2")),
            with(&format!("{json}Content-Length: 2\r\nTransfer-Encoding: chunked")),
            with(&format!("{json}Content-Length: 2\r\nExpect: 100-continue")),
            with(&format!("{json}Content-Length: 2\r\nContent-Encoding: gzip")),
            with(&format!("{json}Content-Length: 2\r\nConnection: upgrade, close")),
            with(&format!("{json}Content-Length: 2\r\nX: \u{0}")),
            with(&format!("{json}Content-Length : 2")),
            with("Content-Type: text/plain\r\nContent-Length: 2"),
            with("Content-Length: 2"),
            with(&format!("{json}Content-Length: 2\r\nX: {}", "x".repeat(HEAD_MAX_BYTES))),
        ] {
            assert!(matches!(read(text.as_bytes(), &routes()), Verdict::Handoff), "{text:?}");
        }
    }
}
