//! Between the table and the HTTP library.

use super::*;

#[test]
fn one_connection_carries_requests_that_wait_and_requests_that_do_not() {
    let mut world = World::new();
    let mut wire = world.connect();
    for n in 0..5 {
        wire.send(&format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
        assert_eq!(wire.response().0, 404);
        wire.send(&world.head("alice", "/v1/poll"));
        world.until_held("alice", 1);
        world.push("alice", &n.to_string());
        assert_eq!(data(&wire.response().1), [n]);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_both_sides_of_the_seam() {
    let mut world = World::new();
    world.push("alice", "1");
    let mut wire = world.connect();
    let page = format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let poll = world.head("alice", "/v1/poll?cursor=earliest");
    wire.send(&format!("{page}{poll}{poll}{page}{poll}"));
    assert_eq!(wire.response().0, 404);
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(wire.response().0, 404);
    assert_eq!(data(&wire.response().1), [1]);
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut world = World::new();
    world.push("alice", "1");
    let mut wire = world.connect();
    wire.socket.set_nodelay(true).unwrap();
    for byte in world.head("alice", "/v1/poll?cursor=earliest").bytes() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(data(&wire.response().1), [1]);
    for byte in format!("GET /v1/nothing HTTP/1.1\r\nHost: {}\r\n\r\n", world.address).bytes() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(wire.response().0, 404);
}

#[test]
fn shapes_that_smuggle_are_one_request_and_one_answer_or_none() {
    let world = World::new();
    let hidden = world.head("mallory", "/v1/poll?hold_s=0");
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Host: other",
        "X: a\rb",
    ] {
        let mut wire = world.connect();
        let head = format!(
            "GET /v1/poll?hold_s=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{fields}\r\n\r\n",
            world.address,
            world.token("alice")
        );
        wire.send(&format!("{head}{hidden}"));
        wire.ends();
        let answers = String::from_utf8_lossy(&wire.seen).matches("HTTP/1.1 200").count();
        assert_eq!(answers, 0, "{fields}: {}", String::from_utf8_lossy(&wire.seen));
        assert_eq!(world.sessions("mallory"), 0, "{fields}");
    }
}

#[test]
fn a_limit_of_connections_is_said_and_passes() {
    let world = World::with(|config| config.max_connections_per_address = Some(2));
    let (mut first, _second) = (world.connect(), world.connect());
    first.send(&world.head("alice", "/v1/sse"));
    first.until("\r\n\r\n");
    // Each worker lets connections in by itself, so the last to connect may otherwise come in before the
    // second.
    world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().sockets == 2);
    let mut third = world.connect();
    let head = third.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("\r\nretry-after: 2\r\n"), "{head}");
    drop(first);
    world.until_held("alice", 0);
    world.until(|| {
        let mut fourth = world.connect();
        fourth.send(&world.head("alice", "/v1/poll?hold_s=0"));
        fourth.until("\r\n\r\n").starts_with("HTTP/1.1 200")
    });
}
