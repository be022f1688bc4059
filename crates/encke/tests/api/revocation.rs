//! Taking tokens back and keeping users away: what a backend asks for, and what clients see of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use encke::clock::TestClock;
use encke_proto::Time;
use http::Method;
use serde_json::{Value, json};

use crate::world::{Ask, World, now_s, token, token_issued};

/// A request that waits, once the server holds it for the user.
fn waiting(world: &World, user: &str, target: &str, token: &str) -> TcpStream {
    let held = |world: &World| {
        let user = encke_proto::UserId::new(user).unwrap();
        let sessions = world.app().sessions.list(Some(&user), None, 1_000);
        let sessions = world.runtime.block_on(sessions).unwrap();
        sessions.iter().filter(|listed| listed.session.connected).count()
    };
    let before = held(world);
    let mut socket = TcpStream::connect(world.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let upgrade =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (connection, more) = if target.starts_with("/v1/ws") { ("Upgrade", upgrade) } else { ("close", "") };
    write!(
        socket,
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    )
    .unwrap();
    world.until_held(user, before + 1);
    socket
}

/// All that comes until the server closes the connection.
fn rest(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn revoke(world: &World, body: &Value) -> Value {
    world.call(Ask::post("/api/revoke", body).key()).ok()
}

fn close(world: &World, body: &Value) -> Value {
    world.call(Ask::post("/api/close", body).key()).ok()
}

const STREAMS: [&str; 4] = ["/v1/poll", "/v1/sse", "/v1/stream?as=ndjson", "/v1/ws"];

/// What a token is answered at these addresses that may wait, and at everything else that a client may ask.
fn answers(world: &World, token: &str, targets: &[&str]) -> Vec<(String, u16, Value)> {
    let mut answers = Vec::new();
    for target in targets {
        for field in [format!("Authorization: Bearer {token}"), format!("Cookie: encke_token={token}")] {
            let refused = world
                .raw(&format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n"));
            let (head, body) = refused.split_once("\r\n\r\n").unwrap();
            let body = serde_json::from_str(body).unwrap_or(Value::Null);
            answers.push((format!("{target} {}", &field[..6]), head[9..12].parse().unwrap(), body));
        }
    }
    for (path, body) in [
        ("/v1/ticket", json!({})),
        ("/v1/login", json!({"token": token})),
        ("/v1/publish", json!({"channel": "news", "data": 1})),
        ("/v1/subscribe", json!({"session": "x", "channels": ["news"]})),
        ("/v1/ack", json!({"session": "x", "cursor": "1"})),
        ("/v1/close", json!({"session": "x"})),
        ("/v1/refresh", json!({"session": "x", "token": token})),
    ] {
        let answer = world.call(Ask::post(path, &body).bearer(token));
        answers.push((path.to_owned(), answer.status, answer.json()));
    }
    answers
}

fn all_refused(world: &World, token: &str, status: u16, code: &str) {
    let targets = ["/v1/poll?hold_s=0", "/v1/sse", "/v1/stream?as=ndjson"];
    for (what, got, body) in answers(world, token, &targets) {
        assert_eq!((got, &body["error"]["code"]), (status, &json!(code)), "{what}: {body}");
        assert_eq!(body["reconnect"], json!(false), "{what}: {body}");
    }
}

fn none_refused(world: &World, token: &str, code: &str) {
    for (what, got, body) in answers(world, token, &["/v1/poll?hold_s=0"]) {
        assert!(![401, 403].contains(&got) && body["error"]["code"] != code, "{what}: {got} {body}");
    }
}

#[test]
fn all_tokens_of_a_user_are_taken_back_at_once() {
    let world = World::new();
    let now_s = now_s();
    let old = [Some(now_s), Some(now_s - 100), None].map(|issued_s| token_issued("alice", issued_s, None));
    let later = token_issued("alice", Some(now_s + 20), None);
    none_refused(&world, &old[1], "revoked");
    let held = STREAMS.map(|target| waiting(&world, "alice", target, &old[0]));
    let after = waiting(&world, "alice", "/v1/sse", &later);
    let bob = waiting(&world, "bob", "/v1/sse", &token("bob", &[], &[]));
    let stays =
        world.call(Ask::get("/api/sessions?user=alice").key()).ok()["sessions"].as_array().unwrap().len();
    assert_eq!(revoke(&world, &json!({"user": "alice"})), json!({"revoked": true, "closed": stays - 1}));
    for (target, socket) in STREAMS.iter().zip(held) {
        let told = rest(socket);
        assert!(
            told.contains("\"code\":\"revoked\"") && told.contains("\"reconnect\":false"),
            "{target}: {told}"
        );
    }
    for token in &old {
        all_refused(&world, token, 401, "revoked");
    }
    none_refused(&world, &later, "revoked");
    none_refused(&world, &token("bob", &["*"], &["*"]), "revoked");
    let left = world.call(Ask::get("/api/sessions").key()).ok();
    let left: Vec<_> =
        left["sessions"].as_array().unwrap().iter().filter(|it| it["connected"] == true).collect();
    assert_eq!(left.len(), 2, "those who are not concerned stay: {left:?}");
    drop((after, bob));
}

#[test]
fn one_token_is_taken_back_and_the_others_of_its_user_stay() {
    let world = World::new();
    let [stolen, other] = ["stolen", "other"].map(|jti| token_issued("alice", Some(now_s()), Some(jti)));
    let [held, stays] =
        [&stolen, &other].map(|token| waiting(&world, "alice", "/v1/stream?as=ndjson", token));
    let ticket = |token: &str| {
        let answer = world.call(Ask::new(Method::POST, "/v1/ticket").bearer(token)).ok();
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let [dead, good] = [ticket(&stolen), ticket(&other)];
    assert_eq!(revoke(&world, &json!({"jti": "stolen"})), json!({"revoked": true, "closed": 1}));
    assert!(rest(held).contains("\"code\":\"revoked\""));
    all_refused(&world, &stolen, 401, "revoked");
    let by_ticket = |ticket: &str| world.raw_get(&format!("/v1/poll?hold_s=0&ticket={ticket}"), "");
    assert_eq!(by_ticket(&dead).1["error"]["code"], "revoked", "tickets die with the token");
    assert_eq!(by_ticket(&good).0, 200);
    none_refused(&world, &other, "revoked");
    drop(stays);
}

#[test]
fn every_token_of_before_a_time_is_taken_back() {
    let world = World::new();
    let now_s = now_s();
    let token = |user: &str, age_s: u64| token_issued(user, Some(now_s - age_s), None);
    let held = waiting(&world, "bob", "/v1/sse", &token("bob", 61));
    let stays = waiting(&world, "bob", "/v1/sse", &token("bob", 60));
    let before = time_text(now_s - 60);
    assert_eq!(revoke(&world, &json!({"before": before})), json!({"revoked": true, "closed": 1}));
    assert!(rest(held).contains("\"code\":\"revoked\""));
    for user in ["alice", "bob"] {
        all_refused(&world, &token(user, 61), 401, "revoked");
        all_refused(&world, &token_issued(user, None, None), 401, "revoked");
        none_refused(&world, &token(user, 60), "revoked");
    }
    // Of one user alone, further than of all.
    revoke(&world, &json!({"user": "alice", "before": time_text(now_s - 30)}));
    all_refused(&world, &token("alice", 31), 401, "revoked");
    none_refused(&world, &token("alice", 30), "revoked");
    none_refused(&world, &token("bob", 31), "revoked");
    drop(stays);
}

fn time_text(seconds: u64) -> String {
    serde_json::to_value(Time(seconds * 1000)).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn of_several_cookies_a_revoked_one_does_not_count() {
    let world = World::new();
    let [old, new] = [now_s() - 9, now_s() + 9].map(|at| token_issued("alice", Some(at), None));
    revoke(&world, &json!({"user": "alice"}));
    let ask = |cookies: &str| {
        let ask = Ask::new(Method::POST, "/v1/ticket").header("cookie", cookies);
        world.call(ask.header("origin", "http://encke.localhost")).code()
    };
    assert_eq!(ask(&format!("encke_token={old}; encke_token={new}")).0, 200);
    assert_eq!(ask(&format!("encke_token={old}; encke_token=x")), (401, "revoked".into()));
}

#[test]
fn a_user_is_kept_away_for_a_time() {
    let world = World::new();
    let alice = token_issued("alice", Some(now_s() + 20), None);
    let held = STREAMS.map(|target| waiting(&world, "alice", target, &alice));
    let ban = json!({"user": "alice", "ban_s": 3600, "reason": "spam"});
    assert_eq!(close(&world, &ban), json!({"closed": 4}));
    for (target, socket) in STREAMS.iter().zip(held) {
        let told = rest(socket);
        let close = "\"code\":\"banned\",\"reason\":\"spam\",\"reconnect\":false";
        assert!(told.contains(close), "{target}: {told}");
    }
    all_refused(&world, &alice, 403, "banned");
    none_refused(&world, &token("bob", &["*"], &["*"]), "banned");
    assert_eq!(close(&world, &json!({"user": "alice", "ban_s": 0})), json!({"closed": 0}));
    none_refused(&world, &alice, "banned");

    // By a session, whose user need not be known.
    let session = world.session("alice", "");
    let closed = &close(&world, &json!({"session": session, "ban_s": 60}))["closed"];
    assert!(closed.as_u64() > Some(0), "{closed}");
    all_refused(&world, &alice, 403, "banned");
    let unknown = json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "ban_s": 60});
    assert_eq!(close(&world, &unknown), json!({"closed": 0}));
}

#[test]
fn a_ban_and_a_revocation_end_by_themselves() {
    let world = World::with(|config| {
        config.auth.revocations_kept_s = 60;
        config.token_ttl_s = 60;
    });
    let now_s = now_s();
    let clock = Arc::new(TestClock::at(Time(now_s * 1000)));
    let router = world.other(Arc::clone(&world.app().engine), Some(Arc::clone(&clock)));
    let ask = |path: &str, body: &Value| world.call_router(&router, Ask::post(path, body).key()).ok();
    ask("/api/close", &json!({"user": "alice", "ban_s": 5}));
    ask("/api/revoke", &json!({"user": "bob"}));
    let code = |user: &str| {
        let token = token_issued(user, Some(now_s - 1), None);
        world.call_router(&router, Ask::new(Method::POST, "/v1/ticket").bearer(&token)).code().1
    };
    clock.advance_ms(4_999);
    assert_eq!((code("alice"), code("bob")), ("banned".into(), "revoked".into()));
    clock.advance_ms(1);
    assert_eq!((code("alice"), code("bob")), (String::new(), "revoked".into()));
    clock.advance_ms(54_999);
    assert_eq!(code("bob"), "revoked");
    clock.advance_ms(1);
    assert_eq!(code("bob"), "");
}

/// The clocks of two nodes never agree to the millisecond. Each of these routers follows the log by itself.
#[test]
fn the_latest_word_on_a_ban_counts_whatever_the_clock_of_the_node_that_says_it() {
    let world = World::new();
    let engine = &world.app().engine;
    let node = |behind_ms: u64| {
        let clock = Arc::new(TestClock::at(Time(now_s() * 1000 - behind_ms)));
        world.other(Arc::clone(engine), Some(clock))
    };
    let (ahead, behind) = (node(0), node(5_000));
    let ban = |router, ban_s: u64| {
        let body = json!({"user": "alice", "ban_s": ban_s});
        world.call_router(router, Ask::post("/api/close", &body).key()).ok();
    };
    // What one of them is asked makes it follow the log.
    let code = |router| {
        let body = json!({"user": "mallory"});
        world.call_router(router, Ask::post("/api/revoke", &body).key()).ok();
        world.call_router(router, Ask::new(Method::POST, "/v1/ticket").user("alice")).code().1
    };
    ban(&ahead, 3600);
    assert_eq!([code(&ahead), code(&behind)], ["banned", "banned"]);
    ban(&behind, 0);
    assert_eq!([code(&ahead), code(&behind)], ["", ""]);
    ban(&behind, 3600);
    assert_eq!([code(&ahead), code(&behind)], ["banned", "banned"]);
}

#[test]
fn what_cannot_be_revoked_is_refused_and_nothing_is() {
    let world = World::new();
    let late = time_text(now_s() + 60);
    let early = time_text(now_s() - 60);
    for body in [
        json!({}),
        json!({"user": "alice", "jti": "x"}),
        json!({"jti": "x", "before": early}),
        json!({"jti": ""}),
        json!({"jti": "x".repeat(8193)}),
        json!({"before": late}),
        json!({"before": "yesterday"}),
        json!({"user": 7}),
        json!({"usr": "alice"}),
    ] {
        let answer = world.call(Ask::post("/api/revoke", &body).key());
        assert_eq!(answer.code(), (400, "bad_request".into()), "{body}");
    }
    assert_eq!(world.call(Ask::post("/api/revoke", &json!({"user": "a\0"})).key()).code().1, "bad_name");
    for body in [
        json!({"user": "alice", "ban_s": 315_360_001}),
        json!({"user": "alice", "ban_s": -1}),
        json!({"user": "alice", "ban_s": 5, "reconnect": true}),
        json!({"ban_s": 5}),
    ] {
        let answer = world.call(Ask::post("/api/close", &body).key());
        assert_eq!(answer.code(), (400, "bad_request".into()), "{body}");
    }
    none_refused(&world, &token("alice", &["*"], &["*"]), "revoked");
}

#[test]
fn the_channels_of_revocations_can_be_named_by_no_caller() {
    let world = World::new();
    revoke(&world, &json!({"user": "mallory"}));
    world.publish("news", 1);
    let listed = world.call(Ask::get("/api/channels?limit=1").key()).ok();
    assert_eq!((&listed["channels"][0]["channel"], &listed["next"]), (&json!("news"), &Value::Null));
    for name in ["%00revocations", "%00revoked%2F00002954"] {
        for path in [format!("/api/channels/{name}/history"), format!("/api/channels/{name}/presence")] {
            assert_eq!(world.call(Ask::get(&path).key()).code(), (400, "bad_name".into()), "{path}");
        }
        let path = format!("/api/channels/{name}");
        assert_eq!(world.call(Ask::new(Method::DELETE, &path).key()).code(), (400, "bad_name".into()));
        for query in [format!("channels={name}"), format!("cursor=1~k~!{}~0", &name[1..])] {
            let fields = format!("Authorization: Bearer {}\r\n", token("alice", &["*"], &["*"]));
            let (status, answer) = world.raw_get(&format!("/v1/poll?hold_s=0&{query}"), &fields);
            assert_eq!(status, 400, "{query}: {answer}");
        }
    }
    let name = "\0revocations";
    for (path, body) in [
        ("/v1/publish", json!({"channel": name, "data": 1})),
        ("/v1/subscribe", json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "channels": [name]})),
    ] {
        let answer = world.call(Ask::post(path, &body).user("alice"));
        assert_eq!(answer.code(), (400, "bad_name".into()), "{path}");
    }
    for body in [json!({"channel": name, "data": 1}), json!({"channels": [name], "data": 1})] {
        assert_eq!(world.call(Ask::post("/api/publish", &body).key()).code().1, "bad_name");
    }
}
