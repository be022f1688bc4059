//! What is counted of one address and of one user, and what a client is told that asks too often.

use serde_json::json;

use super::*;

/// A world whose clock stands still, so that nothing is given back, with rates of one a second.
fn world_of(burst_s: u64, change: impl FnOnce(&mut Config)) -> World {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    world_at(clock as Arc<dyn Clock>, |config| {
        config.limits.burst_s = burst_s;
        change(config);
    })
}

/// The reply to a connect of a session that is nowhere, from this address.
fn unknown(world: &World, address: &str, number: usize) -> Value {
    let id = format!("AAAAAAAAAAAAAAAAAAAA{:02}", number + 10);
    let mut client = Client { id, connects: 0 };
    let asks = json!([client.connect(json!({}))]).to_string();
    let mut wire = world.connect();
    wire.send(&world.bayeux_text("/cometd/connect", &format!("X-Forwarded-For: {address}\r\n"), &asks));
    array(&mut wire)[0].take()
}

#[test]
fn sessions_that_are_nowhere_are_looked_for_so_often_from_an_address() {
    for change in
        [(|config: &mut Config| config.limits.address_failures_per_s = 1) as fn(&mut Config), |config| {
            config.limits.address_requests_per_s = 1
        }]
    {
        let world = world_of(3, |config| {
            config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            change(config);
        });
        for number in 0..3 {
            assert_eq!(unknown(&world, "203.0.113.7", number)["error"], "402::session_unknown");
        }
        assert_eq!(unknown(&world, "203.0.113.8", 3)["error"], "402::session_unknown", "another's address");
        let reply = unknown(&world, "203.0.113.7", 3);
        assert_eq!(reply["error"], "429::rate_limited", "{reply}");
        let advice = &reply["advice"];
        assert_eq!(advice["reconnect"], "retry", "its session may be there: it was not looked for");
        assert!(advice["interval"].as_u64().unwrap() > 0, "{reply}");
    }
}

#[test]
fn a_subscription_is_one_request() {
    let world = world_of(6, |config| config.limits.user_requests_per_s = 1);
    let mut client = world.subscribed(&json!({ "token": world.token("alice") }), &json!("/a"));
    for number in 0..5 {
        let (channel, name) =
            if number % 2 == 0 { ("/meta/subscribe", "/b") } else { ("/meta/unsubscribe", "/b") };
        let reply = world.bayeux_one(&client.says(channel, json!({ "subscription": name })));
        assert_eq!(reply["successful"], true, "{number}: {reply}");
    }
    let reply = world.bayeux_one(&client.says("/meta/subscribe", json!({ "subscription": "/b" })));
    assert_eq!(reply["error"], "429::rate_limited", "{reply}");
    assert_eq!(world.bayeux_one(&client.connect(json!({ "advice": { "timeout": 0 } })))["successful"], true);
}

/// A pattern is read from a log of its own, which is there when something was copied to it: following makes
/// none, and none of them counts.
#[test]
fn patterns_are_no_channels_that_a_user_makes() {
    let channels = |world: &World| -> Vec<String> {
        let key = format!("Authorization: Bearer {}\r\n", "k".repeat(32));
        let mut wire = world.connect();
        wire.send(&format!("GET /api/channels HTTP/1.1\r\nHost: {}\r\n{key}\r\n", world.address));
        let (_, answer) = wire.response();
        let listed = answer["channels"].as_array().unwrap_or_else(|| panic!("{answer}"));
        listed.iter().map(|one| one["channel"].as_str().unwrap().to_owned()).collect()
    };
    let world = world_of(10, |config| config.max_new_channels_per_hour = 2);
    let patterns: Vec<String> = (0..20).map(|number| format!("/{number}/**")).collect();
    let client = world.subscribed(&json!({ "token": world.token("alice") }), &json!(patterns));
    assert_eq!(channels(&world), [""; 0], "nothing was published");
    let publish = |channel: &str| {
        let reply = world.bayeux_one(&client.says(channel, json!({ "data": 1 })));
        reply["error"].as_str().unwrap_or("done").to_owned()
    };
    // Each is a channel, and none of the three logs of patterns that it is copied to.
    for channel in ["/0/a/b", "/1/a/b", "/0/a/b"] {
        assert_eq!(publish(channel), "done", "{channel}");
    }
    assert_eq!(publish("/2/a/b"), "429:/2/a/b:rate_limited");
    assert_eq!(world.api_publish("/2/a/b", &json!(1)), 202);
    assert_eq!(publish("/2/a/b"), "done", "it is there now");
    let all =
        ["/**", "/0/**", "/0/a/**", "/0/a/b", "/1/**", "/1/a/**", "/1/a/b", "/2/**", "/2/a/**", "/2/a/b"];
    assert_eq!(channels(&world), all);
}

/// A handshake is cheap for its client.
#[test]
fn handshakes_without_a_connect_are_bounded_for_a_user_and_gone_after_their_time() {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let world = world_at(Arc::clone(&clock) as Arc<dyn Clock>, |_| {});
    let shake = |wire: &mut Wire, token: &str| {
        let asks = json!([{
            "channel": "/meta/handshake", "id": "1", "supportedConnectionTypes": TYPES,
            "ext": { "token": token },
        }]);
        wire.send(&world.bayeux_text("/cometd/handshake", "", &asks.to_string()));
        array(wire)[0].take()
    };
    let (mut wire, token) = (world.connect(), world.token("mallory"));
    // A hundred a second for ten seconds may come at once.
    let shaken: Vec<Value> = (0..1_001).map(|_| shake(&mut wire, &token)).collect();
    let (last, good) = shaken.split_last().unwrap();
    assert!(good.iter().all(|reply| reply["successful"] == true));
    assert_eq!(last["error"], "429::rate_limited");
    let advice = &last["advice"];
    assert_eq!((&advice["reconnect"], &advice["interval"]), (&json!("handshake"), &json!(5_000)));
    let sessions = || world.runtime.block_on(world.app().shards.counts()).unwrap().sessions;
    assert_eq!(sessions(), 0, "none of them is one of the hub");
    let is_there = |reply: &Value| {
        let id = reply["clientId"].as_str().unwrap().to_owned();
        let says = Client { id, connects: 0 }.says("/a", json!({ "data": 1 }));
        world.bayeux_one(&says)["successful"] == true
    };
    assert!(is_there(&good[0]) && is_there(&good[999]));
    let bob = shake(&mut wire, &world.token("bob"));
    assert_eq!(bob["successful"], true, "another user is served meanwhile: {bob}");
    clock.advance_ms(15_000);
    assert!(!good.iter().step_by(100).chain([&bob]).any(is_there), "they are gone");
}
