//! Pushes and their receipts, and publishing from a backend.

use std::time::{Duration, Instant};

use encke::config::{Config, EngineUrl};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World};

fn push(world: &World, body: Value) -> crate::world::Answer {
    world.call(Ask::post("/api/push", &body).key())
}

#[test]
fn a_push_says_who_was_online() {
    let world = World::new();
    world.session("bob", "");
    let answer =
        push(&world, json!({"to": ["alice", "bob", "alice"], "url": "https://pages.example/shop/1"}));
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
fn a_page_may_want_a_window_of_its_own() {
    let world = World::new();
    let url = "https://pages.example/shop/1";
    let shown = |mut body: Value| {
        body["to"] = json!(["alice"]);
        body["url"] = json!(url);
        push(&world, body).ok();
        let polled = world.poll("alice", "hold_s=0");
        let message = polled["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&message["type"], &message["url"]), (&json!("page"), &json!(url)));
        message.get("show").cloned()
    };
    assert_eq!(shown(json!({})), None);
    assert_eq!(shown(json!({"show": "window"})), Some(json!("window")));
    assert_eq!(shown(json!({"show": "frame"})), None);
    // A repeat under the same key is the same push only if it is shown in the same way.
    push(&world, json!({"to": ["bob"], "url": url, "show": "window", "id": "k"})).ok();
    push(&world, json!({"to": ["bob"], "url": url, "show": "window", "id": "k"})).ok();
    let other = push(&world, json!({"to": ["bob"], "url": url, "id": "k"}));
    assert_eq!(other.code(), (409, "key_reused".to_owned()));
}

#[test]
fn a_push_goes_to_all_users_or_to_those_who_are_online() {
    let world = World::new();
    assert_eq!(push(&world, json!({"to": "online", "data": 1})).ok()["accepted"], 0);
    world.push(&["alice"], 1);
    world.session("bob", "");
    let online = push(&world, json!({"to": "online", "data": 2})).ok();
    assert_eq!(
        (&online["accepted"], &online["online"], &online["offline"]),
        (&json!(1), &json!(["bob"]), &json!([]))
    );
    let all = push(&world, json!({"to": "all", "data": 3})).ok();
    assert_eq!(
        (&all["accepted"], &all["online"], &all["offline"]),
        (&json!(2), &json!(["bob"]), &json!(["alice"]))
    );
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
        (json!({"to": ["alice"], "data": 1, "show": "window"}), "bad_request", 400),
        (json!({"to": ["alice"], "url": "https://pages.example/shop", "show": "tab"}), "bad_request", 400),
        (json!({"to": [], "data": 1}), "bad_request", 400),
        (json!({"to": "everybody", "data": 1}), "bad_request", 400),
        (json!({"to": 7, "data": 1}), "bad_request", 400),
        (json!({"data": 1}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": 0}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": 99_999_999}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "ttl_s": "60"}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "id": ""}), "bad_request", 400),
        (json!({"to": ["alice"], "data": 1, "id": "k".repeat(129)}), "bad_request", 400),
        (json!({"to": ["alice"], "url": format!("https://a/{}", "x".repeat(8_183))}), "bad_url", 400),
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
        assert_eq!(
            answer.code(),
            (status, code.to_owned()),
            "{}",
            body.to_string().chars().take(100).collect::<String>()
        );
    }
    assert!(
        push(&world, json!({"to": ["alice"], "data": 1, "ttl": 60})).text.contains("`ttl`"),
        "the field is named"
    );
    assert_eq!(push(&world, json!({"to": ["alice"], "data": just})).status, 202);
    assert_eq!(
        world.call(Ask::get("/api/users/bob").key()).code(),
        (404, "user_unknown".into()),
        "nothing was appended"
    );
}

#[test]
fn receipts_are_paged_by_user() {
    let world = World::new();
    let id = world.push(&["alice", "bob", "carol"], 1)["id"].as_str().unwrap().to_owned();
    let first = world.call(Ask::get(&format!("/api/push/{id}?limit=2")).key()).ok();
    assert_eq!(first["receipts"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&first["receipts"][0]["user"], &first["receipts"][0]["state"]),
        (&json!("alice"), &json!("queued"))
    );
    assert_eq!(first["next"], "bob");
    let second = world.call(Ask::get(&format!("/api/push/{id}?limit=2&after=bob")).key()).ok();
    assert_eq!(second["receipts"][0]["user"], "carol");
    assert!(second.get("next").is_none());
    for unknown in ["nonsense", "AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(
            world.call(Ask::get(&format!("/api/push/{unknown}")).key()).code(),
            (404, "push_unknown".into())
        );
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

#[test]
fn several_messages_are_published_in_one_call_each_with_its_own_result() {
    let world = World::new();
    let publish = |body: Value| world.call(Ask::post("/api/publish", &body).key());
    let first = world.poll("alice", "hold_s=0&channels=a,b");
    let (session, cursor) = (first["session"].as_str().unwrap(), first["cursor"].as_str().unwrap());
    let messages = json!([
        {"channel": "a", "data": 1},
        {"channel": "b", "data": {"x": [2]}, "id": "k"},
        {"channel": "a", "data": null},
        {"channel": "b", "data": {"x": [2]}, "id": "k"},
        {"channel": "b", "data": 5}
    ]);
    let answer = publish(json!({"messages": messages}));
    assert_eq!(answer.status, 202);
    let answer = answer.ok();
    assert_eq!(answer["mode"], "memory");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(
        results.iter().map(|result| result["offset"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 1, 2, 1, 2]
    );
    assert_eq!(
        (&results[1]["id"], results[1].get("error")),
        (&results[3]["id"], None),
        "one key gives one message"
    );
    let polled = world.poll("alice", &format!("session={session}&cursor={cursor}"));
    let got: Vec<_> = polled["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["channel"].clone(), message["data"].clone()))
        .collect();
    assert_eq!(got.len(), 4);
    let of = |channel: &str| {
        got.iter().filter(|(of, _)| of == channel).map(|(_, data)| data.clone()).collect::<Vec<_>>()
    };
    assert_eq!((of("a"), of("b")), (vec![json!(1), json!(null)], vec![json!({"x": [2]}), json!(5)]));
    // The whole call may be sent again.
    let keyed =
        json!({"messages": [{"channel": "a", "data": 1, "id": "x"}, {"channel": "a", "data": 2, "id": "y"}]});
    assert_eq!(publish(keyed.clone()).ok(), publish(keyed).ok());
}

#[test]
fn of_several_messages_none_is_published_when_one_is_not_right() {
    let world = World::new();
    let publish = |body: Value| world.call(Ask::post("/api/publish", &body).key());
    let good = json!({"channel": "a", "data": 1});
    let deep: Value = (0..33).fold(json!(1), |inner, _| json!([inner]));
    for (messages, code) in [
        (json!([]), "bad_request"),
        (json!(vec![good.clone(); 129]), "bad_request"),
        (json!([good, {"channel": "@alice", "data": 1}]), "bad_name"),
        (json!([good, {"channel": "a"}]), "bad_request"),
        (json!([good, {"channel": "a", "data": 1, "to": "bob"}]), "bad_request"),
        (json!([good, {"channel": "a", "data": deep}]), "too_deep"),
        (json!([good, {"channel": "a", "data": 1, "id": ""}]), "bad_request"),
        (json!([good, 7]), "bad_request"),
        (json!("a"), "bad_request"),
    ] {
        let answer = publish(json!({"messages": messages}));
        assert_eq!(answer.code(), (400, code.to_owned()), "{messages}");
    }
    for extra in ["channel", "data", "id"] {
        assert_eq!(publish(json!({"messages": [good], extra: "a"})).status, 400, "{extra}");
    }
    assert_eq!(
        publish(json!({"messages": vec![good.clone(); 128]})).ok()["results"][127]["offset"],
        128,
        "nothing was published before"
    );
}

#[test]
fn what_became_of_a_push_comes_as_totals_and_as_pages_of_each_state() {
    let directory = tempfile::tempdir().unwrap();
    let log = |config: &mut Config| {
        config.engine = EngineUrl::local("log");
        config.data = directory.path().to_path_buf();
    };
    for world in [World::new(), World::with(log)] {
        let users: Vec<String> = (0..1_100).map(|number| format!("u{number:04}")).collect();
        let id = push(&world, json!({"to": users, "data": 1})).ok()["id"].as_str().unwrap().to_owned();
        let ask = |query: &str| world.call(Ask::get(&format!("/api/push/{id}{query}")).key());
        let all = json!({"queued": 1_100, "delivered": 0, "shown": 0, "expired": 0, "cancelled": 0});
        for query in ["", "?limit=3", "?limit=3&after=u0500", "?state=queued", "?state=shown", "?after=u1099"]
        {
            assert_eq!(ask(query).ok()["totals"], all, "{query}");
        }
        let page = ask("?state=queued&limit=2&after=u0007").ok();
        let names: Vec<&Value> =
            page["receipts"].as_array().unwrap().iter().map(|one| &one["user"]).collect();
        assert_eq!((names, &page["next"]), (vec![&json!("u0008"), &json!("u0009")], &json!("u0009")));
        let none = ask("?state=cancelled").ok();
        assert_eq!((&none["receipts"], none.get("next")), (&json!([]), None));
        // What an operator did is seen at once, however many there are.
        world.call(Ask::new(Method::DELETE, &format!("/api/push/{id}")).key()).ok();
        let cancelled = json!({"queued": 0, "delivered": 0, "shown": 0, "expired": 0, "cancelled": 1_100});
        assert_eq!(ask("?limit=1").ok()["totals"], cancelled);
        assert_eq!(ask("?state=cancelled&limit=1").ok()["receipts"][0]["user"], "u0000");
        assert_eq!(ask("?state=queued").ok()["receipts"], json!([]));
        for query in ["?state=lost", "?state=", "?state=Queued"] {
            assert_eq!(ask(query).code(), (400, "bad_request".into()), "{query}");
        }
    }
}

#[test]
fn totals_tell_each_state() {
    let world = World::new();
    let id = world.push(&["alice", "bob", "carol"], 1)["id"].as_str().unwrap().to_owned();
    let polled = world.poll("alice", "hold_s=0");
    let session = polled["session"].as_str().unwrap();
    let cursor = polled["cursor"].as_str().unwrap().replace('~', "%7E");
    world.poll("alice", &format!("hold_s=0&session={session}&cursor={cursor}"));
    let ask = |query: &str| world.call(Ask::get(&format!("/api/push/{id}{query}")).key()).ok();
    let totals = json!({"queued": 2, "delivered": 1, "shown": 0, "expired": 0, "cancelled": 0});
    // What was delivered is written down a moment later.
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask("")["totals"] != totals {
        assert!(Instant::now() < deadline, "{}", ask(""));
        std::thread::sleep(Duration::from_millis(10));
    }
    let delivered = ask("?state=delivered");
    assert_eq!((&delivered["totals"], &delivered["receipts"][0]["user"]), (&totals, &json!("alice")));
    assert_eq!(ask("?state=queued")["receipts"].as_array().unwrap().len(), 2);
    world.call(Ask::new(Method::DELETE, "/api/users/bob").key()).ok();
    assert_eq!(ask("?limit=1")["totals"]["queued"], 1);
}
