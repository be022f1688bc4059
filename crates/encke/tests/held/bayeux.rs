//! Bayeux over raw sockets: the ways in which servers break the clients of CometD and Faye, each with what
//! those clients send. Their own programs are asked in `tests/e2e/bayeux.test.js`.

use std::time::Instant;

use encke::{
    clock::{Clock, TestClock},
    wire::{Backing, wire_on},
};
use encke_engine::{EngineEvents, memory::MemoryEngine};
use encke_proto::{Epoch, Time};
use serde_json::json;

use super::*;

mod rates;
mod refused;
mod sockets;
mod taken;
mod tokens;

const TYPES: [&str; 2] = ["long-polling", "callback-polling"];

fn world() -> World {
    world_with(|_| {})
}

/// One by another clock.
fn world_at(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> World {
    let speaks = |config: &mut Config| {
        config.dialects.set("bayeux", true);
        change(config);
    };
    World::of(speaks, async |config| {
        let retention = config.retention_table();
        let open = async move |events: EngineEvents| {
            let engine = MemoryEngine::new(events.feed, retention, Epoch(1));
            Ok(Backing { engine: Arc::new(engine), cluster: None })
        };
        wire_on(Arc::new(config), clock, open).await
    })
}

fn world_with(change: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        config.dialects.set("bayeux", true);
        change(config);
    })
}

/// A client that has shaken hands.
struct Client {
    id: String,
    /// How many connects it has sent.
    connects: u64,
}

impl World {
    fn bayeux_text(&self, path: &str, fields: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{fields}\r\n{body}",
            self.address
        )
    }

    /// Sends messages on a connection of their own.
    fn bayeux_sends(&self, path: &str, messages: &Value) -> Wire {
        let mut wire = self.connect();
        wire.send(&self.bayeux_text(
            path,
            "Content-Type: application/json;charset=UTF-8\r\n",
            &messages.to_string(),
        ));
        wire
    }

    /// Sends messages and reads what is answered, which has to be an array that is not empty.
    fn bayeux(&self, messages: &Value) -> Vec<Value> {
        let (status, answer) = self.bayeux_sends("/cometd/", messages).response();
        assert_eq!(status, 200, "{messages}: {answer}");
        let replies = answer.as_array().unwrap_or_else(|| panic!("{messages}: {answer}"));
        assert!(!replies.is_empty());
        replies.clone()
    }

    /// Sends one message; its reply is the last.
    fn bayeux_one(&self, message: &Value) -> Value {
        self.bayeux(&json!([message])).pop().unwrap()
    }

    fn shaken(&self, ext: &Value) -> Client {
        let reply = self.bayeux_one(&json!({
            "channel": "/meta/handshake", "id": "1", "version": "1.0", "minimumVersion": "1.0",
            "supportedConnectionTypes": TYPES, "ext": ext, "advice": { "timeout": 60_000, "interval": 0 },
        }));
        assert_eq!(reply["successful"], true, "{reply}");
        Client { id: reply["clientId"].as_str().unwrap().to_owned(), connects: 0 }
    }

    /// A client that is connected and subscribed.
    fn subscribed(&self, ext: &Value, subscription: &Value) -> Client {
        let mut client = self.shaken(ext);
        let reply = self.bayeux_one(&client.says("/meta/subscribe", json!({ "subscription": subscription })));
        assert_eq!(reply["successful"], true, "{reply}");
        let answer = self.bayeux(&json!([client.connect(json!({ "ext": { "ack": 0 } }))]));
        assert_eq!(answer.len(), 1, "{answer:?}");
        client
    }

    /// Holds a connect.
    fn held_connect(&self, client: &mut Client, members: Value) -> Wire {
        self.bayeux_sends("/cometd/connect", &json!([client.connect(members)]))
    }

    /// Publishes as a backend does.
    fn api_publish(&self, channel: &str, data: &Value) -> u16 {
        let body = json!({ "channel": channel, "data": data }).to_string();
        let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", "k".repeat(32));
        let mut wire = self.connect();
        wire.send(&self.bayeux_text("/api/publish", &key, &body));
        wire.response().0
    }

    /// Waits until each shard goes by the time that the clock tells: to one that learns of it only when a
    /// client has come, that client has been silent for too long.
    fn sees_the_time(&self) {
        for _ in 0..2 {
            self.runtime.block_on(self.app().shards.counts()).unwrap();
        }
    }

    /// Waits until so many connects are held.
    fn until_connects(&self, count: usize) {
        self.until(|| {
            self.runtime.block_on(self.app().shards.counts()).is_ok_and(|counts| counts.held == count)
        });
    }
}

impl Client {
    fn says(&self, channel: &str, members: Value) -> Value {
        let mut message = json!({ "channel": channel, "id": "s1", "clientId": self.id });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        message
    }

    fn connect(&mut self, members: Value) -> Value {
        self.connects += 1;
        let mut message = self.says("/meta/connect", members);
        message["id"] = format!("c{}", self.connects).into();
        message["connectionType"] = "long-polling".into();
        message
    }
}

/// The data of messages that are no replies.
fn events(answer: &[Value]) -> Vec<(String, Value)> {
    let events = answer.iter().filter(|message| message.get("successful").is_none());
    events.map(|event| (event["channel"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
}

fn array(wire: &mut Wire) -> Vec<Value> {
    let (status, answer) = wire.response();
    assert_eq!(status, 200, "{answer}");
    answer.as_array().unwrap().clone()
}

#[test]
fn a_whole_exchange_by_long_polling() {
    let world = world();
    let mut client = world.shaken(&json!({}));
    let reply =
        world.bayeux_one(&client.says("/meta/subscribe", json!({ "subscription": "/chat/*", "ext": {} })));
    assert_eq!(
        reply,
        json!({ "channel": "/meta/subscribe", "id": "s1", "successful": true, "subscription": "/chat/*" })
    );
    // The first connect is answered at once, by which clients know that they are connected.
    let answer = world.bayeux(&json!([client.connect(json!({ "advice": { "timeout": 0 } }))]));
    assert_eq!(
        answer,
        [json!({
            "channel": "/meta/connect", "id": "c1", "successful": true,
            "advice": { "reconnect": "retry", "interval": 0, "timeout": 25_000 },
        })]
    );
    let mut held = world.held_connect(&mut client, json!({}));
    world.until_connects(1);
    let other = world.shaken(&json!({}));
    let published = world.bayeux_one(&other.says("/chat/7", json!({ "data": { "x": 1 } })));
    assert_eq!(
        published,
        json!({ "channel": "/chat/7", "id": "s1", "successful": true }),
        "a reply has no data, or it would be taken for a message"
    );
    let answer = array(&mut held);
    assert_eq!(
        answer[0],
        json!({ "channel": "/chat/7", "data": { "x": 1 } }),
        "and nothing of its publisher"
    );
    assert_eq!((answer.len(), &answer[1]["id"], &answer[1]["successful"]), (2, &json!("c2"), &json!(true)));

    let mut held = world.held_connect(&mut client, json!({}));
    world.until_connects(1);
    let reply = world.bayeux_one(&client.says("/meta/disconnect", json!({})));
    assert_eq!(reply["successful"], true);
    let answer = array(&mut held);
    assert_eq!((&answer[0]["successful"], &answer[0]["advice"]["reconnect"]), (&json!(true), &json!("none")));
    let reply = world.bayeux_one(&client.connect(json!({})));
    assert_eq!(
        (&reply["error"], &reply["advice"]["reconnect"]),
        (&json!("402::session_unknown"), &json!("handshake"))
    );
}

#[test]
fn ids_and_subscriptions_come_back_as_they_were_written() {
    let world = world();
    let client = world.shaken(&json!({}));
    for id in [json!("7"), json!(7), json!("a1z")] {
        let reply = world.bayeux_one(&client.says("/a", json!({ "id": id, "data": 1 })));
        assert_eq!(reply["id"], id);
    }
    for subscription in [json!("/a"), json!(["/a"]), json!(["/b", "/c/**"])] {
        let message = client.says("/meta/subscribe", json!({ "subscription": subscription }));
        let replies = world.bayeux(&json!([message]));
        assert_eq!((replies.len(), &replies[0]["subscription"]), (1, &subscription));
        assert_eq!(replies[0]["successful"], true, "also the second time");
    }
    for (id, error) in [(json!([1]), "405::message_id_invalid"), (json!({}), "405::message_id_invalid")] {
        assert_eq!(world.bayeux_one(&client.says("/a", json!({ "id": id, "data": 1 })))["error"], error);
    }
}

#[test]
fn an_idle_connect_is_answered_with_its_reply() {
    let world = world_with(|config| config.hold_s = 1);
    let mut client = world.subscribed(&json!({}), &json!("/a"));
    let answer = array(&mut world.held_connect(&mut client, json!({})));
    assert_eq!((answer.len(), &answer[0]["successful"]), (1, &json!(true)));
}

#[test]
fn a_connect_that_comes_with_others_is_not_held() {
    let world = world();
    let mut client = world.subscribed(&json!({}), &json!("/a"));
    let connect = client.connect(json!({}));
    let answer =
        world.bayeux(&json!([connect, client.says("/meta/subscribe", json!({ "subscription": "/b" }))]));
    let channels: Vec<&str> = answer.iter().map(|reply| reply["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["/meta/subscribe", "/meta/connect"], "the reply to the connect is the last");
    let asks_for_no_hold = client.connect(json!({ "advice": { "timeout": 0 } }));
    assert_eq!(world.bayeux_one(&asks_for_no_hold)["successful"], true);
}

#[test]
fn a_newer_connect_takes_over_and_has_the_messages() {
    let world = world();
    let mut client = world.subscribed(&json!({}), &json!("/a"));
    let mut older = world.held_connect(&mut client, json!({}));
    world.until_connects(1);
    let mut newer = world.held_connect(&mut client, json!({}));
    assert!(older.response().0 >= 400, "nothing may be read into it");
    assert_eq!(world.api_publish("/a", &json!(1)), 202);
    assert_eq!(events(&array(&mut newer)), [("/a".to_owned(), json!(1))]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_before_anything_newer_of_its_channel() {
    let world = world();
    let mut client = world.subscribed(&json!({ "ack": true }), &json!(["/a", "/b/*"]));
    let mut held = world.held_connect(&mut client, json!({ "ext": { "ack": 1 } }));
    world.until_connects(1);
    world.api_publish("/a", &json!(1));
    let answer = array(&mut held);
    assert_eq!((events(&answer).len(), &answer[1]["ext"]["ack"]), (1, &json!(2)));
    // The answer was lost.
    for (channel, data) in [("/b/c", 2), ("/a", 3)] {
        assert_eq!(world.api_publish(channel, &json!(data)), 202);
    }
    // What came last may not be there yet when the connect comes; each answer is lost until it is.
    let late = Instant::now() + Duration::from_secs(20);
    let number = loop {
        assert!(Instant::now() < late, "not all came within 20 seconds");
        let again = world.bayeux(&json!([client.connect(json!({ "ext": { "ack": 1 } }))]));
        let mut all: Vec<i64> = events(&again).iter().map(|(_, data)| data.as_i64().unwrap()).collect();
        // Between channels there is no order.
        let place = |number| all.iter().position(|one| *one == number);
        assert!(place(3).is_none_or(|third| place(1).is_some_and(|first| first < third)), "{all:?}");
        if all.len() == 3 {
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3]);
            break again.last().unwrap()["ext"]["ack"].as_u64().unwrap();
        }
    };
    assert!(number >= 3, "numbers go up: {number}");
    let mut held = world.held_connect(&mut client, json!({ "ext": { "ack": number } }));
    world.until_connects(1);
    world.api_publish("/b/d", &json!(4));
    assert_eq!(events(&array(&mut held)), [("/b/d".to_owned(), json!(4))], "and what is, is not");
}

#[test]
fn a_session_goes_on_over_connections_and_the_grace_of_the_hub() {
    let world = world_with(|config| config.session_grace_s = 1);
    let mut client = world.subscribed(&json!({ "ack": true }), &json!("/a/**"));
    drop(world.held_connect(&mut client, json!({ "ext": { "ack": 1 } })));
    world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().sessions == 0);
    world.api_publish("/a/b", &json!(1));
    let answer = world.bayeux(&json!([client.connect(json!({ "ext": { "ack": 1 } }))]));
    assert_eq!(events(&answer), [("/a/b".to_owned(), json!(1))]);
}

#[test]
fn a_session_that_is_over_is_to_be_begun_anew() {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let world = world_at(Arc::clone(&clock) as Arc<dyn Clock>, |_| {});
    let client = world.shaken(&json!({}));
    let (connected, publish) = (world.subscribed(&json!({}), &json!("/a")), json!({ "data": 1 }));
    for (after_ms, shaken, subscribed) in [(14_999, true, true), (15_000, false, true), (84_999, false, true)]
    {
        clock.advance_ms(after_ms);
        world.sees_the_time();
        for (client, is_there) in [(&client, shaken), (&connected, subscribed)] {
            let reply = world.bayeux_one(&client.says("/a", publish.clone()));
            assert_eq!(reply["successful"], is_there, "{after_ms} ms after the last word: {reply}");
        }
    }
    clock.advance_ms(85_000);
    world.sees_the_time();
    assert_eq!(world.bayeux_one(&connected.says("/a", publish))["successful"], false);
    for channel in ["/meta/connect", "/meta/subscribe", "/meta/unsubscribe", "/meta/disconnect"] {
        let reply = world.bayeux_one(&client.says(channel, json!({ "subscription": "/a" })));
        assert_eq!(reply["error"], "402::session_unknown", "{channel}");
        let advice = &reply["advice"];
        assert_eq!(
            (&advice["reconnect"], &advice["interval"]),
            (&json!("handshake"), &json!(0)),
            "{channel}"
        );
        assert!(advice["timeout"].is_number());
    }
    let forged = Client { id: "AAAAAAAAAAAAAAAAAAAAAA".into(), connects: 0 };
    for id in ["", "x", forged.id.as_str()] {
        let reply = world.bayeux_one(&json!({ "channel": "/a", "data": 1, "id": "1", "clientId": id }));
        assert_eq!(reply["error"], "402::session_unknown");
        assert!(reply.get("advice").is_none(), "its client learns from its next connect");
    }
}

#[test]
fn a_client_has_one_copy_however_many_patterns_fit() {
    let world = world();
    let mut client = world.subscribed(&json!({}), &json!(["/a/b", "/a/*", "/a/**", "/**"]));
    let again = client.says("/meta/subscribe", json!({ "subscription": ["/a/*", "/a/c"] }));
    assert_eq!(world.bayeux_one(&again)["successful"], true);
    for (number, channel) in ["/a/b", "/a/c", "/a/b/d", "/x"].into_iter().enumerate() {
        assert_eq!(world.api_publish(channel, &json!(number)), 202);
    }
    let mut got = Vec::new();
    while got.len() < 4 {
        got.extend(events(&world.bayeux(&json!([client.connect(json!({}))]))));
    }
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("/a/b", 0), ("/a/b/d", 2), ("/a/c", 1), ("/x", 3)];
    assert_eq!(got, expected.map(|(channel, number)| (channel.to_owned(), json!(number))));
    // Fewer patterns, and none is left over.
    let fewer = client.says("/meta/unsubscribe", json!({ "subscription": ["/**", "/a/**", "/a/*"] }));
    assert_eq!(world.bayeux_one(&fewer)["successful"], true);
    for channel in ["/x", "/a/z", "/a/b/d", "/a/c"] {
        world.api_publish(channel, &json!(channel));
    }
    assert_eq!(
        events(&array(&mut world.held_connect(&mut client, json!({})))),
        [("/a/c".to_owned(), json!("/a/c"))]
    );
}

#[test]
fn all_publishers_reach_all_subscribers() {
    let world = world();
    let mut client = world.subscribed(&json!({}), &json!("/room/*"));
    let native = world.poll("native", "channels=/room/1&hold_s=0").1;
    let says = client.says("/room/1", json!({ "data": "by Bayeux" }));
    assert_eq!(world.bayeux_one(&says)["successful"], true);
    let query = format!(
        "session={}&cursor={}",
        native["session"].as_str().unwrap(),
        native["cursor"].as_str().unwrap()
    );
    let (_, polled) = world.poll("native", &query);
    assert_eq!(polled["messages"][0]["data"], "by Bayeux");
    let body = json!({ "channel": "/room/1", "data": "by native" }).to_string();
    let fields =
        format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", world.token("native"));
    let mut wire = world.connect();
    wire.send(&world.bayeux_text("/v1/publish", &fields, &body));
    assert_eq!(wire.response().0, 202);
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(events(&world.bayeux(&json!([client.connect(json!({}))]))));
    }
    assert_eq!(got, ["by Bayeux", "by native"].map(|data| ("/room/1".to_owned(), json!(data))));
    // Only copies stand in the log of a pattern.
    assert_eq!(world.api_publish("/room/**", &json!(1)), 400);
}

#[test]
fn unknown_meta_channels_and_bad_names_are_refused() {
    let world = world();
    let mut client = world.subscribed(&json!({}), &json!("/**"));
    for (channel, error) in [
        ("/meta/x", "403:/meta/x:Forbidden channel"),
        ("/meta/connect/x", "403:/meta/connect/x:Forbidden channel"),
        ("//meta/connect", "405::channel_invalid"),
        ("/a/*", "405::channel_invalid"),
        ("a", "405::channel_invalid"),
        ("", "400::channel_missing"),
    ] {
        let reply = world.bayeux_one(&client.says(channel, json!({ "data": 1 })));
        assert_eq!((&reply["successful"], &reply["error"]), (&json!(false), &json!(error)), "{channel}");
    }
    for (subscription, error) in [
        (json!(null), "403::subscription_missing"),
        (json!([]), "403::subscription_invalid"),
        (json!("/a/*/b"), "403::subscription_invalid"),
        (json!(["/ok", "no"]), "403::subscription_invalid"),
        (json!("/meta/connect"), "403:/meta/connect:subscribe_denied"),
    ] {
        let reply =
            world.bayeux_one(&client.says("/meta/subscribe", json!({ "subscription": subscription })));
        assert_eq!(reply["error"], error, "{subscription}");
    }
    world.api_publish("/a", &json!(1));
    let answer = array(&mut world.held_connect(&mut client, json!({})));
    assert_eq!(events(&answer), [("/a".to_owned(), json!(1))], "nothing of it was broadcast");
}

#[test]
fn a_token_says_who_it_is_and_what_it_may() {
    let world = world_with(|config| config.dev = false);
    let denied = world
        .bayeux_one(&json!({ "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": TYPES }));
    assert_eq!(
        (&denied["successful"], &denied["advice"]["reconnect"]),
        (&json!(false), &json!("none")),
        "{denied}"
    );
    let denied =
        world.bayeux_one(&json!({ "channel": "/meta/handshake", "id": "1", "ext": { "token": "x" } }));
    assert_eq!(denied["error"], "403:unauthorized:handshake_denied");
    let client = world.shaken(&json!({ "token": world.token("alice") }));
    assert_eq!(world.bayeux_one(&client.says("/a", json!({ "data": 1 })))["successful"], true);
    let shake = json!([{ "channel": "/meta/handshake", "id": "1" }]).to_string();
    let foreign = "Origin: https://elsewhere.example\r\nSec-Fetch-Site: cross-site\r\n";
    for (fields, successful) in [
        (format!("Authorization: Bearer {}\r\n", world.token("bob")), true),
        (
            format!(
                "Cookie: encke_token={}\r\nOrigin: {}://{}\r\n",
                world.token("bob"),
                world.scheme(),
                world.address
            ),
            true,
        ),
        (format!("Cookie: encke_token={}\r\n{foreign}", world.token("bob")), false),
    ] {
        let mut wire = world.connect();
        wire.send(&world.bayeux_text("/bayeux", &fields, &shake));
        assert_eq!(array(&mut wire)[0]["successful"], successful, "{fields}");
    }
    let unspoken = json!({ "channel": "/meta/handshake", "supportedConnectionTypes": ["carrier-pigeon"] });
    assert_eq!(world.bayeux_one(&unspoken)["error"], "301::connection types not supported");
}

#[test]
fn every_path_and_form_of_a_request_is_taken() {
    let world = world();
    let client = world.shaken(&json!({}));
    let message = client.says("/a", json!({ "data": "ü" }));
    for path in ["/bayeux", "/bayeux/", "/cometd", "/cometd/", "/cometd/publish"] {
        let (status, answer) = world.bayeux_sends(path, &json!([message])).response();
        assert_eq!((status, &answer[0]["successful"]), (200, &json!(true)), "{path}");
        let (_, answer) = world.bayeux_sends(path, &message).response();
        assert!(answer.is_array(), "an array answers a bare message");
    }
    let text = |messages: &Value| message_field(messages);
    for fields in ["Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n", ""]
    {
        let mut wire = world.connect();
        wire.send(&world.bayeux_text("/bayeux", fields, &text(&json!([message]))));
        assert_eq!(array(&mut wire)[0]["successful"], true, "{fields}");
    }
    for body in ["", "[]", "{", "[1]", "message=", "\"x\""] {
        let mut wire = world.connect();
        wire.send(&world.bayeux_text("/bayeux", "", body));
        assert_eq!(wire.response().0, 400, "{body}");
    }
}

fn message_field(messages: &Value) -> String {
    let encoded: String = messages.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("message={encoded}")
}

#[test]
fn t4_a_script_is_called_with_the_answer_and_with_nothing_else() {
    let world = world();
    let client = world.shaken(&json!({}));
    let message = message_field(&json!([client.says("/a", json!({ "data": 1, "id": "\u{2028}" }))]));
    let get = |query: &str| {
        let mut wire = world.connect();
        wire.send(&format!(
            "GET /bayeux?{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            world.address
        ));
        wire.ends();
        String::from_utf8(wire.seen).unwrap()
    };
    let answer = get(&format!("jsonp=__jsonp1__&{message}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/javascript; charset=utf-8"), "{head}");
    assert!(
        head.contains("x-content-type-options: nosniff") && head.contains("content-disposition: attachment")
    );
    assert_eq!(body, "/**/__jsonp1__([{\"channel\":\"/a\",\"id\":\"\\u2028\",\"successful\":true}]);");
    for callback in ["alert(1)", "a;b", "%3Cscript%3E", ""] {
        let answer = get(&format!("jsonp={callback}&{message}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{callback}: {answer}");
    }
    assert!(get("jsonp=f").starts_with("HTTP/1.1 426 "));
}

#[test]
fn pages_of_other_origins_are_answered_if_they_are_allowed() {
    let origin = "https://app.example";
    let world = world_with(|config| config.allowed_origins = vec![origin.into()]);
    let shake = json!([{ "channel": "/meta/handshake", "id": "1" }]).to_string();
    let head_of = |text: &str| {
        let mut wire = world.connect();
        wire.send(text);
        wire.until("\r\n\r\n").to_ascii_lowercase()
    };
    let head = head_of(&world.bayeux_text("/cometd/handshake", &format!("Origin: {origin}\r\n"), &shake));
    assert!(head.contains(&format!("access-control-allow-origin: {origin}\r\n")), "{head}");
    assert!(head.contains("access-control-allow-credentials: true\r\n"), "{head}");
    assert!(head.contains("set-cookie: bayeux_browser="), "{head}");
    let head = head_of(&world.bayeux_text("/cometd/handshake", "Origin: https://other.example\r\n", &shake));
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    for path in ["/bayeux", "/cometd/", "/cometd/connect"] {
        let asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
        let head = head_of(&format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\n{asks}\r\n",
            world.address
        ));
        assert!(head.starts_with("http/1.1 204 ") && head.contains("content-type"), "{path}: {head}");
        assert!(head.contains(&format!("access-control-allow-origin: {origin}\r\n")), "{head}");
    }
}

#[test]
fn a_browser_keeps_connections_for_everything_else() {
    let world = world();
    let cookie = "Cookie: BAYEUX_BROWSER=AAAAAAAAAAAAAAAAAAAAAA\r\n";
    let mut clients: Vec<Client> = (0..5).map(|_| world.subscribed(&json!({}), &json!("/a"))).collect();
    let hold = |client: &mut Client| {
        let mut wire = world.connect();
        wire.send(&world.bayeux_text("/bayeux", cookie, &json!([client.connect(json!({}))]).to_string()));
        wire
    };
    let mut last = clients.pop().unwrap();
    let mut held: Vec<Wire> = clients.iter_mut().map(&hold).collect();
    world.until_connects(4);
    let answer = array(&mut hold(&mut last));
    let advice = &answer[0]["advice"];
    assert_eq!((&advice["multiple-clients"], &advice["reconnect"]), (&json!(true), &json!("retry")));
    assert!(advice["interval"].as_u64().unwrap() > 0 && answer[0]["successful"] == true);
    // One whose client has gone counts no more.
    drop(held.pop());
    world.until_connects(3);
    let mut wire = hold(&mut last);
    world.until_connects(4);
    world.api_publish("/a", &json!(1));
    assert_eq!(events(&array(&mut wire)).len(), 1);
}

#[test]
fn a_publish_that_a_client_sends_again_is_published_once() {
    let world = world();
    let mut reader = world.subscribed(&json!({}), &json!("/a"));
    let shake = json!({
        "channel": "/meta/handshake", "id": "1",
        "supportedConnectionTypes": ["long-polling", "cross-origin-long-polling", "in-process"],
    });
    let id = world.bayeux_one(&shake)["clientId"].as_str().unwrap().to_owned();
    let faye = Client { id, connects: 0 };
    for (id, data) in [("a", 1), ("a", 1), ("b", 2)] {
        let reply = world.bayeux_one(&faye.says("/a", json!({ "id": id, "data": data })));
        assert_eq!(reply["successful"], true);
    }
    let answer = array(&mut world.held_connect(&mut reader, json!({})));
    assert_eq!(events(&answer), [1, 2].map(|data| ("/a".to_owned(), json!(data))));
}

#[test]
fn services_are_asked_and_answer_the_one_who_asked() {
    let mut world = world();
    let mut client =
        world.subscribed(&json!({ "token": world.token("alice") }), &json!(["/**", "/service/echo"]));
    let native = world.poll("backend", "channels=/service/echo&hold_s=0").1;
    let asks = client.says("/service/echo", json!({ "id": "r7", "data": { "q": 1 } }));
    assert_eq!(world.bayeux_one(&asks)["successful"], true);
    let query = format!(
        "session={}&cursor={}",
        native["session"].as_str().unwrap(),
        native["cursor"].as_str().unwrap()
    );
    let asked = world.poll("backend", &query).1;
    let message = &asked["messages"][0];
    assert_eq!(
        (&message["from"], &message["data"]),
        (&json!("alice"), &json!({ "id": "r7", "data": { "q": 1 } }))
    );
    let mut held = world.held_connect(&mut client, json!({}));
    world.until_connects(1);
    let answer = json!({ "channel": "/service/echo", "id": "r7", "data": { "a": 2 } });
    world.push("alice", &answer.to_string());
    let told = array(&mut held);
    let expected = json!({ "channel": "/service/echo", "id": "r7", "data": { "a": 2 }, "successful": true });
    assert_eq!(told[0], expected, "and the question was broadcast to no subscriber");
    let mut held = world.held_connect(&mut client, json!({}));
    world.push("alice", "{\"shows\":1}");
    let told = array(&mut held);
    assert_eq!(
        (&told[0]["channel"], &told[0]["data"]["data"]),
        (&json!("/service/push"), &json!({ "shows": 1 }))
    );
}

#[test]
fn hostile_requests_are_refused_and_cost_no_session() {
    let world = world();
    let client = world.shaken(&json!({}));
    let status = |body: &str| {
        let mut wire = world.connect();
        wire.send(&world.bayeux_text("/bayeux", "", body));
        wire.response().0
    };
    let deep = format!("[{{\"channel\":\"/a\",\"data\":{}{}}}]", "[".repeat(40), "]".repeat(40));
    assert_eq!(status(&deep), 400);
    assert_eq!(status(&format!("[{}]", vec!["{}"; 129].join(","))), 400);
    assert_eq!(status(&"[".repeat(60_000)), 400);
    let large = json!([client.says("/a", json!({ "data": "x".repeat(70_000) }))]).to_string();
    assert_eq!(status(&large), 413);
    let counts = world.runtime.block_on(world.app().shards.counts()).unwrap();
    assert_eq!((counts.sessions, counts.users), (0, 0), "a handshake alone is no session of the hub");
    let too_many: Vec<String> = (0..129).map(|number| format!("/c/{number}")).collect();
    let reply = world.bayeux_one(&client.says("/meta/subscribe", json!({ "subscription": too_many })));
    assert_eq!(reply["error"], "403::too_many_subscriptions");
}

#[test]
fn an_operator_ends_a_session_and_its_client_stays_away() {
    let world = world();
    let mut client = world.subscribed(&json!({ "token": world.token("alice") }), &json!("/a"));
    let mut held = world.held_connect(&mut client, json!({}));
    world.until_held("alice", 1);
    let user = UserId::new("alice").unwrap();
    let close = encke_proto::Close {
        code: encke_proto::CloseCode::Operator,
        reason: "enough".into(),
        reconnect: false,
        retry_ms: None,
    };
    let target = encke_hub::CloseTarget::User(user);
    let closed = world.app().sessions.close(&target, &close);
    assert_eq!(world.runtime.block_on(closed).unwrap(), 1);
    let answer = array(&mut held);
    assert_eq!(
        (&answer[0]["error"], &answer[0]["advice"]["reconnect"]),
        (&json!("403:enough:session_closed"), &json!("none"))
    );
    assert_eq!(world.sessions("alice"), 0);
}
