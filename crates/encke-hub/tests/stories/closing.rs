//! Sessions are ended on purpose, and everything of them is freed.

use encke_hub::{Attach, CloseNotice, CloseTarget, ConnKey, ControlReply, ControlRequest, Ending, Output};
use encke_proto::{Close, ErrorCode, Revocation, TokenId, TokenInfo};

use crate::{
    support::{session, user},
    world::{World, attach, attach_to, back, operator},
};

#[test]
fn a_session_is_closed_and_the_reply_comes_after_everything_else() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "chat"]));
    world.said();
    let close_notice =
        CloseNotice { close: operator(), session: session(1001), cursor: world.cursor(1).to_string() };
    world.close(&CloseTarget::Session(session(1001)));
    let said = world.said_of_users();
    assert_eq!(
        said,
        [
            Output::Closed { user: user("alice"), session: session(1001) },
            Output::Ended { conn: ConnKey(1), ending: Ending::Closed(Box::new(close_notice)) },
            Output::Offline(user("alice")),
            Output::Replied { ticket: 1, reply: ControlReply::Closed(1) },
        ]
    );
    assert!(world.is_empty());
    world.close(&CloseTarget::Session(session(1001)));
    assert_eq!(world.reply(), Some(ControlReply::Closed(0)));
}

#[test]
fn a_closed_session_is_told_so_for_at_least_the_grace_time() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    let cursor = world.cursor(1);
    world.close(&CloseTarget::Session(session(1001)));
    world.wait_ms(15_000 - 1);
    world.come(back(2, "alice", 1, &cursor));
    assert_eq!(world.refusal(2), Some(ErrorCode::SessionClosed));
    world.subscribe(1, "alice", &["news"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionClosed)));
    assert!(world.is_empty());
    world.wait_ms(2_000);
    world.come(back(3, "alice", 1, &cursor));
    assert!(world.has_begun(3), "afterwards it counts as unknown");
}

#[test]
fn to_another_user_a_closed_session_is_unknown_like_any_other() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.close(&CloseTarget::Session(session(1001)));
    world.come(Attach { session: Some(session(1001)), ..attach(2, "mallory") });
    assert!(world.has_begun(2));
    world.subscribe(1, "mallory", &["news"]);
    assert_eq!(world.reply(), Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
}

#[test]
fn a_close_that_invites_back_leaves_no_tombstone() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    let close = Close { reconnect: true, ..operator() };
    world.control(ControlRequest::Close { target: CloseTarget::Everybody, close });
    world.said();
    world.come(Attach { session: Some(session(1001)), ..attach(2, "alice") });
    assert!(world.has_begun(2));
}

#[test]
fn a_user_is_closed_with_all_sessions_connected_or_not() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(attach(2, "alice"));
    world.go(2);
    world.come(attach(3, "bob"));
    world.said();
    world.close(&CloseTarget::User(user("alice")));
    let said = world.said_of_users();
    assert_eq!(said.iter().filter(|output| matches!(output, Output::Offline(_))).count(), 1);
    assert_eq!(said.last(), Some(&Output::Replied { ticket: 1, reply: ControlReply::Closed(2) }));
    assert_eq!(world.hub.session_count(), 1);
    world.close(&CloseTarget::User(user("unknown")));
    assert_eq!(world.reply(), Some(ControlReply::Closed(0)));
}

#[test]
fn all_sessions_are_closed_and_nothing_is_left() {
    let mut world = World::default();
    for conn in 1..50 {
        world.come(attach_to(conn, &format!("user {}", conn % 20), &["news", &format!("room {}", conn % 7)]));
    }
    world.said();
    world.close(&CloseTarget::Everybody);
    let said = world.said();
    assert_eq!(said.last(), Some(&Output::Replied { ticket: 1, reply: ControlReply::Closed(49) }));
    let count = |fits: fn(&Output) -> bool| said.iter().filter(|output| fits(output)).count();
    assert_eq!(count(|output| matches!(output, Output::Ended { .. })), 49);
    assert_eq!(count(|output| matches!(output, Output::Offline(_))), 20);
    assert_eq!(count(|output| matches!(output, Output::Unwatch(_))), 28);
    assert!(world.is_empty());
}

#[test]
fn a_session_is_closed_by_its_user_and_by_no_other() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.close(&CloseTarget::SessionOf(session(1001), user("mallory")));
    assert_eq!(world.reply(), Some(ControlReply::Closed(0)));
    world.close(&CloseTarget::SessionOf(session(1001), user("alice")));
    assert_eq!(world.reply(), Some(ControlReply::Closed(1)));
}

#[test]
fn the_sessions_of_a_revoked_token_end_and_no_others() {
    let token = |issued_s, id: Option<u64>| Some(TokenInfo { issued_s, id: id.map(TokenId) });
    let tokens = [
        (1, "alice", token(Some(99), Some(7))),
        (2, "alice", token(Some(100), Some(8))),
        (3, "alice", token(None, None)),
        (4, "bob", token(Some(99), Some(7))),
        (5, "bob", token(Some(u64::MAX), None)),
        (6, "classic", None),
    ];
    let of_alice = Revocation::User { user: user("alice"), before_s: 100 };
    let all_of_alice = Revocation::Ban { user: user("alice") };
    for (revocation, expected) in [
        (of_alice, vec![1, 3]),
        (Revocation::Token { id: TokenId(7) }, vec![1, 4]),
        (Revocation::Before { before_s: 100 }, vec![1, 3, 4]),
        (all_of_alice, vec![1, 2, 3]),
        (Revocation::Ban { user: user("classic") }, vec![6]),
        (Revocation::User { user: user("classic"), before_s: 100 }, vec![]),
        (Revocation::User { user: user("unknown"), before_s: 100 }, vec![]),
    ] {
        let mut world = World::default();
        for (conn, name, token) in tokens {
            world.come(Attach { token, ..attach(conn, name) });
        }
        // One that is not connected ends as well, and another token takes the place of the first.
        world.go(1);
        world.said();
        world.close(&CloseTarget::Revoked { revocation: revocation.clone(), at: 1 });
        assert_eq!(world.reply(), Some(ControlReply::Closed(expected.len())), "{revocation:?}");
        for (conn, ..) in &tokens {
            let is_left =
                world.hub.has_session(session(1000 + u128::from(*conn)), &user(tokens[*conn as usize - 1].1));
            assert_eq!(is_left, !expected.contains(conn), "{revocation:?} {conn}");
        }
    }
}

#[test]
fn a_session_is_of_the_token_that_it_goes_on_with() {
    let token = |id| Some(TokenInfo { issued_s: None, id: Some(TokenId(id)) });
    let mut world = World::default();
    world.come(Attach { token: token(7), ..attach(1, "alice") });
    world.come(Attach { session: Some(session(1001)), token: token(8), ..attach(2, "alice") });
    for (id, closed) in [(7, 0), (8, 1), (8, 0)] {
        world.close(&CloseTarget::Revoked { revocation: Revocation::Token { id: TokenId(id) }, at: 1 });
        assert_eq!(world.reply(), Some(ControlReply::Closed(closed)), "{id}");
    }
}

#[test]
fn what_comes_for_a_closed_session_is_dropped() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish("news");
    world.close(&CloseTarget::Session(session(1001)));
    world.publish("news");
    assert_eq!(world.pull(1), [""; 0]);
    world.flushed(1);
    world.go(1);
    assert!(world.is_empty());
}
