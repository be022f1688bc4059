//! What `delivered` means: that the client's kernel has acknowledged it, and not only ours taken it.

use encke_engine::ReceiptState;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::*;

/// More than the kernel of a narrow client takes, and less than ours.
pub(super) fn large() -> String {
    format!("\"{}\"", "x".repeat(20_000))
}

/// A client whose kernel takes little on its behalf.
pub(super) fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(address)).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

pub(super) fn reset(socket: &TcpStream) {
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

impl World {
    /// The receipt of the last push, which was to one user.
    pub(super) fn receipt(&self) -> ReceiptState {
        self.receipt_of(self.next_id - 1)
    }

    fn receipt_of(&self, push: u128) -> ReceiptState {
        let (id, now) = (MessageId::from_bits(push), self.app().now().wall);
        let receipts = self.runtime.block_on(self.app().engine.receipts(&id, None, 10, now)).unwrap();
        receipts.unwrap()[0].state
    }

    pub(super) fn until_delivered(&self) {
        self.until(|| self.receipt() == ReceiptState::Delivered);
    }

    /// The receipt once the server has no connection open, and all that it noted is with the engine.
    pub(super) fn receipt_at_the_end(&self, user: &str) -> ReceiptState {
        self.until(|| self.runtime.block_on(self.app().shards.counts()).unwrap().sockets == 0);
        self.until_held(user, 0);
        self.runtime.block_on(self.app().shards.settle(&UserId::new(user).unwrap())).unwrap();
        self.receipt()
    }

    /// How many messages the user's next session is given, which has no cursor.
    pub(super) fn next_session(&self, user: &str) -> usize {
        let (status, answer) = self.poll(user, "hold_s=0");
        assert_eq!(status, 200);
        answer["messages"].as_array().unwrap().len()
    }

    pub(super) fn ask(&self, user: &str, target: &str) -> String {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let head = self.head(user, target);
        if target.starts_with("/v1/ws") {
            head.replace("\r\n\r\n", &format!("\r\n{upgrade}\r\n\r\n"))
        } else {
            head
        }
    }
}

pub(super) const TARGETS: [&str; 5] =
    ["/v1/poll", "/v1/sse", "/v1/stream?as=ndjson", "/v1/stream?as=iframe", "/v1/ws"];

/// Waits until the client's kernel has some of a large push.
fn until_some_came(world: &World, socket: &TcpStream) {
    world.until(|| {
        let mut seen = vec![0; 64 * 1024];
        let count = socket.peek(&mut seen).unwrap_or(0);
        String::from_utf8_lossy(&seen[..count]).contains("xxxx")
    });
}

/// Reads past a mark, in whatever else is no text: frames have heads.
fn read_past(wire: &mut Wire, mark: &[u8]) {
    loop {
        if let Some(at) = wire.seen.windows(mark.len()).position(|window| window == mark) {
            wire.seen.drain(..at + mark.len());
            return;
        }
        let mut buffer = [0; 4096];
        let count = wire.socket.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        wire.seen.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn who_never_read_and_was_reset_was_handed_nothing() {
    let mut world = World::new();
    for (number, target) in TARGETS.into_iter().enumerate() {
        let user = format!("user {number}");
        let mut socket = narrow(world.address);
        socket.write_all(world.ask(&user, target).as_bytes()).unwrap();
        world.until_held(&user, 1);
        world.push(&user, &large());
        until_some_came(&world, &socket);
        reset(&socket);
        drop(socket);
        assert_eq!(world.receipt_at_the_end(&user), ReceiptState::Queued, "{target}");
        assert_eq!(world.next_session(&user), 1, "{target}");
        world.until_delivered();
        assert_eq!(world.next_session(&user), 0, "{target}");
    }
}

#[test]
fn who_reads_was_handed_it() {
    let mut world = World::new();
    for (number, target) in TARGETS.into_iter().enumerate() {
        let user = format!("user {number}");
        let mut wire = world.connect();
        wire.send(&world.ask(&user, target));
        world.until_held(&user, 1);
        for _ in 0..3 {
            world.push(&user, &large());
            // The frame has it in a text within a script.
            read_past(&mut wire, if target.ends_with("iframe") { b"xxxx\\\"" } else { b"xxxx\"" });
            world.until_delivered();
            if target == "/v1/poll" {
                break;
            }
        }
    }
}

#[test]
fn who_hangs_up_after_its_answer_was_handed_it() {
    let mut world = World::new();
    for number in 0..20 {
        let user = format!("user {number}");
        let mut wire = world.connect();
        wire.send(&world.head(&user, "/v1/poll").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        world.until_held(&user, 1);
        world.push(&user, &large());
        assert!(wire.ends());
        assert!(String::from_utf8_lossy(&wire.seen).contains("xxxx"));
        drop(wire);
        assert_eq!(world.receipt_at_the_end(&user), ReceiptState::Delivered);
    }
}

#[test]
fn a_receipt_waits_until_the_last_byte_is_read_and_not_longer() {
    let mut world = World::new();
    let mut wire = Wire { socket: narrow(world.address), seen: Vec::new() };
    wire.send(&world.head("alice", "/v1/sse?channels=news"));
    wire.until("\"open\"");
    world.push("alice", &large());
    until_some_came(&world, &wire.socket);
    let push = world.next_id - 1;
    // Broadcasts behind it change nothing.
    world.publish("news", "7");
    let alice = UserId::new("alice").unwrap();
    world.until(|| {
        world.runtime.block_on(world.app().sessions.list(Some(&alice), None, 1)).unwrap()[0].session.lag == 0
    });
    world.runtime.block_on(world.app().shards.settle(&alice)).unwrap();
    assert_eq!(world.receipt_of(push), ReceiptState::Queued);
    wire.until("xxxx\"");
    world.until(|| world.receipt_of(push) == ReceiptState::Delivered);
    wire.until("\"data\":7");
    world.push("alice", &large());
    wire.until("xxxx\"");
    world.until_delivered();
}
