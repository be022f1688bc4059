//! Devices of a user: each goes on where it was, and is given each push once.

use encke_hub::{Attach, Device, Output, Start};
use encke_proto::{Cursor, DeviceName, Epoch, Position};

use crate::{
    support::{channel, session},
    world::{World, attach, back},
};

/// A connection of a device that was handed so much before.
fn of(device: &str, place: Option<u64>, attach: Attach) -> Attach {
    let place = place.map(|offset| Position { epoch: Epoch(7), offset });
    Attach { device: Some(Device { name: DeviceName::new(device).unwrap(), place }), ..attach }
}

/// What was said of how far devices have got.
fn reached(world: &mut World) -> Vec<(String, u64)> {
    let said = world.said().into_iter();
    said.filter_map(|output| match output {
        Output::Reached(reached) => Some((reached.device.to_string(), reached.position.offset)),
        _ => None,
    })
    .collect()
}

fn own(offset: u64) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.set(&channel("@alice"), Position { epoch: Epoch(7), offset });
    cursor
}

#[test]
fn each_device_is_given_each_push_whatever_others_were_handed() {
    let mut world = World::default();
    world.publish_many("@alice", 2);
    world.come(attach(1, "alice"));
    assert_eq!(world.pull(1), ["@alice 1", "@alice 2"]);
    world.flushed(1);
    assert_eq!(reached(&mut world), [], "it is of no device");
    // Never seen: all that is kept, without a word about what is not.
    world.come(of("laptop", None, attach(2, "alice")));
    assert_eq!(world.pull(2), ["@alice 1", "@alice 2"]);
    world.flushed(2);
    world.flushed(2);
    assert_eq!(reached(&mut world), [("laptop".into(), 2)], "it is said once");
    world.come(of("phone", Some(1), attach(3, "alice")));
    assert_eq!(world.pull(3), ["@alice 2"]);
    world.publish("@alice");
    for conn in [1, 2, 3] {
        assert_eq!(world.pull(conn), ["@alice 3"]);
        world.flushed(conn);
    }
    assert_eq!(reached(&mut world), [("laptop".into(), 3), ("phone".into(), 3)]);
    world.come(attach(4, "alice"));
    assert_eq!(world.pull(4), [""; 0], "of no device: behind what some session was handed");
}

#[test]
fn a_cursor_and_all_that_is_kept_win_over_the_place() {
    let mut world = World::default();
    world.publish_many("@alice", 3);
    world.come(Attach { start: Start::Cursor(own(1)), ..of("phone", Some(2), attach(1, "alice")) });
    assert_eq!(world.pull(1), ["@alice 2", "@alice 3"]);
    world.come(Attach { start: Start::Earliest, ..of("phone", Some(2), attach(2, "alice")) });
    assert_eq!(world.pull(2), ["@alice 1", "@alice 2", "@alice 3"]);
    // A cursor that does not name the own channel says nothing of it.
    let mut news = Cursor::default();
    news.set(&channel("news"), Position { epoch: Epoch(7), offset: 0 });
    world.come(Attach { start: Start::Cursor(news), ..of("tablet", Some(2), attach(3, "alice")) });
    assert_eq!(world.pull(3), ["@alice 3"]);
}

#[test]
fn a_place_does_not_go_back_when_a_client_asks_for_more() {
    let mut world = World::default();
    world.publish_many("@alice", 3);
    world.come(of("phone", None, attach(1, "alice")));
    world.pull(1);
    world.flushed(1);
    assert_eq!(reached(&mut world), [("phone".into(), 3)]);
    world.come(Attach {
        device: of("phone", Some(3), attach(0, "alice")).device,
        ..back(2, "alice", 1, &own(0))
    });
    assert_eq!(world.pull(2), ["@alice 1", "@alice 2", "@alice 3"]);
    world.flushed(2);
    assert_eq!(reached(&mut world), []);
}

#[test]
fn a_session_that_lives_goes_on_where_it_is() {
    let mut world = World::default();
    world.publish_many("@alice", 2);
    world.come(of("phone", None, attach(1, "alice")));
    assert_eq!(world.pull(1), ["@alice 1", "@alice 2"]);
    world.go(1);
    world.come(of("phone", None, Attach { session: Some(session(1001)), ..attach(2, "alice") }));
    assert_eq!(world.pull(2), [""; 0]);
}

#[test]
fn two_sessions_of_a_device_are_given_all_and_its_place_is_the_farthest() {
    let mut world = World::default();
    world.come(of("phone", None, attach(1, "alice")));
    world.come(of("phone", None, attach(2, "alice")));
    world.publish("@alice");
    assert_eq!((world.pull(1), world.pull(2)), (vec!["@alice 1".to_owned()], vec!["@alice 1".to_owned()]));
    world.flushed(1);
    world.flushed(2);
    assert_eq!(reached(&mut world), [("phone".into(), 1)], "the second brings no news");
    world.publish_many("@alice", 2);
    world.pull(2);
    world.flushed(2);
    assert_eq!(reached(&mut world), [("phone".into(), 3)]);
}

#[test]
fn what_is_acknowledged_when_the_session_is_gone_counts() {
    let mut world = World::default();
    world.come(Attach { lasting: false, ..of("phone", None, attach(1, "alice")) });
    world.publish("@alice");
    world.pull(1);
    let receipt = world.hub.owed(encke_hub::ConnKey(1)).unwrap();
    world.go(1);
    assert!(world.is_empty());
    world.said();
    world.handed(receipt);
    assert_eq!(reached(&mut world), [("phone".into(), 1)]);
}

#[test]
fn what_a_device_lost_meanwhile_is_told_as_a_gap() {
    let mut world = World::default();
    world.publish_many("@alice", 5);
    world.logs.trim(&channel("@alice"), 3);
    world.come(of("phone", Some(1), attach(1, "alice")));
    assert_eq!(world.pull(1), ["gap @alice 2-2", "@alice 3", "@alice 4", "@alice 5"]);
    world.come(of("new", None, attach(2, "alice")));
    assert_eq!(world.pull(2), ["@alice 3", "@alice 4", "@alice 5"]);
    // In a log that has nothing to do with that of before, no place means anything.
    world.logs.forget(8);
    world.publish("@alice");
    world.come(of("tablet", Some(5), attach(3, "alice")));
    assert_eq!(world.pull(3), ["gap @alice 6-", "@alice 1"]);
    world.flushed(3);
    assert_eq!(reached(&mut world), [("tablet".into(), 1)]);
}
