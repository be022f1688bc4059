//! Bounds hold exactly, and being over one changes nothing.

use encke_hub::{Attach, Ending, HubConfig, Start};
use encke_proto::{CloseCode, ErrorCode};

use crate::{
    support::{channel, session, user},
    world::{World, attach},
};

fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix} {n}")).collect()
}

fn attach_to_many(conn: u64, names: &[String]) -> Attach {
    Attach { channels: names.iter().map(|name| channel(name)).collect(), ..attach(conn, "alice") }
}

#[test]
fn a_cursor_and_channels_count_together() {
    let mut world = World::default();
    world.come(attach_to_many(1, &many("room", 100)));
    let cursor = world.cursor(1);
    world.come(Attach { start: Start::Cursor(cursor.clone()), ..attach_to_many(2, &many("other", 29)) });
    assert_eq!(world.refusal(2), Some(ErrorCode::TooManyChannels));
    world.come(Attach { start: Start::Cursor(cursor), ..attach_to_many(3, &many("other", 28)) });
    assert!(world.has_begun(3));
}

#[test]
fn when_a_user_has_too_many_sessions_the_oldest_goes() {
    let mut world = World::new(HubConfig { max_sessions_per_user: 3, ..HubConfig::default() });
    for conn in 1..=3 {
        world.come(attach(conn, "alice"));
    }
    world.come(attach(4, "bob"));
    world.said();
    world.come(attach(5, "alice"));
    match world.ending(1) {
        Some(Ending::Closed(farewell)) => assert_eq!((farewell.close.code, farewell.close.reconnect), (CloseCode::TooManySessions, false)),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.hub.sessions_of(&user("alice")), 3);
    world.come(Attach { session: Some(session(1002)), ..attach(6, "alice") });
    assert_eq!(world.hub.sessions_of(&user("alice")), 3, "who continues a session has not one more");
}

#[test]
fn with_one_session_allowed_the_user_does_not_blink() {
    let mut world = World::new(HubConfig { max_sessions_per_user: 1, ..HubConfig::default() });
    world.come(attach(1, "alice"));
    world.said();
    world.come(attach(2, "alice"));
    assert!(!world.said().iter().any(|output| matches!(output, encke_hub::Output::Online(_) | encke_hub::Output::Offline(_))));
}
