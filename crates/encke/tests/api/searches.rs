//! Searches and totals of users and channels: against what going through all pages gives.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Answer, Ask, World};

fn get(world: &World, path: &str) -> Answer {
    world.call(Ask::get(path).key())
}

/// The names of a list, page by page, and the total that each page tells.
fn pages(world: &World, list: &str, query: &str, limit: usize) -> (Vec<String>, Vec<Value>) {
    let (mut names, mut totals, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = get(world, &format!("/api/{list}?limit={limit}{query}{after}")).ok();
        let rows = page[list].as_array().unwrap();
        assert!(
            rows.len() == limit || page["next"].is_null(),
            "{query} by {limit}: a short page is the last"
        );
        let name = |row: &Value| row["id"].as_str().or(row["channel"].as_str()).unwrap().to_owned();
        names.extend(rows.iter().map(name));
        totals.push(page["total"].clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return (names, totals),
        }
    }
}

const NAMES: [&str; 9] = ["a", "ab", "abc", "b", "ba", "bab", "c", "ca-b", "B"];

#[test]
fn users_are_found_and_counted_whether_they_are_online_or_not() {
    let world = World::new();
    world.push(&NAMES, 1);
    let online = ["ab", "b", "bab", "never-pushed-to-b"];
    for user in online {
        world.session(user, "");
    }
    let all: BTreeMap<&str, bool> =
        NAMES.into_iter().chain(online).map(|name| (name, online.contains(&name))).collect();
    for (q, prefix) in [("", ""), ("b", ""), ("", "b"), ("a", "b"), ("never", ""), ("x", ""), ("B", "")] {
        for asked in [None, Some(true), Some(false)] {
            let expected: Vec<String> = all
                .iter()
                .filter(|(name, _)| name.contains(q) && name.starts_with(prefix))
                .filter(|(_, is_online)| asked.is_none_or(|asked| asked == **is_online))
                .map(|(name, _)| (*name).to_owned())
                .collect();
            let online = asked.map(|asked| format!("&online={asked}")).unwrap_or_default();
            for limit in [1, 2, 100] {
                let query = format!("&q={q}&prefix={prefix}{online}");
                let (found, totals) = pages(&world, "users", &format!("{query}&count=true"), limit);
                assert_eq!(found, expected, "{query}");
                assert!(totals.iter().all(|total| *total == json!(expected.len())), "{query}: {totals:?}");
                if !(q.is_empty() && prefix.is_empty()) {
                    assert_eq!(pages(&world, "users", &query, limit).0, expected, "{query} uncounted");
                }
            }
        }
    }
    let bab = &get(&world, "/api/users?q=bab").ok()["users"][0];
    assert_eq!((&bab["online"], &bab["sessions"]), (&json!(true), &json!(1)));
    assert!(bab["first_seen"].is_string() && bab["last_seen"].is_string());
    assert!(get(&world, "/api/users?q=bab").ok().get("total").is_none(), "unless it is asked for");
}

#[test]
fn channels_are_found_and_counted_with_the_extent_of_their_logs() {
    let world = World::new();
    for name in NAMES {
        world.publish(name, 1);
    }
    world.publish("abc", 2);
    world.session("alice", "abc");
    let mut sorted = NAMES;
    sorted.sort_unstable();
    for (q, prefix) in [("", ""), ("b", ""), ("", "b"), ("a", "b"), ("x", "")] {
        let matching = sorted.iter().filter(|name| name.contains(q) && name.starts_with(prefix));
        let expected: Vec<&str> = matching.copied().collect();
        for limit in [1, 2, 100] {
            let (found, totals) =
                pages(&world, "channels", &format!("&q={q}&prefix={prefix}&count=true"), limit);
            assert_eq!(found, expected);
            assert!(totals.iter().all(|total| *total == json!(expected.len())), "{totals:?}");
        }
    }
    let plain = get(&world, "/api/channels").ok();
    let abc = plain["channels"].as_array().unwrap().iter().find(|row| row["channel"] == "abc");
    assert_eq!(get(&world, "/api/channels?q=abc").ok()["channels"], json!([abc]));
    assert!(plain.get("total").is_none(), "unless it is asked for");
}

#[test]
fn a_search_is_a_text_of_a_name() {
    let world = World::new();
    for list in ["users", "channels"] {
        for name in ["q", "prefix"] {
            let long = "x".repeat(256);
            assert_eq!(
                get(&world, &format!("/api/{list}?{name}={long}")).code(),
                (400, "bad_request".into())
            );
            // What no name holds is in none.
            assert_eq!(get(&world, &format!("/api/{list}?{name}=a%00b")).ok()[list], json!([]));
        }
        assert_eq!(get(&world, &format!("/api/{list}?count=2")).code(), (400, "bad_request".into()));
    }
}
