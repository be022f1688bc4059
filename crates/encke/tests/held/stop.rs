//! A server that stops tells all clients when to come back, and not all of them the same.

use std::collections::BTreeSet;

use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode};

use super::*;

fn retry_ms(close: &Value) -> u64 {
    assert_eq!((&close["code"], &close["reconnect"]), (&"shutdown".into(), &true.into()), "{close}");
    close["retry_ms"].as_u64().unwrap()
}

#[test]
fn t30_each_client_is_told_to_come_back_after_a_pause_of_its_own_whatever_the_transport() {
    let world = World::new();
    let targets = ["/v1/sse", "/v1/stream?as=ndjson", "/v1/stream?as=iframe", "/v1/poll", "/v1/ws"];
    let mut wires = Vec::new();
    for number in 0..10 {
        for target in targets {
            let mut head = world.head(&format!("user {number}"), target);
            if target == "/v1/ws" {
                let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                head = head.replace("\r\n\r\n", &format!("\r\n{upgrade}"));
            }
            let mut wire = world.connect();
            wire.send(&head);
            wires.push((target, wire));
        }
        world.until_held(&format!("user {number}"), targets.len());
    }
    world.app().shards.drain(false);
    let close = Close { code: CloseCode::Shutdown, reason: String::new(), reconnect: true, retry_ms: None };
    assert_eq!(
        world.runtime.block_on(world.app().sessions.close(&CloseTarget::Everybody, &close)).unwrap(),
        wires.len()
    );
    let mut pauses = BTreeSet::new();
    for (target, wire) in &mut wires {
        assert!(wire.ends());
        // In the frame, an event is the text of a string.
        let text = String::from_utf8_lossy(&wire.seen).replace("\\\"", "\"");
        let (_, close) =
            text.rsplit_once("{\"event\":\"close\"").or_else(|| text.rsplit_once("\"close\":{")).unwrap();
        let (json, rest) = close.split_once('}').unwrap();
        let ms = retry_ms(&serde_json::from_str(&format!("{{{}}}", json.trim_start_matches(','))).unwrap());
        assert!((500..1_500).contains(&ms), "{target} {ms}");
        // A browser's EventSource reads no JSON.
        assert_eq!(rest.contains(&format!("\nretry: {ms}\n")), *target == "/v1/sse", "{target} {rest}");
        pauses.insert(ms);
    }
    assert!(pauses.len() > wires.len() / 2, "they are spread: {pauses:?}");
}

#[test]
fn no_client_is_accepted_while_connected_ones_have_their_time() {
    let world = World::new();
    let mut early = world.connect();
    early.send(&world.head("alice", "/v1/sse"));
    world.until_held("alice", 1);
    world.app().shards.drain(false);
    // Each shard shuts its own door.
    world.until(|| {
        std::net::TcpStream::connect(world.address)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert_eq!(world.sessions("alice"), 1, "she has not been sent away yet");
}

#[test]
fn t30_they_are_spread_over_no_longer_than_configured_however_many_they_are() {
    // So many that they would be spread over more than a second and a half.
    let count = 1_500;
    let world = World::with(|config| {
        config.workers = 1;
        config.shutdown_spread_s = 1;
    });
    let mut wires: Vec<Wire> = (0..count).map(|_| world.connect()).collect();
    let head = world.head("alice", "/v1/stream?as=ndjson");
    for (number, wire) in wires.iter_mut().enumerate() {
        // Not more sessions of one user than there may be.
        wire.send(&if number < 900 { head.clone() } else { world.head("bob", "/v1/stream?as=ndjson") });
    }
    wires.iter_mut().for_each(|wire| drop(wire.until("\"open\"")));
    world.app().shards.drain(false);
    let close = Close { code: CloseCode::Shutdown, reason: String::new(), reconnect: true, retry_ms: None };
    assert_eq!(
        world.runtime.block_on(world.app().sessions.close(&CloseTarget::Everybody, &close)).unwrap(),
        count
    );
    for wire in &mut wires {
        wire.until("{\"event\":\"close\"");
        let close = wire.until("}");
        let ms = retry_ms(&serde_json::from_str(&format!("{{{}", close.trim_start_matches(','))).unwrap());
        assert!((500..1_500).contains(&ms), "{ms}");
    }
}
