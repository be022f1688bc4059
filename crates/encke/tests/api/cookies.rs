//! The cookies of one browser that uses the server at the root of a host and behind a prefix, one after the
//! other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Answer, Ask, HOST, World, now_s, token_until};

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

/// The application gives a page a fresh token; the page that logged in by the former one stays logged in.
#[test]
fn the_cookie_of_a_login_is_renewed_with_its_session() {
    let world = World::dev();
    let mut jar = Jar::default();
    jar.log_in(&world, "/push", "alice");
    let (before, session) = (jar.0.clone(), world.session("alice", "news"));
    let fresh = |user: &str| token_until(user, &["*"], &[], now_s() + 7200);
    let refresh = json!({"session": session, "token": fresh("alice")});
    let answer = jar.ask(&world, "/push", "/v1/refresh", &refresh);
    assert!(answer.header("set-cookie").contains("; Max-Age=7"), "{}", answer.header("set-cookie"));
    answer.ok();
    assert_eq!(jar.0["/push/"], format!("encke_token={}", fresh("alice")));
    assert_ne!(jar.0, before);

    // The login of another user in the same browser stays as it is.
    jar.log_in(&world, "/push", "bob");
    let before = jar.0.clone();
    jar.ask(&world, "/push", "/v1/refresh", &refresh).ok();
    assert_eq!(jar.0, before);

    // Without a cookie none is set.
    assert_eq!(world.call(Ask::post("/v1/refresh", &refresh)).header("set-cookie"), "");
}

/// The application renews the cookie by itself; the session takes it over.
#[test]
fn a_session_is_refreshed_by_a_cookie_from_the_own_origin() {
    let world = World::new();
    let session = json!({"session": world.session("alice", "news")});
    let ask = || Ask::post("/v1/refresh", &session).cookie("alice");
    world.call(ask().header("origin", &format!("http://{HOST}"))).ok();
    for foreign in [ask(), ask().header("origin", "https://evil.example")] {
        assert_eq!(world.call(foreign).code(), (403, "origin_forbidden".into()));
    }
    assert_eq!(world.call(Ask::post("/v1/refresh", &session)).code(), (401, "unauthorized".into()));
    assert_eq!(
        world.call(Ask::post("/v1/refresh", &session).user("bob")).code(),
        (404, "session_unknown".into())
    );
}
