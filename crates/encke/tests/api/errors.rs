//! The table of errors: each code that a handler of these gives, once, in the one form of all.

use std::sync::Arc;

use encke_engine::EngineError;
use http::Method;
use serde_json::json;

use crate::{
    double::Broken,
    world::{Ask, World, token_until},
};

#[test]
fn an_address_that_is_none_and_a_method_that_is_not_taken() {
    let world = World::new();
    for path in
        ["/nowhere", "/v1", "/v1/nowhere", "/api", "/api/users/a/b", "/assets/nothing.js", "/v1/login/"]
    {
        assert_eq!(world.call(Ask::get(path).key()).code(), (404, "not_found".into()), "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/login", "POST"),
        (Method::GET, "/v1/close", "POST"),
        (Method::DELETE, "/api/users", "GET,HEAD"),
        (Method::POST, "/v1/poll", "GET"),
        (Method::PUT, "/v1/sse", "GET"),
        (Method::POST, "/console", "GET,HEAD"),
        (Method::OPTIONS, "/api/push", "POST"),
    ] {
        let answer = world.call(Ask::new(method, path).key());
        assert_eq!(answer.code(), (405, "method_not_allowed".into()), "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[test]
fn no_key_and_no_token() {
    let world = World::new();
    for (method, path) in [
        (Method::POST, "/api/push"),
        (Method::GET, "/api/push/x"),
        (Method::POST, "/api/publish"),
        (Method::GET, "/api/users"),
        (Method::GET, "/api/users/x"),
        (Method::GET, "/api/sessions"),
        (Method::POST, "/api/close"),
        (Method::GET, "/api/channels"),
        (Method::GET, "/api/channels/x/history"),
        (Method::GET, "/api/channels/x/presence"),
        (Method::GET, "/metrics"),
    ] {
        for ask in [
            Ask::new(method.clone(), path),
            Ask::new(method.clone(), path).user("alice"),
            Ask::new(method.clone(), path).cookie("alice"),
        ] {
            let answer = world.call(ask);
            assert_eq!(answer.code(), (401, "unauthorized".into()), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    for path in ["/v1/ticket", "/v1/close", "/v1/subscribe", "/v1/unsubscribe", "/v1/publish", "/v1/ack"] {
        assert_eq!(world.call(Ask::post(path, &json!({}))).code(), (401, "unauthorized".into()), "{path}");
        assert_eq!(
            world.call(Ask::post(path, &json!({})).key()).code(),
            (401, "unauthorized".into()),
            "{path}"
        );
        let old = format!("Bearer {}", token_until("alice", &[], &[], 1_000_000));
        assert_eq!(
            world.call(Ask::post(path, &json!({})).header("authorization", &old)).code(),
            (401, "token_expired".into()),
            "{path}"
        );
    }
}

#[test]
fn a_body_that_is_not_as_it_should_be() {
    let world = World::new();
    let publish = |content_type: &str, body: Vec<u8>| {
        world.call(
            Ask::new(Method::POST, "/v1/publish")
                .user("alice")
                .header("content-type", content_type)
                .body(body),
        )
    };
    let good = br#"{"channel":"news","data":1}"#;
    assert_eq!(publish("application/json; charset=utf-8", good.to_vec()).status, 202);
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        assert_eq!(publish(wrong, good.to_vec()).code(), (415, "unsupported_media_type".into()), "{wrong}");
    }
    assert_eq!(publish("application/json", vec![b' '; 65_537]).code(), (413, "too_large".into()));
    assert_eq!(publish("application/json", vec![b'['; 60_000]).code(), (400, "too_deep".into()));
    for (body, word) in [
        (&b"{"[..], "EOF"),
        (br#"{"channel":"news","data":1,"colour":2}"#, "colour"),
        (br#"{"channel":"news","channel":"x","data":1}"#, "duplicate"),
        (br#"{"channel":7,"data":1}"#, "string"),
        (b"{\"channel\":\"\xff\",\"data\":1}", "UTF-8"),
        (br#"[]"#, "object"),
    ] {
        let answer = publish("application/json", body.to_vec());
        assert_eq!(answer.code(), (400, "bad_request".into()));
        assert!(answer.text.contains(word), "{}", answer.text);
    }
}

#[test]
fn a_query_that_is_not_as_it_should_be() {
    let world = World::new();
    for query in ["limit=x", "limit=-1", "limit=0", "colour=red", "limit=1&limit=2", "online=maybe"] {
        assert_eq!(
            world.call(Ask::get(&format!("/api/users?{query}")).key()).code(),
            (400, "bad_request".into()),
            "{query}"
        );
    }
    assert_eq!(world.call(Ask::get("/api/users?after=a%00b").key()).code(), (400, "bad_name".into()));
}

#[test]
fn an_engine_that_cannot() {
    let world = World::new();
    let away = world.other(Arc::new(Broken(EngineError::Unavailable("/secret/path is full".into()))), None);
    let damaged = world.other(Arc::new(Broken(EngineError::Damaged("/secret/path".into()))), None);
    let requests = || {
        [
            Ask::post("/api/push", &json!({"to": ["alice"], "data": 1})).key(),
            Ask::get("/api/push/AAAAAAAAAAAAAAAAAAAAAA").key(),
            Ask::post("/api/publish", &json!({"channel": "news", "data": 1})).key(),
            Ask::get("/api/users").key(),
            Ask::get("/api/users/alice").key(),
            Ask::get("/api/channels").key(),
            Ask::get("/api/channels/news/history").key(),
            Ask::post("/v1/publish", &json!({"channel": "news", "data": 1})).user("alice"),
            Ask::get("/readyz"),
        ]
    };
    for ask in requests() {
        let answer = world.call_router(&away, ask);
        assert_eq!(answer.code(), (503, "engine_unavailable".into()));
        assert_eq!(answer.header("retry-after"), "2");
        assert!(!answer.text.contains("secret"));
    }
    for ask in requests() {
        let answer = world.call_router(&damaged, ask);
        assert_eq!(answer.code(), (500, "internal".into()));
        assert!(!answer.text.contains("secret"));
    }
    assert_eq!(world.call_router(&away, Ask::get("/healthz")).status, 200);
}

#[test]
fn what_was_shown_is_not_answered_when_it_cannot_be_written_down() {
    let world = World::new();
    world.push(&["alice"], 1);
    let polled = world.poll("alice", "hold_s=0");
    let away = world.other(Arc::new(Broken(EngineError::Unavailable("full".into()))), None);
    let ack = json!({"session": polled["session"], "cursor": polled["cursor"]});
    let answer = world.call_router(&away, Ask::post("/v1/ack", &ack).user("alice"));
    assert_eq!(answer.code(), (503, "engine_unavailable".into()));
    world.call(Ask::post("/v1/ack", &ack).user("alice")).ok();
}

#[test]
fn a_server_that_stops() {
    let world = World::new();
    world.call(Ask::get("/readyz")).ok();
    world.app().stop();
    for ask in [
        Ask::get("/api/users").key(),
        Ask::post("/v1/publish", &json!({})).user("alice"),
        Ask::get("/readyz"),
    ] {
        let answer = world.call(ask);
        assert_eq!(answer.code(), (503, "shutting_down".into()));
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(world.call(Ask::get("/healthz")).status, 200);
    assert_eq!(world.call(Ask::get("/metrics").key()).status, 200);
}

#[test]
fn shards_that_have_too_much_to_do() {
    let world = World::new();
    world.app().shards.stop();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let answer = world.call(Ask::get("/api/sessions").key());
    assert_eq!(answer.code(), (503, "overloaded".into()));
    let push = world.call(Ask::post("/api/push", &json!({"to": ["alice"], "data": 1})).key());
    assert_eq!(push.code(), (503, "overloaded".into()));
    let history = world.call(Ask::get("/api/channels/@alice/history").key()).ok();
    assert_eq!(history["messages"], json!([]), "a push that is refused is not in the log");
}

#[test]
fn too_many_tickets_of_one_user() {
    let world = World::new();
    let ticket = || world.call(Ask::new(Method::POST, "/v1/ticket").user("alice"));
    for _ in 0..64 {
        ticket().ok();
    }
    let answer = ticket();
    assert_eq!(answer.code(), (429, "rate_limited".into()));
    assert!(!answer.header("retry-after").is_empty());
    world.call(Ask::new(Method::POST, "/v1/ticket").user("bob")).ok();
}
