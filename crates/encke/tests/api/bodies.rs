//! Bodies are objects: what is given by its place, or as another kind of value, is not taken for one.

use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World};

#[test]
fn a_list_is_no_object() {
    let world = World::dev();
    let session = world.session("alice", "news");
    let session = json!(session);
    for (path, values) in [
        ("/api/push", json!([["alice"], null, "x", null, null])),
        ("/api/publish", json!(["news", null, 1, null, null])),
        ("/api/close", json!([session, null, null, null])),
        ("/v1/login", json!(["zed", null])),
        ("/v1/logout", json!([])),
        ("/v1/ticket", json!([])),
        ("/v1/subscribe", json!([session, ["news"]])),
        ("/v1/unsubscribe", json!([session, ["news"]])),
        ("/v1/publish", json!(["news", 1, null])),
        ("/v1/ack", json!([session, "1~k~news~1"])),
        ("/v1/close", json!([session, null])),
    ] {
        for body in [
            values.to_string(),
            format!(" \n{values}"),
            "null".into(),
            "\"x\"".into(),
            "1".into(),
            "true".into(),
        ] {
            let ask =
                Ask::new(Method::POST, path).header("content-type", "application/json").body(body.clone());
            let answer = world.call(if path.starts_with("/api/") { ask.key() } else { ask.user("alice") });
            assert_eq!(answer.code(), (400, "bad_request".into()), "{path} {body}");
            assert!(answer.text.contains("object"), "{path} {body}: {}", answer.text);
        }
    }
    let beacon = Ask::new(Method::POST, "/v1/close")
        .header("content-type", "text/plain")
        .body(json!([session, null]).to_string());
    assert_eq!(world.call(beacon).code(), (400, "bad_request".into()));
    assert_eq!(
        world.call(Ask::get("/api/sessions").key()).ok()["sessions"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_list_within_a_body_is_no_object_either_and_an_object_no_word() {
    let world = World::new();
    let refused = |path: &str, body: Value, word: &str| {
        let answer = world.call(Ask::post(path, &body).key());
        assert_eq!(answer.code(), (400, "bad_request".into()), "{path} {body}");
        assert!(answer.text.contains(word), "{path} {body}: {}", answer.text);
    };
    for messages in [
        json!([["news", 1]]),
        json!([["news", 1, null]]),
        json!([{"channel": "news", "data": 1}, ["news", 1, null]]),
        json!([1]),
    ] {
        refused("/api/publish", json!({"messages": messages}), "object");
    }
    refused("/api/push", json!({"to": {"all": null}, "data": 1}), "`to` has to be");
    let plain = json!({"channel": "news", "data": [[1]]});
    let both = json!({"messages": [plain, {"channel": "news", "data": null, "id": "k"}]});
    let answer = world.call(Ask::post("/api/publish", &both).key()).ok();
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(2), "{answer}");
    for to in ["all", "online"] {
        world.call(Ask::post("/api/push", &json!({"to": to, "data": 1})).key()).ok();
    }
}
