//! A session goes on at another node: there it follows what it followed, from where its client stands.

use encke_hub::{Attach, ConnKey, ControlReply, ControlRequest, Ending, Following, Output, Start};
use encke_proto::SessionId;

use crate::{
    support::{session, user},
    world::{World, attach, attach_to, back},
};

/// Asks `from` for alice's session 1001 as another node would, and makes the logs those of a second node.
fn move_over(from: &mut World) -> (World, Option<Following>) {
    from.hub.control(77, release(session(1001), "alice"), from.now);
    from.settle();
    let Some(ControlReply::Released(given)) = from.reply() else { panic!("not answered") };
    let mut there = World::default();
    std::mem::swap(&mut there.logs, &mut from.logs);
    (there, given.map(|given| *given))
}

fn come(world: &mut World, carried: Following, client: Attach) {
    world.come(Attach { fresh: session(1001), carried, ..client });
}

#[test]
fn a_session_that_goes_on_elsewhere_follows_what_it_followed() {
    let mut here = World::default();
    here.come(attach_to(1, "alice", &["news", "chat"]));
    here.publish("news");
    here.publish("news");
    assert_eq!(here.pull(1), ["news 1", "news 2"]);
    let cursor = here.cursor(1);
    let (mut there, given) = move_over(&mut here);
    assert!(here.is_empty(), "nothing of it stays");
    let given = given.expect("it was there");
    there.publish("news");
    come(&mut there, given, back(2, "alice", 1, &cursor));
    assert_eq!(there.hub.session_of(ConnKey(2)), Some(session(1001)));
    assert_eq!(there.pull(2), ["news 3"], "what was pulled before does not come again");
    there.publish("chat");
    assert_eq!(there.pull(2), ["chat 1"]);
}

#[test]
fn its_last_connection_is_told_that_another_took_over() {
    let mut here = World::default();
    here.come(attach(1, "alice"));
    here.said();
    here.hub.control(5, release(session(1001), "alice"), here.now);
    here.settle();
    let said = here.said_of_users();
    assert_eq!(said[0], Output::Ended { conn: ConnKey(1), ending: Ending::TakenOver });
    assert_eq!(said[1], Output::Offline(user("alice")));
    assert!(!said.iter().any(|output| matches!(output, Output::Closed { .. })), "it is not closed");
}

#[test]
fn a_channel_that_the_cursor_does_not_name_goes_on_where_it_began() {
    let mut here = World::default();
    here.come(attach(1, "alice"));
    let cursor = here.cursor(1);
    here.subscribe(1, "alice", &["late"]);
    assert_eq!(here.followed().len(), 1);
    here.publish("late");
    assert_eq!(here.pull(1), ["late 1"], "pulled, but lost on its way");
    let (mut there, given) = move_over(&mut here);
    come(&mut there, given.expect("it was there"), back(2, "alice", 1, &cursor));
    assert_eq!(there.pull(2), ["late 1"], "so it comes again");
}

#[test]
fn without_a_cursor_it_goes_on_where_it_stood() {
    let mut here = World::default();
    here.come(attach_to(1, "alice", &["news"]));
    here.publish("news");
    here.pull(1);
    // As the client names it in a cursor of its own, the place is not doubted any more.
    let cursor = here.cursor(1);
    here.come(Attach { session: Some(session(1001)), start: Start::Cursor(cursor), ..attach(3, "alice") });
    here.publish("news");
    let (mut there, given) = move_over(&mut here);
    come(
        &mut there,
        given.expect("it was there"),
        Attach { session: Some(session(1001)), ..attach(2, "alice") },
    );
    assert_eq!(there.pull(2), ["news 2"]);
}

#[test]
fn no_user_is_given_the_session_of_another() {
    let mut here = World::default();
    here.come(attach(1, "alice"));
    here.said();
    here.hub.control(5, release(session(1001), "mallory"), here.now);
    here.hub.control(6, release(session(4), "alice"), here.now);
    here.settle();
    let replies: Vec<_> =
        here.said().into_iter().filter(|output| matches!(output, Output::Replied { .. })).collect();
    assert_eq!(replies, [5, 6].map(|ticket| Output::Replied { ticket, reply: ControlReply::Released(None) }));
    assert_eq!(here.hub.sessions_of(&user("alice")), 1);
}

fn release(session: SessionId, name: &str) -> ControlRequest {
    ControlRequest::Release { session: Some(session), user: user(name) }
}
