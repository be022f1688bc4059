//! Tokens that end while their client waits: it is told before, and goes on with a fresh one without a break.

use encke::auth::{Claims, Grant, TokenKey};

use super::*;

/// How long a token lasts here, and when its client is told: a quarter before the end. It is shorter than
/// heartbeats and polls.
const LASTS_MS: u64 = 8_000;
const TOLD_MS: u64 = 6_000;
const TARGETS: [&str; 5] =
    ["/v1/poll", "/v1/sse", "/v1/stream?as=ndjson", "/v1/stream?as=iframe&origin=", "/v1/ws"];

/// A token that ends then; the channels are those that it grants to follow and to publish to.
pub(super) fn token_until(user: &str, ends_ms: u64, channels: &[&str]) -> String {
    let grant = Grant::of(channels.iter().map(|channel| (*channel).to_owned()).collect());
    let claims = Claims {
        user: UserId::new(user).unwrap(),
        expires_s: ends_ms / 1000,
        issued_s: None,
        jti: None,
        channels: grant.clone(),
        publish: grant,
    };
    TokenKey::hs256(&Secret::new("s".repeat(32))).sign(&claims).unwrap()
}

/// A server, and a token of alice that ends soon.
struct Expiring {
    world: World,
    clock: Arc<TestClock>,
    began_ms: u64,
    token: String,
}

impl Expiring {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (world, clock) = World::clocked(change);
        let began_ms = world.app().now().wall.0;
        Self { world, clock, began_ms, token: token_until("alice", began_ms + LASTS_MS, &["*"]) }
    }

    /// A token that outlasts the first.
    fn fresh(&self, user: &str, channels: &[&str]) -> String {
        token_until(user, self.began_ms + 10 * LASTS_MS, channels)
    }

    /// A request of alice that waits, when the server holds it; and her session.
    fn hold(&self, target: &str) -> (Wire, String) {
        let (world, token) = (&self.world, &self.token);
        let mut wire = world.connect();
        let origin = if target.ends_with('=') {
            format!("{}://{}", world.scheme(), world.address)
        } else {
            String::new()
        };
        let more = if target.starts_with("/v1/ws") { format!("{}\r\n", ws::KEY) } else { String::new() };
        wire.send(&format!(
            "GET {target}{origin} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{more}\r\n",
            world.address
        ));
        world.until_held("alice", 1);
        if target.starts_with("/v1/ws") {
            wire.switched();
        }
        let sessions = world.runtime.block_on(world.app().sessions.list(None, None, 1)).unwrap();
        (wire, sessions[0].session.session.to_string())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (mut wire, body) = (self.world.connect(), body.to_string());
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.world.address,
            body.len()
        ));
        wire.response()
    }

    fn refresh(&self, session: &str, token: &str) -> (u16, Value) {
        self.post("/v1/refresh", &serde_json::json!({"session": session, "token": token}))
    }
}

/// Reads until the client is told that the token ends, and checks in which form.
fn told(wire: &mut Wire, target: &str) {
    match target {
        "/v1/poll" => {
            let (status, answer) = wire.response();
            assert_eq!((status, &answer["expiring"]), (200, &serde_json::json!({"in_s": 2})), "{answer}");
            assert_eq!(answer["messages"], serde_json::json!([]));
        }
        "/v1/sse" => {
            wire.until("event: expiring\ndata: {\"event\":\"expiring\",\"in_s\":2}\nid: ");
        }
        _ => until_json(wire, target, "{\"event\":\"expiring\",\"in_s\":2}"),
    }
}

/// Reads until there is this piece of JSON, as the form of the target writes it.
fn until_json(wire: &mut Wire, target: &str, json: &str) {
    match target {
        "/v1/ws" => while !wire.on_bytes().to_string().contains(json) {},
        _ if target.contains("as=iframe") => drop(wire.until(&json.replace('"', "\\\""))),
        _ => drop(wire.until(json)),
    }
}

#[test]
fn a_client_is_told_and_its_connection_goes_on_with_a_fresh_token() {
    for target in TARGETS {
        let mut it = Expiring::new();
        let (mut wire, session) = it.hold(target);
        it.clock.advance_ms(TOLD_MS);
        told(&mut wire, target);
        let fresh = it.fresh("alice", &["*"]);
        let (status, answer) = it.refresh(&session, &fresh);
        assert_eq!(status, 200, "{target}: {answer}");
        let ends = Time(it.began_ms + 10 * LASTS_MS);
        assert_eq!(answer, serde_json::json!({"expires": ends}));
        it.clock.advance_ms(LASTS_MS);
        it.world.push("alice", "7");
        if target == "/v1/poll" {
            wire.send(&format!(
                "GET /v1/poll?session={session} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {fresh}\r\n\r\n"
            ));
            let (status, answer) = wire.response();
            assert_eq!((status, data(&answer)), (200, vec![7]), "{answer}");
            assert_eq!(answer["session"], session.as_str());
        } else {
            until_json(&mut wire, target, "\"data\":7");
        }
    }
}

#[test]
fn t17_without_a_fresh_token_the_session_ends_with_the_old_one() {
    for target in TARGETS {
        let it = Expiring::new();
        let (mut wire, _) = it.hold(target);
        it.clock.advance_ms(TOLD_MS);
        told(&mut wire, target);
        it.clock.advance_ms(LASTS_MS - TOLD_MS);
        if target != "/v1/poll" {
            until_json(&mut wire, target, "\"code\":\"token_expired\"");
        }
        it.world.until(|| it.world.sessions("alice") == 0);
    }
}

#[test]
fn a_session_between_two_polls_is_refreshed() {
    let mut it = Expiring::new();
    let (mut wire, session) = it.hold("/v1/poll");
    it.world.push("alice", "1");
    assert_eq!(data(&wire.response().1), [1]);
    assert_eq!(it.refresh(&session, &it.fresh("alice", &["*"])).0, 200);
    it.clock.advance_ms(LASTS_MS);
    // A look at the sessions, which would have ended this one.
    it.world.until(|| it.world.app().now().wall.0 == it.began_ms + LASTS_MS);
    it.world.poll("bob", "hold_s=0");
    assert_eq!(it.world.sessions("alice"), 1);
}

#[test]
fn over_websocket_what_may_be_asked_is_what_the_fresh_token_grants() {
    let it = Expiring::new();
    let (mut wire, session) = it.hold("/v1/ws?channels=news,secret");
    assert_eq!(wire.on_bytes()["event"], "open");
    let mut beside = Vec::new();
    let mut ask = |wire: &mut Wire, ask: Value| {
        wire.say(1, ask.to_string().as_bytes());
        loop {
            match wire.on_bytes() {
                reply if reply["event"] == "reply" => return reply,
                event if event["event"] == "unsubscribed" => beside.push(event["channel"].clone()),
                _ => {}
            }
        }
    };
    let publish = |channel: &str| serde_json::json!({"do": "publish", "channel": channel, "data": 1});
    let refresh = |token: &str| serde_json::json!({"do": "refresh", "token": token, "id": 2});
    assert_eq!(ask(&mut wire, publish("secret"))["error"], Value::Null);
    let reply = ask(&mut wire, refresh(&it.fresh("alice", &["news"])));
    let ends = Time(it.began_ms + 10 * LASTS_MS);
    assert_eq!(reply, serde_json::json!({"event": "reply", "id": 2, "result": {"expires": ends}}));
    assert_eq!(ask(&mut wire, publish("secret"))["error"]["code"], "channel_forbidden");
    // By POST the same, also from less to more.
    assert_eq!(it.refresh(&session, &it.fresh("alice", &["*"])).0, 200);
    assert_eq!(ask(&mut wire, publish("secret"))["error"], Value::Null);
    for (token, code) in [
        (it.fresh("bob", &["*"]), "session_unknown"),
        (token_until("alice", it.began_ms, &["*"]), "token_expired"),
        ("a.b.c".to_owned(), "unauthorized"),
    ] {
        assert_eq!(ask(&mut wire, refresh(&token))["error"]["code"], code);
    }
    // None of them took anything away.
    assert_eq!(ask(&mut wire, publish("secret"))["error"], Value::Null);
    assert_eq!(beside, ["secret"], "what the first did not grant, once");
}

#[test]
fn tokens_are_not_guessed_over_a_connection_that_is_open() {
    let it = Expiring::with(|config| {
        config.limits.address_failures_per_s = 1;
        config.limits.burst_s = 2;
    });
    let (mut wire, session) = it.hold("/v1/ws");
    assert_eq!(wire.on_bytes()["event"], "open");
    let mut guess = || {
        wire.say(1, br#"{"do":"refresh","token":"a.b.c"}"#);
        wire.on_bytes()["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!([guess(), guess(), guess()], ["unauthorized", "unauthorized", "rate_limited"]);
    assert_eq!(it.refresh(&session, "a.b.c").0, 429, "nor by POST");
    assert_eq!(it.refresh(&session, &it.fresh("alice", &["*"])).0, 200, "a good one is taken all the same");
}

#[test]
fn the_session_of_another_user_is_not_refreshed() {
    let it = Expiring::new();
    let (mut wire, session) = it.hold("/v1/sse");
    for (session, token) in
        [(session.as_str(), it.fresh("bob", &["*"])), ("AAAAAAAAAAAAAAAAAAAAAA", it.fresh("alice", &["*"]))]
    {
        let (status, answer) = it.refresh(session, &token);
        assert_eq!((status, &answer["error"]["code"]), (404, &"session_unknown".into()));
    }
    it.clock.advance_ms(LASTS_MS);
    wire.until("\"code\":\"token_expired\"");
}

#[test]
fn refreshing_counts_among_the_requests_of_the_user() {
    let it = Expiring::with(|config| {
        config.limits.user_requests_per_s = 1;
        config.limits.burst_s = 1;
    });
    let (_wire, session) = it.hold("/v1/sse");
    let fresh = it.fresh("alice", &["*"]);
    assert_eq!([it.refresh(&session, &fresh).0, it.refresh(&session, &fresh).0], [200, 429]);
}
