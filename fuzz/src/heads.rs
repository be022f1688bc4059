//! Request heads: the two readers of the connection table against each other and against hyper. Where a
//! table's reader says what a request is, hyper reads the same request from the same bytes, and ends it at
//! the same place; else requests could be smuggled.

use std::{
    cell::RefCell,
    convert::Infallible,
    rc::Rc,
    sync::{Arc, LazyLock},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use encke::{
    admission::{Address, Admit, Endpoint, Endpoints, Method, Path, Verdict, Waiting},
    auth::Authenticator,
    config::{Config, Scope, Secret},
    connection::{head, inline_head},
    inline::{Begun, InlineRoute, InlineRoutes},
    stopping::Stopping,
};
use encke_proto::{Time, limits::BODY_MAX_BYTES};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::input::{Rest, typed};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    /// A head put together of likely parts, so that more of them are good.
    Parts {
        line: u8,
        more: &'a str,
        fields: Rest<(u8, u8, bool)>,
    },
}

const LINES: [&str; 11] = [
    "GET /v1/poll HTTP/1.1",
    "GET /v1/sse?channels=a&cursor=1~0 HTTP/1.1",
    "GET /v1/ws HTTP/1.1",
    "GET /v1/stream?format=ndjson HTTP/1.1",
    "POST /api/push HTTP/1.1",
    "POST /api/publish HTTP/1.1",
    "GET /v1/poll HTTP/1.0",
    "POST /api/publish? HTTP/1.1",
    "POST /sample HTTP/1.1",
    "POST /sample/a?b=c HTTP/1.1",
    "POST /sample HTTP/1.0",
];
const NAMES: [&str; 16] = [
    "host",
    "content-length",
    "content-type",
    "connection",
    "authorization",
    "cookie",
    "origin",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "expect",
    "Content-Length ",
    "last-event-id",
    "x-other",
    "te",
];
const VALUES: [&str; 16] = [
    "example.com",
    "0",
    "2",
    "application/json",
    "close",
    "keep-alive",
    "Upgrade, close",
    "chunked",
    "websocket",
    "dGhlIHNhbXBsZSBub25jZQ==",
    "13",
    "100-continue",
    "+2",
    "application/json; charset=utf-8",
    "identity",
    "02",
];

/// See the module.
pub fn run(bytes: &[u8]) {
    match typed::<Input<'_>>(bytes) {
        Some(Input::Bytes(bytes)) => check(bytes),
        Some(Input::Parts { line, more, fields }) => {
            let mut head = LINES[usize::from(line) % LINES.len()].to_owned();
            for (name, value, long) in fields.0 {
                head.push_str("\r\n");
                head.push_str(NAMES[usize::from(name) % NAMES.len()]);
                head.push_str(": ");
                head.push_str(VALUES[usize::from(value) % VALUES.len()]);
                head.push_str(if long { more } else { "" });
            }
            head.push_str("\r\n\r\n");
            // A body, and more than a body.
            head.push_str(more);
            check(head.as_bytes());
        }
        None => {}
    }
}

/// The server's inline routes, which are not run here.
fn routes() -> InlineRoutes {
    let route = |path| InlineRoute {
        action: "push",
        what: |_| "".into(),
        path,
        scope: Scope::Push,
        run: Box::new(|_| Begun::Goes(Box::pin(std::future::pending()))),
    };
    InlineRoutes::new(["/api/push", "/api/publish"].map(route).into())
}

/// An address where requests may wait, on which nothing is decided here.
#[derive(Debug)]
struct At(Method, Path, Option<&'static str>, bool);

impl Endpoint for At {
    fn address(&self) -> Address {
        Address { method: self.0, path: self.1, form: self.2, websocket: self.3 }
    }

    fn decide(&self, _: &Waiting<'_>, _: Time) -> Verdict {
        unreachable!("requests are only read")
    }
}

static ADDRESSES: [(Method, Path, Option<&str>, bool); 6] = [
    (Method::Get, Path::Is("/v1/poll"), None, false),
    (Method::Get, Path::Is("/v1/sse"), None, false),
    (Method::Get, Path::Is("/v1/stream"), Some("ndjson"), false),
    (Method::Get, Path::Is("/v1/ws"), None, true),
    (Method::Post, Path::Is("/sample"), None, false),
    (Method::Post, Path::Under("/sample/"), None, false),
];

static ENDPOINTS: LazyLock<Endpoints> = LazyLock::new(|| {
    let secret = |text: &str| Some(Secret::new(text.repeat(32)));
    let config = Config { dev: true, api_key: secret("k"), token_secret: secret("s"), ..Config::default() };
    let auth = Arc::new(Authenticator::new(&config).expect("there are keys"));
    let admit = Admit {
        auth,
        rate_limits: Arc::default(),
        stopping: Stopping::default(),
        hold_s: 25,
        compression: encke::transports::CompressionPolicy::default(),
        decisions: None,
    };
    let at = |(method, path, form, websocket): &(_, _, _, _)| {
        Arc::new(At(*method, *path, *form, *websocket)) as Arc<dyn Endpoint>
    };
    Endpoints::new(admit, ADDRESSES.iter().map(at).collect())
});

fn check(bytes: &[u8]) {
    let (waits, inline) = (head::read(bytes, &ENDPOINTS), inline_head::read(bytes, &routes()));
    assert!(
        !matches!((&waits, &inline), (head::Verdict::Waits(..), inline_head::Verdict::Inline(_))),
        "both readers want it"
    );
    let whole = match (waits, inline) {
        (head::Verdict::Waits(number, waiting, length), _) => {
            assert!(length <= bytes.len() && length <= head::HEAD_MAX_BYTES);
            assert!(bytes[..length].ends_with(waiting.body) && waiting.body.len() == waiting.body_bytes);
            Some(Whole {
                method: ADDRESSES[number].0.as_str(),
                query: waiting.query.to_owned(),
                host: waiting.host.map(str::to_owned),
                keep_alive: waiting.keep_alive,
                bytes: bytes[..length].to_vec(),
                body: waiting.body.to_vec(),
            })
        }
        (_, inline_head::Verdict::Inline(asking)) => {
            assert!(asking.head_bytes <= bytes.len() && asking.body_bytes <= BODY_MAX_BYTES);
            // A body that has not come whole is made whole.
            let mut body = bytes[asking.head_bytes..].to_vec();
            body.resize(asking.body_bytes, b'x');
            Some(Whole {
                method: "POST",
                query: String::new(),
                host: asking.credentials.host.map(str::to_owned),
                keep_alive: asking.keep_alive,
                bytes: [&bytes[..asking.head_bytes], &body].concat(),
                body,
            })
        }
        _ => None,
    };
    prefixes(bytes, whole.is_some());
    if let Some(whole) = whole {
        whole.compare();
    }
}

/// What is known of a part of the bytes is not taken back when more come.
fn prefixes(bytes: &[u8], known: bool) {
    let half = &bytes[..bytes.len() / 2];
    let is_handoff = |bytes| {
        matches!(
            (head::read(bytes, &ENDPOINTS), inline_head::read(bytes, &routes())),
            (head::Verdict::Handoff, inline_head::Verdict::Handoff)
        )
    };
    assert!(!(known && is_handoff(half)), "half of a good request was turned away");
}

/// A request as the table's reader understood it.
struct Whole {
    method: &'static str,
    query: String,
    host: Option<String>,
    keep_alive: bool,
    bytes: Vec<u8>,
    body: Vec<u8>,
}

/// A request as hyper understood it.
#[derive(Debug)]
struct Seen {
    method: String,
    query: String,
    host: Option<String>,
    body: Bytes,
}

impl Whole {
    fn compare(&self) {
        // A second request right behind it shows where hyper takes the first for ended.
        let second = b"DELETE /second HTTP/1.1\r\nhost: second\r\nconnection: close\r\n\r\n";
        let (seen, answer) = hyper_reads(&[&self.bytes[..], second].concat());
        let text = String::from_utf8_lossy(&self.bytes);
        let first = seen.first().unwrap_or_else(|| panic!("hyper refuses it: {answer}\n{text}"));
        assert_eq!(
            (first.method.as_str(), first.query.as_str()),
            (self.method, self.query.as_str()),
            "{text}"
        );
        assert_eq!(first.host, self.host, "{text}");
        assert_eq!(first.body, self.body, "{text}");
        let others: Vec<&str> = seen[1..].iter().map(|seen| seen.method.as_str()).collect();
        let expected: &[&str] = if self.keep_alive { &["DELETE"] } else { &[] };
        assert_eq!(others, expected, "{text}");
    }
}

/// All requests that hyper reads from these bytes, and what it answers.
fn hyper_reads(bytes: &[u8]) -> (Vec<Seen>, String) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime");
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let kept = Rc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await else {
                return Ok::<_, Infallible>(Response::new(Full::default()));
            };
            let host =
                parts.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
            let (method, query) =
                (parts.method.to_string(), parts.uri.query().unwrap_or_default().to_owned());
            kept.borrow_mut().push(Seen { method, query, host, body: body.to_bytes() });
            Ok(Response::new(Full::<Bytes>::default()))
        }
    });
    let answer = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut ours, theirs) = tokio::io::duplex(bytes.len() + 64 * 1024);
            ours.write_all(bytes).await.expect("there is room");
            ours.shutdown().await.expect("it can be ended");
            // What hyper finds wrong shows in what it has seen.
            let _ =
                http1::Builder::new().half_close(true).serve_connection(TokioIo::new(theirs), service).await;
            let mut answer = Vec::new();
            let _ = ours.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        })
    });
    (seen.take(), answer)
}
