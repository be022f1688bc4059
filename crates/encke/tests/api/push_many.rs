//! Several pushes in one call: each is answered as if it were alone.

use std::sync::Arc;

use encke::config::{Config, EngineUrl};
use encke_engine::{EngineError, Targets};
use http::Method;
use serde_json::{Value, json};

use crate::{
    double::Broken,
    picky::Picky,
    world::{Answer, Ask, World},
};

fn push(world: &World, pushes: &Value) -> Answer {
    world.call(Ask::post("/api/push", &json!({ "pushes": pushes })).key())
}

fn code(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_thousand_pushes_have_a_thousand_results_though_some_are_wrong() {
    let world = World::new();
    world.session("bob", "");
    let pushes: Vec<Value> = (0..1_000)
        .map(|number| match number % 5 {
            0 => json!({"to": ["alice"], "data": number}),
            1 => json!({"to": ["alice", "bob"], "data": number, "ttl_s": 60}),
            2 => json!({"to": [], "data": number}),
            3 => json!({"to": ["alice"], "url": "https://elsewhere.example/"}),
            _ => json!({"to": ["a\u{0}b"], "data": number}),
        })
        .collect();
    let answer = push(&world, &json!(pushes));
    assert_eq!(answer.status, 202);
    let answer = answer.ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!((&answer["mode"], results.len()), (&json!("memory"), 1_000));
    for (number, result) in results.iter().enumerate() {
        let counted = [&result["accepted"], &result["online"], &result["offline"]];
        match number % 5 {
            0 => assert_eq!(counted, [1, 0, 1]),
            1 => assert_eq!(counted, [2, 1, 1]),
            wrong => assert_eq!(code(result), ["bad_request", "url_not_allowed", "bad_name"][wrong - 2]),
        }
    }
    let history = world.call(Ask::get("/api/channels/@alice/history?limit=1000").key()).ok();
    let data = |message: &Value| message["data"].as_u64().unwrap();
    let kept: Vec<u64> = history["messages"].as_array().unwrap().iter().map(data).collect();
    assert_eq!(
        kept,
        (0..1_000).filter(|number| number % 5 < 2).collect::<Vec<_>>(),
        "in the order of the call"
    );
    let alone = world.call(Ask::post("/api/push", &pushes[2]).key());
    assert_eq!(alone.json()["error"], results[2]["error"], "as if it were alone");
    let receipts =
        world.call(Ask::get(&format!("/api/push/{}", results[1]["id"].as_str().unwrap())).key()).ok();
    assert_eq!(receipts["receipts"].as_array().unwrap().len(), 2);
}

#[test]
fn groups_may_be_among_them() {
    let world = World::new();
    world.session("bob", "");
    let answer = push(
        &world,
        &json!([
            {"to": ["alice"], "data": 1}, {"to": "online", "data": 2}, {"to": "all", "data": 3},
        ]),
    )
    .ok();
    let counts =
        |result: &Value| [&result["accepted"], &result["online"]].map(|count| count.as_u64().unwrap());
    let results: Vec<_> = answer["results"].as_array().unwrap().iter().map(counts).collect();
    assert_eq!(results, [[1, 0], [1, 1], [2, 1]]);
}

#[test]
fn one_key_gives_one_push_within_a_call_and_across_calls() {
    let data = tempfile::tempdir().unwrap();
    let log = |config: &mut Config| {
        config.engine = EngineUrl::local("log");
        config.data = data.path().to_path_buf();
    };
    for world in [World::new(), World::with(log)] {
        let pushes = json!([
            {"to": ["alice"], "data": 1, "id": "k"}, {"to": ["alice"], "data": 1, "id": "k"},
            {"to": ["alice"], "data": 3, "id": "l"}, {"to": ["alice"], "data": 4},
        ]);
        let ids = |answer: Value| -> Vec<String> {
            let results = answer["results"].as_array().unwrap();
            results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect()
        };
        let (first, second) = (ids(push(&world, &pushes).ok()), ids(push(&world, &pushes).ok()));
        assert_eq!(first[0], first[1]);
        assert_eq!(first[..3], second[..3]);
        assert_ne!(first[3], second[3]);
        let alone = world.call(Ask::post("/api/push", &json!({"to": ["alice"], "data": 3, "id": "l"})).key());
        assert_eq!(alone.ok()["id"], first[2].as_str());
        let history = world.call(Ask::get("/api/channels/@alice/history").key()).ok();
        let data: Vec<_> =
            history["messages"].as_array().unwrap().iter().map(|it| it["data"].clone()).collect();
        assert_eq!(data, [1, 3, 4, 4]);
    }
}

#[test]
fn what_the_engine_does_not_take_is_told_and_the_others_are_kept() {
    let error = EngineError::Unavailable("it is down".into());
    let takes = |append: &encke_engine::Append| match &append.targets {
        Targets::Users(users) => users.iter().all(|user| user.as_str() != "carol"),
        _ => false,
    };
    let world = World::on(Arc::new(Picky { error: error.clone(), takes }));
    let pushes = json!([
        {"to": ["alice"], "data": 1}, {"to": ["carol"], "data": 2}, {"to": [], "data": 3},
        {"to": ["bob"], "data": 4},
    ]);
    let answer = push(&world, &pushes).ok();
    let codes: Vec<_> = answer["results"].as_array().unwrap().iter().map(code).collect();
    assert_eq!(codes, ["", "engine_unavailable", "bad_request", ""]);
    let all = push(&world, &json!([{"to": ["carol"], "data": 1}, {"to": "all", "data": 2}]));
    assert_eq!(
        all.code(),
        (503, "engine_unavailable".into()),
        "a call of which nothing is kept may come again"
    );
    assert_eq!(all.header("retry-after"), "2");
    let broken = World::on(Arc::new(Broken(error)));
    assert_eq!(push(&broken, &pushes).ok()["results"][2]["error"]["code"], "bad_request");
}

#[test]
fn a_call_has_its_bounds() {
    let world = World::new();
    let large = json!({"to": ["alice"], "data": "x".repeat(60_000)});
    let of = |count: usize| push(&world, &json!(vec![large.clone(); count]));
    assert_eq!(of(17).ok()["results"].as_array().unwrap().len(), 17, "1 MiB");
    assert_eq!(of(18).code(), (413, "too_large".into()));
    let alone =
        world.call(Ask::post("/api/push", &json!({"to": ["alice"], "data": "x".repeat(65_536)})).key());
    assert_eq!(alone.code(), (413, "too_large".into()), "one alone is not larger for that");
    let part = push(&world, &json!([{"to": ["alice"], "data": "x".repeat(65_536)}, {"to": [], "data": 1}]));
    let message = |answer: &Value| answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    let spaces = |path: &str, length| {
        let body = vec![b' '; length];
        let ask = Ask::new(Method::POST, path).header("content-type", "application/json").body(body);
        message(&world.call(ask.key()).json())
    };
    for (words, names) in [
        (message(&of(18).json()), "a body may have at most 1048576 bytes"),
        (message(&alone.json()), "one push alone may have at most 65536 bytes"),
        (message(&part.json()["results"][0]), "each push may have at most 65536 bytes"),
        (spaces("/api/push", 1_100_000), "a body may have at most 1048576 bytes"),
        (spaces("/api/publish", 65_537), "a body may have at most 65536 bytes"),
    ] {
        assert_eq!(words, names, "it names the bound that it is over");
    }
    for wrong in [json!([]), json!(vec![json!({"to": ["alice"], "data": 1}); 1_001]), json!(7), json!("all")]
    {
        assert_eq!(push(&world, &wrong).code(), (400, "bad_request".into()));
    }
}
