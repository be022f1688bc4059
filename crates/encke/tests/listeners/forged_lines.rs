//! Clients that write, wherever a server may log it, what would be lines of a log, commands to a terminal or
//! text that runs backwards.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::server::{KEY, Server, WAIT, bearer, key, post};

/// What a line of its own would begin with. It is looked for in the answers, too.
const FORGED: &str = "2026-01-01T00:00:00.000000Z  INFO forged: all is well";

/// What more fields of a line would look like, if a name could end.
const FIELDS: &str = "\" status=200 outcome=\"forged";

/// In a JSON text: as it escapes them.
fn escaped(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Characters that no line of a log may have. Tabs do no harm.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// What a client wrote is in a log as a part of its lines, and no line of its own.
fn check(name: &str, text: &str) {
    // It is there, as a part of a name.
    assert!(text.contains(&escaped(FIELDS)[1..]) && !text.contains(FIELDS), "{name}: {text}");
    for line in text.lines() {
        let begins = line.strip_prefix("time=").unwrap_or(line).as_bytes();
        assert!(begins.starts_with(b"20") && begins.get(10) == Some(&b'T'), "{name}: {line:?}");
        assert!(!begins.starts_with(FORGED.as_bytes()), "{name}: {line:?}");
        assert!(!line.contains(is_harmful), "{name}: {line:?}");
        assert!(!line.contains(KEY), "{name}: {line:?}");
    }
}

/// Waits for what was asked last: a line is written behind the answer that it is about.
fn until_written(server: &Server) {
    let (access_log, began) = (server.dir.path().join("access.log"), Instant::now());
    while !fs::read_to_string(&access_log).unwrap().contains(&escaped(FIELDS)[1..]) {
        assert!(began.elapsed() < WAIT, "the poll is not in the access log");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn t28_no_client_writes_lines_of_its_own_into_a_log() {
    let server = Server::start("log = \"trace\"\naccess_log = \"access.log\"\naudit = \"all\"\n");
    let alice = bearer(&server.token("alice"));
    // A terminal's command, C1's form of one, an override of direction; with a line behind a line break where
    // JSON and addresses let one through.
    for mark in ["\u{1b}[2J", "\u{9b}2J", "\u{202e}", "\u{85}", "\u{2028}"] {
        let lines = format!("a{mark}\r\n{FORGED}\n");
        let name = escaped(&lines);
        for (target, fields, body) in [
            ("/v1/login", String::new(), format!("{{\"token\":{name}}}")),
            ("/v1/publish", alice.clone(), format!("{{\"channel\":{name},\"data\":1}}")),
            ("/v1/publish", alice.clone(), format!("{{\"channel\":\"a\",{name}:{name}}}")),
            ("/v1/close", String::new(), format!("{{\"session\":{name},\"close_key\":{name}}}")),
            ("/api/push", key(), format!("{{\"to\":[{name}],\"data\":{name},\"id\":{name}}}")),
            ("/api/push", key(), format!("{{\"to\":[\"a\"],\"url\":{name}}}")),
            ("/api/push", key(), format!("{{\"to\":[\"a\"],\"data\":{name}}}")),
            ("/api/close", key(), format!("{{\"user\":\"alice\",\"reason\":{name}}}")),
            ("/api/revoke", key(), format!("{{\"jti\":{name}}}")),
        ] {
            let answer = server.connect().post(target, &fields, &body);
            assert!(answer.status != 500, "{target} {body} {answer:?}");
        }
        let text = format!("a{mark}forged");
        let percent: String = lines.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for request in [
            format!("GET /{percent} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!(
                "GET /v1/sse?channels={percent}&cursor={percent}&device={percent} HTTP/1.1\r\nHost: a\r\n\
{alice}\r\n"
            ),
            format!("GET /api/users/{percent} HTTP/1.1\r\nHost: a\r\n{}\r\n", key()),
            format!("GET /healthz HTTP/1.1\r\nHost: {text}\r\nOrigin: {text}\r\nUser-Agent: {text}\r\n\r\n"),
            format!(
                "GET /v1/poll?hold_s=0 HTTP/1.1\r\nHost: a\r\nOrigin: {text}\r\nX-Forwarded-For: {text}\r\n\
                     Cookie: encke_token={text}\r\n\r\n"
            ),
            format!(
                "GET /v1/poll?hold_s=0 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {text}\r\n\
Last-Event-ID: {text}\r\n\r\n"
            ),
            format!("GET /{text} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n"),
            post("/api/push", &format!("{}traceparent: {text}\r\n", key()), "{\"to\":[\"a\"],\"data\":1}"),
        ] {
            let mut wire = server.connect();
            wire.send(&request);
            wire.answer();
        }
    }
    // Names that are names, but look like more of a line.
    for mark in ["\u{1b}[2J", "\u{9b}2J", "\u{202e}", "\u{85}", "\u{2028}", FIELDS] {
        let name = escaped(&format!("a{mark}"));
        let pushed = server.connect().post("/api/push", &key(), &format!("{{\"to\":[{name}],\"data\":1}}"));
        assert_eq!(pushed.status, if mark == FIELDS { 202 } else { 400 }, "{name} {pushed:?}");
    }
    let odd = bearer(&server.token(&format!("a{FIELDS}")));
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &odd).status, 200);
    until_written(&server);
    let dir = server.end("-TERM");
    for (name, known) in [("log", "the server is up"), ("access.log", "route=/v1/publish")] {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text.contains(known), "{name}: {text}");
        check(name, &text);
    }
}
