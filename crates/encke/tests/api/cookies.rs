//! The cookies of one browser that uses the server at the root of a host and behind a prefix, one after the
//! other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Answer, Ask, HOST, World};

/// What a browser keeps of the cookie: a value for each path (RFC 6265 section 5.3).
#[derive(Default)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    /// Sends a request to an address behind this prefix, and keeps the cookies that are set or cleared.
    fn ask(&mut self, world: &World, prefix: &str, path: &str, body: &Value) -> Answer {
        let seen = format!("{prefix}{path}");
        let sent: Vec<String> = self
            .0
            .iter()
            .rev()
            .filter(|(at, _)| seen.starts_with(*at))
            .map(|(_, cookie)| cookie.clone())
            .collect();
        let mut ask = Ask::post(path, body)
            .header("origin", &format!("http://{HOST}"))
            .header("cookie", &sent.join("; "));
        if !prefix.is_empty() {
            ask = ask.header("x-forwarded-prefix", prefix);
        }
        let answer = world.call(ask);
        for cookie in answer.headers.get_all("set-cookie") {
            let mut parts = cookie.to_str().unwrap().split("; ");
            let pair = parts.next().unwrap().to_owned();
            let attributes: Vec<&str> = parts.collect();
            let path =
                attributes.iter().find_map(|attribute| attribute.strip_prefix("Path=")).unwrap().to_owned();
            if attributes.contains(&"Max-Age=0") {
                self.0.remove(&path);
            } else {
                self.0.insert(path, pair);
            }
        }
        answer
    }

    fn log_in(&mut self, world: &World, prefix: &str, user: &str) {
        self.ask(world, prefix, "/v1/login", &json!({"user": user})).ok();
    }

    /// Whether the browser is let in behind this prefix.
    fn status(&mut self, world: &World, prefix: &str) -> u16 {
        self.ask(world, prefix, "/v1/ticket", &json!({})).status
    }
}

#[test]
fn a_login_behind_a_prefix_takes_the_place_of_one_at_the_root() {
    let world = World::dev();
    let mut jar = Jar::default();
    jar.log_in(&world, "", "alice");
    assert_eq!(jar.status(&world, "/push"), 200);
    jar.log_in(&world, "/push", "bob");
    assert_eq!(jar.status(&world, "/push"), 200, "{:?}", jar.0);
    assert_eq!(jar.0.keys().collect::<Vec<_>>(), ["/push/"]);
}

#[test]
fn after_a_logout_behind_a_prefix_the_browser_is_no_user() {
    let world = World::dev();
    for (first, second) in [("", "/push"), ("/push", ""), ("", ""), ("/push", "/push")] {
        let mut jar = Jar::default();
        jar.log_in(&world, first, "alice");
        jar.log_in(&world, second, "alice");
        jar.ask(&world, "/push", "/v1/logout", &json!({})).ok();
        assert_eq!(jar.status(&world, "/push"), 401, "{first:?} {second:?}: {:?}", jar.0);
    }
}

#[test]
fn at_the_root_one_cookie_is_enough() {
    let world = World::dev();
    for (path, body) in [("/v1/login", json!({"user": "alice"})), ("/v1/logout", json!({}))] {
        for prefix in ["", "//evil.example", "/../x", "/a/./b", "/a//b", "/a;b"] {
            let answer = Jar::default().ask(&world, prefix, path, &body);
            let cookies: Vec<&str> =
                answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
            assert!(cookies.len() == 1 && cookies[0].contains("; Path=/; "), "{path} {prefix}: {cookies:?}");
        }
    }
}
