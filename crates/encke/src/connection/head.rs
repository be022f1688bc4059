//! The head of a request that may wait, read by the parser that hyper uses. In any doubt the verdict is
//! [`Verdict::Handoff`]: then hyper decides.

use std::{borrow::Cow, mem::MaybeUninit};

use encke_proto::codec::ws::Handshake;

use crate::transports::{Transport, asked_for};

/// The bytes that may not stand in a target, although the parser lets them through. A poll's query is looked
/// at for each of its bytes, so they are looked up.
const IN_NO_TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = *b"\"#<>\x7f";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

/// The longest head that is read here; a longer one goes to hyper, which refuses it.
pub const HEAD_MAX_BYTES: usize = 8 * 1024;
/// The most header fields that are read here.
const FIELDS_MAX: usize = 64;
/// What every request that waits begins with.
const PREFIX: &[u8] = b"GET /v1/";

/// A request that waits, as it stands in the bytes of its head.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// How it wants to be served.
    pub transport: &'static dyn Transport,
    /// Its query, without the question mark.
    pub query: &'a str,
    /// Whether the client keeps the connection afterwards.
    pub keep_alive: bool,
    /// Whether it speaks HTTP/1.0.
    pub http_10: bool,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<Cow<'a, str>>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// `Host`.
    pub host: Option<&'a str>,
    /// `X-Forwarded-Proto`; the first of several.
    pub forwarded_proto: Option<&'a str>,
    /// `Last-Event-ID`.
    pub last_event_id: Option<&'a str>,
    /// What it says of the change of protocol, where there is one.
    pub handshake: Option<Box<Handshake>>,
}

/// What the bytes so far are.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Not enough to know.
    More,
    /// A request that waits, and how many bytes its head has.
    Waits(Waiting<'a>, usize),
    /// Anything else.
    Handoff,
}

/// Looks at the first bytes of a request.
#[must_use]
pub fn read(bytes: &[u8]) -> Verdict<'_> {
    let looks = &bytes[..bytes.len().min(PREFIX.len())];
    if !PREFIX.starts_with(looks) || bytes.len() > HEAD_MAX_BYTES {
        return Verdict::Handoff;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Partial) => Verdict::More,
        Ok(httparse::Status::Complete(length)) => match waiting(&request) {
            Some(waiting) => Verdict::Waits(waiting, length),
            None => Verdict::Handoff,
        },
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

fn waiting<'a>(request: &httparse::Request<'_, 'a>) -> Option<Waiting<'a>> {
    // hyper reads HTTP/1.0, whose rules for keeping a connection are others.
    if request.version != Some(1) {
        return None;
    }
    let (path, query) = request.path?.split_once('?').unwrap_or((request.path?, ""));
    // What may not stand in a target (RFC 9112 section 3.2): hyper refuses it, or reads the query
    // without the fragment.
    if query.bytes().any(|byte| IN_NO_TARGET[usize::from(byte)]) {
        return None;
    }
    let mut waiting = Waiting::new(asked_for(path, query)?, query);
    for field in request.headers.iter() {
        let value = std::str::from_utf8(field.value).ok()?;
        if !waiting.take(field.name, value) {
            return None;
        }
    }
    waiting.host.is_some().then_some(waiting)
}

impl<'a> Waiting<'a> {
    /// A request without header fields.
    #[must_use]
    pub fn new(transport: &'static dyn Transport, query: &'a str) -> Self {
        Self {
            transport,
            query,
            keep_alive: true,
            http_10: false,
            authorization: None,
            cookie: None,
            origin: None,
            sec_fetch_site: None,
            host: None,
            forwarded_proto: None,
            last_event_id: None,
            handshake: transport.is_duplex().then(Box::default),
        }
    }

    /// Takes in a header field. False when the request is none to wait with: it has a body, wants a protocol
    /// that is not spoken there, or says something twice.
    #[must_use]
    pub fn take(&mut self, name: &str, value: &'a str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let closes = || value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        if let Some(handshake) = &mut self.handshake
            && handshake.take(name, value)
        {
            self.keep_alive &= !is("connection") || !closes();
            return true;
        }
        let place = if is("host") {
            &mut self.host
        } else if is("authorization") {
            &mut self.authorization
        } else if is("origin") {
            &mut self.origin
        } else if is("sec-fetch-site") {
            &mut self.sec_fetch_site
        } else if is("x-forwarded-proto") {
            // Each proxy on the way may add one, and the first is what the browser used.
            self.forwarded_proto.get_or_insert(value);
            return true;
        } else if is("last-event-id") {
            &mut self.last_event_id
        } else if is("cookie") {
            // Several cookie fields mean the same as one (RFC 6265 section 5.4 lets only HTTP/2 send them,
            // RFC 9113 section 8.2.3 joins them so).
            match &mut self.cookie {
                Some(cookie) => {
                    let cookie = cookie.to_mut();
                    cookie.push_str("; ");
                    cookie.push_str(value);
                }
                None => self.cookie = Some(Cow::Borrowed(value)),
            }
            return true;
        } else if is("connection") {
            self.keep_alive &= !closes();
            return true;
        } else if is("content-length") {
            // Some clients say that they have no body.
            return value == "0";
        } else {
            // An offer to change the protocol may be passed over (RFC 9110 section 7.8): some clients make it
            // with every request.
            return !(is("transfer-encoding") || is("expect"));
        };
        if place.is_some() {
            return false;
        }
        *place = Some(value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /v1/poll?cursor=1~0 HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: y=2\r\nOrigin: http://a\r\n\r\nGET /next";

    #[test]
    fn a_request_that_waits_is_read_up_to_its_end() {
        let Verdict::Waits(waiting, length) = read(GOOD.as_bytes()) else { panic!("not read") };
        assert_eq!(&GOOD[length..], "GET /next");
        assert_eq!(
            (waiting.query, waiting.cookie.as_deref(), waiting.keep_alive),
            ("cursor=1~0", Some("x=1; y=2"), true)
        );
        assert_eq!(waiting.transport.name(), "poll");
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
        let Verdict::Waits(waiting, _) = read(text.as_bytes()) else { panic!("not read") };
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
        let Verdict::Waits(waiting, _) = read(&here) else { panic!("not read") };
        assert_eq!(
            waiting.handshake.unwrap().check("GET", true).unwrap().accept,
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(matches!(read(&ask("/v1/sse")), Verdict::Waits(..)), "elsewhere the offer is passed over");
        let plain = read(b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            matches!(plain, Verdict::Waits(waiting, _) if !waiting.handshake.as_ref().unwrap().is_asked_for())
        );
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
