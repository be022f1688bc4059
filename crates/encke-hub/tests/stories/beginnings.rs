//! Where a session begins in its channels.

use encke_hub::{Attach, Start};
use encke_proto::{Cursor, ErrorCode, Position};

use crate::{
    support::{channel, session},
    world::{Engine, World, attach, attach_to, back},
};

fn cursor(entries: &[(&str, u64)]) -> Cursor {
    let mut cursor = Cursor::default();
    for (name, offset) in entries {
        cursor.set(&channel(name), Position { epoch: encke_proto::Epoch(7), offset: *offset });
    }
    cursor
}

#[test]
fn without_a_wish_a_session_has_its_users_own_channel_and_nothing_else() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    assert!(world.has_begun(1));
    assert_eq!(world.cursor(1).to_string(), "1~7~@alice~0");
    world.publish("@alice");
    world.publish("@bob");
    assert_eq!(world.pull(1), ["@alice 1"]);
    assert_eq!(world.cursor(1).to_string(), "1~7~@alice~1");
}

#[test]
fn a_channel_begins_with_what_comes_from_now_on() {
    let mut world = World::default();
    world.publish_many("news", 3);
    world.come(attach_to(1, "alice", &["news"]));
    assert_eq!(world.pull(1), [""; 0]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 4"]);
}

#[test]
fn what_is_appended_while_the_channel_is_being_opened_is_not_missed() {
    let mut world = World::default();
    world.publish_many("news", 3);
    world.engine(Engine::Waits);
    world.come(attach_to(1, "alice", &["news"]));
    let late = world.answers_on_their_way();
    world.publish("news");
    world.arrive(late);
    assert_eq!(world.pull(1), ["news 4"], "the answer was older than the message");
    // The other way round: the answer is newer than the message, which is announced before it arrives.
    world.come(attach_to(2, "bob", &["more"]));
    world.publish("more");
    world.engine(Engine::Answers);
    assert_eq!(world.pull(2), ["more 1"], "it was appended after the question");
}

#[test]
fn own_messages_begin_behind_what_some_session_was_handed() {
    let mut world = World::default();
    world.publish_many("@alice", 5);
    world.logs.hand(&channel("@alice"), Position { epoch: world.logs.epoch, offset: 3 });
    world.come(attach(1, "alice"));
    assert_eq!(world.pull(1), ["@alice 4", "@alice 5"]);
    world.flushed(1);
    world.come(attach(2, "alice"));
    assert_eq!(world.pull(2), [""; 0], "the first tab was handed everything");
}

#[test]
fn pushes_wait_for_a_user_who_was_never_here() {
    let mut world = World::default();
    world.publish_many("@alice", 25);
    world.come(attach(1, "alice"));
    let all: Vec<String> = (1..=25).map(|offset| format!("@alice {offset}")).collect();
    assert_eq!(world.pull(1), all);
}

#[test]
fn earliest_is_the_oldest_that_is_kept_without_a_word_of_what_is_not() {
    let mut world = World::default();
    world.publish_many("news", 30);
    world.publish_many("@alice", 2);
    world.logs.trim(&channel("news"), 12);
    world.come(Attach { start: Start::Earliest, ..attach_to(1, "alice", &["news"]) });
    let mut all = vec!["@alice 1".to_owned(), "@alice 2".to_owned()];
    all.extend((19..=30).map(|offset| format!("news {offset}")));
    assert_eq!(world.pull(1), all);
}

#[test]
fn earliest_begins_also_where_another_session_follows_already() {
    let mut world = World::default();
    world.publish_many("news", 3);
    world.come(attach_to(1, "bob", &["news"]));
    world.come(Attach { start: Start::Earliest, ..attach_to(2, "alice", &["news"]) });
    assert_eq!(world.pull(2), ["news 1", "news 2", "news 3"]);
}

#[test]
fn a_cursor_alone_is_enough_and_names_the_channels_too() {
    let mut world = World::default();
    world.publish_many("news", 5);
    world.publish_many("@alice", 2);
    world.come(Attach { start: Start::Cursor(cursor(&[("news", 3), ("@alice", 1)])), ..attach(1, "alice") });
    assert_eq!(world.pull(1), ["@alice 2", "news 4", "news 5"]);
    assert_eq!(world.cursor(1), cursor(&[("@alice", 2), ("news", 5)]));
}

#[test]
fn a_cursor_at_the_head_has_nothing_to_give() {
    let mut world = World::default();
    world.publish_many("news", 5);
    world.come(Attach { start: Start::Cursor(cursor(&[("news", 5)])), ..attach(1, "alice") });
    assert!(world.has_begun(1));
    assert_eq!(world.pull(1), [""; 0]);
}

#[test]
fn a_cursor_from_another_node_may_be_ahead_of_what_was_announced_here() {
    let mut world = World::default();
    world.come(attach_to(1, "bob", &["news"]));
    let first = world.append("news");
    let second = world.append("news");
    world.come(Attach { start: Start::Cursor(cursor(&[("news", 2)])), ..attach(2, "alice") });
    world.announce(&first);
    world.announce(&second);
    world.publish("news");
    assert_eq!(world.pull(2), ["news 3"], "neither repeated nor declared a gap");
}

#[test]
fn a_cursor_of_an_unheard_of_offset_is_told_of_a_gap_and_never_a_panic() {
    let mut world = World::default();
    world.publish_many("news", 2);
    world.come(Attach {
        start: Start::Cursor(cursor(&[("news", u64::MAX), ("@alice", u64::MAX)])),
        ..attach(1, "alice")
    });
    assert_eq!(
        world.pull(1),
        [
            format!("gap @alice {0}-", u64::MAX),
            format!("gap news {0}-", u64::MAX),
            "news 1".into(),
            "news 2".into()
        ]
    );
}

#[test]
fn a_session_that_is_not_known_any_more_becomes_a_new_one() {
    let mut world = World::default();
    world.come(Attach { session: Some(session(5)), ..attach(1, "alice") });
    assert!(world.has_begun(1));
    assert_eq!(world.hub.session_of(encke_hub::ConnKey(1)), Some(session(1001)));
}

#[test]
fn another_users_session_counts_as_unknown() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(Attach { session: Some(session(1001)), ..attach(2, "mallory") });
    assert_eq!(world.hub.session_of(encke_hub::ConnKey(1)), Some(session(1001)), "alice is not disturbed");
    assert_eq!(world.hub.session_of(encke_hub::ConnKey(2)), Some(session(1002)));
    world.publish("@alice");
    assert_eq!(world.pull(2), [""; 0]);
}

#[test]
fn no_session_follows_another_users_own_channel() {
    let mut world = World::default();
    world.publish("@alice");
    world.come(Attach { start: Start::Cursor(cursor(&[("@alice", 0)])), ..attach(1, "mallory") });
    assert_eq!(world.refusal(1), Some(ErrorCode::ChannelForbidden));
    world.come(attach_to(2, "mallory", &["@alice"]));
    assert_eq!(world.refusal(2), Some(ErrorCode::ChannelForbidden));
    world.come(attach(3, "mallory"));
    world.subscribe(3, "mallory", &["@alice"]);
    assert_eq!(world.reply(), Some(encke_hub::ControlReply::Refused(ErrorCode::ChannelForbidden)));
    assert_eq!(world.pull(3), [""; 0]);
}

#[test]
fn a_session_keeps_its_channels_and_a_cursor_resets_only_those_it_names() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "chat"]));
    world.publish_many("news", 2);
    world.publish_many("chat", 2);
    assert_eq!(world.pull(1).len(), 4);
    let whole = world.cursor(1);
    world.go(1);
    world.come(back(2, "alice", 1, &whole));
    assert_eq!(world.pull(2), [""; 0]);
    world.go(2);
    let mut older = whole.clone();
    older.set(&channel("news"), Position { epoch: world.logs.epoch, offset: 1 });
    world.come(back(3, "alice", 1, &older));
    assert_eq!(world.pull(3), ["news 2"]);
}

#[test]
fn a_connection_that_asks_twice_under_one_key_is_served_once() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.said();
    world.come(Attach { session: Some(session(1001)), ..attach(1, "alice") });
    assert_eq!(world.ending(1), None, "it does not take over from itself");
    world.come(Attach { fresh: session(77), ..attach(1, "alice") });
    assert_eq!(world.hub.connection_count(), 1);
    world.publish("@alice");
    assert_eq!(world.pull(1), ["@alice 1"]);
}
