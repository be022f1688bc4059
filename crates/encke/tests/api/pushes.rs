//! The history of pushes: what every operator sees of what anybody has pushed.

use encke::config::{Config, EngineUrl, Scope};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World, key_of};

fn push(world: &World, body: &Value) -> String {
    let answer = world.call(Ask::post("/api/push", body).key()).ok();
    answer["id"].as_str().unwrap().to_owned()
}

fn history(world: &World, query: &str) -> Value {
    world.call(Ask::get(&format!("/api/pushes{query}")).key()).ok()
}

fn ids(page: &Value) -> Vec<String> {
    page["pushes"].as_array().unwrap().iter().map(|push| push["id"].as_str().unwrap().to_owned()).collect()
}

/// Worlds of the engines that need nothing else.
fn worlds(directory: &tempfile::TempDir) -> [World; 2] {
    let log = |config: &mut Config| {
        config.engine = EngineUrl::local("log");
        config.data = directory.path().to_path_buf();
    };
    [World::new(), World::with(log)]
}

#[test]
fn pushes_are_told_at_once_and_the_newest_first_with_what_became_of_them() {
    let directory = tempfile::tempdir().unwrap();
    for world in worlds(&directory) {
        assert_eq!(history(&world, ""), json!({"pushes": [], "next": null}));
        let page =
            push(&world, &json!({"to": ["alice", "bob"], "url": "https://pages.example/shop", "id": "k"}));
        let data = push(&world, &json!({"to": ["carol"], "data": {"text": "hello"}}));
        // What is said again under the same key is no other push.
        push(&world, &json!({"to": ["alice", "bob"], "url": "https://pages.example/shop", "id": "k"}));
        world.poll("carol", "hold_s=0");
        let told = history(&world, "");
        assert_eq!((ids(&told), &told["next"]), (vec![data.clone(), page.clone()], &Value::Null));
        let [first, second] = [0, 1].map(|index: usize| told["pushes"][index].clone());
        assert_eq!((&first["data"], first.get("url")), (&json!({"text": "hello"}), None));
        assert_eq!((&second["url"], second.get("data")), (&json!("https://pages.example/shop"), None));
        let receipts = world.call(Ask::get(&format!("/api/push/{page}")).key()).ok();
        assert_eq!(second["totals"], receipts["totals"]);
        assert_eq!(second["totals"]["queued"], 2);
        world.call(Ask::new(Method::DELETE, &format!("/api/push/{page}")).key()).ok();
        assert_eq!(history(&world, "")["pushes"][1]["totals"]["cancelled"], 2);
        // Whose users were deleted is gone for every reader.
        world.call(Ask::new(Method::DELETE, "/api/users/carol").key()).ok();
        assert_eq!(ids(&history(&world, "")), [page]);
    }
}

#[test]
fn the_history_comes_in_pages_that_put_together_are_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    for world in worlds(&directory) {
        let mut pushed = Vec::new();
        for round in 0..5 {
            for number in 0..=round {
                pushed.push(push(&world, &json!({"to": ["alice"], "data": number})));
            }
            // What was noted up to here stands in one message of the log.
            history(&world, "?limit=1");
        }
        let several: Vec<Value> = (0..600).map(|number| json!({"to": ["bob"], "data": number})).collect();
        let answer = world.call(Ask::post("/api/push", &json!({ "pushes": several })).key()).ok();
        let results = answer["results"].as_array().unwrap();
        pushed.extend(results.iter().map(|result| result["id"].as_str().unwrap().to_owned()));
        pushed.reverse();
        for limit in [1_usize, 2, 3, 7, 100] {
            let (mut found, mut query) = (Vec::new(), format!("?limit={limit}"));
            loop {
                let page = history(&world, &query);
                let part = ids(&page);
                assert!(part.len() == limit || page["next"].is_null(), "{query}");
                found.extend(part);
                let Some(next) = page["next"].as_str() else { break };
                query = format!("?limit={limit}&after={next}");
            }
            assert_eq!(found.len(), pushed.len());
            // Those of one call are accepted together, in whatever order.
            let (several, before): (Vec<String>, Vec<String>) =
                (found[..600].to_vec(), found[600..].to_vec());
            assert_eq!(before, pushed[600..]);
            assert_eq!(sorted(several), sorted(pushed[..600].to_vec()));
        }
    }
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[test]
fn of_long_data_and_long_addresses_the_beginning_is_told() {
    let world = World::new();
    push(&world, &json!({"to": ["alice"], "data": {"text": "é".repeat(5_000)}}));
    push(&world, &json!({"to": ["alice"], "data": null}));
    push(
        &world,
        &json!({"to": ["alice"], "url": format!("https://pages.example/shop/{}", "x".repeat(4_000))}),
    );
    let told = history(&world, "")["pushes"].clone();
    assert_eq!(told[0]["cut"], true);
    assert!(told[0]["url"].as_str().unwrap().starts_with("https://pages.example/shop/xxx"));
    assert_eq!((told[1].get("data"), told[1].get("cut")), (Some(&Value::Null), None));
    assert_eq!(told[2]["cut"], true);
    assert!(told[2]["data"].as_str().unwrap().starts_with(r#"{"text":"ééé"#));
}

#[test]
fn what_is_not_a_page_is_refused_and_so_is_a_key_that_may_not_read() {
    let world = World::new();
    for query in
        ["?after=x", "?after=1", "?after=1.", "?after=-1.0", "?after=01.0", "?limit=0", "?before=1.0"]
    {
        let answer = world.call(Ask::get(&format!("/api/pushes{query}")).key());
        assert_eq!(answer.code(), (400, "bad_request".into()), "{query}");
    }
    for after in ["0.0", "99.7", "18446744073709551615.18446744073709551615"] {
        push(&world, &json!({"to": ["alice"], "data": 1}));
        history(&world, &format!("?after={after}"));
    }
    for scope in [Scope::Push, Scope::Publish, Scope::Read, Scope::Close, Scope::Metrics, Scope::Admin] {
        let ask = Ask::get("/api/pushes").header("authorization", &format!("Bearer {}", key_of(scope)));
        let may = matches!(scope, Scope::Read | Scope::Admin);
        assert_eq!(world.call(ask).status, if may { 200 } else { 403 }, "{scope:?}");
    }
    assert_eq!(world.call(Ask::get("/api/pushes")).code(), (401, "unauthorized".into()));
}
