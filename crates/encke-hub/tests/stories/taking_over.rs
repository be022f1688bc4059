//! A newer connection of a session takes over from the older.

use encke_hub::{Attach, ConnKey, Ending, Output};

use crate::{
    support::session,
    world::{Engine, World, attach, attach_to, back},
};

#[test]
fn the_older_connection_is_told_and_nothing_is_lost() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 2);
    world.pull(1);
    let cursor = world.cursor(1);
    world.publish_many("news", 2);
    world.pull(1);
    world.said();
    world.come(back(2, "alice", 1, &cursor));
    let said = world.said_of_users();
    assert_eq!(said[0], Output::Ended { conn: ConnKey(1), ending: Ending::TakenOver });
    assert_eq!(said[1], Output::Begun { conn: ConnKey(2), session: session(1001) });
    assert_eq!(world.pull(1), [""; 0], "the older gets nothing more");
    assert_eq!(world.pull(2), ["news 3", "news 4"], "what the older may have swallowed comes again");
    assert_eq!((world.hub.session_count(), world.hub.connection_count()), (1, 1));
    world.go(1);
    world.publish("news");
    assert_eq!(world.pull(2), ["news 5"], "the older one's end is no end of the newer");
}

#[test]
fn a_connection_that_has_not_begun_is_taken_over_as_well() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.go(1);
    world.publish_many("news", 20);
    world.engine(Engine::Waits);
    world.come(Attach { session: Some(session(1001)), ..attach_to(2, "alice", &["news"]) });
    world.come(Attach { session: Some(session(1001)), ..attach_to(3, "alice", &["news"]) });
    world.engine(Engine::Answers);
    let said = world.said_of_users();
    assert!(said.contains(&Output::Ended { conn: ConnKey(2), ending: Ending::TakenOver }));
    assert!(said.contains(&Output::Begun { conn: ConnKey(3), session: session(1001) }));
    assert!(!said.iter().any(|output| matches!(output, Output::Begun { conn: ConnKey(2), .. })));
    world.publish("news");
    assert_eq!(world.pull(3), ["news 21"]);
}

#[test]
fn what_was_read_for_the_older_is_given_to_the_newer() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.wait_ms(1_000);
    for _ in 0..15 {
        world.append("news");
    }
    world.publish("news");
    world.engine(Engine::Waits);
    assert_eq!(world.pull(1), [""; 0]);
    let late = world.answers_on_their_way();
    world.come(Attach { session: Some(session(1001)), ..attach(2, "alice") });
    world.arrive(late);
    world.engine(Engine::Answers);
    let all: Vec<String> = (1..=16).map(|offset| format!("news {offset}")).collect();
    assert_eq!(world.pull(2), all);
}
