//! Who is there, what is in the logs, and ending sessions, as operators see it.

use std::sync::Arc;

use encke::clock::TestClock;
use encke_engine::{RetentionTable, memory::MemoryEngine};
use encke_proto::{Epoch, Time};
use serde_json::{Value, json};

use crate::world::{Ask, World};

fn get(world: &World, path: &str) -> crate::world::Answer {
    world.call(Ask::get(path).key())
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect()
}

#[test]
fn users_are_those_who_were_seen_pushed_to_or_are_here() {
    let world = World::new();
    world.push(&["alice", "carol"], 1);
    world.session("bob", "");
    world.session("bob", "");
    let all = get(&world, "/api/users").ok();
    assert_eq!(ids(&all), ["alice", "bob", "carol"]);
    assert_eq!(all["next"], Value::Null);
    assert_eq!(
        (&all["users"][0]["online"], &all["users"][0]["sessions"], &all["users"][0]["last_seen"]),
        (&json!(false), &json!(0), &Value::Null)
    );
    assert_eq!((&all["users"][1]["online"], &all["users"][1]["sessions"]), (&json!(true), &json!(2)));
    assert!(all["users"][1]["first_seen"].is_string() && all["users"][1]["last_seen"].is_string());
    assert_eq!(ids(&get(&world, "/api/users?online=true").ok()), ["bob"]);
    assert_eq!(ids(&get(&world, "/api/users?online=false").ok()), ["alice", "carol"]);
    let page = get(&world, "/api/users?limit=2").ok();
    assert_eq!((ids(&page), &page["next"]), (vec!["alice", "bob"], &json!("bob")));
    assert_eq!(ids(&get(&world, "/api/users?limit=2&after=bob").ok()), ["carol"]);
    assert_eq!(get(&world, "/api/users/bob").ok()["sessions"], 2);
    assert_eq!(get(&world, "/api/users/unknown").code(), (404, "user_unknown".into()));
}

#[test]
fn pages_of_users_leave_no_user_out_wherever_they_are() {
    let world = World::new();
    world.push(&["b", "d", "f"], 1);
    for user in ["a", "c", "d", "e", "g"] {
        world.session(user, "");
    }
    for limit in 1..=7 {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = get(&world, &format!("/api/users?limit={limit}{after}")).ok();
            for user in page["users"].as_array().unwrap() {
                let id = user["id"].as_str().unwrap().to_owned();
                assert_eq!(user["online"], json!(!["b", "f"].contains(&id.as_str())), "{id}");
                seen.push(id);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e", "f", "g"], "{limit} a page");
    }
}

#[test]
fn a_user_who_is_not_stored_yet_is_there_all_the_same() {
    let world = World::new();
    world.session("alice", "");
    // The engine of this router has never heard of her.
    let empty = MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1));
    let router = world.other(Arc::new(empty), None);
    for path in ["/api/users", "/api/users?online=true"] {
        let users = world.call_router(&router, Ask::get(path).key()).ok();
        assert_eq!(ids(&users), ["alice"]);
        assert_eq!(users["users"][0]["first_seen"], users["users"][0]["last_seen"]);
    }
    assert_eq!(world.call_router(&router, Ask::get("/api/users/alice").key()).ok()["online"], true);
}

#[test]
fn names_of_any_script_go_through_paths_and_queries() {
    let world = World::new();
    for (name, path) in [
        ("四个用户", "%E5%9B%9B%E4%B8%AA%E7%94%A8%E6%88%B7"),
        ("a/b c", "a%2Fb%20c"),
        ("1;DROP TABLE", "1;DROP%20TABLE"),
    ] {
        world.push(&[name], 1);
        assert_eq!(get(&world, &format!("/api/users/{path}")).ok()["id"], name);
        get(&world, &format!("/api/users?after={path}")).ok();
    }
    assert_eq!(get(&world, "/api/users/%FF").code(), (400, "bad_name".into()));
    assert_eq!(get(&world, "/api/users/a%0Ab").code(), (400, "bad_name".into()));
}

#[test]
fn sessions_are_listed_and_paged() {
    let world = World::new();
    let session = world.session("alice", "news");
    for _ in 0..2 {
        world.session("bob", "");
    }
    let hers = get(&world, "/api/sessions?user=alice").ok();
    let view = &hers["sessions"][0];
    assert_eq!(
        (&view["session"], &view["user"], &view["transport"]),
        (&json!(session), &json!("alice"), &json!("poll"))
    );
    assert_eq!(
        (&view["node"], &view["lag"], &view["channels"], &view["connected"]),
        (&json!("node-7"), &json!(0), &json!(["news"]), &json!(false))
    );
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = get(&world, &format!("/api/sessions?limit=1{after}")).ok();
        seen.push(page["sessions"][0]["session"].as_str().unwrap().to_owned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(get(&world, "/api/sessions?after=nonsense").code(), (400, "bad_request".into()));
}

#[test]
fn operators_end_sessions() {
    let world = World::new();
    let session = world.session("alice", "");
    for _ in 0..2 {
        world.session("bob", "");
    }
    let close = |body: Value| world.call(Ask::post("/api/close", &body).key());
    assert_eq!(
        close(json!({"session": session, "reason": "tidying", "reconnect": true})).ok(),
        json!({"closed": 1})
    );
    assert_eq!(close(json!({"user": "bob"})).ok(), json!({"closed": 2}));
    assert_eq!(close(json!({"user": "bob"})).ok(), json!({"closed": 0}));
    assert_eq!(close(json!({"session": "nonsense"})).ok(), json!({"closed": 0}));
    assert_eq!(get(&world, "/api/sessions").ok()["sessions"], json!([]));
    for bad in [
        json!({}),
        json!({"user": "a", "session": "b"}),
        json!({"user": "a", "reason": "x".repeat(300)}),
        json!({"user": "a", "reason": "\u{7}"}),
    ] {
        assert_eq!(close(bad).code(), (400, "bad_request".into()));
    }
    assert_eq!(close(json!({"user": ""})).code(), (400, "bad_name".into()));
}

#[test]
fn channels_are_listed_with_their_logs_and_followers() {
    let world = World::new();
    for channel in ["news", "news", "sport"] {
        world.publish(channel, 1);
    }
    world.push(&["alice"], 1);
    world.session("alice", "news");
    let page = get(&world, "/api/channels?limit=1").ok();
    let news = &page["channels"][0];
    assert_eq!(
        (&news["channel"], &news["tail"], &news["head"], &news["subscribers"]),
        (&json!("news"), &json!(1), &json!(2), &json!(1))
    );
    assert_eq!(page["next"], "news");
    let rest = get(&world, "/api/channels?after=news").ok();
    assert_eq!(
        (rest["channels"].as_array().unwrap().len(), &rest["channels"][0]["channel"]),
        (1, &json!("sport"))
    );
}

#[test]
fn history_goes_forwards_from_a_cursor() {
    let world = World::new();
    let epoch = world.publish("news", 1)["epoch"].as_str().unwrap().to_owned();
    for n in 2..=5 {
        world.publish("news", n);
    }
    let data = |answer: &Value| {
        answer["messages"].as_array().unwrap().iter().map(|m| m["data"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let first = get(&world, "/api/channels/news/history?limit=2").ok();
    assert_eq!((data(&first), &first["gaps"]), (vec![1, 2], &json!([])));
    assert_eq!(first["cursor"], format!("1~{epoch}~news~2"));
    assert_eq!(first["messages"][0]["type"], "message");
    assert!(first["messages"][0].get("event").is_none());
    let rest =
        get(&world, &format!("/api/channels/news/history?cursor={}", first["cursor"].as_str().unwrap())).ok();
    assert_eq!(data(&rest), [3, 4, 5]);
    let end =
        get(&world, &format!("/api/channels/news/history?cursor={}", rest["cursor"].as_str().unwrap())).ok();
    assert_eq!((data(&end), &end["cursor"]), (vec![], &rest["cursor"]));
    assert_eq!(data(&get(&world, "/api/channels/news/history?cursor=earliest").ok()), [1, 2, 3, 4, 5]);
    assert!(data(&get(&world, "/api/channels/empty/history").ok()).is_empty());
    let foreign = get(&world, "/api/channels/news/history?cursor=1~zz~news~3").ok();
    assert_eq!(
        (data(&foreign), &foreign["gaps"]),
        (vec![1, 2, 3, 4, 5], &json!([{"channel": "news", "from": 4, "to": null, "reason": "epoch"}]))
    );
    let beyond = get(&world, &format!("/api/channels/news/history?cursor=1~{epoch}~news~99")).ok();
    assert_eq!(beyond["gaps"][0]["reason"], "epoch");
    assert_eq!(get(&world, "/api/channels/news/history?cursor=nonsense").code(), (400, "bad_cursor".into()));
    assert_eq!(get(&world, "/api/channels/news/history?limit=0").code(), (400, "bad_request".into()));
    world.push(&["alice"], 7);
    assert_eq!(
        data(&get(&world, "/api/channels/@alice/history").ok()),
        [7],
        "operators may look into a user's own channel"
    );
}

#[test]
fn history_tells_what_was_trimmed() {
    let world = World::with(|config| config.retention_default.max_messages = Some(3));
    let epoch = world.publish("news", 1)["epoch"].as_str().unwrap().to_owned();
    for n in 2..=6 {
        world.publish("news", n);
    }
    let history = get(&world, &format!("/api/channels/news/history?cursor=1~{epoch}~news~1")).ok();
    assert_eq!(history["gaps"], json!([{"channel": "news", "from": 2, "to": 3, "reason": "trimmed"}]));
    assert_eq!(history["messages"][0]["offset"], 4);
    assert_eq!(
        get(&world, "/api/channels/news/history").ok()["gaps"],
        json!([]),
        "who asks for the oldest misses nothing"
    );
}

#[test]
fn history_goes_backwards_from_the_newest_to_the_oldest() {
    let world = World::new();
    let epoch = world.publish("news", 1)["epoch"].as_str().unwrap().to_owned();
    for n in 2..=5 {
        world.publish("news", n);
    }
    let data = |answer: &Value| {
        answer["messages"].as_array().unwrap().iter().map(|m| m["data"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let back =
        |before: &str| get(&world, &format!("/api/channels/news/history?limit=2&before={before}")).ok();
    let newest = back("latest");
    assert_eq!((data(&newest), &newest["gaps"]), (vec![4, 5], &json!([])));
    assert_eq!(
        (&newest["cursor"], &newest["previous"]),
        (&json!(format!("1~{epoch}~news~5")), &json!(format!("1~{epoch}~news~3")))
    );
    // What comes meanwhile changes nothing of what is further back.
    world.publish("news", 6);
    let middle = back(newest["previous"].as_str().unwrap());
    assert_eq!(data(&middle), [2, 3]);
    let oldest = back(middle["previous"].as_str().unwrap());
    assert_eq!((data(&oldest), &oldest["previous"], &oldest["gaps"]), (vec![1], &json!(null), &json!([])));
    // Forwards and backwards meet.
    let on =
        get(&world, &format!("/api/channels/news/history?cursor={}", oldest["cursor"].as_str().unwrap()))
            .ok();
    assert_eq!((data(&on), &on["previous"]), (vec![2, 3, 4, 5, 6], &oldest["cursor"]));
    let foreign = back("1~zz~news~3");
    assert_eq!(
        (data(&foreign), &foreign["gaps"]),
        (vec![5, 6], &json!([{"channel": "news", "from": 1, "to": 3, "reason": "epoch"}]))
    );
    let nothing = back("1~zz~news~0");
    assert_eq!(
        (data(&nothing), &nothing["gaps"]),
        (vec![5, 6], &json!([])),
        "before its first message nothing was missed"
    );
    let empty = get(&world, "/api/channels/empty/history?before=latest").ok();
    assert_eq!((data(&empty), &empty["previous"]), (vec![], &json!(null)));
    for query in ["before=nonsense", "before=earliest"] {
        assert_eq!(
            get(&world, &format!("/api/channels/news/history?{query}")).code(),
            (400, "bad_cursor".into())
        );
    }
    assert_eq!(
        get(&world, "/api/channels/news/history?before=latest&cursor=earliest").code(),
        (400, "bad_request".into())
    );
}

#[test]
fn history_backwards_ends_where_it_was_trimmed_and_says_so() {
    let world = World::with(|config| config.retention_default.max_messages = Some(3));
    for n in 1..=6 {
        world.publish("news", n);
    }
    let newest = get(&world, "/api/channels/news/history?before=latest&limit=2").ok();
    assert_eq!((&newest["messages"][0]["offset"], &newest["gaps"]), (&json!(5), &json!([])));
    let oldest =
        get(&world, &format!("/api/channels/news/history?before={}", newest["previous"].as_str().unwrap()))
            .ok();
    assert_eq!(oldest["messages"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&oldest["gaps"], &oldest["previous"]),
        (&json!([{"channel": "news", "from": 1, "to": 3, "reason": "trimmed"}]), &json!(null))
    );
    let foreign = get(&world, "/api/channels/news/history?before=1~zz~news~0").ok();
    assert_eq!(foreign["gaps"], oldest["gaps"], "from elsewhere, but by one page to the end of the walk");
}

#[test]
fn what_is_past_its_time_is_in_no_history() {
    let world = World::new();
    let short = json!({"to": ["alice"], "data": 1, "ttl_s": 60});
    world.call(Ask::post("/api/push", &short).key()).ok();
    world.push(&["alice"], 2);
    let clock = Arc::new(TestClock::at(Time(world.app().now().wall.0 + 61_000)));
    let later = world.other(Arc::clone(&world.app().engine), Some(clock));
    let history = world.call_router(&later, Ask::get("/api/channels/@alice/history").key()).ok();
    let messages = history["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["data"], &history["gaps"]), (1, &json!(2), &json!([])));
    assert!(history["cursor"].as_str().unwrap().ends_with("~@alice~2"));
}

#[test]
fn presence_counts_the_sessions_of_each_user() {
    let world = World::new();
    for user in ["alice", "alice", "bob"] {
        world.session(user, "news");
    }
    let page = get(&world, "/api/channels/news/presence?limit=1").ok();
    assert_eq!(page, json!({"users": [{"user": "alice", "sessions": 2}], "next": "alice"}));
    let rest = get(&world, "/api/channels/news/presence?after=alice").ok();
    assert_eq!(rest, json!({"users": [{"user": "bob", "sessions": 1}], "next": null}));
}
