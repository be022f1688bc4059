//! Requests with a body that wait: the shard reads them by itself. There is no hyper in these tests,
//! so whatever were left to it would end.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::*;

const BODY: &str = "whatever scripts send";

impl World {
    fn client(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn until(&mut self, mut holds: impl FnMut(&Counts) -> bool) {
        let ends = Instant::now() + Duration::from_secs(20);
        loop {
            let counts = self.step();
            if holds(&counts) {
                return;
            }
            assert!(Instant::now() < ends, "it did not come to that: {counts:?}");
        }
    }

    /// What comes until it holds `mark`.
    fn seen(&mut self, socket: &mut TcpStream, mark: &str) -> String {
        let mut seen = Vec::new();
        self.until(|_| {
            let mut buffer = [0; 4096];
            match socket.read(&mut buffer) {
                Ok(0) => panic!("the server has hung up: {}", String::from_utf8_lossy(&seen)),
                Ok(count) => seen.extend_from_slice(&buffer[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            String::from_utf8_lossy(&seen).contains(mark)
        });
        String::from_utf8(seen).unwrap()
    }
}

fn post(cookie: &str) -> String {
    let length = BODY.len();
    format!(
        "POST /classic/backend HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: {length}\r\n\r\n{BODY}"
    )
}

#[test]
fn a_post_waits_in_a_slot_and_the_connection_goes_on() {
    let mut world = World::new(|_| {});
    let mut socket = world.client();
    let request = post("theme=dark");
    // In pieces, and then with the next one behind it.
    for piece in request.as_bytes().chunks(40) {
        socket.write_all(piece).unwrap();
        world.step();
    }
    world.until(|counts| counts.held == 1);
    world.publish("classic", "\"one\"");
    let answer = world.seen(&mut socket, "\"stop\":0}");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("{\"msg\":\"one\",\"stop\":0}"),
        "{answer}"
    );
    let cookie = answer.split_once("set-cookie: ").unwrap().1.split(';').next().unwrap().to_owned();
    socket.write_all((post(&cookie) + &post(&cookie)).as_bytes()).unwrap();
    world.until(|counts| counts.held == 1);
    world.publish("classic", "\"two\"");
    // The second was sent ahead, with the same position.
    let mut answers = String::new();
    while answers.matches("\"msg\":\"two\"").count() < 2 {
        answers += &world.seen(&mut socket, "}");
    }
    drop(socket);
    world.until(|counts| (counts.held, counts.sessions, counts.sockets) == (0, 0, 0));
}

#[test]
fn t7_a_body_that_does_not_come_is_not_waited_for() {
    let mut world = World::new(|_| {});
    let mut socket = world.client();
    let request = post("");
    socket.write_all(&request.as_bytes()[..request.len() - 3]).unwrap();
    world.until(|counts| counts.sockets == 1);
    world.steps(20);
    world.clock.advance_ms(9_000);
    world.steps(2);
    socket.write_all(b"x").unwrap();
    world.steps(20);
    world.clock.advance_ms(1_000);
    assert!(world.seen(&mut socket, "\r\n\r\n").starts_with("HTTP/1.1 408 "));
}
