//! Messages come, in order, once, and to the sessions that follow.

use encke_hub::{Attach, ConnKey, HubConfig, Output, Pulled, Start};

use crate::{
    support::channel,
    world::{Engine, World, attach, attach_to},
};

#[test]
fn messages_come_in_order_and_once() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 3);
    assert!(world.is_ready(1));
    assert_eq!(world.pull(1), ["news 1", "news 2", "news 3"]);
    assert_eq!(world.pull(1), [""; 0]);
}

#[test]
fn ready_is_said_once_until_everything_was_pulled() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.said();
    world.publish_many("news", 3);
    let ready = |world: &mut World| {
        world.said().iter().filter(|output| matches!(output, Output::Ready { .. })).count()
    };
    assert_eq!(ready(&mut world), 1);
    world.hub.pull(ConnKey(1), world.now);
    world.publish("news");
    assert_eq!(ready(&mut world), 0, "the driver still pulls");
    world.pull(1);
    world.publish("news");
    assert_eq!(ready(&mut world), 1);
}

#[test]
fn what_comes_in_one_channel_is_pulled_alone_and_the_rest_behind_it() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "answers"]));
    world.publish_many("news", 2);
    let answers = channel("answers");
    let of = |world: &mut World| match world.hub.pull_of(ConnKey(1), &answers, world.now) {
        Pulled::Message(entry) => entry.message().position.offset,
        other => {
            assert!(matches!(other, Pulled::Nothing), "{other:?}");
            0
        }
    };
    assert_eq!(of(&mut world), 0, "what stands back is not pulled");
    world.said();
    world.publish("news");
    assert!(world.is_ready(1), "it is said again when more comes");
    assert_eq!(of(&mut world), 0);
    world.publish("answers");
    assert!(world.is_ready(1));
    assert_eq!((of(&mut world), of(&mut world)), (1, 0));
    assert_eq!(world.pull(1), ["news 1", "news 2", "news 3"]);
    // What is behind in it is read first.
    world.append("answers");
    world.publish("answers");
    assert_eq!(of(&mut world), 0);
    world.settle();
    assert_eq!((of(&mut world), of(&mut world), of(&mut world)), (2, 3, 0));
}

#[test]
fn very_many_become_ready_as_a_crowd_and_one_alone_does_not() {
    let mut world = World::default();
    for conn in 0..100 {
        world.come(attach_to(conn, &format!("user {conn}"), &["news"]));
    }
    world.said();
    world.publish("news");
    assert_eq!(
        world.said().iter().filter(|output| matches!(output, Output::Ready { broadcast: true, .. })).count(),
        100
    );
    world.publish("@user 99");
    world.pull(99);
    world.said();
    world.publish("@user 99");
    assert_eq!(world.said(), [Output::Ready { conn: ConnKey(99), broadcast: false }]);
}

#[test]
fn a_repeated_announcement_is_not_a_repeated_message() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let first = world.append("news");
    let second = world.append("news");
    for entry in [&first, &second, &first, &second] {
        world.announce(entry);
    }
    assert_eq!(world.pull(1), ["news 1", "news 2"]);
}

#[test]
fn what_was_not_announced_is_read_when_the_next_shows_the_hole() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish("news");
    world.append("news");
    world.append("news");
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1", "news 2", "news 3", "news 4"]);
}

#[test]
fn announcements_in_the_wrong_order_lose_nothing() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let first = world.append("news");
    let second = world.append("news");
    world.announce(&second);
    world.announce(&first);
    assert_eq!(world.pull(1), ["news 1", "news 2"]);
}

#[test]
fn what_was_never_announced_is_found_when_the_feed_is_known_to_be_stale() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.append("news");
    assert_eq!(world.pull(1), [""; 0]);
    world.said();
    world.hub.stale();
    world.settle();
    assert!(world.is_ready(1));
    assert_eq!(world.pull(1), ["news 1"]);
}

#[test]
fn a_message_past_its_time_is_passed_over_and_is_no_gap() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let soon = world.now.wall.plus_seconds(5);
    world.publish("news");
    let short = world.append_until("news", Some(soon));
    world.announce(&short);
    world.publish("news");
    let lasting = world.append_until("news", Some(soon.plus_seconds(60)));
    world.announce(&lasting);
    world.wait_ms(6_000);
    assert_eq!(world.pull(1), ["news 1", "news 3", "news 4"]);
    assert_eq!(world.cursor(1).position(&channel("news")).unwrap().offset, 4);
}

#[test]
fn the_cursor_moves_past_a_message_whose_time_is_over() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let soon = world.now.wall.plus_seconds(5);
    let short = world.append_until("news", Some(soon));
    world.announce(&short);
    world.wait_ms(6_000);
    assert_eq!(world.pull(1), [""; 0]);
    assert_eq!(world.cursor(1).position(&channel("news")).unwrap().offset, 1);
}

#[test]
fn the_window_is_bounded_and_the_engine_has_the_rest() {
    for config in [
        HubConfig { window_messages: 3, ..HubConfig::default() },
        HubConfig { window_bytes: 1, ..HubConfig::default() },
    ] {
        let mut world = World::new(config);
        world.come(attach_to(1, "alice", &["news"]));
        world.publish_many("news", 25);
        let all: Vec<String> = (1..=25).map(|offset| format!("news {offset}")).collect();
        assert_eq!(world.pull(1), all);
    }
}

#[test]
fn a_channel_at_rest_lets_go_of_its_messages_and_no_session_misses_them() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 2);
    world.wait_ms(40_000);
    world.engine(Engine::Waits);
    assert_eq!(world.pull(1), [""; 0]);
    assert_eq!(world.questions(), 1, "the window is empty");
    world.engine(Engine::Answers);
    assert_eq!(world.pull(1), ["news 1", "news 2"]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 3"]);
}

#[test]
fn a_busy_channel_does_not_keep_the_others_waiting() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["busy", "calm"]));
    world.publish_many("busy", 200);
    world.publish("calm");
    let mut pulled = 0;
    while let encke_hub::Pulled::Message(entry) = world.hub.pull(ConnKey(1), world.now) {
        pulled += 1;
        // A publisher that is quicker than this receiver.
        world.publish("busy");
        if entry.message().channel == channel("calm") {
            return;
        }
        assert!(pulled < 200, "the calm channel starves");
    }
}

#[test]
fn a_new_epoch_is_told_as_a_gap_of_unknown_length() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 3);
    world.pull(1);
    let before = world.cursor(1);
    world.logs.forget(8);
    world.publish_many("news", 2);
    assert_eq!(world.pull(1), ["gap news 4-", "news 1", "news 2"]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 3"]);
    // A client that was away meanwhile is told the same.
    world.come(Attach { start: Start::Cursor(before), ..attach(2, "alice") });
    assert_eq!(world.pull(2), ["gap news 4-", "news 1", "news 2", "news 3"]);
}

#[test]
fn a_late_announcement_of_an_older_epoch_turns_nothing_back() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish("news");
    let late = world.append("news");
    world.pull(1);
    world.logs.forget(8);
    world.publish_many("news", 30);
    assert_eq!(world.pull(1).len(), 31, "a gap and everything of the new epoch");
    world.announce(&late);
    assert_eq!(world.pull(1), [""; 0]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 31"]);
}

#[test]
fn a_new_epoch_that_only_a_reader_finds_is_taken_in_by_the_channel() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 5);
    world.logs.forget(8);
    world.append("news");
    assert_eq!(world.pull(1), ["gap news 1-", "news 1"]);
    assert_eq!(world.questions(), 0);
    world.come(attach_to(2, "bob", &["news"]));
    world.publish("news");
    assert_eq!(world.pull(1), ["news 2"]);
    assert_eq!(world.pull(2), ["news 2"], "bob began in the new epoch");
}

#[test]
fn who_is_ready_among_very_many_is_told_again_when_something_comes_for_it_alone() {
    let mut world = World::default();
    for conn in 0..100 {
        world.come(attach_to(conn, &format!("user {conn}"), &["news"]));
    }
    world.said();
    world.publish("news");
    world.said();
    world.publish("@user 99");
    assert_eq!(world.said(), [Output::Ready { conn: ConnKey(99), broadcast: false }]);
    world.publish("@user 99");
    world.publish("news");
    assert_eq!(world.said(), [], "it is told already");
    assert_eq!(world.pull(99), ["@user 99 1", "@user 99 2", "news 1", "news 2"]);
}

#[test]
fn a_users_own_channel_is_never_a_broadcast() {
    let mut world = World::new(HubConfig { max_sessions_per_user: 200, ..HubConfig::default() });
    for conn in 0..100 {
        world.come(attach(conn, "alice"));
    }
    world.said();
    world.publish("@alice");
    assert_eq!(
        world.said().iter().filter(|output| matches!(output, Output::Ready { broadcast: false, .. })).count(),
        100
    );
}
