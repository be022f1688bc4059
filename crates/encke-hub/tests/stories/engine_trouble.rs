//! The engine fails, and comes back.

use encke_hub::{Attach, HubConfig, Output, Start};
use encke_proto::{Cursor, Epoch, ErrorCode, Position};

use crate::{
    support::{channel, session, user},
    world::{Engine, World, attach, attach_to, back},
};

#[test]
fn who_has_not_begun_is_refused_and_leaves_no_trace() {
    let mut world = World::default();
    world.engine(Engine::Fails);
    world.come(attach_to(1, "alice", &["news"]));
    assert_eq!(world.refusal(1), Some(ErrorCode::EngineUnavailable));
    assert!(world.is_empty());
    world.engine(Engine::Answers);
    world.come(attach_to(2, "alice", &["news"]));
    world.publish("news");
    assert_eq!(world.pull(2), ["news 1"]);
}

#[test]
fn a_new_session_whose_page_cannot_be_read_leaves_no_trace_either() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.come(attach_to(1, "bob", &["news"]));
    world.come(attach(2, "alice"));
    world.publish_many("news", 9);
    world.said();
    world.engine(Engine::Fails);
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { epoch: Epoch(7), offset: 1 });
    world.come(Attach { start: Start::Cursor(cursor), ..attach(3, "alice") });
    assert_eq!(world.refusal(3), Some(ErrorCode::EngineUnavailable));
    assert_eq!(world.hub.sessions_of(&user("alice")), 1, "no client was told the id of the new one");
}

#[test]
fn a_known_session_that_is_refused_lives_on_and_loses_nothing() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    let cursor = world.cursor(1);
    world.go(1);
    world.publish_many("news", 9);
    world.engine(Engine::Fails);
    world.come(back(2, "alice", 1, &cursor));
    assert_eq!(world.refusal(2), Some(ErrorCode::EngineUnavailable));
    world.come(Attach { session: Some(session(1001)), ..attach(3, "alice") });
    world.engine(Engine::Answers);
    world.come(Attach { session: Some(session(1001)), ..attach(4, "alice") });
    assert_eq!(world.pull(4).len(), 9);
}

#[test]
fn earliest_that_could_not_be_read_does_not_hang_the_session() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 3);
    world.go(1);
    world.engine(Engine::Fails);
    world.come(Attach {
        session: Some(session(1001)),
        start: Start::Earliest,
        ..attach_to(2, "alice", &["news"])
    });
    assert_eq!(world.refusal(2), Some(ErrorCode::EngineUnavailable));
    world.engine(Engine::Answers);
    world.come(Attach { session: Some(session(1001)), ..attach(3, "alice") });
    assert!(world.has_begun(3));
    assert_eq!(world.pull(3), ["news 1", "news 2", "news 3"]);
}

#[test]
fn who_is_served_already_is_caught_up_at_a_later_tick() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 9);
    world.engine(Engine::Fails);
    assert_eq!(world.pull(1), [""; 0]);
    world.wait_ms(3_000);
    assert_eq!(world.pull(1), [""; 0]);
    assert_eq!(world.ending(1), None);
    world.engine(Engine::Answers);
    world.wait_ms(1_000);
    assert!(world.is_ready(1));
    assert_eq!(world.pull(1).len(), 9);
}

#[test]
fn a_subscription_waits_until_the_engine_is_back() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.engine(Engine::Fails);
    world.said();
    world.subscribe(1, "alice", &["news"]);
    assert_eq!(
        world.said().iter().filter(|output| !matches!(output, Output::Watch(_))).count(),
        0,
        "neither answered nor closed"
    );
    world.wait_ms(3_000);
    world.engine(Engine::Answers);
    world.wait_ms(1_000);
    assert_eq!(world.followed(), [channel("news")]);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1"]);
}

#[test]
fn a_subscription_is_answered_although_a_page_for_a_connection_that_is_gone_failed() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 9);
    world.engine(Engine::Waits);
    world.pull(1);
    world.go(1);
    world.engine(Engine::Fails);
    world.engine(Engine::Answers);
    world.said();
    world.subscribe(1, "alice", &["chat"]);
    assert_eq!(world.followed(), [channel("news"), channel("chat")]);
    world.come(Attach { session: Some(session(1001)), ..attach(2, "alice") });
    assert_eq!(world.pull(2).len(), 9);
}

#[test]
fn a_look_at_a_stale_log_that_fails_is_repeated() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.append("news");
    world.engine(Engine::Fails);
    world.hub.stale();
    world.settle();
    world.engine(Engine::Answers);
    world.wait_ms(1_000);
    assert_eq!(world.pull(1), ["news 1"]);
}

#[test]
fn a_failed_look_at_an_open_log_ends_no_session() {
    let mut world = World::default();
    world.come(attach_to(1, "bob", &["news"]));
    world.engine(Engine::Waits);
    world.come(attach_to(2, "alice", &["news", "chat"]));
    let chat = world.answers_on_their_way();
    world.engine(Engine::Fails);
    world.hub.stale();
    world.settle();
    assert_eq!(world.refusal(2), None, "she waits for another answer, which is on its way");
    world.engine(Engine::Answers);
    world.arrive(chat);
    world.publish("news");
    world.publish("chat");
    assert_eq!(world.pull(2), ["news 1", "chat 1"]);
}

#[test]
fn messages_that_come_between_a_stale_feed_and_the_answer_are_not_lost() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.append("news");
    world.engine(Engine::Waits);
    world.hub.stale();
    world.settle();
    let late = world.answers_on_their_way();
    world.hub.stale();
    world.append("news");
    world.arrive(late);
    world.engine(Engine::Answers);
    assert_eq!(world.pull(1), ["news 1", "news 2"]);
}

#[test]
fn more_than_can_be_kept_aside_while_opening_is_read_again() {
    let mut world = World::new(HubConfig { window_messages: 4000, ..HubConfig::default() });
    world.engine(Engine::Waits);
    world.come(attach_to(1, "alice", &["news"]));
    let late = world.answers_on_their_way();
    world.publish_many("news", 1500);
    world.engine(Engine::Answers);
    world.arrive(late);
    assert_eq!(world.pull(1).len(), 1500);
}
