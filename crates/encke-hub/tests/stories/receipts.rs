//! How far a user was handed the pushes, and what was shown.

use encke_hub::{ConnKey, ControlReply, Output};
use encke_proto::{Cursor, Epoch, Position};

use crate::{
    support::channel,
    world::{Engine, World, attach, attach_to, back},
};

fn handed(world: &mut World) -> Vec<(u64, u64)> {
    let said = world.said().into_iter();
    said.filter_map(|output| match output {
        Output::Handed { position, .. } => Some((position.epoch.0, position.offset)),
        _ => None,
    })
    .collect()
}

fn own(epoch: u64, offset: u64) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.set(&channel("@alice"), Position { epoch: Epoch(epoch), offset });
    cursor
}

#[test]
fn what_is_with_the_kernel_was_handed_and_it_is_said_once() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.come(attach(2, "alice"));
    world.publish_many("@alice", 3);
    world.publish("news");
    world.pull(1);
    world.flushed(1);
    world.flushed(1);
    world.pull(2);
    world.flushed(2);
    assert_eq!(handed(&mut world), [(7, 3)]);
}

#[test]
fn handed_never_goes_back() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 3);
    world.pull(1);
    world.flushed(1);
    world.go(1);
    world.said();
    world.come(back(2, "alice", 1, &own(7, 1)));
    world.flushed(2);
    world.pull(2);
    world.flushed(2);
    assert_eq!(handed(&mut world), []);
    world.publish("@alice");
    world.pull(2);
    world.flushed(2);
    assert_eq!(handed(&mut world), [(7, 4)]);
}

#[test]
fn handed_goes_on_in_a_new_epoch_and_not_back_to_the_old() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(attach(2, "alice"));
    world.publish_many("@alice", 3);
    for conn in [1, 2] {
        world.pull(conn);
        world.flushed(conn);
    }
    world.logs.forget(8);
    world.said();
    world.publish("@alice");
    world.pull(1);
    world.flushed(1);
    world.flushed(2);
    assert_eq!(handed(&mut world), [(8, 1)], "the second tab still stands in the old epoch");
}

#[test]
fn a_cursor_that_claims_more_than_there_is_hands_nothing() {
    let mut world = World::default();
    world.publish("@alice");
    world.come(back(1, "alice", 9, &own(7, 999)));
    world.flushed(1);
    assert_eq!(handed(&mut world), [], "the gap is not told yet");
    world.pull(1);
    world.flushed(1);
    assert_eq!(handed(&mut world), [(7, 1)]);
}

#[test]
fn nothing_is_handed_by_a_connection_that_has_not_begun() {
    let mut world = World::default();
    world.engine(Engine::Waits);
    world.come(attach(1, "alice"));
    world.flushed(1);
    world.flushed(99);
    assert_eq!(handed(&mut world), []);
}

#[test]
fn an_acknowledgement_is_what_was_shown() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 3);
    world.pull(1);
    world.ack(1, "alice", &own(7, 2));
    assert_eq!(world.reply(), Some(ControlReply::Shown(Some(Position { epoch: Epoch(7), offset: 2 }))));
    world.ack(1, "alice", &Cursor::default());
    assert_eq!(world.reply(), Some(ControlReply::Shown(None)));
}

#[test]
fn how_long_a_push_was_not_shown_is_counted_once_for_the_newest() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 2);
    world.pull(1);
    world.flushed(1);
    world.wait_ms(2_000);
    // Of the first it is not known any more when it was delivered.
    world.ack(1, "alice", &own(7, 1));
    assert_eq!(world.hub.traffic().shown_ms.count(), 0);
    world.ack(1, "alice", &own(7, 2));
    world.ack(1, "alice", &own(7, 2));
    let shown_ms = world.hub.traffic().shown_ms;
    assert_eq!(shown_ms.count(), 1);
    assert!((1_000.0..4_000.0).contains(&shown_ms.quantile(0.5).unwrap()), "{shown_ms:?}");
}

#[test]
fn nothing_can_be_shown_that_is_not_there_yet() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 3);
    world.ack(1, "alice", &own(7, 999));
    assert_eq!(world.reply(), Some(ControlReply::Shown(Some(Position { epoch: Epoch(7), offset: 3 }))));
}

#[test]
fn what_was_not_acknowledged_is_given_to_the_next_session_and_what_comes_late_still_counts() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 2);
    world.pull(1);
    let receipt = world.hub.owed(ConnKey(1)).unwrap();
    world.go(1);
    assert_eq!(handed(&mut world), []);
    world.come(attach(2, "alice"));
    assert_eq!(world.pull(2).len(), 2, "the place to begin has not moved");
    world.handed(receipt.clone());
    world.handed(receipt);
    assert_eq!(handed(&mut world), [(7, 2)], "once");
    assert_eq!(world.hub.owed(ConnKey(2)), None, "the other session has nothing to add");
}
