//! What one client may ask of a turn: it costs the others nothing but its share, whatever it sends.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{ws::frame, *};

const PONG: u8 = 10;
const CONTINUATION: u8 = 0;

/// How many polls a healthy client has answered while the others flood the shard.
const POLLS: usize = 20;

/// Floods a server of one worker from several connections, each of which sends `begin` once and `block`
/// without a pause, and polls meanwhile by another.
fn flooded(begin: &[u8], block: &[u8]) {
    let world = World::with(|config| config.workers = 1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut flooder = world.connect();
            flooder.send(&world.ws_head("mallory", ""));
            flooder.until("\r\n\r\n");
            flooder.socket.write_all(begin).unwrap();
            let over = &over;
            scope.spawn(
                move || while !over.load(Ordering::Relaxed) && flooder.socket.write_all(block).is_ok() {},
            );
        }
        // Whatever comes of the polls, the flood ends with them.
        let polled = thread::Builder::new().spawn_scoped(scope, || {
            let mut healthy = world.connect();
            let mut cursor = String::new();
            for _ in 0..POLLS {
                healthy.send(&world.head("alice", &format!("/v1/poll?hold_s=0{cursor}")));
                let (status, answer) = healthy.response();
                assert_eq!(status, 200);
                cursor = format!("&cursor={}", answer["cursor"].as_str().unwrap());
            }
        });
        let polled = polled.unwrap().join();
        over.store(true, Ordering::Relaxed);
        polled.unwrap();
    });
}

#[test]
fn a_flood_of_pongs_holds_up_no_other_client() {
    flooded(&[], &frame(PONG, b"").repeat(10_000));
}

#[test]
fn a_flood_of_empty_continuation_frames_holds_up_no_other_client() {
    let open = |opcode: u8| {
        let mut bytes = frame(opcode, b"");
        bytes[0] &= 0x7f;
        bytes
    };
    flooded(&open(1), &open(CONTINUATION).repeat(10_000));
}

#[test]
fn requests_sent_ahead_hold_up_no_other_client() {
    let world = World::with(|config| config.workers = 1);
    let over = AtomicBool::new(false);
    let refused = b"GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n".repeat(400);
    thread::scope(|scope| {
        let flooder = world.connect();
        let (mut reads, mut writes) = (flooder.socket.try_clone().unwrap(), flooder.socket);
        let (over, refused) = (&over, &refused);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) && writes.write_all(refused).is_ok() {}
            let _ = writes.shutdown(Shutdown::Both);
        });
        scope.spawn(move || while reads.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {});
        let mut healthy = world.connect();
        for _ in 0..POLLS {
            healthy.send(&world.head("alice", "/v1/poll?hold_s=0"));
            assert_eq!(healthy.response().0, 200);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn every_request_that_was_sent_ahead_is_answered_in_order() {
    let world = World::new();
    let mut wire = world.connect();
    let refused = "GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n";
    let served = world.head("alice", "/v1/poll?hold_s=0");
    wire.send(&(refused.repeat(150) + &served + &refused.repeat(150) + &served));
    let statuses: Vec<u16> = (0..302).map(|_| wire.response().0).collect();
    let expected: Vec<u16> = [vec![401; 150], vec![200], vec![401; 150], vec![200]].concat();
    assert_eq!(statuses, expected);
}

#[test]
fn a_poll_whose_client_has_said_all_is_answered_at_once() {
    let mut world = World::new();
    let cursor = world.poll("alice", "hold_s=0").1["cursor"].as_str().unwrap().to_owned();
    // The end comes with the request, and while the poll waits.
    for wait in [false, true] {
        let mut wire = world.connect();
        wire.send(&world.head("alice", &format!("/v1/poll?cursor={cursor}")));
        if wait {
            world.until_held("alice", 1);
        }
        wire.socket.shutdown(Shutdown::Write).unwrap();
        let (status, answer) = wire.response();
        assert_eq!((status, &answer["messages"]), (200, &serde_json::json!([])));
        assert!(answer["cursor"].is_string());
        assert!(wire.ends(), "the connection ends behind the answer");
        world.until_held("alice", 0);
    }
    world.push("alice", "1");
    let mut wire = world.connect();
    wire.send(&world.head("alice", &format!("/v1/poll?cursor={cursor}")));
    wire.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.response().1["messages"][0]["data"], 1, "what is there goes along");
}

#[test]
fn a_stream_whose_client_has_said_all_ends() {
    let world = World::new();
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse"));
    world.until_held("alice", 1);
    wire.socket.shutdown(Shutdown::Write).unwrap();
    // A browser tab that was closed looks the same, and its user is not to be online for another heartbeat.
    world.until_held("alice", 0);
}

#[test]
fn a_push_whose_client_has_said_all_is_answered() {
    let world = World::new();
    let body = r#"{"to":["alice"],"data":1}"#;
    let key = "k".repeat(32);
    let inline = format!(
        "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire = world.connect();
    wire.send(&inline);
    wire.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.response().0, 202);
    assert!(wire.ends());
}

#[test]
fn what_is_sent_behind_a_poll_waits_until_that_is_answered() {
    let mut world = World::new();
    let token = world.token("alice");
    let publish = |length: usize| {
        let body = format!("{{\"channel\":\"c\",\"data\":\"{}\"}}", "x".repeat(length));
        let fields = format!(
            "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        format!("POST /v1/publish HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
    };
    let poll = world.head("alice", "/v1/poll?hold_s=20");
    let healthz = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let hold_0 = world.head("alice", "/v1/poll?hold_s=0");
    for behind in [vec![publish(14_000)], vec![publish(60_000)], vec![healthz; 600], vec![hold_0; 100]] {
        let mut wire = world.connect();
        wire.send(&poll);
        world.until_held("alice", 1);
        let (mut writes, text) = (wire.socket.try_clone().unwrap(), behind.concat());
        // The kernel may not take all of it until it is read.
        let sends = thread::spawn(move || writes.write_all(text.as_bytes()).unwrap());
        world.push("alice", "1");
        assert_eq!(data(&wire.response().1).len(), 1);
        for _ in &behind {
            let status = wire.response().0;
            assert!([200, 202, 403].contains(&status), "{status}");
        }
        sends.join().unwrap();
    }
}
