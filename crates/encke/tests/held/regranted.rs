//! A session that goes on with a token that grants less: what it does not grant is not delivered any more,
//! and the client is told.

use encke::auth::{Claims, Grant, TokenKey};

use super::*;

impl World {
    /// A request of alice, whose token grants `news` alone.
    fn narrow(&self, target: &str, more: &str) -> String {
        let claims = Claims {
            user: UserId::new("alice").unwrap(),
            expires_s: self.app().now().wall.0 / 1000 + 600,
            issued_s: None,
            jti: None,
            channels: Grant::of(vec!["news".into()]),
            publish: Grant::none(),
        };
        let token = TokenKey::hs256(&Secret::new("s".repeat(32))).sign(&claims).unwrap();
        format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{more}\r\n",
            self.address
        )
    }

    /// The id of a session of alice that follows `news` and `secret`, and its cursor.
    fn wide(&self) -> (String, String) {
        let (status, answer) = self.poll("alice", "hold_s=0&channels=news,secret");
        assert_eq!(status, 200, "{answer}");
        (answer["session"].as_str().unwrap().to_owned(), answer["cursor"].as_str().unwrap().to_owned())
    }
}

/// The ways in which a client goes on with its session.
fn ways(session: &str, cursor: &str) -> [String; 3] {
    [
        format!("session={session}"),
        format!("session={session}&cursor={cursor}"),
        format!("session={session}&cursor={cursor}&channels=news,secret"),
    ]
}

fn told() -> Value {
    serde_json::json!({"event": "unsubscribed", "channel": "secret", "reason": "not_granted"})
}

#[test]
fn over_polls() {
    for way in 0..3 {
        let mut world = World::new();
        let (session, cursor) = world.wide();
        let mut wire = world.connect();
        wire.send(&world.narrow(&format!("/v1/poll?{}", ways(&session, &cursor)[way]), ""));
        let (status, answer) = wire.response();
        let expected = serde_json::json!([{"channel": "secret", "reason": "not_granted"}]);
        assert_eq!((status, &answer["unsubscribed"]), (200, &expected), "at once: {answer}");
        let cursor = answer["cursor"].as_str().unwrap();
        assert!(!cursor.contains("secret"), "{cursor}");
        world.publish("secret", "1");
        world.publish("news", "2");
        wire.send(&world.narrow(&format!("/v1/poll?session={session}&cursor={cursor}"), ""));
        let (status, answer) = wire.response();
        assert_eq!((status, data(&answer)), (200, vec![2]), "{answer}");
        assert_eq!(answer.get("unsubscribed"), None, "it is told once");
    }
}

#[test]
fn over_server_sent_events() {
    for way in 0..3 {
        let mut world = World::new();
        let (session, cursor) = world.wide();
        let mut wire = world.connect();
        wire.send(&world.narrow(&format!("/v1/sse?{}", ways(&session, &cursor)[way]), ""));
        wire.until("\r\n\r\n");
        let mut next = || loop {
            match wire.event() {
                (_, Value::Null, _) => {}
                (_, event, id) => return (event, id),
            }
        };
        assert_eq!(next().0["event"], "open");
        let (event, id) = next();
        assert_eq!(event, told());
        assert!(!id.contains("secret"), "{id}");
        world.publish("secret", "1");
        world.publish("news", "2");
        assert_eq!(next().0["data"], 2);
    }
}

#[test]
fn over_websocket() {
    for way in 0..3 {
        let mut world = World::new();
        let (session, cursor) = world.wide();
        let mut wire = world.connect();
        let target = format!("/v1/ws?{}", ways(&session, &cursor)[way]);
        wire.send(&world.narrow(&target, &format!("{}\r\n", ws::KEY)));
        wire.switched();
        assert_eq!(wire.on_bytes()["event"], "open");
        assert_eq!(wire.on_bytes(), told());
        world.publish("secret", "1");
        world.publish("news", "2");
        assert_eq!(wire.on_bytes()["data"], 2);
        wire.say(1, br#"{"do":"subscribe","id":1,"channels":["secret"]}"#);
        assert_eq!(wire.on_bytes()["error"]["code"], "channel_forbidden");
    }
}

#[test]
fn without_a_session_a_channel_that_is_not_granted_is_refused() {
    let world = World::new();
    let (_, cursor) = world.wide();
    for query in [format!("cursor={cursor}"), "channels=secret".to_owned()] {
        let mut wire = world.connect();
        wire.send(&world.narrow(&format!("/v1/poll?hold_s=0&{query}"), ""));
        let (status, answer) = wire.response();
        assert_eq!((status, &answer["error"]["code"]), (403, &"channel_forbidden".into()), "{query}");
    }
}

#[test]
fn the_channel_of_another_user_is_refused_also_with_a_session() {
    let world = World::new();
    let (session, _) = world.wide();
    let mut wire = world.connect();
    wire.send(&world.narrow(&format!("/v1/poll?hold_s=0&session={session}&cursor=1~k~@bob~1"), ""));
    assert_eq!(wire.response().0, 403);
}
