//! Operators who look on at what a user is given, over raw sockets.

use encke::config::{ApiKeyEntry, Scope};

use super::*;

/// The head of an operator's request with this key.
fn head_of(world: &World, target: &str, key: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n{fields}\r\n", world.address)
}

/// An operator who looks on at a user, and has been told that it begins.
fn looks(world: &World, target: &str) -> Wire {
    let mut wire = world.connect();
    wire.send(&head_of(world, target, &"k".repeat(32), ""));
    let head = wire.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream"), "{head}");
    assert_eq!(wire.event().1["event"], "open");
    wire
}

/// What is answered to a GET of the server API.
fn asks(world: &World, target: &str) -> (u16, Value) {
    let mut wire = world.connect();
    wire.send(&head_of(world, target, &"k".repeat(32), ""));
    wire.response()
}

/// Pushes as a backend does; the push's id.
fn pushed(world: &World, user: &str, data: &str) -> String {
    let body = format!("{{\"to\":[{user:?}],\"data\":{data}}}");
    let mut wire = world.connect();
    wire.send(&format!(
        "POST /api/push HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.address,
        "k".repeat(32),
        body.len()
    ));
    let (status, answer) = wire.response();
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn state(world: &World, push: &str) -> Value {
    asks(world, &format!("/api/push/{push}")).1["receipts"][0]["state"].clone()
}

#[test]
fn an_operator_looks_on_and_the_user_gets_everything_afterwards() {
    let world = World::new();
    let first = pushed(&world, "alice", "1");
    let mut wire = looks(&world, "/api/users/alice/messages");
    let (_, message, id) = wire.event();
    assert_eq!((&message["data"], &message["channel"]), (&Value::from(1), &Value::from("@alice")));
    let second = pushed(&world, "alice", "2");
    assert_eq!(wire.event().1["data"], 2);
    // A browser that comes back goes on behind what it has.
    let mut again = world.connect();
    let field = format!("Last-Event-ID: {id}\r\n");
    again.send(&head_of(&world, "/api/users/alice/messages", &"k".repeat(32), &field));
    again.until("\r\n\r\n");
    again.event();
    assert_eq!(again.event().1["data"], 2);
    let (_, user) = asks(&world, "/api/users/alice");
    assert_eq!(
        (&user["online"], &user["sessions"], &user["last_seen"]),
        (&Value::from(false), &Value::from(0), &Value::Null)
    );
    let (_, sessions) = asks(&world, "/api/sessions?user=alice");
    assert_eq!(sessions["sessions"], Value::from(Vec::<Value>::new()));
    assert_eq!((state(&world, &first), state(&world, &second)), ("queued".into(), "queued".into()));

    let mut user = world.connect();
    user.send(&world.head("alice", "/v1/sse"));
    user.until("\r\n\r\n");
    user.event();
    assert_eq!((user.event().1["data"].clone(), user.event().1["data"].clone()), (1.into(), 2.into()));
    world.until(|| state(&world, &first) == "delivered" && state(&world, &second) == "delivered");
    let mut late = looks(&world, "/api/users/alice/messages?cursor=earliest");
    assert_eq!((late.event().1["data"].clone(), late.event().1["data"].clone()), (1.into(), 2.into()));
    let third = pushed(&world, "alice", "3");
    for wire in [&mut wire, &mut again, &mut user, &mut late] {
        assert_eq!(wire.event().1["data"], 3);
    }
    world.until(|| state(&world, &third) == "delivered");
}

#[test]
fn lines_are_asked_for_by_the_query_or_by_accept_and_messages_may_be_short() {
    let world = World::new();
    pushed(&world, "alice", "1");
    for (query, fields) in [("?as=ndjson", ""), ("", "Accept: application/x-ndjson\r\n")] {
        let mut wire = world.connect();
        let target = format!("/api/users/alice/messages{query}");
        wire.send(&head_of(&world, &target, &"k".repeat(32), fields));
        let head = wire.until("\r\n\r\n");
        assert!(head.contains("content-type: application/x-ndjson"), "{head}");
        wire.until("\"event\":\"open\"");
        wire.until("\"data\":1");
    }
    let mut wire = world.connect();
    wire.send(&head_of(&world, "/api/users/alice/messages?form=short", &"k".repeat(32), ""));
    wire.until("\r\n\r\n");
    assert_eq!(wire.event().1["user"], "alice");
    assert!(wire.event().1.is_array());
}

#[test]
fn it_takes_a_key_that_may_read() {
    let world = World::with(|config| {
        let key = |name: &str, key: &str, scope| ApiKeyEntry {
            name: name.into(),
            key: Some(Secret::new(key.into())),
            key_sha256: None,
            scopes: vec![scope].into(),
            expires: None,
            requests_per_s: None,
        };
        config.api_keys = vec![
            key("reader", "4f1c9be07d3a4f1c", Scope::Read),
            key("pusher", "7d3a4f1c4f1c9be0", Scope::Push),
        ];
    });
    let token = world.token("alice");
    for (target, key, expected) in [
        ("/api/users/alice/messages", "7d3a4f1c4f1c9be0", (403, "forbidden")),
        ("/api/users/alice/messages", "nonsense", (401, "unauthorized")),
        ("/api/users/alice/messages", &*token, (401, "unauthorized")),
        ("/api/users/alice/messages?cursor=nonsense", "4f1c9be07d3a4f1c", (400, "bad_cursor")),
        ("/api/users/alice/messages?session=a", "4f1c9be07d3a4f1c", (400, "bad_request")),
        ("/api/users/%00/messages", "4f1c9be07d3a4f1c", (400, "bad_name")),
    ] {
        let mut wire = world.connect();
        wire.send(&head_of(&world, target, key, ""));
        let (status, answer) = wire.response();
        assert_eq!((status, answer["error"]["code"].as_str().unwrap()), expected, "{target}: {answer}");
    }
    let mut wire = world.connect();
    wire.send(&head_of(&world, "/api/users/alice/messages", "4f1c9be07d3a4f1c", ""));
    assert!(wire.until("\r\n\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn it_ends_when_the_user_is_deleted_and_when_the_key_is_taken_away() {
    let world = World::new();
    pushed(&world, "alice", "1");
    let mut wire = looks(&world, "/api/users/alice/messages");
    wire.event();
    let mut other = world.connect();
    other.send(&head_of(&world, "/api/users/alice", &"k".repeat(32), "").replace("GET", "DELETE"));
    assert_eq!(other.response().0, 200);
    let (name, close, id) = wire.event();
    assert_eq!(
        (name.as_str(), &close["code"], &close["reconnect"]),
        ("close", &"deleted".into(), &Value::from(false))
    );
    assert!(wire.ends());
    // A browser's EventSource that comes back by itself is told to stay away.
    let mut again = world.connect();
    let field = format!("Last-Event-ID: {id}\r\n");
    again.send(&head_of(&world, "/api/users/alice/messages", &"k".repeat(32), &field));
    assert_eq!(again.response().0, 204);

    let mut wire = looks(&world, "/api/users/bob/messages");
    let mut next = config();
    next.api_key = Some(Secret::new("n".repeat(32)));
    world.runtime.block_on(world.app().reloads.take(next)).unwrap();
    let (_, close, _) = wire.event();
    assert_eq!((&close["code"], &close["reconnect"]), (&"revoked".into(), &Value::from(false)));
    assert!(wire.ends());
    let mut again = world.connect();
    again.send(&head_of(&world, "/api/users/bob/messages", &"n".repeat(32), ""));
    assert!(again.until("\r\n\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn there_are_only_so_many_of_one_key_and_each_that_ends_makes_room() {
    let world = World::new();
    let target = "/api/users/alice/messages";
    let mut all: Vec<Wire> = (0..encke::looks::LOOKS_PER_KEY_MAX).map(|_| looks(&world, target)).collect();
    let (status, answer) = asks(&world, target);
    assert_eq!((status, answer["error"]["code"].as_str().unwrap()), (503, "overloaded"));
    all.pop();
    world.until(|| {
        let mut wire = world.connect();
        wire.send(&head_of(&world, target, &"k".repeat(32), ""));
        wire.until("\r\n\r\n").starts_with("HTTP/1.1 200")
    });
}

#[test]
fn it_is_there_where_operators_come_in_alone() {
    let world = World::with(|config| config.admin_listen = Some("127.0.0.1:0".parse().unwrap()));
    let (status, _) = asks(&world, "/api/users/alice/messages");
    assert_eq!(status, 404);
    let admin = world.server.as_ref().unwrap().admin.as_ref().unwrap().address.tcp().unwrap();
    let socket = TcpStream::connect(admin).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut wire = Wire { socket, seen: Vec::new() };
    wire.send(&head_of(&world, "/api/users/alice/messages", &"k".repeat(32), ""));
    assert!(wire.until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    wire.event();
    let user = Targets::Users(vec![UserId::new("alice").unwrap()]);
    let mut world = world;
    world.append(user, "7");
    assert_eq!(wire.event().1["data"], 7);
}
