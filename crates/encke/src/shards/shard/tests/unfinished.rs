//! WebSocket messages that a client begins and does not end.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use encke_proto::UserId;

use super::World;
use crate::{shards::State, transports::MESSAGE_WITHIN_MS};

/// The first frame of a message that goes on, with a payload of one byte; masked with zeros.
const BEGINS: &[u8] = &[0x01, 0x81, 0, 0, 0, 0, b'a'];
/// A ping without the one byte of its payload, and that byte.
const PING_BEGINS: &[u8] = &[0x89, 0x81, 0, 0, 0, 0];
const PING_ENDS: &[u8] = b"a";
/// A pong.
const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];
/// The first byte of any frame of text.
const HEAD_BEGINS: &[u8] = &[0x81];
/// The reason in the close frame.
const GIVEN_UP: &[u8] = b"\x03\xf0the message took too long to come";
/// In how many turns something that must not happen is looked for.
const TURNS: usize = 100;
/// How often the clock goes on in these tests, in milliseconds; a divisor of what is waited for.
const STEP_MS: u64 = 500;

/// A client on a WebSocket, whose bytes since the handshake are kept.
struct Client {
    socket: TcpStream,
    on_bytes: Vec<u8>,
}

impl Client {
    fn join(world: &mut World) -> Self {
        let address = world.address();
        let parts = &world.shard.parts;
        let token =
            parts.admit.auth.dev_token(UserId::new("alice").unwrap(), parts.clock.now().wall).unwrap().0;
        let mut socket = TcpStream::connect(address).unwrap();
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut client = Self { socket, on_bytes: Vec::new() };
        until(|| {
            world.step();
            client.listen() && client.has_heard(b"\r\n\r\n")
        });
        client.on_bytes.clear();
        client
    }

    /// Begins a message, and lets the shard read it.
    fn begin(&mut self, world: &mut World, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
        let begun = |world: &World| {
            let slots = world.shard.slots.iter().map(|(_, slot)| &slot.state);
            let mut services = slots
                .filter_map(|state| if let State::Waits(service) = state { Some(service) } else { None });
            services.any(|service| service.duplex().is_some_and(|duplex| duplex.message_due_ms().is_some()))
        };
        // The kernel may take a moment to carry it over.
        until(|| {
            world.step();
            begun(world)
        });
    }

    /// Ends a ping, and waits for the answer.
    fn end_ping(&mut self, world: &mut World) {
        self.on_bytes.clear();
        self.socket.write_all(PING_ENDS).unwrap();
        until(|| {
            world.step();
            self.listen() && self.has_heard(&[0x8a, 1, b'a'])
        });
    }

    /// Takes in what has come. False when the server has hung up.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match std::io::Read::read(&mut self.socket, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.on_bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn has_heard(&self, bytes: &[u8]) -> bool {
        self.on_bytes.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Waits until it is told that its message took too long (status 1008).
    fn until_given_up(&mut self, world: &mut World) {
        until(|| {
            world.step();
            self.listen();
            self.has_heard(GIVEN_UP)
        });
    }

    /// Whether it has been told so.
    fn is_given_up(&mut self, world: &mut World) -> bool {
        world.steps(TURNS);
        self.listen();
        self.has_heard(GIVEN_UP)
    }
}

/// Goes on until something holds. The kernel takes its time to carry bytes over, on a machine with much to
/// do.
fn until(mut holds: impl FnMut() -> bool) {
    let ends = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < ends, "it did not come to that");
    }
}

/// Lets time go by, with something said at each step.
fn pass(world: &mut World, client: &mut Client, ms: u64, said: &[u8]) {
    for _ in 0..ms / STEP_MS {
        world.clock.advance_ms(STEP_MS);
        world.steps(2);
        if !said.is_empty() && client.socket.write_all(said).is_ok() {
            world.steps(2);
        }
    }
}

#[test]
fn a_message_that_is_not_ended_ends_the_connection() {
    for (begins, said) in [(BEGINS, &b""[..]), (BEGINS, PONG), (HEAD_BEGINS, b""), (PING_BEGINS, b"")] {
        let mut world = World::new(|_| {});
        let mut client = Client::join(&mut world);
        client.begin(&mut world, begins);
        pass(&mut world, &mut client, MESSAGE_WITHIN_MS - STEP_MS, said);
        assert!(!client.is_given_up(&mut world), "it still has time");
        pass(&mut world, &mut client, 2 * STEP_MS, said);
        client.until_given_up(&mut world);
    }
}

#[test]
fn messages_that_are_sent_to_it_buy_no_time() {
    let mut world = World::new(|_| {});
    let mut client = Client::join(&mut world);
    client.begin(&mut world, BEGINS);
    for number in 0..MESSAGE_WITHIN_MS / STEP_MS + 1 {
        world.publish("@alice", &number.to_string());
        pass(&mut world, &mut client, STEP_MS, b"");
    }
    client.until_given_up(&mut world);
}

#[test]
fn what_comes_in_time_leaves_all_the_time_to_the_next() {
    let mut world = World::new(|_| {});
    let mut client = Client::join(&mut world);
    for _ in 0..3 {
        client.begin(&mut world, PING_BEGINS);
        pass(&mut world, &mut client, MESSAGE_WITHIN_MS - STEP_MS, b"");
        client.end_ping(&mut world);
    }
    // Between two messages there is all the time that heartbeats leave.
    pass(&mut world, &mut client, MESSAGE_WITHIN_MS + STEP_MS, PONG);
    assert!(!client.is_given_up(&mut world) && client.listen());
}
