//! What a page of another origin may read: every answer, if its origin is allowed, and none otherwise.

use std::io::{Read as _, Write as _};

use http::Method;
use serde_json::json;

use crate::world::{Ask, KEY, World, token};

const ALLOWED: &str = "https://app.example";
const APP: &str = "capacitor://localhost";

/// Whether a page of this origin may read the answer, whose head is given in lower case.
fn may_read(head: &str, origin: &str) -> bool {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("access-control-allow-origin:") == Some(origin)
        && field("access-control-allow-credentials:") == Some("true")
}

/// What was answered over a socket: its head in lower case.
fn head(text: &str) -> String {
    text.split("\r\n\r\n").next().unwrap().to_ascii_lowercase()
}

#[test]
fn a_page_of_an_allowed_origin_may_read_every_refusal() {
    let world = World::with(|config| config.allowed_origins.push(APP.to_owned()));
    let bearer = format!("Bearer {}", token("alice", &[], &[]));
    let asks = || {
        [
            (400, Ask::post("/v1/close", &json!({"sesion": "x"})).user("alice")),
            (401, Ask::post("/v1/ticket", &json!({}))),
            (
                403,
                Ask::post("/v1/publish", &json!({"channel": "a", "data": 1}))
                    .header("authorization", &bearer),
            ),
            (404, Ask::get("/v1/nothing")),
            (404, Ask::new(Method::POST, "/v1/pol")),
            (404, Ask::get("/nothing/at/all")),
            (
                404,
                Ask::post("/v1/subscribe", &json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "channels": ["a"]}))
                    .user("alice"),
            ),
            (405, Ask::get("/v1/ticket").user("alice")),
            (405, Ask::new(Method::PUT, "/v1/publish").user("alice")),
            (
                413,
                Ask::post("/v1/publish", &json!({"channel": "a", "data": "x".repeat(70_000)})).user("alice"),
            ),
            (
                415,
                Ask::new(Method::POST, "/v1/publish")
                    .user("alice")
                    .header("content-type", "text/html")
                    .body("x"),
            ),
        ]
    };
    for origin in [ALLOWED, APP] {
        for (status, ask) in asks() {
            let answer = world.call(ask.header("origin", origin));
            let name = format!("{status} {}", answer.text);
            assert_eq!(answer.status, status, "{name}");
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{name}");
            assert_eq!(answer.header("access-control-allow-credentials"), "true", "{name}");
            assert_eq!(answer.header("access-control-expose-headers"), "Retry-After, Date", "{name}");
        }
    }
    for (status, ask) in asks() {
        let answer = world.call(ask.header("origin", "https://evil.example"));
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, ""),
            "{}",
            answer.text
        );
    }
}

#[test]
fn the_same_holds_for_what_the_table_writes() {
    let world = World::new();
    let bearer = format!("Authorization: Bearer {}\r\n", token("alice", &["*"], &[]));
    for (status, target, fields) in [
        (200, "/v1/poll?hold_s=0", bearer.as_str()),
        (400, "/v1/poll?colour=red", &bearer),
        (400, "/v1/poll?hold_s=0&hold_s=1", &bearer),
        (401, "/v1/poll", ""),
        (401, "/v1/sse", ""),
        (426, "/v1/ws", &bearer),
    ] {
        // With so much in front hyper reads it, and the table answers all the same.
        for padding in [String::new(), format!("X-Padding: {}\r\n", "x".repeat(9_000))] {
            let ask = |origin: &str| {
                format!(
                    "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{padding}{fields}Origin: {origin}\r\n\r\n"
                )
            };
            let answer = head(&world.raw(&ask(ALLOWED)));
            assert!(
                answer.starts_with(&format!("http/1.1 {status} ")) && may_read(&answer, ALLOWED),
                "{target}: {answer}"
            );
            assert!(answer.contains("\naccess-control-expose-headers: retry-after, date\r"), "{answer}");
            assert!(!head(&world.raw(&ask("https://evil.example"))).contains("access-control-"), "{target}");
        }
    }
}

#[test]
fn a_head_that_is_too_long_is_refused_readably() {
    let world = World::new();
    let ask = |first: &str, origin: &str, bytes: usize| {
        format!("{first} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nX-Padding: {}\r\n\r\n", "x".repeat(bytes))
    };
    let kept = "POST /v1/ticket HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for first in ["GET /v1/poll", "POST /v1/publish", "GET /"] {
        for bytes in [16_600, 40_000] {
            for before in ["", kept] {
                let answered = world.raw(&format!("{before}{}", ask(first, ALLOWED, bytes)));
                let answer = &answered
                    [answered.find("HTTP/1.1 431 ").unwrap_or_else(|| panic!("{first}: {answered}"))..];
                assert!(may_read(&head(answer), ALLOWED), "{first} {bytes}: {answer}");
                assert!(
                    answer.ends_with(
                        "\r\n\r\n{\"error\":{\"code\":\"head_too_large\",\"message\":\"the head of the request is too large\"}}"
                    )
                );
                assert_eq!(answered.matches("HTTP/1.1 431 ").count(), 1);
            }
            assert!(
                !head(&world.raw(&ask(first, "https://evil.example", bytes))).contains("access-control-"),
                "{first} {bytes}"
            );
        }
    }
    // Where the origin may stand behind what was read, all may read it; a head that is read to its end has
    // none.
    let behind =
        |padding: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{padding}\r\nOrigin: {ALLOWED}\r\n\r\n");
    let answer = head(&world.raw(&behind(format!("X-Padding: {}", "x".repeat(40_000)))));
    assert!(
        answer.contains("\naccess-control-allow-origin: *\r") && !answer.contains("credentials"),
        "{answer}"
    );
    let none = head(&world.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200))));
    assert!(none.starts_with("http/1.1 431 ") && !none.contains("access-control-"), "{none}");
    // One field too many for hyper is the same to a client.
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\nOrigin: {ALLOWED}\r\n{}\r\n", "X: y\r\n".repeat(200));
    let answer = head(&world.raw(&many));
    assert!(answer.starts_with("http/1.1 431 ") && may_read(&answer, ALLOWED), "{answer}");
}

#[test]
fn what_looks_like_that_refusal_reaches_a_client_that_reads_slowly() {
    let world = World::new();
    let same = "HTTP/1.1 431 ".repeat(4_500);
    for _ in 0..60 {
        world.call(Ask::post("/api/publish", &json!({"channel": "evil", "data": same})).key()).ok();
    }
    let mut socket = world.connect();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4_096).unwrap();
    let ask = format!(
        "GET /api/channels/evil/history?limit=100 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
    );
    socket.write_all(format!("{ask}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 1_000]);
    while let count @ 1.. = socket.read(&mut buffer).unwrap() {
        seen.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(seen).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let expected = world.call(Ask::get("/api/channels/evil/history?limit=100").key());
    assert!(
        expected.status == 200 && expected.text.matches(&same).count() > 10,
        "{} bytes",
        expected.text.len()
    );
    assert!(body == expected.text, "{} of {} bytes", body.len(), expected.text.len());
}

#[test]
fn a_page_may_read_that_there_are_too_many_connections() {
    let world = World::with(|config| config.max_connections = 1);
    let held = world.connect();
    let answer = head(&world.raw(&format!("GET /v1/poll HTTP/1.1\r\nHost: a\r\nOrigin: {ALLOWED}\r\n\r\n")));
    drop(held);
    // Before anything is read it is not known who asks, so that all may read it.
    assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    assert!(may_read(&answer, ALLOWED) || answer.contains("\naccess-control-allow-origin: *\r"), "{answer}");
    assert!(answer.contains("\naccess-control-expose-headers: retry-after, date\r"), "{answer}");
}
