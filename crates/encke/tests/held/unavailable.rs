//! What cannot be served now, or not for this client, as the answers that the table writes by itself say it:
//! with the fields that those of hyper have.

use encke::{
    clock::SystemClock,
    wire::{Backing, wire_on},
};
use encke_engine::{Engine, EngineError};

use super::*;

#[path = "../api/double.rs"]
mod double;

/// A server whose engine is down.
fn without_engine() -> World {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let engine: Arc<dyn Engine> = Arc::new(double::Broken(EngineError::Unavailable("it is down".into())));
    let server = runtime
        .block_on(wire_on(Arc::new(config()), Arc::new(SystemClock::new()), async move |_| {
            Ok(Backing { engine, cluster: None })
        }))
        .unwrap();
    let address = server.main.address.tcp().unwrap();
    World { runtime, server: Some(server), address, next_id: 1, certificate: None }
}

/// The answer to one request: its head, and the code in its body.
fn refused(world: &World, request: &str) -> (String, String) {
    let mut wire = world.connect();
    wire.send(request);
    let head = wire.until("\r\n\r\n").to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    while wire.seen.len() < length {
        let mut buffer = [0; 4096];
        let count = wire.socket.read(&mut buffer).unwrap();
        assert!(count > 0);
        wire.seen.extend_from_slice(&buffer[..count]);
    }
    let body: Value = serde_json::from_slice(&wire.seen[..length]).unwrap();
    (head, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn post(world: &World, path: &str, more: &str, json: &str) -> String {
    let key = "k".repeat(32);
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{json}",
        world.address,
        json.len()
    )
}

#[test]
fn while_the_engine_is_down_whatever_begins_is_told_when_to_come_back() {
    let world = without_engine();
    let push = r#"{"to":["alice"],"data":1}"#;
    let publish = r#"{"channel":"news","data":1}"#;
    let requests = [
        world.head("alice", "/v1/poll"),
        world.head("alice", "/v1/poll?hold_s=0&channels=news"),
        world.head("alice", "/v1/sse"),
        world.head("alice", "/v1/sse").replace("HTTP/1.1", "HTTP/1.0"),
        world.head("alice", "/v1/stream?as=ndjson"),
        world.head("alice", "/v1/stream?as=iframe"),
        // Held by hyper, and written by the table all the same.
        world.head("alice", "/v1/poll").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        world.head("alice", "/classic/backend"),
        format!("POST /classic/backend HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", world.address),
        // An inline request, and the same as hyper reads it.
        post(&world, "/api/push", "", push),
        post(&world, "/api/push", "Expect: \r\n", push),
        post(&world, "/api/publish", "", publish),
        post(&world, "/api/publish", "Expect: \r\n", publish),
    ];
    for request in requests {
        let (head, code) = refused(&world, &request);
        assert!(head.starts_with("http/1.1 503 "), "{request}{head}");
        assert_eq!(
            (code.as_str(), head.matches("\r\nretry-after: 2\r\n").count()),
            ("engine_unavailable", 1),
            "{request}{head}"
        );
    }
}

#[test]
fn who_shows_no_token_is_told_what_would_be_one() {
    let world = World::new();
    for target in ["/v1/poll", "/v1/sse", "/v1/stream?as=ndjson", "/v1/ws", "/api/users"] {
        for request in [
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", world.address),
            world.head("alice", target).replace("Bearer ", "Bearer x"),
        ] {
            let handshake = "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            let request = if target == "/v1/ws" { request.replace("\r\n\r\n", handshake) } else { request };
            let (head, code) = refused(&world, &request);
            assert!(head.starts_with("http/1.1 401 "), "{request}{head}");
            assert_eq!(
                (code.as_str(), head.matches("\r\nwww-authenticate: bearer\r\n").count()),
                ("unauthorized", 1),
                "{request}{head}"
            );
            assert!(!head.contains("\r\nretry-after: "), "{head}");
        }
    }
}

#[test]
fn who_comes_when_there_are_too_many_is_told_when_to_come_back() {
    let world = World::with(|config| config.max_connections = 2);
    let held: Vec<Wire> = (0..2)
        .map(|number| {
            let mut wire = world.connect();
            wire.send(&world.head(&format!("user {number}"), "/v1/sse"));
            wire.until("event: opened");
            wire
        })
        .collect();
    let (head, code) = refused(&world, &world.head("alice", "/v1/poll?hold_s=0"));
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 2\r\n"), "{head}");
    assert_eq!(code, "overloaded");
    drop(held);
    world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().sockets == 0);
    assert_eq!(world.poll("alice", "hold_s=0").0, 200, "there is room again");
}
