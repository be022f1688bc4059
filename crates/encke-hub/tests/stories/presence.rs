//! Who is online: every user with a session, connected or within its grace time.

use encke_hub::{Attach, CloseTarget, ControlReply, ControlRequest, HubConfig, Output};
use encke_proto::{CloseCode, NameFilter, Time};

use crate::{
    support::{session, user},
    world::{World, attach, attach_to, back, operator},
};

#[test]
fn a_user_comes_online_once_and_goes_offline_once_whatever_the_tabs_do() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    world.come(attach(2, "alice"));
    assert_eq!(world.hub.sessions_of(&user("alice")), 2);
    world.go(1);
    world.wait_ms(20_000);
    assert_eq!(world.hub.sessions_of(&user("alice")), 1);
    world.go(2);
    assert_eq!(world.presence(), [Output::Online(user("alice"))]);
    world.wait_ms(14_000);
    assert_eq!(world.presence(), []);
    world.wait_ms(3_000);
    assert_eq!(world.presence(), [Output::Offline(user("alice"))]);
    assert!(world.is_empty());
    world.wait_ms(100_000);
    assert_eq!(world.presence(), []);
}

#[test]
fn who_polls_again_and_again_stays_online() {
    let mut world = World::default();
    world.come(attach(1, "alice"));
    for conn in 2..30 {
        let cursor = world.cursor(conn - 1);
        world.wait_ms(25_000);
        world.go(conn - 1);
        world.wait_ms(10_000);
        world.come(back(conn, "alice", 1, &cursor));
        assert_eq!(world.hub.session_of(encke_hub::ConnKey(conn)), Some(session(1001)));
    }
    assert_eq!(world.presence(), [Output::Online(user("alice"))]);
    world.go(29);
    world.wait_ms(17_000);
    assert_eq!(world.presence(), [Output::Offline(user("alice"))]);
}

#[test]
fn a_grace_time_longer_than_the_wheels_turn_is_kept_whole() {
    let mut world = World::new(HubConfig { grace_ms: 300_000, ..HubConfig::default() });
    world.come(attach(1, "alice"));
    world.go(1);
    world.wait_ms(299_000);
    assert_eq!(world.hub.session_count(), 1);
    world.wait_ms(3_000);
    assert!(world.is_empty());
}

#[test]
fn a_connection_ends_when_its_token_does_and_may_come_back_with_a_new_one() {
    let mut world = World::default();
    let token_ends = world.now.wall.plus_seconds(90);
    world.come(Attach { token_ends, ..attach(1, "alice") });
    world.wait_ms(89_000);
    assert_eq!(world.ending(1), None);
    world.wait_ms(2_000);
    let Some(encke_hub::Ending::Closed(close_notice)) = world.ending(1) else { panic!("not ended") };
    assert_eq!((close_notice.close.code, close_notice.close.reconnect), (CloseCode::TokenExpired, true));
    assert!(world.is_empty());
    world.come(Attach { session: Some(session(1001)), ..attach(2, "alice") });
    assert!(world.has_begun(2), "it was not closed on purpose");
}

#[test]
fn a_newer_token_lets_the_session_live_on() {
    let mut world = World::default();
    let token_ends = world.now.wall.plus_seconds(30);
    world.come(Attach { token_ends, ..attach(1, "alice") });
    world.wait_ms(20_000);
    world.go(1);
    let token_ends = world.now.wall.plus_seconds(100);
    world.come(Attach { session: Some(session(1001)), token_ends, ..attach(2, "alice") });
    world.wait_ms(95_000);
    assert_eq!(world.ending(2), None);
    world.wait_ms(7_000);
    assert!(world.ending(2).is_some());
}

#[test]
fn a_token_that_never_ends_is_no_trouble() {
    let mut world = World::default();
    world.come(Attach { token_ends: Time(u64::MAX), ..attach(1, "alice") });
    world.wait_ms(200_000);
    assert_eq!(world.hub.connection_count(), 1);
}

#[test]
fn views_tell_who_is_here() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.come(attach_to(2, "alice", &["news", "chat"]));
    world.come(attach_to(3, "bob", &["news"]));
    world.go(3);
    world.publish_many("news", 4);
    world.pull(1);
    let news = crate::support::channel("news");
    let mut users: Vec<_> = world.hub.users_following(&news).collect();
    users.sort();
    assert_eq!(users, [(&user("alice"), 2), (&user("bob"), 1)]);
    let views = world.hub.sessions(None);
    assert_eq!(
        views.iter().map(|view| (view.lag, view.connected)).collect::<Vec<_>>(),
        [(0, true), (4, true), (4, false)]
    );
    assert_eq!(world.hub.sessions(Some(&user("bob"))).len(), 1);
    assert_eq!(world.hub.sessions(Some(&user("carol"))).len(), 0);
}

fn list_users(contains: &str) -> ControlRequest {
    let filter = NameFilter { contains: contains.into(), ..NameFilter::default() };
    ControlRequest::ListUsers { lasting: false, filter, after: None, limit: usize::MAX }
}

#[test]
fn lists_are_the_same_whole_and_page_by_page() {
    let mut world = World::default();
    for conn in 1..=9 {
        // Some have two sessions, and they come in another order than that of their names and ids.
        let second = format!("room {}", conn * 3 % 4);
        world.come(attach_to(conn, &format!("user {}", conn * 5 % 7), &["news", &second]));
    }
    let found = answer(&mut world, list_users("er 3"));
    assert_eq!(found, ControlReply::Users(vec![(user("user 3"), 2)]));
    let news = crate::support::channel("news");
    for request in [
        list_users(""),
        ControlRequest::ListFollowers { channel: news, after: None, limit: 5 },
        ControlRequest::ListFollowed { prefix: "room".into(), after: None, limit: usize::MAX },
        ControlRequest::ListSessions { user: None, after: None, limit: 8 },
        ControlRequest::ListSessions { user: Some(user("user 3")), after: None, limit: usize::MAX },
    ] {
        let whole = request.merge([answer(&mut world, request.clone())]);
        for size in 1..=9 {
            let (mut pages, mut next) = (Vec::new(), Some(request.clone()));
            while let Some(asked) = next {
                let page = asked.page(size).merge([answer(&mut world, asked.page(size))]);
                next = asked.rest(size, &page);
                pages.push(page);
            }
            assert_eq!(request.merge(pages), whole, "{request:?} in pages of {size}");
        }
        let count = match whole {
            ControlReply::Users(users) => users.len(),
            ControlReply::Channels(channels) => channels.len(),
            ControlReply::Sessions(sessions) => sessions.len(),
            other => panic!("{other:?}"),
        };
        assert!((2..=8).contains(&count), "{request:?}: {count}");
    }
}

fn answer(world: &mut World, request: ControlRequest) -> ControlReply {
    world.said();
    world.control(request);
    world.reply().unwrap()
}

#[test]
fn a_client_is_told_of_nothing_before_its_user_is_present_or_absent() {
    let mut world = World::default();
    world.hub.attach(attach(1, "alice"), world.now);
    assert_eq!(world.hub.poll_output(), Some(Output::Present(user("alice"))), "the first of all");
    while world.hub.poll_output().is_some() {}
    let request = ControlRequest::Close { target: CloseTarget::User(user("alice")), close: operator() };
    world.hub.control(1, request, world.now);
    let said: Vec<Output> = std::iter::from_fn(|| world.hub.poll_output()).collect();
    let at = |fits: fn(&Output) -> bool| said.iter().position(fits).unwrap();
    let absent = at(|output| *output == Output::Absent(user("alice")));
    assert!(absent < at(|output| matches!(output, Output::Ended { .. })), "{said:?}");
}
