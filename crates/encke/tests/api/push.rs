//! Pushes and their receipts, and publishing from a backend.

use serde_json::{Value, json};

use crate::world::{Ask, World};

fn push(world: &World, body: Value) -> crate::world::Answer {
    world.call(Ask::post("/api/push", &body).key())
}

#[test]
fn a_push_says_who_was_online() {
    let world = World::new();
    world.session("bob", "");
    let answer = push(&world, json!({"to": ["alice", "bob", "alice"], "url": "https://pages.example/shop/1"}));
    assert_eq!(answer.status, 202);
    let answer = answer.ok();
    assert_eq!((&answer["accepted"], &answer["mode"]), (&json!(2), &json!("memory")));
    assert_eq!((&answer["online"], &answer["offline"]), (&json!(["bob"]), &json!(["alice"])));
    assert!(answer.get("truncated").is_none());
    let polled = world.poll("alice", "hold_s=0");
    assert_eq!(polled["messages"][0]["type"], "page");
    assert_eq!(polled["messages"][0]["url"], "https://pages.example/shop/1");
    assert_eq!(polled["messages"][0]["id"], answer["id"]);
}

#[test]
fn a_push_goes_to_everybody_or_to_those_who_are_online() {
    let world = World::new();
    assert_eq!(push(&world, json!({"to": "online", "data": 1})).ok()["accepted"], 0);
    world.push(&["alice"], 1);
    world.session("bob", "");
    let online = push(&world, json!({"to": "online", "data": 2})).ok();
    assert_eq!((&online["accepted"], &online["online"], &online["offline"]), (&json!(1), &json!(["bob"]), &json!([])));
    let all = push(&world, json!({"to": "all", "data": 3})).ok();
    assert_eq!((&all["accepted"], &all["online"], &all["offline"]), (&json!(2), &json!(["bob"]), &json!(["alice"])));
}

#[test]
fn one_key_gives_one_push() {
    let world = World::new();
    let first = push(&world, json!({"to": ["alice"], "data": 1, "id": "k"})).ok();
    assert_eq!(push(&world, json!({"to": ["alice"], "data": 1, "id": "k"})).ok()["id"], first["id"]);
    assert_eq!(world.poll("alice", "hold_s=0")["messages"].as_array().unwrap().len(), 1);
    assert_ne!(push(&world, json!({"to": ["alice"], "data": 1, "id": "l"})).ok()["id"], first["id"]);
}

#[test]
fn a_push_that_is_not_right_is_refused() {
    let world = World::new();
    let many = vec!["u"; 10_001];
    let deep: Value = (0..33).fold(json!(1), |inner, _| json!([inner]));
    let just: Value = (0..32).fold(json!(1), |inner, _| json!([inner]));
    for (body, code, status) in [
        (json!({"to": ["alice"]}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "url": "https://pages.example/shop"}), "bad_request", 400),
        (json!({"to": [], "data": 1}), "bad_request", 400),
        (json!({"to": "everybody", "data": 1}), "bad_request", 400),
        (json!({"to": 7, "data": 1}), "bad_request", 400),
        (json!({"data": 1}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": 0}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": 99_999_999}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": "60"}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "id": ""}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl": 60}), "bad_request", 400),
        (json!({"to": ["ali\u{200b}ce"], "data": 1}), "bad_name", 400),
        (json!({"to": [""], "data": 1}), "bad_name", 400),
        (json!({"to": ["alice"], "url": "javascript:alert(1)"}), "bad_url", 400),
        (json!({"to": ["alice"], "url": "https://elsewhere.example/"}), "url_not_allowed", 403),
        (json!({"to": ["alice"], "data": deep}), "too_deep", 400),
        (json!({"to": many, "data": 1}), "too_many_targets", 422),
        (json!({"to": ["alice"], "data": "x".repeat(65_536)}), "too_large", 413),
    ] {
        let answer = push(&world, body.clone());
        assert_eq!(answer.code(), (status, code.to_owned()), "{}", body.to_string().chars().take(100).collect::<String>());
    }
    assert!(push(&world, json!({"to": ["alice"], "data": 1, "ttl": 60})).text.contains("`ttl`"), "the field is named");
    assert_eq!(push(&world, json!({"to": ["alice"], "data": just})).status, 202);
    assert_eq!(world.call(Ask::get("/api/users/bob").key()).code(), (404, "user_unknown".into()), "nothing was appended");
}

#[test]
fn receipts_are_paged_by_user() {
    let world = World::new();
    let id = world.push(&["alice", "bob", "carol"], 1)["id"].as_str().unwrap().to_owned();
    let first = world.call(Ask::get(&format!("/api/push/{id}?limit=2")).key()).ok();
    assert_eq!(first["receipts"].as_array().unwrap().len(), 2);
    assert_eq!((&first["receipts"][0]["user"], &first["receipts"][0]["state"]), (&json!("alice"), &json!("queued")));
    assert_eq!(first["next"], "bob");
    let second = world.call(Ask::get(&format!("/api/push/{id}?limit=2&after=bob")).key()).ok();
    assert_eq!(second["receipts"][0]["user"], "carol");
    assert!(second.get("next").is_none());
    for unknown in ["nonsense", "AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(world.call(Ask::get(&format!("/api/push/{unknown}")).key()).code(), (404, "push_unknown".into()));
    }
}

#[test]
fn a_backend_publishes_to_one_channel_or_to_several() {
    let world = World::new();
    let publish = |body: Value| world.call(Ask::post("/api/publish", &body).key());
    let one = publish(json!({"channel": "news", "data": {"a": 1}}));
    assert_eq!(one.status, 202);
    let one = one.ok();
    assert_eq!((&one["offset"], &one["mode"], one["epoch"].is_string()), (&json!(1), &json!("memory"), true));
    let many = publish(json!({"channels": ["news", "sport"], "data": 2})).ok();
    assert_eq!(many["positions"][0]["channel"], "news");
    assert_eq!((&many["positions"][0]["offset"], &many["positions"][1]["offset"]), (&json!(2), &json!(1)));
    for (body, code) in [
        (json!({"data": 1}), "bad_request"),
        (json!({"channel": "a", "channels": ["b"], "data": 1}), "bad_request"),
        (json!({"channels": [], "data": 1}), "bad_request"),
        (json!({"channel": "@alice", "data": 1}), "bad_name"),
        (json!({"channel": "a\nb", "data": 1}), "bad_name"),
        (json!({"channel": "news"}), "bad_request"),
    ] {
        assert_eq!(publish(body.clone()).code(), (400, code.to_owned()), "{body}");
    }
}
