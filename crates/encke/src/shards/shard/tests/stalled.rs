//! Receivers that take nothing: what becomes of their sockets, and by how many bytes they may fall behind.

use std::slice::from_mut;

use encke_hub::{CloseTarget, ControlReply, ControlRequest};
use encke_proto::{Close, CloseCode, SessionId};

use super::*;
use crate::{
    auth::{Claims, Grant, Identity},
    transports::{ConnectionState, Duplex},
};

/// Every transport that has a connection of its own, as it is asked for.
const TRANSPORTS: [(&str, &str); 5] = [
    ("/v1/poll", ""),
    ("/v1/sse", ""),
    ("/v1/stream", "as=ndjson"),
    ("/v1/stream", "as=iframe"),
    ("/v1/ws", ""),
];
/// When its token ends, in milliseconds after the beginning.
const TOKEN_MS: u64 = 5_000;

/// What ends a session whose receiver takes nothing.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed(CloseCode, bool),
    TokenEnds,
    TakenOver,
    HangsUp,
}

const ENDS: [End; 6] = [
    End::Closed(CloseCode::Client, false),
    End::Closed(CloseCode::Operator, false),
    End::Closed(CloseCode::Shutdown, true),
    End::TokenEnds,
    End::TakenOver,
    End::HangsUp,
];

/// The session of the receiver.
fn session() -> Option<SessionId> {
    Some(SessionId::from_bits(7))
}

fn asks(transport: (&str, &str), start: Start) -> Admission {
    let mut asked = admission("alice", start);
    asked.transport = native_transport(transport.0, transport.1);
    asked.request_state.plain = false;
    asked.token_ends = Time(1_700_000_000_000 + TOKEN_MS);
    if asked.transport.is_duplex() {
        let claims = Claims {
            user: asked.user.clone(),
            expires_s: u64::MAX,
            issued_s: None,
            jti: None,
            channels: Grant::all(),
            publish: Grant::none(),
        };
        let duplex = Duplex::new(Some(Identity::new(claims, false)), "accepted".into(), None);
        asked.state = Some(Box::new(ConnectionState::Duplex(duplex)));
    }
    asked
}

impl World {
    /// A receiver that has been sent more than its socket takes.
    fn stalled(&mut self, transport: (&str, &str)) -> std::net::TcpStream {
        for _ in 0..20 {
            self.publish("news", &large());
        }
        let (sink, client) = self.narrow_line();
        self.admit(sink, Admission { fresh: session(), ..asks(transport, from(0)) });
        let stalls = (0..TURNS_MAX).any(|_| self.step().slow == 1);
        assert!(stalls, "{transport:?}: the kernel takes it all");
        client
    }

    /// Closes the sessions of the receiver; how many there were.
    pub(super) fn close(&mut self, code: CloseCode, reconnect: bool) -> Counts {
        let (answer, mut closed) = oneshot::channel();
        let close = Close { code, reason: String::new(), reconnect, retry_ms: None };
        let target = CloseTarget::User(UserId::new("alice").unwrap());
        let request = Box::new(ControlRequest::Close { target, close });
        self.mailbox.post(ShardCommand::Control { request, answer }).unwrap();
        let counts = self.step();
        assert_eq!(closed.try_recv().unwrap(), ControlReply::Closed(1));
        counts
    }
}

#[test]
fn however_a_session_ends_whose_receiver_takes_nothing_its_socket_goes_with_it() {
    for transport in TRANSPORTS {
        for end in ENDS {
            let mut world = World::new(|_| {});
            let client = world.stalled(transport);
            let before = world.step();
            assert_eq!((before.sessions, before.sockets), (1, 1), "{transport:?} {end:?}");
            assert!(before.unsent_bytes > 0, "{transport:?} {end:?}");
            let (sessions, sockets) = match end {
                End::Closed(code, reconnect) => {
                    let counts = world.close(code, reconnect);
                    assert_eq!(
                        (counts.sockets, counts.unsent_bytes),
                        (0, 0),
                        "{transport:?} {end:?}: when the close is answered"
                    );
                    (0, 0)
                }
                End::TokenEnds => {
                    world.clock.advance_ms(TOKEN_MS + 1_000);
                    (0, 0)
                }
                End::TakenOver => {
                    let (body_sink, head, body) =
                        body_sink(world.shard.parts.shards.body_sink_id(), world.mailbox.clone(), None);
                    let newer =
                        Admission { session: session(), ..asks(("/v1/stream", "as=ndjson"), Start::Absent) };
                    world.admit(Sink::Body(Box::new(body_sink)), newer);
                    // Its receiver is there, and is no part of the story.
                    std::mem::forget((head, body));
                    (1, 1)
                }
                End::HangsUp => {
                    drop(client);
                    // The session stays for its grace time.
                    (1, 0)
                }
            };
            let ended = (0..TURNS_MAX).any(|_| {
                let counts = world.step();
                (counts.sessions, counts.sockets, counts.slow, counts.unsent_bytes)
                    == (sessions, sockets, 0, 0)
            });
            assert!(ended, "{transport:?} {end:?}: {:?}", world.step());
        }
    }
}

#[test]
fn who_is_slow_and_never_takes_what_it_was_sent_keeps_its_socket_for_its_time_and_no_longer() {
    for transport in TRANSPORTS.into_iter().skip(1) {
        let mut world = World::new(|config| config.slow.max_messages = 10);
        let _client = world.stalled(transport);
        // Who began far behind catches up; only what has come since counts.
        for _ in 0..20 {
            world.publish("news", &large());
        }
        world.clock.advance_ms(600);
        world.steps(3);
        let counts = world.step();
        assert_eq!((counts.sessions, counts.sockets), (0, 1), "{transport:?}: it may still read why");
        world.clock.advance_ms(9_000);
        world.steps(2);
        assert_eq!(world.step().sockets, 1, "{transport:?}");
        world.clock.advance_ms(1_000);
        world.steps(2);
        let counts = world.step();
        assert_eq!((counts.sockets, counts.slow, counts.unsent_bytes), (0, 0, 0), "{transport:?}");
    }
}

#[test]
fn t11_who_is_too_many_bytes_behind_is_closed_however_few_messages_they_are() {
    // There are some 660,000 bytes, of which the receiver has been sent some 100,000 at most.
    for (max_bytes, ends) in [(100_000, true), (500_000, true), (700_000, false), (1 << 30, false)] {
        let mut world = World::new(|config| {
            config.slow.max_messages = 1_000_000;
            config.slow.max_bytes = max_bytes;
        });
        let mut alice = world.come("alice", Start::Absent);
        world.begin(from_mut(&mut alice));
        for _ in 0..80 {
            world.publish("news", &large());
            world.step();
        }
        world.clock.advance_ms(600);
        world.steps(3);
        assert_eq!(world.step().sessions == 0, ends, "{max_bytes}");
        let told = world.all_for(&mut alice);
        let last = told.last().unwrap();
        assert_eq!(
            last["event"] == "close" && last["code"] == "slow" && last["reconnect"] == true,
            ends,
            "{max_bytes} {last}"
        );
    }
}

#[test]
fn as_configured_it_goes_on_within_the_bytes_that_it_may_be_behind() {
    let mut world = World::new(|config| {
        config.slow.policy = SlowPolicy::Gap;
        config.slow.max_messages = 1_000_000;
        config.slow.max_bytes = 100_000;
    });
    let mut alice = world.come("alice", Start::Absent);
    world.begin(from_mut(&mut alice));
    for _ in 0..150 {
        world.publish("news", &large());
        world.step();
    }
    world.clock.advance_ms(600);
    world.steps(3);
    assert_eq!(world.step().sessions, 1);
    let told = world.all_for(&mut alice);
    let at = told.iter().position(|event| event["event"] == "gap").unwrap();
    let (before, after) = (offsets(&told[..at], "news"), offsets(&told[at..], "news"));
    // Each is some 8,300 bytes with what is around its data.
    assert!((10..=12).contains(&after.len()), "{after:?}");
    let first = 151 - after.len() as u64;
    assert_eq!(after, (first..=150).collect::<Vec<_>>());
    let gap = &told[at];
    assert_eq!(
        (gap["from"].as_u64(), gap["to"].as_u64()),
        (before.last().map(|last| last + 1), Some(first - 1))
    );
    assert_eq!(world.step().slow, 0);
}
