//! Who is too far behind goes on near the head, with a gap that says exactly what it will not get; or is
//! closed, and comes back with its cursor.

use encke_hub::{Attach, ConnKey, HubConfig, Lag, Start};
use encke_hub::{Ending, Pulled};
use encke_proto::{Close, CloseCode, Cursor, Epoch, Gap, GapReason, Position};

use crate::{
    support::channel,
    world::{Engine, World, attach, attach_to, back},
};

fn keep(messages: u64) -> Lag {
    Lag { messages, bytes: u64::MAX }
}

fn messages(world: &World, conn: u64) -> u64 {
    world.hub.lag(ConnKey(conn)).messages
}

#[test]
fn the_lag_is_what_was_not_given_whether_the_window_holds_it_or_not() {
    let mut world = World::new(HubConfig { window_messages: 10, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    assert_eq!(world.hub.lag(ConnKey(1)), Lag::default());
    world.publish_many("news", 4);
    let four = world.hub.lag(ConnKey(1));
    assert_eq!(four.messages, 4);
    world.publish_many("news", 36);
    assert_eq!(
        world.hub.lag(ConnKey(1)),
        Lag { messages: 40, bytes: four.bytes * 10 },
        "messages are alike here"
    );
    world.publish_many("@alice", 3);
    assert_eq!(messages(&world, 1), 40, "of the channel where it is the most");
    world.pull(1);
    assert_eq!(world.hub.lag(ConnKey(1)), Lag::default());
    assert_eq!(world.hub.lag(ConnKey(2)), Lag::default(), "a connection that is not there does not lag");
}

#[test]
fn a_session_that_skips_is_told_exactly_what() {
    let mut world = World::new(HubConfig { window_messages: 10, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 3);
    world.pull(1);
    world.publish_many("news", 50);
    assert_eq!(world.hub.skip(ConnKey(1), keep(5)), 45);
    world.settle();
    assert_eq!(messages(&world, 1), 5, "what it will not get is no lag");
    let before = world.cursor(1).position(&channel("news")).unwrap();
    assert_eq!(before.offset, 3, "the cursor moves when the gap is told");
    let pulled = world.hub.pull(ConnKey(1), world.now);
    let gap = Gap { channel: channel("news"), from: 4, to: Some(48), reason: GapReason::Slow };
    assert!(matches!(pulled, Pulled::Gap(told) if told == gap));
    assert_eq!(world.cursor(1).position(&channel("news")).unwrap().offset, 48);
    assert_eq!(world.pull(1), (49..=53).map(|offset| format!("news {offset}")).collect::<Vec<_>>());
}

#[test]
fn a_gap_that_is_not_told_yet_grows_and_goes_on_behind_the_window() {
    let mut world = World::new(HubConfig { window_messages: 10, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 50);
    assert_eq!(world.hub.skip(ConnKey(1), keep(20)), 30);
    world.publish_many("news", 50);
    assert_eq!(world.hub.skip(ConnKey(1), keep(20)), 50);
    assert_eq!(world.hub.skip(ConnKey(1), keep(20)), 0, "there is nothing more to skip");
    let mut expected = vec!["gap news 1-80".to_owned()];
    expected.extend((81..=100).map(|offset| format!("news {offset}")));
    assert_eq!(world.pull(1), expected);
}

#[test]
fn bytes_count_as_well_and_the_newest_stays() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish("news");
    let one = world.hub.lag(ConnKey(1)).bytes;
    world.publish_many("news", 9);
    assert_eq!(world.hub.skip(ConnKey(1), Lag { messages: 1_000, bytes: 3 * one }), 7);
    assert_eq!(world.hub.skip(ConnKey(1), Lag { messages: 1_000, bytes: 1 }), 2);
    assert_eq!(world.pull(1), ["gap news 1-9", "news 10"]);
}

#[test]
fn a_page_that_was_asked_for_before_is_not_handed_out() {
    let mut world = World::new(HubConfig { window_messages: 5, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 30);
    world.engine(Engine::Waits);
    assert_eq!(world.pull(1), [""; 0], "it waits for a page");
    let late = world.answers_on_their_way();
    world.said();
    assert_eq!(world.hub.skip(ConnKey(1), keep(2)), 28);
    world.settle();
    assert!(world.is_ready(1), "it need not wait for the page any more");
    world.arrive(late);
    assert_eq!(world.pull(1), ["gap news 1-28", "news 29", "news 30"]);
}

#[test]
fn what_was_pushed_to_a_user_is_never_skipped() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("@alice", 50);
    assert_eq!(world.hub.skip(ConnKey(1), keep(5)), 0);
    assert_eq!(messages(&world, 1), 50);
    assert_eq!(world.pull(1).len(), 50);
}

#[test]
fn a_gap_of_unknown_end_stays_one() {
    let mut world = World::default();
    world.publish_many("news", 50);
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { epoch: Epoch(99), offset: 3 });
    world.come(Attach { start: Start::Cursor(cursor), ..attach(1, "alice") });
    assert_eq!(world.hub.skip(ConnKey(1), keep(5)), 0);
    assert_eq!(world.pull(1)[0], "gap news 4-");
}

#[test]
fn who_is_closed_for_being_slow_loses_nothing() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 2);
    world.pull(1);
    world.publish_many("news", 40);
    world.publish("@alice");
    let close = Close { code: CloseCode::Slow, reason: String::new(), reconnect: true, retry_ms: None };
    world.hub.end(ConnKey(1), &close, world.now);
    world.settle();
    let Some(Ending::Closed(close_notice)) = world.ending(1) else { panic!("not closed") };
    assert_eq!(close_notice.close, close);
    assert!(world.is_empty());
    world.come(back(2, "alice", 1, &Cursor::parse(&close_notice.cursor).unwrap()));
    let mut expected = vec!["@alice 1".to_owned()];
    expected.extend((3..=42).map(|offset| format!("news {offset}")));
    assert_eq!(world.pull(2), expected);
}
