//! Receivers that take too little, over real sockets: no other waits for them, and the server keeps little
//! for them.

use encke::{config::SlowPolicy, metrics::TextForm};
use socket2::{Domain, SockAddr, Socket, Type};

use super::*;

/// The most that is kept for one receiver: what a turn gathers, one message more, and what is around them.
const KEPT_MAX_BYTES: usize = 64 * 1024;

/// A client whose kernel takes little on its behalf.
fn narrow(world: &World) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(world.address)).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Wire { socket, seen: Vec::new() }
}

fn follow(world: &World, mut wire: Wire, user: &str) -> Wire {
    wire.send(&world.head(user, "/v1/sse?channels=news"));
    wire.until("\r\n\r\n");
    assert_eq!(wire.event().0, "opened");
    wire
}

fn counts(world: &World) -> encke::shards::Counts {
    world.runtime.block_on(world.app().shards.counts()).unwrap()
}

fn large() -> String {
    format!("\"{}\"", "x".repeat(8_000))
}

/// Publishes so many large messages that the one receiver, who takes nothing, falls behind by nearly all of
/// them. Who were given its time only once all are there would begin far behind, and count as one that
/// catches up.
fn leave_behind(world: &mut World, count: usize) {
    let mut published = 0;
    while counts(world).slow == 0 {
        world.publish("news", &large());
        published += 1;
        assert!(published < count, "the kernel takes it all");
    }
    for _ in published..count {
        world.publish("news", &large());
    }
}

#[test]
fn t11_a_client_that_takes_nothing_delays_no_other_and_little_is_kept_for_it() {
    let mut world = World::with(|config| {
        config.slow.max_messages = 1_000_000;
        config.slow.max_bytes = 1 << 40;
        config.slow.deadline_s = 3;
    });
    let stalled: Vec<Wire> =
        (0..20).map(|number| follow(&world, narrow(&world), &format!("stalled {number}"))).collect();
    let mut others: Vec<Wire> =
        (0..50).map(|number| follow(&world, world.connect(), &format!("other {number}"))).collect();
    for round in 0..10 {
        for _ in 0..20 {
            world.publish("news", &large());
        }
        for other in &mut others {
            for number in 1..=20 {
                assert_eq!(other.event().1["offset"], round * 20 + number);
            }
        }
        let counts = counts(&world);
        assert!(counts.unsent_bytes <= stalled.len() * KEPT_MAX_BYTES, "{counts:?}");
    }
    // There is far more for them than the kernel takes.
    world.until(|| counts(&world).held == others.len());
    let counts = counts(&world);
    assert_eq!((counts.slow, counts.unsent_bytes), (0, 0));
}

#[test]
fn t8_a_byte_now_and_then_buys_no_time() {
    let mut world = World::with(|config| {
        config.slow.max_messages = 1_000_000;
        config.slow.max_bytes = 1 << 40;
        config.slow.deadline_s = 5;
    });
    let wire = follow(&world, narrow(&world), "alice");
    for _ in 0..200 {
        world.publish("news", &large());
    }
    world.until(|| counts(&world).slow == 1);
    let taken = std::cell::Cell::new(0);
    // It takes some all the time, as long as it is served.
    world.until(|| {
        taken.set(taken.get() + (&wire.socket).read(&mut [0]).unwrap_or(0));
        counts(&world).held == 0
    });
    assert!((11..100_000).contains(&taken.get()), "{taken:?}");
}

#[test]
fn t8_a_websocket_is_told_why_behind_what_it_was_sent() {
    let mut world = World::with(|config| {
        config.slow.max_messages = 50;
        config.slow.max_bytes = 1 << 40;
        config.slow.deadline_s = 60;
    });
    let mut wire = narrow(&world);
    let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    wire.send(&world.head("alice", "/v1/ws?channels=news").replace("\r\n\r\n", &format!("\r\n{handshake}")));
    world.until_held("alice", 1);
    leave_behind(&mut world, 200);
    world.until(|| world.sessions("alice") == 0);
    let told = world.app().metrics.render(TextForm::Prometheus, Vec::new());
    let closed = told.lines().find_map(|line| line.strip_prefix("encke_slow_closed_total ")).unwrap();
    assert!(closed.parse::<u64>().unwrap() > 0, "an operator sees it");
    assert!(wire.ends(), "the stream is whole");
    let text = String::from_utf8_lossy(&wire.seen);
    let got = text.matches("\"event\":\"message\"").count();
    let (_, end) = text.split_once("{\"event\":\"close\",\"code\":\"slow\"").unwrap();
    assert!(
        (1..150).contains(&got)
            && end.contains("\"reconnect\":true")
            && !end.contains("\"event\":\"message\""),
        "{got} {end}"
    );
    let close = &wire.seen[wire.seen.len() - 100..];
    let status = 4408_u16.to_be_bytes();
    assert!(close.windows(2).any(|window| window == status), "{close:?}");
}

#[test]
fn t8_as_configured_a_stream_goes_on_with_a_gap() {
    let mut world = World::with(|config| {
        config.slow.policy = SlowPolicy::Gap;
        config.slow.max_messages = 50;
        config.slow.max_bytes = 1 << 40;
        config.slow.deadline_s = 60;
    });
    let mut wire = follow(&world, narrow(&world), "alice");
    leave_behind(&mut world, 200);
    let alice = UserId::new("alice").unwrap();
    world.until(|| {
        world.runtime.block_on(world.app().sessions.list(Some(&alice), None, 1)).unwrap()[0].session.lag == 50
    });
    let mut last = 0;
    let gap = loop {
        let (name, event, _) = wire.event();
        if name == "gap" {
            break event;
        }
        last += 1;
        assert_eq!(event["offset"], last);
    };
    assert_eq!(
        gap,
        serde_json::json!({"event": "gap", "channel": "news", "from": last + 1, "to": 150, "reason": "slow"})
    );
    for offset in 151..=200 {
        let (_, event, id) = wire.event();
        assert_eq!(event["offset"], offset);
        assert!(id.contains(&format!("~news~{offset}")), "{id}");
    }
}
