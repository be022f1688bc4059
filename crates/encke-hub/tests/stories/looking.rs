//! Operators who look on at what a user is given: nothing of it is taken from the user.

use encke_hub::{Attach, CloseTarget, ConnKey, ControlRequest, Ending, HubConfig, Look, Output, Start};
use encke_proto::{Close, CloseCode, Epoch, Position, Time};

use crate::{
    support::{channel, session, user},
    world::{World, attach, operator},
};

/// An operator looks on at alice.
fn look(world: &mut World, conn: u64, start: Start) {
    let id = session(5000 + u128::from(conn));
    let look = Look { conn: ConnKey(conn), id, user: user("alice"), transport: "sse", start, ends: Time(0) };
    let now = world.now;
    world.hub.look_on(look, now);
    world.settle();
}

/// How far alice was handed the pushes, as it was said.
fn handed(said: &[Output]) -> Vec<u64> {
    let offset = |output: &Output| match output {
        Output::Handed { position, .. } => Some(position.offset),
        _ => None,
    };
    said.iter().filter_map(offset).collect()
}

/// Which connections ended, and how.
fn ended(world: &mut World) -> Vec<(u64, CloseCode)> {
    let end = |output| match output {
        Output::Ended { conn, ending: Ending::Closed(told) } => Some((conn.0, told.close.code)),
        Output::Ended { conn, ending } => panic!("{conn:?} ended: {ending:?}"),
        _ => None,
    };
    world.said().into_iter().filter_map(end).collect()
}

#[test]
fn who_looks_on_sees_what_waits_and_what_comes_and_the_user_gets_it_all() {
    let mut world = World::default();
    world.publish_many("@alice", 2);
    look(&mut world, 1, Start::Absent);
    assert_eq!(world.pull(1), ["@alice 1", "@alice 2"]);
    world.flushed(1);
    world.publish("@alice");
    assert_eq!(world.pull(1), ["@alice 3"]);
    world.flushed(1);
    world.go(1);
    let said = world.said();
    assert_eq!(handed(&said), [0_u64; 0]);
    let ready = Output::Ready { conn: ConnKey(1), broadcast: false };
    assert_eq!(said.iter().filter(|output| **output == ready).count(), 2, "for what waited, and what came");
    world.come(attach(2, "alice"));
    assert_eq!(world.pull(2), ["@alice 1", "@alice 2", "@alice 3"]);
    world.flushed(2);
    assert_eq!(handed(&world.said()), [3]);
    look(&mut world, 3, Start::Absent);
    assert_eq!(world.pull(3), [""; 0]);
    look(&mut world, 3, Start::Earliest);
    assert_eq!(world.pull(3), ["@alice 1", "@alice 2", "@alice 3"]);
}

#[test]
fn the_user_is_offline_and_no_list_or_limit_counts_who_looks_on() {
    let mut world = World::new(HubConfig { max_sessions_per_user: 1, ..HubConfig::default() });
    for conn in 1..4 {
        look(&mut world, conn, Start::Absent);
    }
    assert_eq!(world.hub.online().count(), 0);
    assert_eq!((world.hub.session_count(), world.hub.sessions(None).len()), (0, 0));
    assert_eq!(world.hub.users_following(&channel("@alice")).count(), 0);
    world.come(attach(4, "alice"));
    look(&mut world, 5, Start::Absent);
    assert_eq!(ended(&mut world), []);
    assert_eq!(world.hub.sessions(None).len(), 1);
    // Its id is no session of the user's, to go on with.
    world.come(Attach { session: Some(session(5001)), ..attach(6, "alice") });
    assert_eq!(ended(&mut world), [(4, CloseCode::TooManySessions)]);
    for conn in 1..7 {
        world.go(conn);
    }
    world.wait_ms(HubConfig::default().grace_ms + 1_000);
    assert!(world.is_empty());
}

#[test]
fn what_the_user_was_handed_elsewhere_meanwhile_is_not_handed_again() {
    let mut world = World::default();
    world.publish_many("@alice", 2);
    look(&mut world, 1, Start::Absent);
    assert_eq!(world.pull(1).len(), 2);
    // On another node, whose hub is not this one.
    world.logs.hand(&channel("@alice"), Position { epoch: Epoch(7), offset: 2 });
    world.come(attach(2, "alice"));
    world.publish("@alice");
    assert_eq!(world.pull(2), ["@alice 3"]);
    assert_eq!(world.pull(1), ["@alice 3"], "who looks on goes on");
}

#[test]
fn it_ends_with_its_key_and_with_the_user_and_not_when_the_user_is_closed() {
    let mut world = World::default();
    look(&mut world, 1, Start::Absent);
    look(&mut world, 2, Start::Absent);
    world.come(attach(3, "alice"));
    world.close(&CloseTarget::User(user("alice")));
    assert_eq!(ended(&mut world), [(3, CloseCode::Operator)]);
    world.close(&CloseTarget::Look(session(5001), user("alice")));
    assert_eq!(ended(&mut world), [(1, CloseCode::Operator)]);
    let close = Close { code: CloseCode::Deleted, ..operator() };
    world.control(ControlRequest::Close { target: CloseTarget::User(user("alice")), close });
    assert_eq!(ended(&mut world), [(2, CloseCode::Deleted)]);
    assert!(world.is_empty());
}
