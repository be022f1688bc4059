//! The token of a session ends: its client is told before, and a fresh token lets the session go on.

use encke_hub::{Attach, ConnKey, ControlReply, ControlRequest, Ending, FreshToken, Output};
use encke_proto::{CloseCode, ErrorCode, Grant, Revocation, Time, TokenId, TokenInfo};

use crate::{
    support::{session, user},
    world::{World, attach, attach_to},
};

/// A connection of alice to the session that the first one began, with a token that lasts so long from now.
fn with_token(world: &World, conn: u64, lasts_ms: u64) -> Attach {
    let token_ends = Time(world.now.wall.0 + lasts_ms);
    let first = (conn > 1).then(|| session(1001));
    Attach { session: first, token_ends, ..attach(conn, "alice") }
}

fn fresh(world: &World, lasts_ms: u64, channels: &[&str]) -> FreshToken {
    FreshToken {
        ends: Time(world.now.wall.0 + lasts_ms),
        info: TokenInfo::default(),
        channels: Grant::of(channels.iter().map(|channel| (*channel).to_owned()).collect()),
        publish: Grant::none(),
    }
}

impl World {
    fn refresh(&mut self, first: u64, name: &str, token: FreshToken) -> Option<ControlReply> {
        self.said();
        let session = session(1000 + u128::from(first));
        self.control(ControlRequest::Refresh { session, user: user(name), token: Box::new(token) });
        self.reply()
    }

    fn closed(&mut self, conn: u64) -> Option<CloseCode> {
        match self.ending(conn) {
            Some(Ending::Closed(notice)) => Some(notice.close.code),
            _ => None,
        }
    }
}

#[test]
fn a_client_is_told_once_at_a_quarter_of_the_time_and_at_most_a_minute_before() {
    for (lasts_ms, told_ms) in [(3_600_000, 60_000), (240_000, 60_000), (80_000, 20_000), (4_000, 1_000)] {
        let mut world = World::default();
        world.come(with_token(&world, 1, lasts_ms));
        world.wait_ms(lasts_ms - told_ms - 1_000);
        assert_eq!(world.pull(1), [""; 0], "{lasts_ms}");
        world.said();
        world.wait_ms(1_000);
        assert!(world.is_ready(1), "{lasts_ms}");
        assert_eq!(world.pull(1), [format!("expires in {} s", told_ms / 1_000)]);
        world.wait_ms(told_ms - 1_000);
        assert_eq!(world.pull(1), [""; 0]);
        world.wait_ms(1_250);
        assert_eq!(world.closed(1), Some(CloseCode::TokenExpired), "{lasts_ms}");
    }
}

#[test]
fn without_an_end_nothing_is_told() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.wait_ms(100_000);
    assert_eq!(world.pull(1), [""; 0]);
}

#[test]
fn one_that_goes_on_with_the_same_token_is_told_again_when_half_of_the_time_is_left() {
    let mut world = World::default();
    let first = with_token(&world, 1, 240_000);
    let token_ends = first.token_ends;
    world.come(first);
    world.go(1);
    world.wait_ms(14_000);
    let again = |conn| Attach { session: Some(session(1001)), token_ends, ..attach(conn, "alice") };
    // Polls of ten seconds each, one after the other.
    let mut told = Vec::new();
    for conn in 2.. {
        world.come(again(conn));
        if token_ends.0 - world.now.wall.0 < 1_500 {
            break;
        }
        let end = world.now.mono_ms + 10_000;
        while world.now.mono_ms < end {
            let pulled = world.pull(conn);
            told.extend(pulled.iter().cloned());
            if !pulled.is_empty() {
                break;
            }
            world.wait_ms(1_000);
        }
        world.go(conn);
    }
    let expected = [60, 30, 15, 7, 3, 1].map(|in_s| format!("expires in {in_s} s"));
    assert_eq!(told, expected, "no poll is answered at once because of it but for these");
}

#[test]
fn a_fresh_token_takes_the_place_of_the_one_that_ends() {
    let mut world = World::default();
    world.come(with_token(&world, 1, 80_000));
    world.wait_ms(60_000);
    assert_eq!(world.pull(1), ["expires in 20 s"]);
    let token = fresh(&world, 80_000, &["*"]);
    assert_eq!(world.refresh(1, "alice", token), Some(ControlReply::Refreshed));
    world.wait_ms(59_000);
    assert_eq!(world.pull(1), [""; 0], "the first token has ended");
    assert_eq!(world.hub.session_of(ConnKey(1)), Some(session(1001)));
    world.wait_ms(1_000);
    assert_eq!(world.pull(1), ["expires in 20 s"]);
    world.wait_ms(20_250);
    assert_eq!(world.closed(1), Some(CloseCode::TokenExpired));
}

#[test]
fn it_may_end_sooner_and_is_told_at_once_when_that_is_near() {
    let mut world = World::default();
    world.come(with_token(&world, 1, 3_600_000));
    let token = fresh(&world, 900, &["*"]);
    world.refresh(1, "alice", token);
    assert_eq!(world.pull(1), ["expires in 0 s"]);
    world.wait_ms(1_250);
    assert_eq!(world.closed(1), Some(CloseCode::TokenExpired));
}

#[test]
fn a_session_that_waits_for_its_next_poll_is_refreshed_too() {
    let mut world = World::default();
    world.come(with_token(&world, 1, 10_000));
    world.go(1);
    let token = fresh(&world, 3_600_000, &["*"]);
    assert_eq!(world.refresh(1, "alice", token), Some(ControlReply::Refreshed));
    world.wait_ms(12_000);
    assert_eq!(world.hub.sessions_of(&user("alice")), 1);
}

#[test]
fn what_it_does_not_grant_is_dropped_and_told() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news", "secret"]));
    let token = fresh(&world, 3_600_000, &["news"]);
    world.refresh(1, "alice", token);
    assert_eq!(world.pull(1), ["secret lost"]);
    world.publish("secret");
    world.publish("news");
    assert_eq!(world.pull(1), ["news 1"]);
}

#[test]
fn revocations_find_the_session_by_its_fresh_token() {
    let mut world = World::default();
    let id = |number| TokenInfo { issued_s: Some(1), id: Some(TokenId(number)) };
    world.come(Attach { token: Some(id(1)), ..attach(1, "alice") });
    let token = FreshToken { info: id(2), ..fresh(&world, 3_600_000, &["*"]) };
    world.refresh(1, "alice", token);
    let revoked = |number| encke_hub::CloseTarget::Revoked {
        revocation: Revocation::Token { id: TokenId(number) },
        at: 1,
    };
    world.close(&revoked(1));
    assert_eq!(world.closed(1), None, "that token is not its own any more");
    world.close(&revoked(2));
    assert!(world.closed(1).is_some());
}

#[test]
fn of_another_user_or_an_unknown_session_it_is_refused() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    for (first, name) in [(1, "bob"), (2, "alice")] {
        let token = fresh(&world, 1_000, &[]);
        let reply = world.refresh(first, name, token);
        assert_eq!(reply, Some(ControlReply::Refused(ErrorCode::SessionUnknown)));
    }
    world.wait_ms(5_000);
    assert_eq!(world.pull(1), [""; 0]);
    assert!(!world.said().iter().any(|output| matches!(output, Output::Ended { .. })));
}
