//! Clients that send more than they are answered: requests ahead of their answers, and the end of what they
//! send.

use std::{
    io::{ErrorKind, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use encke_proto::{ErrorCode, SessionId};

use super::*;
use crate::shards::{Claiming, Peers, State};

/// A poll without a token.
const REFUSED: &str = "GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n";
/// The most requests that fit into the bytes that are read in one turn, as a read counts at least, and one of
/// each connection.
const ANSWERED_PER_TURN_MAX: usize = 256 * 1024 / 512 + FLOODERS;
const FLOODERS: usize = 100;
const REQUESTS: usize = 60;

impl World {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }
}

fn until(mut holds: impl FnMut() -> bool) {
    let ends = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < ends, "it did not come to that");
    }
}

/// Takes what has come. False when the server has hung up.
fn take(socket: &mut TcpStream, seen: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65536];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn many_that_send_ahead_are_answered_by_turns() {
    let mut world = World::new(|_| {});
    let mut flooders: Vec<TcpStream> = (0..FLOODERS).map(|_| world.connect()).collect();
    for flooder in &mut flooders {
        flooder.write_all(REFUSED.repeat(REQUESTS).as_bytes()).unwrap();
    }
    let (mut total, mut seen) = (0, Vec::new());
    until(|| {
        world.step();
        let mut answered = 0;
        for flooder in &mut flooders {
            seen.clear();
            take(flooder, &mut seen);
            answered += seen.windows(12).filter(|window| window == b"HTTP/1.1 401").count();
        }
        assert!(answered <= ANSWERED_PER_TURN_MAX, "{answered} in one turn");
        total += answered;
        total == FLOODERS * REQUESTS
    });
}

/// Other nodes that never answer by themselves.
#[derive(Debug)]
struct Silent;

impl Peers for Silent {
    fn claim(self: Arc<Self>, _: UserId, _: Option<SessionId>, _: Option<String>) -> Claiming {
        Box::pin(std::future::pending())
    }

    fn came(&self, _: &UserId) {}

    fn went(&self, _: UserId) {}

    fn mark_closed(&self, _: UserId, _: SessionId) {}

    fn watch(&self, _: &ChannelName) {}

    fn unwatch(&self, _: &ChannelName) {}
}

#[test]
fn who_has_said_all_is_let_go_when_the_other_nodes_refuse() {
    let mut world = World::new(|_| {});
    world.shard.parts.peers = Some(Arc::new(Silent));
    let parts = &world.shard.parts;
    let token = parts.admit.auth.dev_token(UserId::new("alice").unwrap(), parts.clock.now().wall).unwrap().0;
    let mut socket = world.connect();
    let head = format!("GET /v1/poll HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let claims = |world: &World, closed: bool| {
        let mut slots = world.shard.slots.iter();
        slots.any(|(_, slot)| matches!(slot.state, State::Claims { read_closed } if read_closed == closed))
    };
    until(|| {
        world.step();
        claims(&world, false)
    });
    socket.shutdown(Shutdown::Write).unwrap();
    until(|| {
        world.step();
        claims(&world, true)
    });
    let (place, _) = world.shard.slots.iter().next().unwrap();
    let admission = admission("alice", Start::Absent);
    world
        .mailbox
        .post(ShardCommand::Claimed {
            place,
            admission: Box::new(admission),
            claim: Err(ErrorCode::EngineUnavailable),
        })
        .unwrap();
    let mut seen = Vec::new();
    until(|| {
        world.step();
        !take(&mut socket, &mut seen)
    });
    let text = String::from_utf8(seen).unwrap();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nconnection: close\r\n"), "{text}");
    assert_eq!(world.step().sockets, 0);
}

#[test]
fn a_shard_rests_between_two_looks_however_many_receipts_are_due() {
    let mut world = World::new(|_| {});
    // More than are looked at in one turn, none of which takes anything.
    let sockets: Vec<TcpStream> =
        (0..10).map(|number| world.come_by_socket(&format!("user {number}"))).collect();
    world.steps(4);
    let text = format!("\"{}\"", "x".repeat(300));
    until(|| {
        (0..sockets.len()).for_each(|number| world.publish(&format!("@user {number}"), &text));
        world.step();
        world.shard.receipts.connections() == sockets.len()
    });
    for _ in 0..3 {
        // A round of looks is due, and takes some turns.
        world.clock.advance_ms(1_000);
        world.steps(8);
        assert!(
            world.shard.receipts.rests_ms(world.clock.now().mono_ms) > Some(0),
            "the next round is due later"
        );
    }
}
