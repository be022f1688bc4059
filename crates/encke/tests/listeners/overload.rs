//! Clients that take all connections which may have requests that do not wait.

use std::time::{Duration, Instant};

use crate::server::{Answer, Server, WAIT, Wire, bearer, key};

/// Another client of this machine.
const OTHER: &str = "127.0.0.2";
/// How many have requests that do not wait, and so half as many from one address of this machine.
const MAX: usize = 16;

/// A server, and clients that have so many places of it, as long as they are there: backends with a stream of
/// pushes each.
fn filled(max: usize) -> (Server, Vec<Wire>) {
    let server = Server::start(&format!("max_request_connections = {max}\n"));
    let head = format!(
        "POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n{}\r\n",
        key()
    );
    let streams = (0..max / 2).map(|_| {
        let mut wire = server.connect();
        wire.send(&head);
        wire.until("\r\n\r\n");
        wire
    });
    let streams = streams.collect();
    (server, streams)
}

fn is_overloaded(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.head);
    assert!(answer.field("retry-after").is_some(), "{}", answer.head);
}

/// What probes, operators and backends ask is answered.
fn operators_are_served(server: &Server) {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.connect().get(path, "").status, 200, "{path}");
    }
    for path in ["/metrics", "/api/users", "/api/openapi.json"] {
        assert_eq!(server.connect().get(path, &key()).status, 200, "{path}");
    }
    let push = r#"{"to":["alice"],"data":1}"#;
    assert_eq!(server.connect().post("/api/push", &key(), push).status, 202);
    // Not as an inline request, which needs nothing of this.
    let chunked = format!("Transfer-Encoding: chunked\r\n{}", key());
    let mut wire = server.connect();
    wire.send(format!(
        "POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{chunked}\r\n\
         {:x}\r\n{push}\r\n0\r\n\r\n",
        push.len()
    ));
    assert_eq!(wire.answer().unwrap().status, 202);
}

/// Connections of one address that take all places that it can get.
fn attack(server: &Server, connect: impl Fn() -> Wire) -> Vec<Wire> {
    let mut wires: Vec<Wire> = (0..MAX).map(|_| connect()).collect();
    let began = Instant::now();
    // A request of the test may have had a place while they came.
    while server.connect().get("/client.js", "").status != 503 {
        assert!(began.elapsed() < WAIT, "there is always a place");
        wires.push(connect());
    }
    assert_eq!(server.connect_from(OTHER).get("/client.js", "").status, 200, "others have their share");
    wires
}

/// Waits until an ordinary request of this address is answered so.
fn until_answered(server: &Server, status: u16) {
    let began = Instant::now();
    while server.connect().get("/client.js", "").status != status {
        assert!(began.elapsed() < WAIT, "it is never {status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Some thousands of connections that send one byte each left probes and the server API without an answer.
#[test]
fn t6_connections_that_send_one_byte_are_ended() {
    let server = Server::start(&format!("max_request_connections = {MAX}\n"));
    let wires = attack(&server, || {
        let mut wire = server.connect();
        wire.send("X");
        wire
    });
    until_answered(&server, 200);
    for mut wire in wires {
        // Half of them were refused.
        assert!(wire.answer().is_none_or(|answer| answer.status == 503), "it is ended");
    }
}

/// The same by connections that ask for much and read nothing of it.
#[test]
fn t8_connections_that_ask_and_read_nothing_are_ended() {
    let server = Server::start(&format!("max_request_connections = {MAX}\n[slow]\ndeadline_s = 4\n"));
    let mut wires = attack(&server, || {
        let mut wire = server.connect();
        wire.send("GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(60));
        wire
    });
    until_answered(&server, 200);
    // One that is read from before it is ended takes all that waits for it.
    let began = Instant::now();
    while !wires.iter_mut().all(Wire::is_reset) {
        assert!(began.elapsed() < WAIT, "one is not ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    for mut wire in wires {
        let answers = std::iter::from_fn(|| wire.answer_if_whole()).count();
        assert!(answers < 60, "it is ended before all is sent");
    }
}

/// A client that has its share is told so for all that is beyond; probes, operators and others are served.
#[test]
fn t9_clients_beyond_their_share_are_told_so() {
    let (server, _streams) = filled(MAX);
    for _ in 0..3 {
        is_overloaded(&server.connect().get("/client.js", ""));
        is_overloaded(&server.connect().get("/api/openapi.json", ""));
        is_overloaded(&server.connect().get("/api/users", &bearer("aaaaaaaaaaaaaaab-guessed")));
        operators_are_served(&server);
    }
    assert_eq!(server.connect_from(OTHER).get("/client.js", "").status, 200, "others have their share");
    // What waits is none of this.
    let alice = bearer(&server.token("alice"));
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &alice).status, 200);
    let metrics = server.connect().get("/metrics", &key()).body;
    assert!(metrics.contains("\nencke_overloaded_connections_total 9\n"), "{metrics}");
}

/// The places that are kept for operators are taken by no client that may not be one.
#[test]
fn t9_places_for_operators_are_not_taken_by_others() {
    let (server, _streams) = filled(2);
    let half = "GET /healthz HTTP/1.1\r\n";
    let body = "Content-Length: 60000\r\nContent-Type: application/json\r\n\r\n";
    let login = format!("POST /v1/login HTTP/1.1\r\nHost: a\r\n{body}");
    let guess = format!("POST /api/push HTTP/1.1\r\nHost: a\r\n{}{body}", bearer("aaaaaaaaaaaaaaab-guessed"));
    for text in ["X", "GET /healthz", half, &login, &guess] {
        // More than there are for one address.
        for _ in 0..20 {
            let mut wire = server.connect();
            wire.send(text);
            is_overloaded(&wire.answer().expect("an answer"));
        }
    }
    // Probes whose clients do not hang up.
    let _probes: Vec<_> = (0..20)
        .map(|_| {
            let mut wire = server.connect();
            assert_eq!(wire.get("/healthz", "").status, 200);
            wire
        })
        .collect();
    operators_are_served(&server);
}
