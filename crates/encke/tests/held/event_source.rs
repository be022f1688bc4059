//! A browser's EventSource without any client: it comes back by itself, to the same address, with its last
//! event id; a ticket in that address leads it back to its session.

use super::*;

/// A ticket for this user.
fn ticket(world: &World, user: &str) -> String {
    let mut wire = world.connect();
    wire.send(&format!(
        "POST /v1/ticket HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        world.address,
        world.token(user)
    ));
    let (status, answer) = wire.response();
    assert_eq!(status, 200, "{answer}");
    answer["ticket"].as_str().unwrap().to_owned()
}

/// It asks at this address, with its last event id if it has one.
fn asks(world: &World, target: &str, id: &str) -> Wire {
    let field = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
    let mut wire = world.connect();
    wire.send(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{field}\r\n", world.address));
    wire
}

/// It is served: the session, and the id of the opening.
fn opened(wire: &mut Wire) -> (Value, String) {
    let head = wire.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (name, open, id) = wire.event();
    assert_eq!((name.as_str(), &open["event"]), ("opened", &Value::from("open")), "`open` is the browser's");
    (open["session"].clone(), id)
}

#[test]
fn it_comes_back_by_the_address_of_its_ticket_to_its_own_session_and_misses_nothing() {
    let mut world = World::with(|config| config.session_grace_s = 1);
    let target = format!("/v1/sse?ticket={}&channels=news", ticket(&world, "alice"));
    let mut wire = asks(&world, &target, "");
    let (session, mut id) = opened(&mut wire);
    for number in 0..3 {
        // The connection is cut, and something comes before the browser is back.
        wire.socket.shutdown(Shutdown::Both).unwrap();
        if number == 2 {
            world.until(|| world.sessions("alice") == 0);
        }
        world.push("alice", &number.to_string());
        wire = asks(&world, &target, &id);
        assert_eq!(opened(&mut wire).0, session, "also when the grace time is over");
        let (_, message, next) = wire.event();
        assert_eq!(message["data"], number);
        id = next;
    }
    // It is good for nothing else.
    for (target, id) in [
        (target.clone(), ""),
        (target.replace("/v1/sse", "/v1/poll"), ""),
        (format!("{target}&session=AAAAAAAAAAAAAAAAAAAAAA"), &*id),
    ] {
        assert_eq!(asks(&world, &target, id).response().0, 401, "{target} {id}");
    }
    world.push("alice", "3");
    assert_eq!(wire.event().1["data"], 3, "none of these took over");
}

#[test]
fn it_stays_away_after_a_close_on_purpose() {
    let world = World::new();
    let target = format!("/v1/sse?ticket={}", ticket(&world, "alice"));
    let mut wire = asks(&world, &target, "");
    opened(&mut wire);
    let close = encke_proto::Close {
        code: encke_proto::CloseCode::Operator,
        reason: String::new(),
        reconnect: false,
        retry_ms: None,
    };
    let target_of_close = encke_hub::CloseTarget::User(UserId::new("alice").unwrap());
    world.runtime.block_on(world.app().sessions.close(&target_of_close, &close)).unwrap();
    let (name, _, id) = wire.event();
    assert_eq!(name, "close");
    assert_eq!(asks(&world, &target, &id).response().0, 204);
}

#[test]
fn a_ticket_that_was_not_used_for_a_stream_leads_back_to_nothing() {
    let world = World::new();
    let ticket = ticket(&world, "alice");
    assert_eq!(asks(&world, &format!("/v1/poll?hold_s=0&ticket={ticket}"), "").response().0, 200);
    let mut wire = asks(&world, &format!("/v1/sse?ticket={ticket}"), "1~0");
    assert_eq!(wire.response().0, 401);
}
