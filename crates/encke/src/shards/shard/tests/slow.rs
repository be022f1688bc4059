//! Receivers that are too far behind: they are closed, or skip with a gap, and who catches up is left alone.

use encke_proto::SessionId;

use super::*;
use crate::shards::{Claiming, Peers, Unsent};

#[test]
fn who_falls_too_far_behind_is_closed_and_goes_on_by_its_cursor() {
    let mut world = World::new(|config| config.slow.max_messages = 50);
    let mut alice = world.come("alice", Start::Absent);
    world.begin(std::slice::from_mut(&mut alice));
    for _ in 0..80 {
        world.publish("news", &large());
        world.step();
    }
    world.clock.advance_ms(600);
    world.steps(3);
    let counts = world.step();
    assert_eq!(
        (counts.held, counts.sessions, counts.sockets),
        (0, 0, 1),
        "it still has its time to take what was sent"
    );
    // It does, and reads why.
    let mut told = world.all_for(&mut alice);
    assert!(alice.over);
    let close = told.pop().unwrap();
    assert_eq!(
        (&close["event"], &close["code"], &close["reconnect"]),
        (&"close".into(), &"slow".into(), &true.into())
    );
    let got = offsets(&told, "news");
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    let mut again = world.come("alice", from(got.len() as u64));
    assert_eq!(offsets(&world.all_for(&mut again), "news"), (got.len() as u64 + 1..=80).collect::<Vec<_>>());
}

#[test]
fn as_configured_it_goes_on_near_the_head_with_a_gap_that_says_exactly_what_it_missed() {
    let mut world = World::new(|config| {
        config.slow.policy = SlowPolicy::Gap;
        config.slow.max_messages = 50;
        config.slow.max_bytes = 1 << 30;
    });
    let mut alice = world.come("alice", Start::Absent);
    world.begin(std::slice::from_mut(&mut alice));
    for _ in 0..150 {
        world.publish("news", &large());
        world.publish("@alice", "1");
        world.step();
    }
    // What was pushed to her is not skipped, and there is too much of that as well.
    world.clock.advance_ms(600);
    world.steps(3);
    assert_eq!(world.step().sessions, 0);
    drop(alice);

    let mut bob = world.come("bob", Start::Absent);
    world.begin(std::slice::from_mut(&mut bob));
    for _ in 0..150 {
        world.publish("news", &large());
        world.step();
    }
    world.publish("@bob", "1");
    world.clock.advance_ms(600);
    world.steps(3);
    assert_eq!(world.step().sessions, 1);
    let mut told = Vec::new();
    for _ in 0..200 {
        bob.take();
        told.extend(bob.read());
        world.step();
    }
    let at = told.iter().position(|event| event["event"] == "gap").unwrap();
    let (before, after) = told.split_at(at);
    let (got, gap) = (offsets(before, "news"), &after[0]);
    assert_eq!(got, (151..=got.last().copied().unwrap()).collect::<Vec<_>>());
    assert_eq!(
        (gap["from"].as_u64(), gap["to"].as_u64(), gap["reason"].as_str()),
        (got.last().map(|last| last + 1), Some(250), Some("slow"))
    );
    assert_eq!(offsets(after, "news"), (251..=300).collect::<Vec<_>>());
    assert_eq!(offsets(&told, "@bob"), [1]);
    assert_eq!(world.step().slow, 0);
}

#[test]
fn a_client_that_catches_up_is_not_slow_however_far_behind_it_began() {
    let mut world = World::new(|config| config.slow.max_messages = 20);
    for _ in 0..400 {
        world.publish("news", &large());
    }
    let mut alice = world.come("alice", from(0));
    world.steps(4);
    let mut told = Vec::new();
    for _ in 0..800 {
        // A slow network: a write in three quarters of a second, while all others get a message now and then.
        alice.take();
        told.extend(alice.read());
        if told.len() % 10 == 0 {
            world.publish("news", "1");
        }
        world.clock.advance_ms(750);
        world.steps(3);
    }
    let (got, head) = (offsets(&told, "news"), world.log[&ChannelName::public("news").unwrap()].len() as u64);
    assert_eq!(got, (1..=head).collect::<Vec<_>>());
    assert_eq!(world.step().slow, 0);
}

/// A request that comes from another shard with more than its socket takes.
fn comes_with_unsent(world: &mut World, target: &str, query: &str) -> std::net::TcpStream {
    let (sink, client) = world.narrow_line();
    let mut admission = admission("alice", Start::Absent);
    admission.transport = native_transport(target, query);
    let until_ms = world.shard.now.mono_ms + 10_000;
    let unsent = Unsent { bytes: vec![b'x'; 8_000_000], sent: 0, until_ms, look_ms: until_ms };
    let arrival = Arrival {
        sink,
        inbound: Vec::new(),
        verdict: Verdict::Admitted(Box::new(admission)),
        unsent: Some(Box::new(unsent)),
    };
    world.mailbox.post(ShardCommand::Arrived(Box::new(arrival))).unwrap();
    world.steps(4);
    client
}

#[test]
fn what_a_connection_comes_to_puts_off_no_end_of_one_that_takes_nothing() {
    for (target, query) in [("/v1/poll", ""), ("/v1/stream", "as=ndjson"), ("/v1/sse", "")] {
        for claimed in [false, true] {
            let mut world = World::new(|_| {});
            if claimed {
                world.shard.parts.peers = Some(Arc::new(Silent));
            }
            let client = comes_with_unsent(&mut world, target, query);
            world.clock.advance_ms(9_900);
            world.steps(3);
            assert_eq!(world.step().sockets, 1, "{target} {claimed}");
            world.clock.advance_ms(300);
            world.steps(3);
            assert_eq!((world.step().sockets, world.step().unsent_bytes), (0, 0), "{target} {claimed}");
            drop(client);
        }
    }
}

#[test]
fn one_that_takes_it_in_the_end_has_the_time_of_what_it_came_to() {
    let mut world = World::new(|_| {});
    world.shard.parts.peers = Some(Arc::new(Silent));
    let mut client = comes_with_unsent(&mut world, "/v1/poll", "");
    world.clock.advance_ms(600);
    world.steps(3);
    client.set_nonblocking(true).unwrap();
    let ends = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while world.step().unsent_bytes > 0 {
        let _ = client.read(&mut [0; 100_000]);
        assert!(std::time::Instant::now() < ends, "it is not sent");
    }
    // The other nodes have ten seconds to answer.
    world.clock.advance_ms(9_000);
    world.steps(3);
    assert_eq!(world.step().sockets, 1);
    world.clock.advance_ms(600);
    world.steps(3);
    assert_eq!(world.step().sockets, 0);
}

/// Other nodes that do not answer.
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
