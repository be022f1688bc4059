//! Cancelling pushes: what a backend asks for, and what clients and receipts show of it.

use encke::config::{Config, EngineUrl, Scope};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World, key_of};

fn delete(push: &str) -> Ask {
    Ask::new(Method::DELETE, &format!("/api/push/{push}"))
}

fn cancel(world: &World, push: &str) -> Value {
    world.call(delete(push).key()).ok()
}

fn pushed(world: &World, to: &[&str], data: u64) -> String {
    world.push(to, data)["id"].as_str().unwrap().to_owned()
}

/// The user and state of each receipt.
fn receipts(world: &World, push: &str) -> Vec<(String, String)> {
    let answer = world.call(Ask::get(&format!("/api/push/{push}")).key()).ok();
    let one = |receipt: &Value| {
        (receipt["user"].as_str().unwrap().to_owned(), receipt["state"].as_str().unwrap().to_owned())
    };
    answer["receipts"].as_array().unwrap().iter().map(one).collect()
}

fn data(polled: &Value) -> Vec<Value> {
    polled["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

fn of(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(user, state)| ((*user).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn what_is_still_queued_is_called_back_and_what_was_delivered_stays() {
    let directory = tempfile::tempdir().unwrap();
    let log = |config: &mut Config| {
        config.engine = EngineUrl::local("log");
        config.data = directory.path().to_path_buf();
    };
    for world in [World::new(), World::with(log)] {
        let first = pushed(&world, &["alice", "bob"], 1);
        let push = pushed(&world, &["alice", "bob"], 2);
        pushed(&world, &["alice", "bob"], 3);
        let polled = world.poll("alice", "hold_s=0");
        assert_eq!(data(&polled), [1, 2, 3]);
        let session = polled["session"].as_str().unwrap();
        let cursor = polled["cursor"].as_str().unwrap().replace('~', "%7E");
        // Her next poll says that she has them.
        world.poll("alice", &format!("hold_s=0&session={session}&cursor={cursor}"));
        assert_eq!(cancel(&world, &push), json!({"cancelled": 1}));
        assert_eq!(receipts(&world, &push), of(&[("alice", "delivered"), ("bob", "cancelled")]));
        assert_eq!(cancel(&world, &push), json!({"cancelled": 0}), "nothing is left of it");
        assert_eq!(data(&world.poll("bob", "hold_s=0")), [1, 3]);
        let earliest = world.poll("bob", "hold_s=0&cursor=earliest");
        assert_eq!((data(&earliest), &earliest["gaps"]), (vec![json!(1), json!(3)], &json!([])));
        assert_eq!(receipts(&world, &push)[1].1, "cancelled", "what comes behind does not deliver it");
        assert_eq!(receipts(&world, &first)[1].0, "bob");
        assert_eq!(cancel(&world, &pushed(&world, &["carol"], 4)), json!({"cancelled": 1}));
        assert!(data(&world.poll("carol", "hold_s=0")).is_empty());
    }
}

#[test]
fn cancelling_needs_a_key_that_may_push_or_administer_and_a_push() {
    let world = World::new();
    let push = pushed(&world, &["alice"], 1);
    for scope in [Scope::Push, Scope::Publish, Scope::Read, Scope::Close, Scope::Metrics, Scope::Admin] {
        let answer = world.call(delete(&push).header("authorization", &format!("Bearer {}", key_of(scope))));
        match scope {
            Scope::Push | Scope::Admin => assert_eq!(answer.status, 200, "{scope:?}"),
            _ => assert_eq!(answer.code(), (403, "forbidden".into()), "{scope:?}"),
        }
    }
    for ask in [delete(&push), delete(&push).user("alice")] {
        assert_eq!(world.call(ask).code(), (401, "unauthorized".into()));
    }
    for unknown in ["nothing", "AZ6dZ2hUJq0b3m5k7n9pRQ", "a%00b"] {
        assert_eq!(world.call(delete(unknown).key()).code(), (404, "push_unknown".into()), "{unknown}");
    }
}
