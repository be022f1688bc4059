//! The same over WebSocket, and as a stream of events.

use serde_json::json;

use super::{super::ws::KEY, *};

const TEXT: u8 = 1;

impl World {
    pub(super) fn bayeux_socket(&self, path: &str) -> Wire {
        let mut wire = self.connect();
        wire.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{KEY}\r\n\r\n", self.address));
        wire.switched();
        wire
    }

    /// A socket whose client has shaken hands on it.
    fn shaken_socket(&self, ext: &Value) -> (Wire, Client) {
        let mut wire = self.bayeux_socket("/cometd");
        wire.asks(&json!([{
            "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": ["websocket"], "ext": ext,
        }]));
        let reply = wire.on_bytes();
        assert_eq!(reply[0]["successful"], true, "{reply}");
        let id = reply[0]["clientId"].as_str().unwrap().to_owned();
        (wire, Client { id, connects: 0 })
    }
}

impl Wire {
    pub(super) fn asks(&mut self, messages: &Value) {
        self.say(TEXT, messages.to_string().as_bytes());
    }

    /// The reply to one message, with nothing before it.
    pub(super) fn answers(&mut self, message: Value) -> Value {
        self.asks(&json!([message]));
        let mut replies = self.on_bytes();
        assert_eq!(replies.as_array().unwrap().len(), 1, "{replies}");
        replies[0].take()
    }
}

#[test]
fn messages_come_at_any_time_and_a_connect_is_held() {
    let world = world_with(|config| config.hold_s = 1);
    let (mut wire, mut client) = world.shaken_socket(&json!({}));
    // An empty array keeps a connection for some clients.
    wire.asks(&json!([]));
    let subscribe = client.says("/meta/subscribe", json!({ "subscription": "/a/*" }));
    assert_eq!(wire.answers(subscribe)["successful"], true);
    let first = wire.answers(client.connect(json!({ "advice": { "timeout": 0 } })));
    assert_eq!((&first["id"], &first["successful"]), (&json!("c1"), &json!(true)));
    world.api_publish("/a/b", &json!(1));
    assert_eq!(wire.on_bytes(), json!([{ "channel": "/a/b", "data": 1 }]), "without a connect that is held");
    wire.asks(&json!([client.connect(json!({}))]));
    world.api_publish("/a/b", &json!(2));
    assert_eq!(wire.on_bytes(), json!([{ "channel": "/a/b", "data": 2 }]), "and with one, which goes on");
    let reply = wire.on_bytes();
    assert_eq!((&reply[0]["id"], &reply[0]["advice"]["reconnect"]), (&json!("c2"), &json!("retry")));
    // A newer connect answers the older.
    wire.asks(&json!([client.connect(json!({}))]));
    wire.asks(&json!([client.connect(json!({}))]));
    assert_eq!((&wire.on_bytes()[0]["id"], &wire.on_bytes()[0]["id"]), (&json!("c3"), &json!("c4")));
}

#[test]
fn a_client_that_acknowledges_is_told_with_its_connects_alone() {
    let world = world();
    let (mut wire, mut client) = world.shaken_socket(&json!({ "ack": true }));
    let subscribe = client.says("/meta/subscribe", json!({ "subscription": "/a" }));
    assert_eq!(wire.answers(subscribe)["successful"], true);
    let first = wire.answers(client.connect(json!({ "ext": { "ack": 0 } })));
    assert_eq!(first["ext"]["ack"], 1);
    world.api_publish("/a", &json!(1));
    let reply = wire.answers(client.says("/a", json!({ "data": 2 })));
    assert_eq!(reply["successful"], true, "no message came before");
    wire.asks(&json!([client.connect(json!({ "ext": { "ack": 1 } }))]));
    let mut got = Vec::new();
    let number = loop {
        let frame = wire.on_bytes();
        got.extend(events(frame.as_array().unwrap()));
        if frame[0]["channel"] == "/meta/connect" {
            break frame[0]["ext"]["ack"].as_u64().unwrap();
        }
    };
    assert_eq!(got, [1, 2].map(|data| ("/a".to_owned(), json!(data))));
    // It was lost: another connection goes on without a handshake, behind what was acknowledged.
    drop(wire);
    let mut wire = world.bayeux_socket("/bayeux");
    wire.asks(&json!([client.connect(json!({ "ext": { "ack": 1 } }))]));
    let again: Vec<_> = (0..2).flat_map(|_| events(wire.on_bytes().as_array().unwrap())).collect();
    assert_eq!(again, got);
    assert!(wire.on_bytes()[0]["ext"]["ack"].as_u64().unwrap() > number);
}

#[test]
fn a_disconnect_is_answered_and_so_is_the_connect_that_is_held() {
    let world = world();
    let (mut wire, mut client) = world.shaken_socket(&json!({ "token": world.token("alice") }));
    assert_eq!(wire.answers(client.connect(json!({})))["successful"], true);
    wire.asks(&json!([client.connect(json!({}))]));
    wire.asks(&json!([client.says("/meta/disconnect", json!({}))]));
    let reply = wire.on_bytes();
    assert_eq!((&reply[0]["channel"], &reply[0]["successful"]), (&json!("/meta/disconnect"), &json!(true)));
    let reply = wire.on_bytes();
    assert_eq!((&reply[0]["id"], &reply[0]["advice"]["reconnect"]), (&json!("c2"), &json!("none")));
    assert_eq!(wire.closed().0, 1000);
    assert_eq!(world.sessions("alice"), 0, "everything of it is freed");
}

#[test]
fn a_socket_takes_requests_of_sessions_that_it_does_not_bring() {
    let world = world();
    let (mut wire, _) = world.shaken_socket(&json!({}));
    let mut other = world.subscribed(&json!({}), &json!("/a"));
    assert_eq!(wire.answers(other.says("/a", json!({ "data": 1 })))["successful"], true);
    let answer = array(&mut world.held_connect(&mut other, json!({})));
    assert_eq!(events(&answer), [("/a".to_owned(), json!(1))], "its messages were not stolen");
    let unknown = Client { id: "AAAAAAAAAAAAAAAAAAAAAA".into(), connects: 0 };
    let reply = wire.answers(unknown.says("/meta/connect", json!({})));
    assert_eq!(
        (&reply["error"], &reply["advice"]["reconnect"]),
        (&json!("402::session_unknown"), &json!("handshake"))
    );
}

/// Faye's clients open a socket to see whether they may, and use it when they have shaken hands elsewhere.
#[test]
fn a_socket_that_says_nothing_is_kept_for_a_while() {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let world = world_at(Arc::clone(&clock) as Arc<dyn Clock>, |_| {});
    let [mut used, mut unused] = [(); 2].map(|()| world.bayeux_socket("/bayeux"));
    clock.advance_ms(9_000);
    let mut client = world.shaken(&json!({}));
    assert_eq!(used.answers(client.connect(json!({})))["successful"], true);
    clock.advance_ms(1_000);
    assert_eq!(unused.closed().0, 1008, "but not for ever");
    assert_eq!(used.answers(client.says("/a", json!({ "data": 1 })))["successful"], true);
}

/// A client gives a reply that is none to a connect ten seconds.
#[test]
fn no_reply_waits_for_the_connect_that_is_held() {
    let world = world();
    let (mut wire, mut client) = world.shaken_socket(&json!({}));
    wire.answers(client.connect(json!({ "advice": { "timeout": 0 } })));
    wire.asks(&json!([client.connect(json!({}))]));
    for (channel, members) in [
        ("/meta/subscribe", json!({ "subscription": "/a" })),
        ("/b", json!({ "data": 1 })),
        ("/service/c", json!({ "data": 1 })),
        ("/meta/unsubscribe", json!({ "subscription": "/a" })),
    ] {
        let reply = wire.answers(client.says(channel, members.clone()));
        assert_eq!((&reply["channel"], &reply["successful"]), (&json!(channel), &json!(true)));
    }
    let mut polling = world.subscribed(&json!({}), &json!("/x"));
    let _held = world.held_connect(&mut polling, json!({}));
    world.until_connects(2);
    for (channel, members) in [
        ("/meta/subscribe", json!({ "subscription": "/a" })),
        ("/b", json!({ "data": 1 })),
        ("/service/c", json!({ "data": 1 })),
        ("/meta/unsubscribe", json!({ "subscription": "/a" })),
    ] {
        assert_eq!(world.bayeux_one(&polling.says(channel, members))["successful"], true, "{channel}");
    }
    world.until_connects(2);
}

#[test]
fn what_is_no_array_of_messages_ends_the_connection() {
    let world = world();
    for text in ["x", "1", &"[".repeat(1_000)] {
        let mut wire = world.bayeux_socket("/bayeux");
        wire.say(TEXT, text.as_bytes());
        assert_eq!(wire.closed().0, 1008, "{text}");
    }
    let mut wire = world.connect();
    let origin = "Origin: https://elsewhere.example\r\n";
    wire.send(&format!("GET /bayeux HTTP/1.1\r\nHost: {}\r\n{origin}{KEY}\r\n\r\n", world.address));
    assert_eq!(wire.response().0, 403);
}

#[test]
fn events_come_as_a_stream_and_connects_need_not_wait() {
    let world = world();
    let mut client = world.shaken(&json!({}));
    let subscribe = client.says("/meta/subscribe", json!({ "subscription": "/a/*" }));
    assert_eq!(world.bayeux_one(&subscribe)["successful"], true);
    let mut wire = world.connect();
    wire.send(&format!("GET /bayeux/{} HTTP/1.1\r\nHost: {}\r\n\r\n", client.id, world.address));
    assert!(wire.until("\r\n\r\n").contains("content-type: text/event-stream"));
    wire.until(":\n\n");
    let mut connect = client.connect(json!({}));
    connect["connectionType"] = "eventsource".into();
    let reply = world.bayeux_one(&connect);
    assert_eq!((&reply["advice"]["interval"], &reply["advice"]["timeout"]), (&json!(25_000), &json!(0)));
    world.api_publish("/a/b", &json!(1));
    wire.until("data: [{\"channel\":\"/a/b\",\"data\":1}]\n\n");
    drop(wire);
    // What comes meanwhile is there when it comes back.
    world.until_connects(0);
    world.api_publish("/a/b", &json!(2));
    let mut wire = world.connect();
    wire.send(&format!("GET /bayeux/{} HTTP/1.1\r\nHost: {}\r\n\r\n", client.id, world.address));
    wire.until("data: [{\"channel\":\"/a/b\",\"data\":2}]\n\n");
    let mut wire = world.connect();
    wire.send(&format!("GET /bayeux/AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
    assert_eq!(wire.response().0, 404);
}
