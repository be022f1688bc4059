//! Sessions that the hub does not serve any more: what their clients are told, so that none of them tries for
//! ever, and none is left with a session that is dead.

use encke::config::RuleEntry;
use encke_proto::Who;
use serde_json::json;

use super::*;

/// More than the time for which the hub keeps a session that no connection serves.
const GRACE_MS: u64 = 16_000;

/// A world whose clock stands still.
fn world_that_waits(change: impl FnOnce(&mut Config)) -> (World, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    (world_at(Arc::clone(&clock) as Arc<dyn Clock>, change), clock)
}

fn rule(channel: &str, followers_max: Option<u64>) -> RuleEntry {
    let channel = channel.to_owned();
    RuleEntry { channel, subscribe: Who::Users, publish: Who::Users, followers_max, ..RuleEntry::default() }
}

impl World {
    /// What the server API answers to a POST.
    fn api(&self, path: &str, body: &Value) -> Value {
        let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", "k".repeat(32));
        let mut wire = self.connect();
        wire.send(&self.bayeux_text(path, &key, &body.to_string()));
        let (status, answer) = wire.response();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn hub_sessions(&self) -> usize {
        self.runtime.block_on(self.app().shards.counts()).unwrap().sessions
    }

    /// The reply to a handshake with this token.
    fn shakes(&self, token: &str) -> Value {
        self.bayeux_one(&json!({
            "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": TYPES,
            "ext": { "token": token },
        }))
    }
}

fn advice_of(reply: &Value) -> (&str, u64) {
    let advice = &reply["advice"];
    assert!(advice["timeout"].is_number(), "it is whole: {reply}");
    (advice["reconnect"].as_str().unwrap(), advice["interval"].as_u64().unwrap())
}

/// A client is told that it has no place in `/few`, and goes on without it.
fn is_told(reply: &Value) {
    assert_eq!((&reply["successful"], advice_of(reply)), (&json!(true), ("retry", 0)), "{reply}");
    assert_eq!(reply["ext"]["unsubscribed"], json!(["/few"]), "{reply}");
}

/// A channel has no place any more for a client that comes back late. It would try for ever with a session
/// that cannot be served.
#[test]
fn a_client_whose_place_in_a_channel_is_taken_goes_on_without_it() {
    for way in ["by POST", "over WebSocket", "as a stream", "as one that is new"] {
        let (world, clock) =
            world_that_waits(|config| config.rules = vec![rule("/few", Some(1)), rule("*", None)]);
        let ext = json!({ "token": world.token("alice"), "ack": true });
        let mut first = world.subscribed(&ext, &json!(["/few", "/a"]));
        clock.advance_ms(GRACE_MS);
        world.until(|| world.hub_sessions() == 0);
        let mut second = world.subscribed(&json!({ "token": world.token("bob") }), &json!("/few"));
        let _held = world.held_connect(&mut second, json!({}));
        world.until_held("bob", 1);
        world.api_publish("/a", &json!(1));
        match way {
            "by POST" => is_told(&world.bayeux_one(&first.connect(json!({ "ext": { "ack": 1 } })))),
            "over WebSocket" => {
                let mut wire = world.bayeux_socket("/cometd");
                is_told(&wire.answers(first.connect(json!({ "ext": { "ack": 1 } }))));
                assert_eq!(wire.closed().0, 1008);
            }
            "as a stream" => {
                let mut wire = world.connect();
                let asks = format!("GET /bayeux/{} HTTP/1.1\r\nHost: {}\r\n\r\n", first.id, world.address);
                wire.send(&asks);
                assert!(wire.until("\r\n\r\n").contains("content-type: text/event-stream"));
                assert!(wire.ends(), "a browser opens another, as it would not after an error");
                let mut connect = first.connect(json!({}));
                connect["connectionType"] = "eventsource".into();
                let reply = world.bayeux_one(&connect);
                assert_eq!(reply["ext"]["unsubscribed"], json!(["/few"]), "{reply}");
                assert_eq!(advice_of(&reply), ("retry", 25_000), "it need not ask sooner");
                let mut wire = world.connect();
                wire.send(&asks);
                wire.until("data: [{\"channel\":\"/a\",\"data\":1}]\n\n");
                drop(wire);
                world.until_connects(1);
                world.api_publish("/a", &json!(1));
            }
            // As Faye's clients begin anew: before the first connect no place is looked for.
            _ => {
                first = world.shaken(&ext);
                let subscribes = |name: &str| first.says("/meta/subscribe", json!({ "subscription": name }));
                let asks = [subscribes("/few"), subscribes("/a"), first.says("/meta/connect", json!({}))];
                let answer = world.bayeux(&json!(asks));
                assert!(answer.iter().all(|reply| reply["successful"] == true), "{answer:?}");
                is_told(&answer[2]);
                world.api_publish("/a", &json!(1));
            }
        }
        let answer = array(&mut world.held_connect(&mut first, json!({ "ext": { "ack": 1 } })));
        assert_eq!(events(&answer), [("/a".to_owned(), json!(1))], "{way}: nothing else is lost");
        let reply = world.bayeux_one(&first.says("/meta/subscribe", json!({ "subscription": "/few" })));
        assert_eq!(reply["error"], "422:/few:channel_full", "{way}");
    }
}

/// The session that a client comes back to may be there yet, without one of the channels. It gives up its
/// place in the others that have a bound, of which its client is told.
#[test]
fn a_session_that_is_there_yet_gives_up_its_place_in_what_its_client_goes_on_without() {
    let rules = vec![rule("/few", Some(1)), rule("/small", Some(1)), rule("*", None)];
    let (world, _) = world_that_waits(|config| config.rules = rules);
    let (alice, name) = (UserId::new("alice").unwrap(), |text| ChannelName::public(text).unwrap());
    let ext = json!({ "token": world.token("alice") });
    let mut first = world.subscribed(&ext, &json!(["/few", "/small", "/a"]));
    // As her other clients may ask.
    let id = first.id.parse().unwrap();
    let left = world.app().sessions.unsubscribe(id, &alice, vec![name("/few")]);
    world.runtime.block_on(left).unwrap();
    let second = world.subscribed(&json!({ "token": world.token("bob") }), &json!("/few"));
    let reply = world.bayeux_one(&second.says("/meta/subscribe", json!({ "subscription": "/small" })));
    assert_eq!(reply["error"], "422:/small:channel_full");
    let reply = world.bayeux_one(&first.connect(json!({})));
    assert_eq!(
        (&reply["successful"], &reply["ext"]["unsubscribed"]),
        (&json!(true), &json!(["/few", "/small"]))
    );
    world.until(|| {
        let sessions = world.runtime.block_on(world.app().sessions.list(Some(&alice), None, usize::MAX));
        sessions.unwrap().iter().map(|listed| listed.session.channels.len()).eq([1])
    });
    let reply = world.bayeux_one(&second.says("/meta/subscribe", json!({ "subscription": "/small" })));
    assert_eq!(reply["successful"], true, "{reply}");
    world.api_publish("/a", &json!(1));
    let answer = array(&mut world.held_connect(&mut first, json!({})));
    assert_eq!(events(&answer), [("/a".to_owned(), json!(1))], "nothing else is lost");
}

/// What ends a session of alice on purpose: what the server API is asked, and what her client is told then,
/// and when it shakes hands again with the token that it has.
const ENDS: [(&str, &str, &str, &str); 2] = [
    ("/api/revoke", "{\"user\":\"alice\"}", "401::revoked", "403:revoked:handshake_denied"),
    ("/api/close", "{\"user\":\"alice\",\"ban_s\":60}", "403::banned", "403:banned:handshake_denied"),
];

#[test]
fn a_revoked_session_is_to_shake_hands_again_and_is_refused_for_good_with_the_same_token() {
    for (path, body, told, denied) in ENDS {
        let (world, clock) = world_that_waits(|_| {});
        let token = world.token("alice");
        let ext = json!({ "token": token });
        let mut polling = world.subscribed(&ext, &json!("/a"));
        let mut polls = world.held_connect(&mut polling, json!({}));
        let mut on_socket = world.subscribed(&ext, &json!("/a"));
        let mut socket = world.bayeux_socket("/cometd");
        assert_eq!(
            socket.answers(on_socket.connect(json!({ "advice": { "timeout": 0 } })))["successful"],
            true
        );
        socket.asks(&json!([on_socket.connect(json!({}))]));
        let streaming = world.subscribed(&ext, &json!("/a"));
        let mut stream = world.connect();
        stream.send(&format!("GET /bayeux/{} HTTP/1.1\r\nHost: {}\r\n\r\n", streaming.id, world.address));
        stream.until(":\n\n");
        let resting = world.subscribed(&ext, &json!("/a"));
        let shaken = world.shaken(&ext);
        world.until_held("alice", 3);
        // The frame that is under way was read when something behind it is answered.
        let reply = socket.answers(on_socket.says("/b", json!({ "data": 1 })));
        assert_eq!(reply["successful"], true, "{reply}");
        clock.advance_ms(1_000);
        let closed = world.api(path, &serde_json::from_str(body).unwrap());
        assert_eq!(closed["closed"], 4, "{closed}");
        let reply = array(&mut polls).pop().unwrap();
        assert_eq!((&reply["error"], advice_of(&reply)), (&json!(told), ("handshake", 0)), "{path}");
        let reply = socket.on_bytes()[0].take();
        assert_eq!((&reply["error"], advice_of(&reply)), (&json!(told), ("handshake", 0)), "{path}");
        assert_eq!(socket.closed().0, 1000);
        assert!(stream.ends());
        for mut client in [polling, on_socket, streaming, resting, shaken] {
            let reply = world.bayeux_one(&client.says("/a", json!({ "data": 1 })));
            assert_eq!(reply["error"], "402::session_unknown", "{path}");
            let reply = world.bayeux_one(&client.connect(json!({})));
            assert_eq!(reply["error"], "402::session_unknown", "{path}");
            assert_eq!(advice_of(&reply), ("handshake", 0));
        }
        let reply = world.shakes(&token);
        assert_eq!((&reply["error"], advice_of(&reply)), (&json!(denied), ("none", 0)), "{path}");
        clock.advance_ms(61_000);
        let reply = world.shakes(&world.token("alice"));
        assert_eq!(reply["successful"], true, "a new token is good: {reply}");
    }
}
