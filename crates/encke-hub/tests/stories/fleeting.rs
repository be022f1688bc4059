//! Sessions that end with their connection: their clients keep the cursor, and have no session id to come
//! back with.

use encke_hub::{Attach, CloseTarget, ConnKey, ControlReply, ControlRequest, Ending, Output, Start};
use encke_proto::{ErrorCode, NameFilter};

use crate::{
    support::{session, user},
    world::{Engine, World, attach, attach_to, operator},
};

/// A connection to `news` whose session does not outlive it, and has an id of its own.
fn fleeting(conn: u64, name: &str) -> Attach {
    Attach { lasting: false, ..attach_to(conn, name, &["news"]) }
}

/// The same for a client that names its session, so that of two connections the newer takes over.
fn named(conn: u64, name: &str) -> Attach {
    Attach { session: Some(session(5)), fresh: session(5), ..fleeting(conn, name) }
}

#[test]
fn nothing_is_left_behind_and_no_user_becomes_known() {
    let mut world = World::default();
    world.come(fleeting(1, "anybody"));
    assert_eq!(world.said_of_users(), [Output::Begun { conn: ConnKey(1), session: session(1001) }]);
    assert_eq!(world.hub.online().count(), 1, "a user whose poll waits is online");
    world.go(1);
    assert_eq!(world.said_of_users(), []);
    assert!(world.is_empty(), "without a grace time");
}

#[test]
fn the_next_connection_goes_on_by_the_cursor_alone() {
    let mut world = World::default();
    world.come(fleeting(1, "anybody"));
    world.publish_many("news", 2);
    assert_eq!(world.pull(1), ["news 1", "news 2"]);
    let cursor = world.cursor(1);
    world.go(1);
    world.publish_many("news", 2);
    world.come(Attach { start: Start::Cursor(cursor), ..fleeting(2, "anybody") });
    assert_eq!(world.pull(2), ["news 3", "news 4"]);
}

#[test]
fn a_newer_connection_takes_over_as_it_does_elsewhere() {
    let mut world = World::default();
    world.come(named(1, "anybody"));
    let cursor = world.cursor(1);
    world.publish("news");
    world.said();
    world.come(Attach { start: Start::Cursor(cursor), ..named(2, "anybody") });
    let said = world.said_of_users();
    assert_eq!(said[0], Output::Ended { conn: ConnKey(1), ending: Ending::TakenOver });
    assert_eq!(said[1], Output::Begun { conn: ConnKey(2), session: session(5) });
    assert_eq!(world.pull(2), ["news 1"]);
    world.go(1);
    assert_eq!(world.hub.session_count(), 1, "the end of the older one is no end of the newer");
    world.go(2);
    assert!(world.is_empty());
}

#[test]
fn a_user_who_was_closed_may_begin_again_at_once() {
    let mut world = World::default();
    world.come(fleeting(1, "anybody"));
    world.said();
    world.close(&CloseTarget::User(user("anybody")));
    assert!(
        matches!(world.ending(1), Some(Ending::Closed(close_notice)) if close_notice.close == operator())
    );
    assert!(world.is_empty());
    world.come(fleeting(2, "anybody"));
    assert!(world.has_begun(2));
}

#[test]
fn one_that_the_engine_lets_not_begin_leaves_nothing() {
    let mut world = World::default();
    world.engine(Engine::Fails);
    world.come(fleeting(1, "anybody"));
    assert_eq!(world.refusal(1), Some(ErrorCode::EngineUnavailable));
    assert!(world.is_empty());
}

#[test]
fn the_presence_of_the_user_hangs_on_the_sessions_that_last() {
    let mut world = World::default();
    world.come(fleeting(1, "alice"));
    assert_eq!(world.presence(), []);
    world.come(attach(2, "alice"));
    assert_eq!(world.presence(), [Output::Online(user("alice"))], "although a fleeting one was there before");
    world.come(fleeting(3, "alice"));
    world.go(3);
    assert_eq!(world.presence(), []);
    world.close(&CloseTarget::Session(session(1002)));
    assert_eq!(world.hub.sessions_of(&user("alice")), 1, "the first is still there");
    assert_eq!(world.presence(), [Output::Offline(user("alice"))], "although a fleeting one stays");
    world.come(fleeting(4, "alice"));
    world.come(attach(5, "alice"));
    assert_eq!(world.presence(), [Output::Online(user("alice"))]);
    world.go(4);
    assert_eq!(world.presence(), [], "nothing has changed");
    world.go(5);
    world.wait_ms(17_000);
    assert_eq!(
        world.presence(),
        [Output::Offline(user("alice"))],
        "the grace time of the last that lasted is over"
    );
    world.go(1);
    assert_eq!(world.presence(), []);
    assert!(world.is_empty());
}

#[test]
fn no_session_gets_the_id_of_another() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(Attach { session: Some(session(1001)), fresh: session(1001), ..fleeting(2, "mallory") });
    assert_eq!(world.refusal(2), Some(ErrorCode::SessionUnknown));
    assert_eq!(world.hub.sessions(None).len(), 1);
    world.publish("@alice");
    assert_eq!(world.pull(1), ["@alice 1"], "and no session is disturbed");
}

#[test]
fn other_nodes_find_only_users_whose_sessions_outlive_a_connection() {
    let mut world = World::default();
    world.come(fleeting(1, "alice"));
    world.come(fleeting(2, "bob"));
    world.come(attach_to(3, "bob", &["news"]));
    let users = |world: &mut World, lasting| {
        world.said();
        world.control(ControlRequest::ListUsers {
            lasting,
            filter: NameFilter::default(),
            after: None,
            limit: 9,
        });
        match world.reply() {
            Some(ControlReply::Users(mut users)) => {
                users.sort();
                users
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(users(&mut world, true), [(user("bob"), 2)]);
    assert_eq!(users(&mut world, false), [(user("alice"), 1), (user("bob"), 2)]);
    assert_eq!((world.hub.is_known(&user("alice")), world.hub.is_known(&user("bob"))), (false, true));
    world.close(&CloseTarget::Session(session(1003)));
    assert!(!world.hub.is_known(&user("bob")));
}
