//! An idempotency key that comes with another request than at first: nothing is sent, and the backend is
//! told.

use serde_json::{Value, json};

use crate::world::{Answer, Ask, World};

fn reused() -> (u16, String) {
    (409, "key_reused".into())
}

/// What is in a log.
fn kept(world: &World, channel: &str) -> Vec<Value> {
    let history = world.call(Ask::get(&format!("/api/channels/{channel}/history")).key()).ok();
    history["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

#[test]
fn a_push_with_a_used_key_says_so_when_it_is_another() {
    let world = World::new();
    world.session("carol", "");
    let push = |body: &Value| world.call(Ask::post("/api/push", body).key());
    for (key, to) in [("named", json!(["alice", "bob"])), ("all", json!("all")), ("online", json!("online"))]
    {
        let first = json!({"to": to, "data": {"a": [1, 2]}, "id": key});
        let accepted = push(&first).ok();
        let other = |name: &str, value: Value| {
            let mut body = first.clone();
            body[name] = value;
            body
        };
        let mut page = other("url", json!("https://pages.example/shop"));
        page.as_object_mut().unwrap().remove("data");
        let mut others = vec![page, other("data", json!({"a": [1, 3]})), other("data", json!(null))];
        let receivers = [json!(["alice"]), json!(["alice", "bob", "new"]), json!("all"), json!("online")];
        others.extend(receivers.into_iter().filter(|it| *it != to).map(|it| other("to", it)));
        for other in &others {
            assert_eq!(push(other).code(), reused(), "{other}");
        }
        // The same again is the same: also when users came meanwhile, however it is written, and however
        // long it waits.
        world.session(&format!("late {key}"), "");
        let mut again = vec![first.clone(), other("ttl_s", json!(77)), other("data", json!({"a": [1, 2]}))];
        if key == "named" {
            again.push(other("to", json!(["bob", "alice", "bob"])));
        }
        for again in &again {
            assert_eq!(push(again).ok()["id"], accepted["id"], "{again}");
        }
    }
    assert_eq!(kept(&world, "@alice").len(), 2, "by name, and as one of all");
    assert_eq!(kept(&world, "@new").len(), 0);
}

#[test]
fn each_of_several_is_told_for_itself() {
    let world = World::new();
    let push = |pushes: Value| world.call(Ask::post("/api/push", &json!({ "pushes": pushes })).key());
    let publish = |body: Value| world.call(Ask::post("/api/publish", &body).key());
    let codes = |answer: Answer| -> Vec<Value> {
        assert_eq!(answer.status, 202);
        let answer = answer.ok();
        answer["results"].as_array().unwrap().iter().map(|it| it["error"]["code"].clone()).collect()
    };
    let pushed = push(json!([
        {"to": ["alice"], "data": 1, "id": "k"}, {"to": ["alice"], "data": 2, "id": "k"},
        {"to": ["bob"], "data": 1, "id": "k"}, {"to": ["alice"], "data": 1, "id": "k"},
    ]));
    assert_eq!(codes(pushed), [json!(null), json!("key_reused"), json!("key_reused"), json!(null)]);
    let published = publish(json!({"messages": [
        {"channel": "a", "data": 1, "id": "k"}, {"channel": "a", "data": 2, "id": "k"},
        {"channel": "b", "data": 1, "id": "k"}, {"channel": "a", "data": 1, "id": "k"},
    ]}));
    assert_eq!(codes(published), [json!(null), json!("key_reused"), json!("key_reused"), json!(null)]);
    assert_eq!((kept(&world, "@alice"), kept(&world, "a")), (vec![json!(1)], vec![json!(1)]));
}

#[test]
fn a_publish_with_a_used_key_says_so_when_it_is_another() {
    let world = World::new();
    let publish = |body: Value| world.call(Ask::post("/api/publish", &body).key());
    let first = publish(json!({"channels": ["a", "b"], "data": 1, "id": "k"})).ok();
    for channels in [json!(["a"]), json!(["a", "b", "c"]), json!(["a", "c"])] {
        assert_eq!(
            publish(json!({"channels": channels, "data": 1, "id": "k"})).code(),
            reused(),
            "{channels}"
        );
    }
    assert_eq!(publish(json!({"channel": "a", "data": 1, "id": "k"})).code(), reused());
    assert_eq!(publish(json!({"channels": ["a", "b"], "data": 2, "id": "k"})).code(), reused());
    assert_eq!(publish(json!({"channels": ["a", "b"], "data": 1, "id": "k"})).ok(), first);
    assert_eq!(kept(&world, "a").len() + kept(&world, "b").len() + kept(&world, "c").len(), 2);
    // A channel that was deleted meanwhile does not make another request of it.
    let delete = Ask::new(http::Method::DELETE, "/api/channels/a").key();
    world.call(delete).ok();
    let again = publish(json!({"channels": ["a", "b"], "data": 1, "id": "k"})).ok();
    assert_eq!((&again["id"], &again["positions"][0]["channel"]), (&first["id"], &json!("b")));
}
