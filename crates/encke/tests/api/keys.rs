//! Keys of the server API that allow only a part of it, or only for a time.

use std::sync::Arc;

use encke::{clock::TestClock, config::Scope};
use encke_proto::Time;
use http::Method;
use serde_json::json;

use crate::world::{Ask, SCOPES, World, key_of};

/// Every operation of the server API, and what a key needs for it.
const OPERATIONS: &[(&str, &str, Scope)] = &[
    ("POST", "/api/push", Scope::Push),
    ("POST", "/api/publish", Scope::Publish),
    ("POST", "/api/close", Scope::Close),
    ("POST", "/api/revoke", Scope::Close),
    ("GET", "/api/push/AZ6dZ2hUJq0b3m5k7n9pRQ", Scope::Read),
    ("GET", "/api/users", Scope::Read),
    ("GET", "/api/users/alice", Scope::Read),
    ("GET", "/api/sessions", Scope::Read),
    ("GET", "/api/channels", Scope::Read),
    ("GET", "/api/node", Scope::Read),
    ("GET", "/api/nodes", Scope::Read),
    ("GET", "/api/stats", Scope::Read),
    ("GET", "/api/stats/history", Scope::Read),
    ("GET", "/api/channels/news/history", Scope::Read),
    ("GET", "/api/channels/news/presence", Scope::Read),
    ("GET", "/metrics", Scope::Metrics),
    ("DELETE", "/api/users/alice", Scope::Admin),
    ("DELETE", "/api/channels/news", Scope::Admin),
];

fn ask(method: &str, path: &str, key: &str) -> Ask {
    let ask = Ask::new(Method::from_bytes(method.as_bytes()).unwrap(), path);
    let ask = ask.header("content-type", "application/json").body("{}");
    ask.header("authorization", &format!("Bearer {key}"))
}

/// A key of a part of the backend is used for another part.
#[test]
fn each_operation_needs_its_scope_and_admin_has_them_all() {
    let world = World::new();
    for (method, path, needed) in OPERATIONS {
        for scope in SCOPES {
            let answer = world.call(ask(method, path, &key_of(scope)));
            if scope == *needed || scope == Scope::Admin {
                assert!(![401, 403].contains(&answer.status), "{path} {scope:?}: {}", answer.text);
            } else {
                assert_eq!(answer.code(), (403, "forbidden".into()), "{path} {scope:?}");
                let expected = format!("does not have the scope {}", needed.as_str());
                assert!(answer.text.contains(&expected), "{}", answer.text);
            }
        }
    }
}

/// Requests that a shard answers itself are told by key alike, at first and when their head is known.
#[test]
fn a_shard_asks_for_the_scope_too() {
    let world = World::new();
    for (path, body, needed) in [
        ("/api/push", json!({"to": ["alice"], "data": 1}), Scope::Push),
        ("/api/publish", json!({"channel": "news", "data": 1}), Scope::Publish),
    ] {
        for scope in SCOPES {
            for _ in 0..3 {
                let fields =
                    format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", key_of(scope));
                let status = world.raw_post(path, &fields, body.to_string().as_bytes());
                let expected = if scope == needed || scope == Scope::Admin { 202 } else { 403 };
                assert_eq!(status, expected, "{path} {scope:?}");
            }
        }
    }
}

#[test]
fn a_key_is_good_until_it_ends() {
    let world = World::with(|config| {
        config.api_keys[0].expires = Some(Time(1_800_000_000_000));
    });
    let clock = Arc::new(TestClock::at(Time(1_799_999_999_000)));
    let router = world.other(Arc::clone(&world.app().engine), Some(Arc::clone(&clock)));
    let push = || {
        let key = key_of(Scope::Push);
        world.ask_router(&router, ask("POST", "/api/push", &key)).code()
    };
    assert_eq!(push().0, 400);
    clock.advance_ms(999);
    assert_eq!(push().0, 400);
    clock.advance_ms(1);
    assert_eq!(push(), (401, "unauthorized".into()));
}

/// One backend that has gone wild is held up, and no other.
#[test]
fn a_key_has_a_rate_of_its_own_wherever_it_is_answered() {
    let world = World::with(|config| {
        config.limits.burst_s = 5;
        for key in &mut config.api_keys {
            if [Scope::Push, Scope::Read].map(Scope::as_str).contains(&key.name.as_str()) {
                key.requests_per_s = Some(1);
            }
        }
    });
    // A shard answers a push itself, and hyper what is read.
    let push = |key: String| {
        let fields = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        world.raw_post("/api/push", &fields, br#"{"to":["alice"],"data":1}"#)
    };
    let read = |key: String| world.call(ask("GET", "/api/users", &key)).status;
    let first = |statuses: Vec<u16>| {
        let allowed = statuses.iter().take_while(|status| **status != 429).count();
        assert!((5..60).contains(&allowed), "{statuses:?}");
    };
    first((0..60).map(|_| push(key_of(Scope::Push))).collect());
    first((0..60).map(|_| read(key_of(Scope::Read))).collect());
    assert!((0..20).all(|_| push(key_of(Scope::Admin)) == 202 && read(key_of(Scope::Admin)) == 200));
}
