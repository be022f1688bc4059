//! `[limits]`: how often a client may ask, and how often it may be wrong.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::server::{Answer, Server, WAIT, Wire, bearer, key};

const PUSH: &str = r#"{"to":["alice"],"data":1}"#;
/// Forwarded requests come from here.
const PROXY: &str = "127.0.0.9";

/// The first so many answers to the same request, each on the connection that is kept, if it is.
fn first(count: usize, server: &Server, ask: impl Fn(&mut Wire) -> Answer) -> Vec<u16> {
    let mut wire = server.connect();
    (0..count)
        .map(|_| {
            let answer = ask(&mut wire);
            if answer.status == 429 {
                assert_eq!(answer.code(), "rate_limited", "{answer:?}");
                assert!(answer.field("retry-after").is_some(), "{answer:?}");
            }
            if answer.field("connection") == Some("close") {
                wire = server.connect();
            }
            answer.status
        })
        .collect()
}

/// After a restart clients of Bayeux name sessions that are nowhere: no key or token was tried by that.
#[test]
fn sessions_that_are_nowhere_are_bounded_and_no_refused_credentials() {
    let settings = "[dialects]\nbayeux = true\n[limits]\naddress_failures_per_s = 1\nburst_s = 3600\n";
    let server = Server::start(settings);
    let mut wire = server.connect();
    let mut named = || {
        let connect = r#"[{"channel":"/meta/connect","id":"1","connectionType":"long-polling",
            "clientId":"AAAAAAAAAAAAAAAAAAAAAA","advice":{"timeout":0}}]"#;
        wire.post("/cometd/connect", "", connect).body
    };
    let bounded = (0..3_700).position(|_| named().contains("429::rate_limited")).expect("it ends");
    assert!((3_600..3_690).contains(&bounded), "{bounded}");
    let metrics = server.connect().get("/metrics", &key()).body;
    let counted = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(counted("encke_refused_credentials_total"), 0);
    assert_eq!(counted("encke_unknown_sessions_total"), bounded + 1);
    let log = server.log();
    assert!(!log.contains("refused keys") && log.contains("sessions that are nowhere"), "{log}");
}

/// Guesses are made as fast as they can be, each in a place of its own where one can be wrong.
#[test]
fn t22_t24_keys_tokens_and_sessions_are_not_guessed_unseen() {
    let settings = "[limits]\naddress_failures_per_s = 1\nburst_s = 3600\n";
    let limited = |ask: &dyn Fn(&mut Wire) -> Answer, status: u16| {
        let server = Server::start(settings);
        let statuses = first(3_700, &server, ask);
        let tried = statuses.iter().position(|one| *one == 429).expect("it ends");
        assert!((3_600..3_690).contains(&tried), "{tried}");
        assert!(statuses[..tried].iter().all(|one| *one == status), "{status}");
        // A backend or a client with what is good is not concerned, wherever it asks.
        for _ in 0..3 {
            assert_eq!(server.connect().post("/api/push", &key(), PUSH).status, 202);
            let mut wire = server.connect();
            assert_eq!(wire.get("/api/users", &key()).status, 200);
            let token = bearer(&server.token("alice"));
            assert_eq!(server.connect().get("/v1/poll?hold_s=0", &token).status, 200);
            assert_eq!(wire.post("/v1/ticket", &token, "").status, 200);
        }
        let metrics = server.connect().get("/metrics", &key()).body;
        assert!(metrics.contains("encke_rate_limited_total{limit=\"failures\"}"), "{metrics}");
        let counted = metrics.lines().find(|line| line.starts_with("encke_refused_credentials_total "));
        assert_eq!(counted, Some("encke_refused_credentials_total 3700"));
        let log = server.log();
        assert!(log.contains("refused keys") && log.contains("127.0.0.1"), "{log}");
    };
    let wrong = bearer("aaaaaaaaaaaaaaab-guessed");
    limited(&|wire| wire.post("/api/push", &wrong, PUSH), 401);
    limited(&|wire| wire.get("/v1/poll?hold_s=0", &wrong), 401);
    limited(&|wire| wire.post("/v1/ticket", &wrong, ""), 401);
    let beacon = r#"{"session":"AAAAAAAAAAAAAAAAAAAAAA","close_key":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
    let length = beacon.len();
    let close = format!(
        "POST /v1/close HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{beacon}"
    );
    limited(
        &|wire| {
            wire.send(&close);
            wire.answer().unwrap()
        },
        401,
    );
}

/// A masked text frame (RFC 6455 section 5.2), short, with a mask of nothing.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text.as_bytes()].concat()
}

#[test]
fn what_a_user_publishes_is_limited_by_post_and_over_a_websocket() {
    let server = Server::start("[limits]\nuser_publishes_per_s = 1\nburst_s = 30\n");
    let publish = r#"{"channel":"news","data":1}"#;
    let alice = bearer(&server.token("alice"));
    let statuses = first(40, &server, |wire| wire.post("/v1/publish", &alice, publish));
    let tried = statuses.iter().position(|status| *status == 429).expect("it ends");
    assert!((30..40).contains(&tried), "{statuses:?}");
    let mut socket = server.connect();
    socket.send(format!(
        "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{alice}\r\n"
    ));
    socket.until("\"event\":\"open\"");
    // One at a time, as clients do: nothing is read until the one before is answered.
    for _ in 0..40 {
        socket.send(frame(r#"{"do":"publish","channel":"news","data":1,"id":1}"#));
    }
    socket.until("rate_limited");
    let bob = bearer(&server.token("bob"));
    assert_eq!(server.connect().post("/v1/publish", &bob, publish).status, 202, "others are not concerned");
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &alice).status, 200, "and she still listens");
}

#[test]
fn what_a_user_publishes_is_limited_in_bytes() {
    let server = Server::start("[limits]\nuser_publish_bytes_per_s = 1000\nburst_s = 100\n");
    let alice = bearer(&server.token("alice"));
    let publish = format!("{{\"channel\":\"news\",\"data\":\"{}\"}}", "x".repeat(30_000));
    let statuses = first(5, &server, |wire| wire.post("/v1/publish", &alice, &publish));
    assert_eq!(statuses, [202, 202, 202, 429, 429]);
}

#[test]
fn sessions_that_a_user_begins_are_limited_and_those_that_go_on_are_not() {
    let server = Server::start("[limits]\nuser_connects_per_s = 1\nburst_s = 30\n");
    let alice = bearer(&server.token("alice"));
    let mut session = String::new();
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = server.connect().get("/v1/poll?hold_s=0", &alice);
        if let Some((_, rest)) = answer.body.split_once("\"session\":\"") {
            session = rest.split('"').next().unwrap().to_owned();
        }
        statuses.push(answer.status);
    }
    let tried = statuses.iter().position(|status| *status == 429).expect("it ends");
    assert!((30..40).contains(&tried), "{statuses:?}");
    let target = format!("/v1/poll?hold_s=0&session={session}");
    let again = first(60, &server, |wire| wire.get(&target, &alice));
    assert_eq!(again, [200; 60]);
    let bob = bearer(&server.token("bob"));
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &bob).status, 200);
    // It passes by itself.
    let began = Instant::now();
    while server.connect().get("/v1/poll?hold_s=0", &alice).status == 429 {
        assert!(began.elapsed() < WAIT);
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn logins_requests_and_publishes_are_limited_by_address() {
    for (settings, target) in [
        ("[limits]\naddress_logins_per_s = 1\nburst_s = 30\n", "/v1/login"),
        ("[limits]\naddress_requests_per_s = 1\nburst_s = 30\n", "/v1/publish"),
        ("[limits]\naddress_publishes_per_s = 1\nburst_s = 30\n", "/v1/publish"),
        ("[limits]\naddress_publish_bytes_per_s = 1\nburst_s = 30\n", "/v1/publish"),
    ] {
        let server = Server::start(&format!("trusted_proxies = [\"{PROXY}\"]\n{settings}"));
        let token = server.token("alice");
        let (fields, body) = match target {
            "/v1/login" => (String::new(), format!("{{\"token\":\"{token}\"}}")),
            _ => (bearer(&token), r#"{"channel":"news","data":1}"#.to_owned()),
        };
        let ask = |client: &str| {
            let fields = format!("X-Forwarded-For: {client}\r\n{fields}");
            server.connect_from(PROXY).post(target, &fields, &body).status
        };
        // A client of IPv6 has as many addresses as it likes.
        let statuses: Vec<_> = (0..40).map(|number| ask(&format!("2001:db8::{number}"))).collect();
        let tried = statuses.iter().position(|status| *status == 429).expect("it ends");
        assert!((30..40).contains(&tried), "{target}: {statuses:?}");
        assert!(ask("2001:db8:0:1::1") < 300, "{target}");
        assert!(ask("203.0.113.7") < 300, "{target}");
        let here = first(60, &server, |wire| wire.post(target, &fields, &body));
        assert!(here.iter().all(|status| *status < 300), "{target}: this machine is not limited: {here:?}");
    }
}
