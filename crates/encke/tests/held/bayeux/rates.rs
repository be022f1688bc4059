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
