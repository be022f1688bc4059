//! Who is behind the window is caught up from the engine, a page at a time.

use encke_hub::{Attach, HubConfig, Start};
use encke_proto::{Cursor, Epoch, Position};

use crate::{
    support::channel,
    world::{Engine, World, attach, attach_to, back},
};

fn at(offset: u64) -> Start {
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { epoch: Epoch(7), offset });
    Start::Cursor(cursor)
}

fn news(offsets: impl Iterator<Item = u64>) -> Vec<String> {
    offsets.map(|offset| format!("news {offset}")).collect()
}

#[test]
fn pages_follow_each_other_until_the_window_is_reached() {
    let mut world = World::new(HubConfig { window_messages: 5, ..HubConfig::default() });
    world.publish_many("news", 57);
    world.come(Attach { start: at(2), ..attach(1, "alice") });
    assert_eq!(world.pull(1), news(3..=57));
}

#[test]
fn messages_that_come_while_catching_up_come_in_their_place() {
    let mut world = World::new(HubConfig { window_messages: 5, ..HubConfig::default() });
    world.publish_many("news", 30);
    world.engine(Engine::Waits);
    world.come(Attach { start: at(2), ..attach(1, "alice") });
    let mut got = Vec::new();
    for _ in 0..20 {
        let late = world.answers_on_their_way();
        world.publish_many("news", 3);
        world.arrive(late);
        got.extend(world.pull(1));
    }
    world.engine(Engine::Answers);
    got.extend(world.pull(1));
    assert_eq!(got, news(3..=90));
}

#[test]
fn what_retention_took_is_told_exactly() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 20);
    world.logs.trim(&channel("news"), 4);
    world.come(Attach { start: at(5), ..attach(1, "alice") });
    let mut expected = vec!["gap news 6-16".to_owned()];
    expected.extend(news(17..=20));
    assert_eq!(world.pull(1), expected);
}

#[test]
fn a_cursor_at_the_edge_of_retention_has_lost_nothing() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 20);
    world.logs.trim(&channel("news"), 4);
    world.come(Attach { start: at(16), ..attach(1, "alice") });
    assert_eq!(world.pull(1), news(17..=20));
}

#[test]
fn a_log_of_which_nothing_is_kept_is_a_gap_up_to_its_head() {
    let mut world = World::default();
    world.publish_many("news", 20);
    world.logs.trim(&channel("news"), 0);
    world.come(Attach { start: at(5), ..attach(1, "alice") });
    assert_eq!(world.pull(1), ["gap news 6-20"]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 21"]);
}

#[test]
fn what_is_trimmed_between_two_pages_is_a_gap_too() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 40);
    world.engine(Engine::Waits);
    world.come(Attach { start: at(0), ..attach(1, "alice") });
    for _ in 0..2 {
        let late = world.answers_on_their_way();
        world.arrive(late);
    }
    assert_eq!(world.pull(1), news(1..=10));
    world.logs.trim(&channel("news"), 15);
    world.engine(Engine::Answers);
    let mut expected = vec!["gap news 11-25".to_owned()];
    expected.extend(news(26..=40));
    assert_eq!(world.pull(1), expected);
}

#[test]
fn the_cursor_stands_before_a_gap_that_was_not_told_yet() {
    let mut world = World::default();
    world.publish_many("news", 20);
    world.logs.trim(&channel("news"), 4);
    world.come(Attach { start: at(5), ..attach(1, "alice") });
    let untold = world.cursor(1);
    assert_eq!(untold.position(&channel("news")).unwrap().offset, 5);
    world.go(1);
    world.come(back(2, "alice", 1, &untold));
    assert_eq!(world.pull(2)[0], "gap news 6-16");
    // Also for a session that comes back without its cursor.
    world.go(2);
    world.publish("news");
    world.come(Attach { session: Some(crate::support::session(1001)), ..attach(3, "alice") });
    assert_eq!(world.pull(3), ["news 21"]);
}

#[test]
fn an_answer_for_an_older_question_is_not_taken_for_the_newer_ones() {
    let mut world = World::default();
    world.publish_many("news", 5);
    world.engine(Engine::Waits);
    world.come(Attach { start: at(2), ..attach(1, "alice") });
    let opened = world.answers_on_their_way();
    world.arrive(opened);
    // The window would have been enough, so make the session ask: its place is before everything that is kept
    // in memory.
    world.engine(Engine::Answers);
    world.wait_ms(40_000);
    world.pull(1);
    world.go(1);
    world.engine(Engine::Waits);
    world.come(Attach { fresh: crate::support::session(1001), ..back(2, "alice", 1, &cursor_at(2)) });
    let old = world.answers_on_their_way();
    // Another connection of the same session comes with a much newer place, which the older answer knows
    // nothing of.
    for _ in 0..10 {
        world.append("news");
    }
    world.come(back(3, "alice", 1, &cursor_at(15)));
    world.arrive(old);
    world.engine(Engine::Answers);
    assert_eq!(world.pull(3), [""; 0], "no gap, no repeat");
    world.publish("news");
    assert_eq!(world.pull(3), ["news 16"]);
}

fn cursor_at(offset: u64) -> Cursor {
    match at(offset) {
        Start::Cursor(cursor) => cursor,
        _ => unreachable!(),
    }
}

#[test]
fn a_slow_receiver_among_quick_ones_misses_nothing() {
    let mut world = World::new(HubConfig { window_messages: 4, ..HubConfig::default() });
    world.come(attach_to(1, "quick", &["news"]));
    world.come(attach_to(2, "slow", &["news"]));
    let (mut quick, mut slow) = (Vec::new(), Vec::new());
    for round in 0..50 {
        world.publish("news");
        quick.extend(world.pull(1));
        if round % 20 == 19 {
            slow.extend(world.pull(2));
        }
    }
    slow.extend(world.pull(2));
    assert_eq!(quick, news(1..=50));
    assert_eq!(slow, news(1..=50));
}
