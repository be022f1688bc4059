//! Tokens of these clients: that one ends soon is told in the reply to a connect, a fresh one comes with a
//! connect, and none is to be guessed in a handshake.

use serde_json::json;

use super::{super::expiring::token_until, *};

const BEGAN_MS: u64 = 1_800_000_000_000;
/// How long the first token lasts: a client is told a minute before its end.
const LASTS_MS: u64 = 240_000;

/// A server, and a client whose token ends soon; it has heard how many sessions there are.
fn world_and_client(ext: &Value) -> (World, Arc<TestClock>, Client) {
    let clock = Arc::new(TestClock::at(Time(BEGAN_MS)));
    let world = world_at(Arc::clone(&clock) as Arc<dyn Clock>, |config| config.hold_s = 240);
    let mut with_token = ext.clone();
    with_token["token"] = token_until("alice", BEGAN_MS + LASTS_MS, &["*"]).into();
    let client = world.subscribed(&with_token, &json!("/a/b"));
    (world, clock, client)
}

fn fresh(user: &str, channels: &[&str]) -> Value {
    json!({ "ext": { "token": token_until(user, BEGAN_MS + 10 * LASTS_MS, channels) } })
}

fn last(answer: &[Value]) -> &Value {
    answer.last().unwrap()
}

#[test]
fn a_held_connect_is_answered_and_a_fresh_token_lets_the_session_go_on() {
    let (world, clock, mut client) = world_and_client(&json!({}));
    let mut wire = world.held_connect(&mut client, json!({}));
    world.until_connects(1);
    clock.advance_ms(LASTS_MS - 60_000);
    let (status, answer) = wire.response();
    let reply = last(answer.as_array().unwrap());
    assert_eq!((status, &reply["ext"]), (200, &json!({ "expiring": { "in_s": 60 } })), "{reply}");
    assert_eq!(reply["successful"], true);
    // It is in each reply until there is a fresh one.
    let at_once = |more: &Value| {
        let mut members = json!({ "advice": { "timeout": 0 } });
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let answer = world.bayeux(&json!([client.connect(at_once(&json!({})))]));
    assert_eq!(last(&answer)["ext"]["expiring"]["in_s"], 60);
    let answer = world.bayeux(&json!([client.connect(at_once(&fresh("alice", &["*"])))]));
    assert_eq!((&last(&answer)["successful"], &last(&answer)["ext"]), (&json!(true), &Value::Null));
    clock.advance_ms(LASTS_MS);
    world.api_publish("/a/b", &json!(1));
    let answer = world.bayeux(&json!([client.connect(at_once(&json!({})))]));
    assert_eq!(events(&answer), [("/a/b".to_owned(), json!(1))], "beyond the end of the first token");
}

#[test]
fn what_the_fresh_token_does_not_grant_is_lost_and_one_that_is_not_good_changes_nothing() {
    let (world, _, mut client) = world_and_client(&json!({}));
    let publish = |client: &Client, channel: &str| {
        let reply = world.bayeux_one(&client.says(channel, json!({ "data": 1 })));
        reply["successful"].as_bool().unwrap()
    };
    for (members, code) in [
        (fresh("bob", &["*"]), "404::session_unknown"),
        (json!({ "ext": { "token": "a.b.c" } }), "401::unauthorized"),
        (json!({ "ext": { "token": token_until("alice", BEGAN_MS, &["*"]) } }), "401::token_expired"),
    ] {
        let reply = world.bayeux_one(&client.connect(members));
        assert_eq!((&reply["error"], &reply["advice"]["reconnect"]), (&json!(code), &json!("retry")));
        assert!(publish(&client, "/a/b"));
    }
    let mut members = fresh("alice", &["/c"]);
    members["advice"] = json!({ "timeout": 0 });
    assert_eq!(world.bayeux_one(&client.connect(members))["successful"], true);
    assert!(!publish(&client, "/a/b") && publish(&client, "/c"));
    world.api_publish("/a/b", &json!(2));
    let answer = world.bayeux(&json!([client.connect(json!({ "advice": { "timeout": 0 } }))]));
    assert_eq!(events(&answer), [], "it is not followed any more");
}

#[test]
fn over_websocket_the_connect_that_is_held_is_answered_too() {
    for ext in [json!({}), json!({ "ack": true })] {
        let (world, clock, mut client) = world_and_client(&ext);
        let mut wire = world.bayeux_socket("/cometd");
        let first = client.connect(json!({ "ext": { "ack": 1 }, "advice": { "timeout": 0 } }));
        assert_eq!(wire.answers(first)["successful"], true);
        wire.asks(&json!([client.connect(json!({ "ext": { "ack": 2 } }))]));
        world.until_connects(1);
        world.until(|| client_waits(&world));
        clock.advance_ms(LASTS_MS - 60_000);
        let told = wire.on_bytes();
        assert_eq!(told[0]["ext"]["expiring"], json!({ "in_s": 60 }), "{told}");
        let mut members = fresh("alice", &["*"]);
        members["advice"] = json!({ "timeout": 0 });
        let reply = wire.answers(client.connect(members));
        assert_eq!((&reply["successful"], &reply["ext"]["expiring"]), (&json!(true), &Value::Null));
        clock.advance_ms(LASTS_MS);
        world.api_publish("/a/b", &json!(1));
        let answer = world.bayeux(&json!([client.says("/a/b", json!({ "data": 2 }))]));
        assert_eq!(last(&answer)["successful"], true, "the session is there");
    }
}

/// What its reply is to say may come up while no connect is there: a client sends the next one only when it
/// has the answer to the last.
#[test]
fn over_websocket_the_next_connect_is_answered_when_there_was_none_to_tell_it_with() {
    let (world, clock, mut client) = world_and_client(&json!({}));
    let mut wire = world.bayeux_socket("/cometd");
    assert_eq!(wire.answers(client.connect(json!({ "advice": { "timeout": 0 } })))["successful"], true);
    world.until(|| client_waits(&world));
    clock.advance_ms(LASTS_MS - 60_000);
    // The turns in which they are sent are behind the time at which the client is told.
    for number in 0..3 {
        assert_eq!(world.api_publish("/a/b", &json!(number)), 202);
        assert_eq!(wire.on_bytes()[0]["data"], json!(number));
    }
    let reply = wire.answers(client.connect(json!({})));
    assert_eq!(reply["ext"]["expiring"], json!({ "in_s": 60 }), "{reply}");
}

/// Whether the one session is served.
fn client_waits(world: &World) -> bool {
    let sessions = world.runtime.block_on(world.app().sessions.list(None, None, 2)).unwrap();
    sessions.iter().all(|listed| listed.session.connected)
}

fn shakes(token: &str) -> Value {
    json!([{
        "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": TYPES, "ext": { "token": token },
    }])
}

#[test]
fn tokens_are_not_guessed_in_handshakes() {
    let world = world_with(|config| {
        config.limits.address_failures_per_s = 1;
        config.limits.burst_s = 2;
    });
    let guess = || {
        let (_, answer) = world.bayeux_sends("/cometd/handshake", &shakes("a.b.c")).response();
        answer[0]["error"].as_str().unwrap_or_default().to_owned()
    };
    let denied = "403:unauthorized:handshake_denied".to_owned();
    assert_eq!([guess(), guess(), guess()], [denied.clone(), denied, "429::rate_limited".to_owned()]);
    let good = world.token("alice");
    let (_, answer) = world.bayeux_sends("/cometd/handshake", &shakes(&good)).response();
    assert_eq!(answer[0]["successful"], true, "a good one is not refused for what others tried");
}

#[test]
fn nor_over_websocket() {
    let world = world_with(|config| {
        config.limits.address_failures_per_s = 1;
        config.limits.burst_s = 2;
    });
    let mut wire = world.bayeux_socket("/cometd");
    let mut guess = || {
        wire.asks(&shakes("a.b.c"));
        wire.on_bytes()[0]["error"].as_str().unwrap().to_owned()
    };
    let denied = "403:unauthorized:handshake_denied".to_owned();
    assert_eq!([guess(), guess(), guess()], [denied.clone(), denied, "429::rate_limited".to_owned()]);
}

/// What is sent to the server with a token that is none, in each place where one may be; the last answers.
fn guesses(world: &World, client: &mut Client, place: &str) -> String {
    let shake = json!([{ "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": TYPES }]);
    let (host, origin) = (world.address, format!("{}://{}", world.scheme(), world.address));
    let mut wire = world.connect();
    let posted =
        |fields: &str, body: &Value| world.bayeux_text("/cometd/handshake", fields, &body.to_string());
    let form = |body: &Value| super::message_field(body);
    match place {
        "header" => wire.send(&posted("Authorization: Bearer a.b.c\r\n", &shake)),
        "cookie" => wire.send(&posted(&format!("Cookie: encke_token=a.b.c\r\nOrigin: {origin}\r\n"), &shake)),
        "form" => wire.send(&world.bayeux_text("/bayeux", "", &form(&shakes("a.b.c")))),
        "script" => {
            let query = form(&shakes("a.b.c"));
            wire.send(&format!("GET /bayeux?jsonp=f&{query} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            return wire.until("]);");
        }
        "connect" => {
            let connect = client.connect(json!({ "ext": { "token": "a.b.c" } }));
            wire.send(&world.bayeux_text("/cometd/connect", "", &json!([connect]).to_string()));
        }
        _ => {
            let head = format!("GET /bayeux HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer a.b.c");
            wire.send(&format!("{head}\r\n{}\r\n\r\n", super::super::ws::KEY));
            let head = wire.until("\r\n\r\n");
            if head.starts_with("HTTP/1.1 429 ") {
                return "rate_limited".to_owned();
            }
            // Pages are not told the status of a handshake of WebSocket. In its own it may say who it is.
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            return "unauthorized".to_owned();
        }
    }
    wire.response().1.to_string()
}

/// Wherever a token may stand, one that is none is a guess of the address, as with the native protocol.
#[test]
fn a_token_is_guessed_nowhere_and_a_good_one_is_never_refused_for_that() {
    for place in ["header", "cookie", "form", "script", "connect", "socket"] {
        let clock = Arc::new(TestClock::at(Time(BEGAN_MS)));
        let world = world_at(clock as Arc<dyn Clock>, |config| {
            config.limits.address_failures_per_s = 1;
            config.limits.burst_s = 2;
        });
        let mut client = world.subscribed(&json!({ "token": world.token("alice") }), &json!("/a"));
        for number in 0..4 {
            let answer = guesses(&world, &mut client, place);
            let expected = if number < 2 { "unauthorized" } else { "rate_limited" };
            assert!(answer.contains(expected), "{place} {number}: {answer}");
        }
        // Native ones count in the same place.
        let mut wire = world.connect();
        wire.send(&format!(
            "GET /v1/poll HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer x\r\n\r\n",
            world.address
        ));
        assert_eq!(wire.response().0, 429, "{place}");
        world.shaken(&json!({ "token": world.token("bob") }));
        let connect = client.connect(json!({ "advice": { "timeout": 0 } }));
        assert_eq!(world.bayeux_one(&connect)["successful"], true, "{place}");
    }
}
