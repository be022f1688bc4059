//! Deleting channels and users: what a backend asks for, and what clients see of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World, token};

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

/// A request that waits, once the server holds it for the user.
fn waiting(world: &World, user: &str, target: &str) -> TcpStream {
    let mut socket = TcpStream::connect(world.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let authorization = format!("Authorization: Bearer {}", token(user, &["*"], &[]));
    write!(socket, "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{authorization}\r\n\r\n")
        .unwrap();
    world.until_held(user, 1);
    socket
}

/// The poll by which a session goes on from a cursor.
fn goes_on(session: &str, cursor: &str) -> String {
    format!("/v1/poll?hold_s=10&session={session}&cursor={}", cursor.replace('~', "%7E"))
}

fn answer(mut socket: TcpStream) -> Value {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_deleted_channel_is_gone_for_backends_and_clients() {
    let world = World::new();
    for data in 1..=3 {
        world.publish("news", data);
    }
    let begun = world.poll("alice", "hold_s=0&channels=news");
    let (session, cursor) = (begun["session"].as_str().unwrap(), begun["cursor"].as_str().unwrap());
    let told = waiting(&world, "alice", &goes_on(session, cursor));
    assert_eq!(world.call(delete("/api/channels/news").key()).ok(), json!({"deleted": true}));
    let told = answer(told);
    let gap = json!({"channel": "news", "from": 4, "to": 4, "reason": "trimmed"});
    assert_eq!((&told["gaps"], &told["messages"]), (&json!([gap]), &json!([])), "who waits is told: {told}");
    assert_eq!(
        world.call(delete("/api/channels/news").key()).code(),
        (404, "channel_unknown".into()),
        "it is gone"
    );
    assert_eq!(world.call(Ask::get("/api/channels").key()).ok()["channels"], json!([]));
    let history = |cursor: &str| {
        let path = format!("/api/channels/news/history{cursor}");
        world.call(Ask::get(&path).key()).ok()
    };
    assert_eq!(history("")["messages"], json!([]));
    assert_eq!(history("?before=latest")["messages"], json!([]));

    // What comes later reaches who follows, and no earlier cursor is a place among it.
    let published = world.publish("news", 9);
    assert_eq!(published["offset"], 5);
    let next = goes_on(session, told["cursor"].as_str().unwrap());
    let next = world.poll("alice", next.split_once('?').unwrap().1);
    assert_eq!((&next["messages"][0]["data"], &next["gaps"]), (&json!(9), &json!([])));
    let again = format!("hold_s=0&channels=news&cursor={}", cursor.replace('~', "%7E"));
    let late = world.poll("alice", &again);
    assert_eq!((&late["gaps"][0]["to"], &late["messages"][0]["data"]), (&json!(4), &json!(9)), "{late}");
}

#[test]
fn a_deleted_user_is_closed_and_forgotten() {
    let world = World::new();
    let push = world.push(&["alice", "bob"], 1)["id"].as_str().unwrap().to_owned();
    let begun = world.poll("alice", "hold_s=0");
    let (session, cursor) = (begun["session"].as_str().unwrap(), begun["cursor"].as_str().unwrap());
    let told = waiting(&world, "alice", &goes_on(session, cursor));
    assert_eq!(world.call(delete("/api/users/alice").key()).ok(), json!({"deleted": true}));
    let close = json!({"code": "deleted", "reason": "", "reconnect": false});
    assert_eq!(answer(told)["close"], close);
    let unknown = (404, "user_unknown".to_owned());
    for path in ["/api/users/alice", "/api/users/carol"] {
        assert_eq!(world.call(Ask::get(path).key()).code(), unknown, "{path}");
        assert_eq!(world.call(delete(path).key()).code(), unknown, "{path}");
    }
    let users = world.call(Ask::get("/api/users").key()).ok();
    assert_eq!(users["users"].as_array().unwrap().len(), 1, "the end of a session makes no user: {users}");
    let receipts = world.call(Ask::get(&format!("/api/push/{push}")).key()).ok();
    assert_eq!(receipts["receipts"].as_array().unwrap().len(), 1);
    assert_eq!(receipts["receipts"][0]["user"], "bob");

    // Who comes back is a new user: nothing of before is there, and what comes later arrives.
    let anew = world.poll("alice", "hold_s=0");
    assert_eq!((&anew["messages"], &anew["gaps"]), (&json!([]), &json!([])), "{anew}");
    world.push(&["alice"], 7);
    let query = format!("hold_s=0&session={}", anew["session"].as_str().unwrap());
    assert_eq!(world.poll("alice", &query)["messages"][0]["data"], 7);
}

#[test]
fn deleting_needs_the_key_and_a_name() {
    let world = World::new();
    world.publish("news", 1);
    world.push(&["alice"], 1);
    for path in ["/api/channels/news", "/api/users/alice"] {
        for ask in [delete(path), delete(path).user("alice")] {
            assert_eq!(world.call(ask).code(), (401, "unauthorized".into()), "{path}");
        }
    }
    for path in ["/api/channels/@alice", "/api/channels/a%00b", "/api/users/a%00b"] {
        assert_eq!(world.call(delete(path).key()).code(), (400, "bad_name".into()), "{path}");
    }
    assert_eq!(world.call(Ask::get("/api/channels").key()).ok()["channels"][0]["channel"], "news");
    world.call(Ask::get("/api/users/alice").key()).ok();
}
