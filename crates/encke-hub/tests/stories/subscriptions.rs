//! Channels come and go while a session lives.

use encke_hub::{Attach, ControlReply, Start};
use encke_proto::{ChannelName, Cursor, ErrorCode, Position};

use crate::{
    support::{channel, session},
    world::{Engine, World, attach, attach_to, back},
};

fn channels(names: &[&str]) -> Vec<ChannelName> {
    names.iter().map(|name| channel(name)).collect()
}

#[test]
fn a_subscription_takes_effect_on_the_held_connection() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("news", 2);
    world.said();
    world.subscribe(1, "alice", &["news", "chat"]);
    assert_eq!(world.followed(), channels(&["news", "chat"]));
    world.publish("news");
    assert_eq!(world.pull(1), ["news 3"]);
    world.subscribe(1, "alice", &["news"]);
    assert_eq!(world.followed(), channels(&["news", "chat"]), "again is as good as once");
}

#[test]
fn a_subscription_from_a_position_goes_on_there() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(attach_to(2, "bob", &["warm"]));
    world.publish_many("cold", 3);
    world.publish_many("warm", 3);
    world.pull(2);
    let from = |world: &mut World, names: &[&str], offset| {
        let mut cursor = Cursor::default();
        names.iter().for_each(|name| {
            cursor.set(&channel(name), Position { offset, ..world.logs.head(&channel(name)) })
        });
        cursor
    };
    world.said();
    // One channel without followers here, one whose window is in memory, and one from now on.
    world.publish("new");
    let cursor = from(&mut world, &["cold", "warm"], 1);
    world.subscribe_from(1, "alice", &["cold", "new"], &cursor);
    assert_eq!(world.followed(), channels(&["cold", "warm", "new"]));
    let mut pulled = world.pull(1);
    pulled.sort_unstable();
    assert_eq!(pulled, ["cold 2", "cold 3", "warm 2", "warm 3"]);
    world.publish("new");
    assert_eq!(world.pull(1), ["new 2"]);
    // What is followed already moves there, forwards and back.
    world.publish_many("warm", 2);
    let cursor = from(&mut world, &["warm"], 4);
    world.subscribe_from(1, "alice", &[], &cursor);
    assert_eq!(world.pull(1), ["warm 5"]);
    let cursor = from(&mut world, &["warm"], 3);
    world.subscribe_from(1, "alice", &["warm"], &cursor);
    assert_eq!(world.pull(1), ["warm 4", "warm 5"]);
}

#[test]
fn a_subscription_from_a_position_that_is_refused_changes_nothing() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish("news");
    world.said();
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { offset: 0, ..world.logs.head(&channel("news")) });
    cursor.set(&channel("@bob"), Position { offset: 0, ..world.logs.head(&channel("news")) });
    world.subscribe_from(1, "alice", &[], &cursor);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::ChannelForbidden)));
    world.publish("news");
    assert_eq!(world.pull(1), [""; 0]);
}

#[test]
fn a_subscription_is_answered_only_when_nothing_can_be_missed_any_more() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.engine(Engine::Waits);
    world.said();
    world.subscribe(1, "alice", &["news"]);
    assert_eq!(world.reply(), None);
    let late = world.answers_on_their_way();
    world.arrive(late);
    assert_eq!(world.followed(), channels(&["news"]));
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1"]);
}

#[test]
fn a_subscription_is_answered_also_while_the_session_catches_up_elsewhere() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.append("news");
    world.append("news");
    world.publish("news");
    world.engine(Engine::Waits);
    world.pull(1);
    assert_eq!(world.questions(), 1);
    world.come(attach_to(2, "bob", &["chat"]));
    let late = world.answers_on_their_way();
    world.arrive(late.into_iter().skip(1).collect());
    world.said();
    world.subscribe(1, "alice", &["chat"]);
    assert_eq!(world.followed(), channels(&["news", "chat"]));
}

#[test]
fn a_subscription_of_a_session_that_ends_meanwhile_is_refused() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.engine(Engine::Waits);
    world.subscribe(1, "alice", &["news"]);
    world.said();
    world.close(&encke_hub::CloseTarget::Session(session(1001)));
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
}

#[test]
fn what_was_lost_with_a_connection_after_subscribing_comes_again() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    let before = world.cursor(1);
    world.subscribe(1, "alice", &["news"]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1"]);
    world.go(1);
    // The answer never arrived, so the client's cursor does not know the channel yet.
    world.come(back(2, "alice", 1, &before));
    assert_eq!(world.pull(2), ["news 1"]);
    let after = world.cursor(2);
    world.publish("news");
    world.pull(2);
    world.go(2);
    world.come(back(3, "alice", 1, &after));
    assert_eq!(world.pull(3), ["news 2"]);
    world.go(3);
    // Named beside the cursor it is the same.
    world.come(Attach { channels: vec![channel("chat")], ..back(4, "alice", 1, &after) });
    world.publish("chat");
    assert_eq!(world.pull(4), ["news 2", "chat 1"]);
    world.go(4);
    world.come(Attach { channels: vec![channel("chat")], ..back(5, "alice", 1, &after) });
    let mut got = world.pull(5);
    got.sort();
    assert_eq!(got, ["chat 1", "news 2"]);
}

#[test]
fn what_is_not_followed_any_more_does_not_come() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["a", "b", "c", "d"]));
    for name in ["a", "b", "c", "d"] {
        world.publish(name);
    }
    world.said();
    world.unsubscribe(1, "alice", &["b", "@alice", "unheard of"]);
    assert_eq!(world.followed(), channels(&["a", "d", "c"]));
    let mut got = world.pull(1);
    got.sort();
    assert_eq!(got, ["a 1", "c 1", "d 1"]);
    world.publish("b");
    world.publish("@alice");
    assert_eq!(world.pull(1), ["@alice 1"], "the user's own channel stays");
    assert_eq!(world.hub.channel_count(), 4);
}

#[test]
fn members_keep_their_places_whichever_of_them_leaves() {
    let mut world = World::default();
    let names = ["a", "b", "c", "d", "e"];
    for conn in 1..=10 {
        world.come(attach_to(conn, &format!("user {conn}"), &names));
    }
    for conn in 1..=10 {
        let name = format!("user {conn}");
        world.unsubscribe(conn, &name, &[names[conn as usize % 5], names[(conn as usize + 2) % 5]]);
    }
    for name in names {
        world.publish(name);
    }
    for conn in 1..=10 {
        let mut got = world.pull(conn);
        got.sort();
        let left: Vec<String> = (0..5)
            .filter(|at| *at != conn as usize % 5 && *at != (conn as usize + 2) % 5)
            .map(|at| format!("{} 1", names[at]))
            .collect();
        assert_eq!(got, left);
    }
}

#[test]
fn who_unsubscribes_and_subscribes_again_begins_from_now_and_old_answers_do_not_count() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.come(attach_to(2, "bob", &["news"]));
    world.append("news");
    world.publish("news");
    world.engine(Engine::Waits);
    world.pull(1);
    let late = world.answers_on_their_way();
    world.unsubscribe(1, "alice", &["news"]);
    world.subscribe(1, "alice", &["news"]);
    world.arrive(late);
    world.engine(Engine::Answers);
    assert_eq!(world.pull(1), [""; 0]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 3"]);
}

#[test]
fn strangers_and_unknown_sessions_are_refused() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    for (first, name) in [(1, "mallory"), (9, "alice")] {
        world.subscribe(first, name, &["news"]);
        assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
        world.unsubscribe(first, name, &["news"]);
        assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
        let cursor = world.cursor(1);
        world.ack(first, name, &cursor);
        assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
    }
}

#[test]
fn a_connection_that_waits_for_a_channel_need_not_wait_when_it_is_given_up() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.go(1);
    world.engine(Engine::Waits);
    world.come(Attach {
        session: Some(session(1001)),
        start: Start::Absent,
        ..attach_to(2, "alice", &["news"])
    });
    world.said();
    world.unsubscribe(1, "alice", &["news"]);
    assert!(world.has_begun(2));
}

#[test]
fn the_answer_says_where_a_channel_began_and_not_how_far_it_has_come() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.publish_many("news", 3);
    world.subscribe(1, "alice", &["news"]);
    let began = world.began();
    assert_eq!(began.position(&channel("news")).map(|position| position.offset), Some(3));
}

#[test]
fn who_subscribes_again_without_knowing_that_it_follows_loses_nothing_either() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    let both = world.cursor(1);
    world.go(1);
    world.come(back(2, "alice", 1, &both));
    world.publish("news");
    assert_eq!(world.pull(2), ["news 1"]);
    // The client unsubscribed, of which the server never heard; then it wanted the channel after all.
    let mut own = both.clone();
    own.entries.retain(|(name, _)| name.is_own());
    world.subscribe(1, "alice", &["news"]);
    world.publish("news");
    assert_eq!(world.pull(2), ["news 2"]);
    world.go(2);
    // What was pulled last was lost with its connection.
    world.come(back(3, "alice", 1, &own));
    assert_eq!(world.pull(3), ["news 2"]);
}

#[test]
fn a_page_that_failed_meanwhile_changes_nothing_about_what_comes_again() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    let before = world.cursor(1);
    world.subscribe(1, "alice", &["news"]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1"]);
    world.append("news");
    world.publish("news");
    world.engine(Engine::Waits);
    world.pull(1);
    world.go(1);
    world.engine(Engine::Fails);
    world.engine(Engine::Answers);
    world.come(back(2, "alice", 1, &before));
    assert_eq!(world.pull(2), ["news 1", "news 2", "news 3"]);
}
