//! The pages, and what tells how the server does.

use serde_json::Value;

use crate::world::{Ask, World};

#[test]
fn pages_come_with_a_strict_policy_and_are_not_fetched_twice() {
    let world = World::new();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/console", "text/html; charset=utf-8"),
        ("/client.js", "text/javascript; charset=utf-8"),
        ("/client/cursor.js", "text/javascript; charset=utf-8"),
        ("/assets/demo.js", "text/javascript; charset=utf-8"),
        ("/assets/console.js", "text/javascript; charset=utf-8"),
        ("/assets/console.css", "text/css; charset=utf-8"),
        ("/assets/console/users.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/favicon.svg", "image/svg+xml"),
    ] {
        let answer = world.call(Ask::get(path));
        assert_eq!((answer.status, answer.header("content-type")), (200, content_type), "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let again = world.call(Ask::get(path).header("if-none-match", answer.header("etag")));
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), answer.header("etag"));
    }
}

#[test]
fn pages_hold_nothing_that_their_policy_forbids() {
    let world = World::new();
    for path in ["/", "/console"] {
        let page = world.call(Ask::get(path)).text.to_ascii_lowercase();
        for inline in ["<style", " style=\"", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(inline), "{path} {inline}");
        }
        for tag in page.split("<script").skip(1) {
            assert!(tag.split('>').next().unwrap().contains("src="), "{path}: an inline script");
        }
    }
}

#[test]
fn only_the_client_is_open_to_other_origins() {
    let world = World::new();
    for path in ["/client.js", "/client/cursor.js"] {
        let client = world.call(Ask::get(path).header("origin", "https://anywhere.example"));
        assert_eq!(client.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(client.header("access-control-allow-credentials"), "", "{path}");
        assert_eq!(client.header("cross-origin-resource-policy"), "cross-origin", "{path}");
    }
    for path in ["/", "/console", "/assets/demo.js", "/api/openapi.json"] {
        let answer = world.call(Ask::get(path).header("origin", "https://anywhere.example"));
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
    }
}

#[test]
fn everything_that_the_client_imports_is_served() {
    let world = World::new();
    // A server that was built with Node serves all as one file, and the modules besides.
    let mut open = vec!["/client.js".to_owned(), "/client/encke.js".to_owned()];
    let mut served = std::collections::BTreeSet::new();
    while let Some(path) = open.pop() {
        let script = world.call(Ask::get(&path));
        assert_eq!(script.status, 200, "{path}");
        let folder = path.rsplit_once('/').unwrap().0.to_owned();
        for import in [" from './", "import('./"] {
            open.extend(
                script
                    .text
                    .split(import)
                    .skip(1)
                    .map(|rest| format!("{folder}/{}", rest.split('\'').next().unwrap())),
            );
        }
        served.insert(path);
        open.retain(|path| !served.contains(path));
    }
    let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/js/client")).unwrap();
    for file in there {
        let path = format!("/client/{}", file.unwrap().file_name().into_string().unwrap());
        assert!(served.contains(&path), "nothing imports {path}");
    }
    assert_eq!(world.call(Ask::get("/client/nothing.js")).status, 404);
}

#[test]
fn metrics_say_how_much_there_is_of_everything() {
    let world = World::new();
    world.session("alice", "news");
    world.push(&["alice"], 1);
    let answer = world.call(Ask::get("/metrics").key());
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in
        ["encke_sessions 1", "encke_users_online 1", "encke_channels_followed 2", "encke_connections_held 0"]
    {
        assert!(answer.text.contains(line), "{line}\n{}", answer.text);
    }
    assert!(answer.text.contains("encke_http_requests_total{"), "{}", answer.text);
    assert!(answer.text.contains("encke_pushes_total"), "{}", answer.text);
    assert_eq!(World::dev().call(Ask::get("/metrics")).status, 200);
}

#[test]
fn the_server_says_that_it_lives() {
    let world = World::new();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.call(Ask::get(path)).ok()["ok"], true);
    }
}

#[test]
fn the_description_is_served() {
    let world = World::new();
    let document: Value = world.call(Ask::get("/api/openapi.json")).ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/api/push"]["post"]["requestBody"].is_object());
}
