//! Bounds hold exactly, and being over one changes nothing.

use encke_hub::{Attach, ControlReply, Ending, HubConfig, Start};
use encke_proto::{CloseCode, ErrorCode, limits::SESSION_MAX_CHANNELS};

use crate::{
    support::{channel, session, user},
    world::{World, attach, back},
};

fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix} {n}")).collect()
}

fn attach_to_many(conn: u64, names: &[String]) -> Attach {
    Attach { channels: names.iter().map(|name| channel(name)).collect(), ..attach(conn, "alice") }
}

#[test]
fn a_session_has_as_many_channels_as_the_limit_says_and_not_one_more() {
    let mut world = World::default();
    let names = many("room", SESSION_MAX_CHANNELS);
    world.come(attach_to_many(1, &names));
    assert!(world.has_begun(1));
    assert_eq!(world.hub.channel_count(), SESSION_MAX_CHANNELS + 1, "the user's own is not counted");
    world.subscribe(1, "alice", &["one more"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::TooManyChannels)));
    world.subscribe(1, "alice", &["room 5"]);
    assert!(matches!(world.reply(), Some(ControlReply::Following(_))), "what it has already is not one more");
    world.unsubscribe(1, "alice", &["room 5"]);
    world.said();
    world.subscribe(1, "alice", &["one more", "two more"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::TooManyChannels)));
    assert_eq!(world.hub.channel_count(), SESSION_MAX_CHANNELS, "half of it was not done");
    world.subscribe(1, "alice", &["one more", "one more"]);
    assert!(matches!(world.reply(), Some(ControlReply::Following(_))));
    let cursor = world.cursor(1);
    world.come(back(2, "alice", 1, &cursor));
    assert!(world.has_begun(2), "a full session's cursor is brought back whole");
}

#[test]
fn a_connection_that_wants_too_many_disturbs_no_other() {
    let mut world = World::default();
    world.come(attach_to_many(1, &many("room", SESSION_MAX_CHANNELS + 1)));
    assert_eq!(world.refusal(1), Some(ErrorCode::TooManyChannels));
    assert!(world.is_empty());
    world.come(attach_to_many(2, &many("room", 100)));
    world.come(Attach { session: Some(session(1002)), ..attach_to_many(3, &many("other", 29)) });
    assert_eq!(world.refusal(3), Some(ErrorCode::TooManyChannels));
    assert_eq!(
        world.hub.session_of(encke_hub::ConnKey(2)),
        Some(session(1002)),
        "the older connection still serves"
    );
    assert_eq!(world.hub.channel_count(), 101);
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
        Some(Ending::Closed(close_notice)) => {
            assert_eq!(
                (close_notice.close.code, close_notice.close.reconnect),
                (CloseCode::TooManySessions, false)
            )
        }
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
    assert!(
        !world
            .said()
            .iter()
            .any(|output| matches!(output, encke_hub::Output::Online(_) | encke_hub::Output::Offline(_)))
    );
}

#[test]
fn a_session_never_has_a_cursor_that_is_too_long_to_be_brought_back() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    let names = many(&"x".repeat(240), SESSION_MAX_CHANNELS);
    let mut followed = 0;
    for name in &names {
        world.said();
        world.subscribe(1, "alice", &[name]);
        match world.reply() {
            Some(ControlReply::Following(_)) => followed += 1,
            other => assert_eq!(other, Some(ControlReply::Refused(ErrorCode::TooManyChannels))),
        }
    }
    assert!((35..50).contains(&followed), "{followed}");
    let cursor = world.cursor(1);
    assert_eq!(cursor.entries.len(), followed + 1);
}
