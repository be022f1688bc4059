//! How pages answer that are to be pushed: who may ask, and what is told.

use encke::config::{Config, Scope, UrlChecks};
use encke_proto::AllowList;
use serde_json::json;

use crate::world::{Ask, World, key_of};

fn check(url: &str) -> Ask {
    Ask::post("/api/check-url", &json!({"url": url}))
}

fn world(allowed: UrlChecks) -> World {
    World::with(|config: &mut Config| {
        config.url_checks = allowed;
        config.url_allow_list = AllowList::default();
    })
}

#[test]
fn a_page_is_asked_for_where_that_is_allowed() {
    let any = world(UrlChecks::Any);
    let console = format!("http://{}/console", any.address());
    let answer = any.call(check(&console).key()).ok();
    let expected = json!({
        "reached": true, "url": console, "status": 200, "frames": "none", "frame_ancestors": "'none'"
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&answer[name], value, "{name}");
    }
    let public = world(UrlChecks::Public);
    let expected = json!({"reached": false, "url": console, "problem": "not_public"});
    assert_eq!(public.call(check(&console).key()).ok(), expected);
    let off = world(UrlChecks::Off);
    assert_eq!(off.call(check(&console).key()).code(), (403, "forbidden".to_owned()));
}

#[test]
fn it_needs_a_key_that_may_push_and_a_page_that_may_be_pushed() {
    let world = World::with(|config: &mut Config| {
        config.url_checks = UrlChecks::Any;
        config.url_allow_list = AllowList::parse(["https://pages.example/"]).unwrap();
    });
    let with = |key: &str| check("https://pages.example/").header("authorization", &format!("Bearer {key}"));
    assert_eq!(world.call(check("https://pages.example/")).code(), (401, "unauthorized".to_owned()));
    assert_eq!(world.call(with(&key_of(Scope::Read))).code(), (403, "forbidden".to_owned()));
    for (url, expected) in [
        ("file:///etc/passwd", "bad_url"),
        ("https://a:b@pages.example/", "bad_url"),
        ("http://127.0.0.1/", "url_not_allowed"),
    ] {
        assert_eq!(world.call(check(url).key()).code().1, expected, "{url}");
    }
}
