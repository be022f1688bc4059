//! `listen` as a unix socket, for a proxy on the same machine.

use std::{
    fs,
    mem::MaybeUninit,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Instant,
};

use socket2::SockRef;

use crate::server::{Answer, Server, WAIT, Wire, bearer, key};

const SEVEN: &str = "X-Forwarded-For: 203.0.113.7\r\n";

/// A server behind a proxy at a socket in a directory of its own.
fn server(more: &str) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), more);
    Server::start_in(dir, &settings)
}

fn settings(dir: &Path, more: &str) -> String {
    format!("\nlisten = \"unix:{}\"\n{more}", dir.join("client.sock").display())
}

/// A stream of the user with this token, or the refusal.
fn hold(mut wire: Wire, token: &str, fields: &str) -> Result<Wire, Answer> {
    let token = bearer(token);
    wire.send(format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\n{token}{fields}\r\n"));
    match wire.status() {
        200 => {
            wire.until("\"event\":\"open\"");
            Ok(wire)
        }
        _ => Err(wire.answer().unwrap()),
    }
}

/// What the server says of the receipts of the push that was answered so.
fn receipts(server: &Server, pushed: &Answer) -> Answer {
    assert_eq!(pushed.status, 202, "{pushed:?}");
    let push: serde_json::Value = serde_json::from_str(&pushed.body).unwrap();
    server.connect().get(&format!("/api/push/{}", push["id"].as_str().unwrap()), &key())
}

/// Waits until an answer has this text.
fn until(text: &str, ask: impl Fn() -> Answer) {
    let began = Instant::now();
    loop {
        let answer = ask();
        if answer.body.contains(text) {
            return;
        }
        assert!(began.elapsed() < WAIT, "{answer:?}");
    }
}

/// Waits until something is in the socket, and reads nothing of it.
fn until_unread(socket: &UnixStream) {
    assert_ne!(SockRef::from(socket).peek(&mut [MaybeUninit::uninit(); 1]).unwrap(), 0, "it ends");
}

#[test]
fn clients_are_served_over_it_as_over_a_port() {
    let server = server("");
    let path = server.dir.path().join("client.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let alice = server.token("alice");
    let mut stream = hold(server.connect(), &alice, "").unwrap();
    // What a shard answers by itself, what it holds, and what the HTTP library answers.
    let pushed = server.connect().post("/api/push", &key(), r#"{"to":["alice"],"data":"to all streams"}"#);
    stream.until("to all streams");
    until("\"delivered\"", || receipts(&server, &pushed));
    let polled = server.connect().get("/v1/poll?hold_s=0", &bearer(&server.token("bob")));
    assert_eq!((polled.status, server.connect().get("/client.js", "").status), (200, 200));
    let mut ws = server.connect();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let token = bearer(&alice);
    ws.send(format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{upgrade}{token}\r\n"));
    ws.until("\"event\":\"open\"");
    assert!(server.log().contains("all clients of a unix socket"), "undeclared proxies are warned of");
}

#[test]
fn what_its_client_has_not_read_at_the_end_is_not_delivered_and_comes_again() {
    let server = server("");
    let alice = server.token("alice");
    let socket = UnixStream::connect(server.dir.path().join("client.sock")).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let stream = hold(Wire::new(Box::new(socket.try_clone().unwrap())), &alice, "").unwrap();
    let pushed = server.connect().post("/api/push", &key(), r#"{"to":["alice"],"data":"never read"}"#);
    until_unread(&socket);
    // The kernel throws away what is in it, and does not count it as outstanding any more.
    drop((stream, socket));
    until("\"connected\":false", || server.connect().get("/api/sessions?user=alice", &key()));
    let said = receipts(&server, &pushed);
    assert!(said.body.contains("\"queued\""), "{said:?}");
    let mut again = hold(server.connect(), &alice, "").unwrap();
    server.connect().post("/api/push", &key(), r#"{"to":["alice"],"data":"the next"}"#);
    let came = again.until("the next");
    assert!(came.contains("never read"), "{came}");
}

#[test]
fn its_clients_have_the_addresses_that_a_declared_proxy_says() {
    let limit = "trusted_proxies = [\"127.0.0.1\"]\nmax_connections_per_address = 2\n";
    let headers = server(limit);
    let alice = headers.token("alice");
    let held = |fields: &str| hold(headers.connect(), &alice, fields);
    let _held: Vec<_> = (0..2).map(|_| held(SEVEN).unwrap()).collect();
    let refused = held(SEVEN).err().expect("it is the third of its address");
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{refused:?}");
    assert_eq!(headers.connect().get("/client.js", SEVEN).code(), "overloaded", "by the HTTP library too");
    held("X-Forwarded-For: 203.0.113.8\r\n").unwrap();
    assert!(!headers.log().contains("all clients of a unix socket"));

    let prefaced = server(&format!("{limit}proxy_protocol = true\n"));
    let from = |last: u8| {
        let mut wire = prefaced.connect();
        let ends = [203, 0, 113, last, 10, 0, 0, 1, 0x10, 0, 0, 80];
        wire.send([&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &ends].concat());
        hold(wire, &alice, "")
    };
    let _held: Vec<_> = (0..2).map(|_| from(7).unwrap()).collect();
    assert_eq!(from(7).err().expect("it is the third of its address").code(), "overloaded");
    from(8).unwrap();
}

#[test]
fn what_no_declared_proxy_says_of_addresses_is_passed_over() {
    // What is set holds for this machine too, of which all of them are.
    let server = server("max_connections_per_address = 2\n");
    let alice = server.token("alice");
    let from =
        |last: usize| hold(server.connect(), &alice, &format!("X-Forwarded-For: 203.0.113.{last}\r\n"));
    let _held: Vec<_> = (1..3).map(|last| from(last).unwrap()).collect();
    assert_eq!(from(3).err().expect("it is the third").code(), "overloaded");
}

#[test]
fn its_file_goes_with_its_server_and_is_no_hindrance_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.sock");
    let settings = settings(dir.path(), "");
    let server = Server::start_in(dir, &settings);
    let second = Server::refused(&server.dir, &settings);
    assert_ne!(second.status.code(), Some(0));
    assert!(String::from_utf8(second.stderr).unwrap().contains("client.sock"));
    assert_eq!(server.connect().get("/healthz", "").status, 200, "the first is as it was");
    let dir = server.end("-TERM");
    assert!(!path.exists(), "the file goes with its server");
    let dir = Server::start_in(dir, &settings).end("-KILL");
    assert!(path.exists());
    let server = Server::start_in(dir, &settings);
    assert_eq!(server.connect().get("/healthz", "").status, 200, "what was left of it is no hindrance");
}
