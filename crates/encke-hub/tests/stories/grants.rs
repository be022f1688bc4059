//! A session goes on with a token that grants less than the one before.

use encke_hub::{Attach, ConnKey, ControlReply, ControlRequest, Start};
use encke_proto::Grant;

use crate::{
    support::{session, user},
    world::{World, attach, attach_to, back},
};

fn granted(patterns: &[&str]) -> Grant {
    Grant::of(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

#[test]
fn what_the_new_token_does_not_grant_is_dropped_and_told_and_the_rest_goes_on() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "secret"]));
    world.publish("secret");
    world.publish("news");
    let cursor = world.cursor(1);
    // By its session alone, by its cursor, and as a client that asks for the channels again.
    let ways = [
        Attach { session: Some(session(1001)), ..attach(2, "alice") },
        back(3, "alice", 1, &cursor),
        Attach { session: Some(session(1001)), ..attach_to(4, "alice", &["news", "secret"]) },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let conn = way.conn.0;
        world.come(Attach { granted: granted(&["news"]), ..way });
        let mut pulled = world.pull(conn);
        // The first of them takes the channel away; to the others it is not given back.
        assert_eq!(pulled.remove(0), "secret lost", "{number}");
        assert_eq!(world.pull(conn), [""; 0]);
        assert!(pulled.iter().all(|what| what.starts_with("news")), "{pulled:?}");
        world.publish("secret");
        world.publish("news");
        let pulled = world.pull(conn);
        assert!(pulled.len() == 1 && pulled[0].starts_with("news"), "{pulled:?}");
    }
}

#[test]
fn the_own_channel_needs_no_grant() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let less = Attach { session: Some(session(1001)), granted: Grant::none(), ..attach(2, "alice") };
    world.come(less);
    assert_eq!(world.pull(2), ["news lost"]);
    world.publish("@alice");
    assert_eq!(world.pull(2), ["@alice 1"]);
}

#[test]
fn what_was_followed_on_another_node_is_looked_at_too() {
    let mut here = World::default();
    here.come(attach_to(1, "alice", &["news", "secret"]));
    let release = ControlRequest::Release { session: Some(session(1001)), user: user("alice") };
    here.hub.control(7, release, here.now);
    here.settle();
    let Some(ControlReply::Released(Some(carried))) = here.reply() else { panic!("not released") };
    let mut there = World::default();
    std::mem::swap(&mut there.logs, &mut here.logs);
    there.come(Attach {
        fresh: session(1001),
        carried: *carried,
        granted: granted(&["news"]),
        ..attach(2, "alice")
    });
    assert_eq!(there.hub.session_of(ConnKey(2)), Some(session(1001)));
    assert_eq!(there.pull(2), ["secret lost"]);
    there.publish("secret");
    there.publish("news");
    assert_eq!(there.pull(2), ["news 1"]);
}

#[test]
fn what_was_not_heard_is_told_to_the_next_connection_and_ends_with_the_session() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let less = |conn| Attach {
        session: Some(session(1001)),
        granted: Grant::none(),
        start: Start::Absent,
        ..attach(conn, "alice")
    };
    world.come(less(2));
    world.come(less(3));
    assert_eq!(world.pull(3), ["news lost"]);
    world.come(Attach { channels: attach_to(4, "alice", &["news"]).channels, ..less(4) });
    world.go(4);
    world.wait_ms(3_600_000);
    assert!(world.is_empty());
}

/// The connection that would have been told breaks before, and the next one has the grant again.
#[test]
fn a_channel_that_is_followed_again_is_not_told_as_lost() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let again = |conn, granted| Attach {
        session: Some(session(1001)),
        granted,
        start: Start::Absent,
        ..attach(conn, "alice")
    };
    world.come(again(2, Grant::none()));
    let channels = attach_to(3, "alice", &["news"]).channels;
    world.come(Attach { channels, ..again(3, Grant::all()) });
    world.publish("news");
    assert_eq!(world.pull(3), ["news 1"]);
}
