//! Tokens and the control connection.

use serde_json::json;

use crate::world::{Ask, World, token, token_until};

#[test]
fn in_dev_mode_an_id_is_enough_to_log_in() {
    let world = World::dev();
    let answer = world.call(Ask::post("/v1/login", &json!({"user": "alice"})));
    let cookie = answer.header("set-cookie").to_owned();
    let body = answer.ok();
    assert_eq!(body["user"], "alice");
    let token = body["token"].as_str().unwrap();
    assert!(cookie.starts_with(&format!("encke_token={token}; ")), "{cookie}");
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    assert!(body["expires"].as_str().unwrap().ends_with('Z'));
    world
        .call(Ask::new(http::Method::POST, "/v1/ticket").header("authorization", &format!("Bearer {token}")))
        .ok();
    assert_eq!(
        world.call(Ask::post("/v1/login", &json!({"user": "al\u{202e}ice"}))).code(),
        (400, "bad_name".into())
    );
}

#[test]
fn outside_dev_mode_a_token_is_needed_to_log_in() {
    let world = World::new();
    assert_eq!(
        world.call(Ask::post("/v1/login", &json!({"user": "alice"}))).code(),
        (403, "login_disabled".into())
    );
    let good = token("alice", &[], &[]);
    let answer =
        world.call(Ask::post("/v1/login", &json!({"token": good})).header("x-forwarded-proto", "https"));
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with(&format!("__Host-encke_token={good}; Path=/; ")), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    // One that a neighbouring subdomain planted does not count beside it.
    let planted = token("mallory", &[], &[]);
    let ticket = |cookie: &str| {
        let proof = Ask::post("/v1/ticket", &json!({})).header("origin", "http://encke.localhost");
        world.call(proof.header("cookie", cookie)).status
    };
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(ticket(&format!("encke_token={planted}; {pair}")), 200);
    assert_eq!(ticket(&format!("encke_token={planted}; encke_token={good}")), 401);
    assert_eq!(answer.ok()["user"], "alice");
    assert_eq!(
        world.call(Ask::post("/v1/login", &json!({"token": "x.y.z"}))).code(),
        (401, "unauthorized".into())
    );
    let old = token_until("alice", &[], &[], 1000);
    assert_eq!(
        world.call(Ask::post("/v1/login", &json!({"token": old}))).code(),
        (401, "token_expired".into())
    );
    for neither in [json!({}), json!({"user": "alice", "token": good})] {
        assert_eq!(world.call(Ask::post("/v1/login", &neither)).code(), (400, "bad_request".into()));
    }
}

#[test]
fn logout_clears_the_cookie_with_and_without_a_body() {
    let world = World::new();
    for ask in [
        Ask::new(http::Method::POST, "/v1/logout"),
        Ask::post("/v1/logout", &json!({})),
        Ask::post("/v1/logout", &json!({})).cookie("alice").header("origin", "http://encke.localhost"),
    ] {
        let answer = world.call(ask);
        assert!(
            answer.header("set-cookie").starts_with("encke_token=; ")
                && answer.header("set-cookie").contains("Max-Age=0")
        );
        assert_eq!(answer.ok(), json!({"ok": true}));
    }
    assert_eq!(world.call(Ask::post("/v1/logout", &json!({"x": 1}))).code(), (400, "bad_request".into()));
}

#[test]
fn a_session_is_closed_by_its_user() {
    let world = World::new();
    let session = world.session("alice", "news");
    let body = json!({"session": session, "reason": "done"});
    assert_eq!(
        world.call(Ask::post("/v1/close", &body).user("bob")).ok(),
        json!({"closed": false}),
        "another user's"
    );
    assert_eq!(world.call(Ask::post("/v1/close", &body).user("alice")).ok(), json!({"closed": true}));
    assert_eq!(world.call(Ask::post("/v1/close", &body).user("alice")).ok(), json!({"closed": false}));
    assert_eq!(
        world.call(Ask::post("/v1/close", &json!({"session": "nonsense"})).user("alice")).ok(),
        json!({"closed": false})
    );
    let (status, body) = world.raw_get(
        &format!("/v1/poll?session={session}"),
        &format!("Authorization: Bearer {}\r\n", token("alice", &[], &[])),
    );
    assert_eq!(
        (status, &body["error"]["code"], &body["reconnect"]),
        (410, &json!("session_closed"), &json!(false))
    );
    let after = world
        .call(Ask::post("/v1/subscribe", &json!({"session": session, "channels": ["news"]})).user("alice"));
    assert_eq!(after.code(), (410, "session_closed".into()));
    assert_eq!(after.json()["reconnect"], json!(false));
}

#[test]
fn a_page_that_is_being_closed_closes_its_session_by_beacon() {
    let world = World::new();
    let first = world.poll("alice", "hold_s=0&channels=news");
    let (session, key) = (&first["session"], &first["close_key"]);
    let beacon = |text: String| {
        Ask::new(http::Method::POST, "/v1/close")
            .header("content-type", "text/plain;charset=UTF-8")
            .body(text)
    };
    let body = json!({"session": session, "close_key": key, "reason": "left"}).to_string();
    assert_eq!(world.call(beacon(body.clone())).ok(), json!({"closed": true}));
    assert_eq!(world.call(beacon(body)).ok(), json!({"closed": false}));
    assert_eq!(world.call(beacon(session.to_string())).code(), (400, "bad_request".into()));
}

/// A session's id is in the access log of every proxy on the way.
#[test]
fn knowing_the_id_of_a_session_does_not_end_it() {
    let world = World::new();
    let first = world.poll("alice", "hold_s=0");
    let session = first["session"].as_str().unwrap();
    let [own, other] =
        [session, world.session("mallory", "").as_str()].map(|session| world.close_key(session));
    assert_eq!(first["close_key"], json!(own));
    let wrong = format!("{}{}", &own[..21], if own.ends_with('A') { 'B' } else { 'A' });
    let mut bodies = vec![json!({"session": session})];
    for key in [other.as_str(), wrong.as_str(), session, "", "x"] {
        bodies.push(json!({"session": session, "close_key": key}));
    }
    for body in &bodies {
        for kind in ["text/plain", "application/json"] {
            let ask = Ask::new(http::Method::POST, "/v1/close").header("content-type", kind);
            let answer = world.call(ask.body(body.to_string()));
            assert_eq!(answer.code(), (401, "unauthorized".into()), "{kind} {body}");
            assert!(answer.text.contains("close_key"), "{}", answer.text);
        }
    }
    // With a cookie of the own origin it is a request like others.
    let ask = Ask::new(http::Method::POST, "/v1/close").header("content-type", "text/plain");
    let by_cookie = |user: &str, ask: Ask| {
        let ask = ask.cookie(user).header("origin", "http://encke.localhost");
        world.call(ask.body(bodies[0].to_string())).ok()
    };
    assert_eq!(by_cookie("mallory", ask), json!({"closed": false}));
    let sessions = world.call(Ask::get("/api/sessions?user=alice").key()).ok();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "it is there");
    let ask = Ask::new(http::Method::POST, "/v1/close").header("content-type", "text/plain");
    assert_eq!(by_cookie("alice", ask), json!({"closed": true}));
}

#[test]
fn every_way_to_wait_says_the_key_of_its_session_once() {
    let world = World::new();
    let fields = format!("Authorization: Bearer {}\r\n", token("alice", &["*"], &[]));
    let first = world.poll("alice", "hold_s=0");
    let session = first["session"].as_str().unwrap();
    let again = world.poll("alice", &format!("hold_s=0&session={session}"));
    assert_eq!(
        (&again["session"], again.get("close_key")),
        (&json!(session), None),
        "a client has it already"
    );
    let other = world.poll("alice", "hold_s=0&session=AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(other["close_key"], json!(world.close_key(other["session"].as_str().unwrap())));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let here = format!("http://{}", world.address());
    let iframe = format!("/v1/stream?as=iframe&origin={here}");
    for target in ["/v1/sse", "/v1/stream?as=ndjson", "/v1/ws", iframe.as_str()] {
        // A stream of a session that goes on says it as well: who comes may be another page of its client.
        let sign = if target.contains('?') { '&' } else { '?' };
        let more = if target == "/v1/ws" { upgrade } else { "" };
        let mut socket = std::net::TcpStream::connect(world.address()).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let head = format!("GET {target}{sign}session={session} HTTP/1.1\r\nHost: {}\r\n", world.address());
        std::io::Write::write_all(&mut socket, format!("{head}{fields}{more}\r\n").as_bytes()).unwrap();
        let key = world.close_key(session);
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains(&key) {
            let count = std::io::Read::read(&mut socket, &mut buffer).unwrap();
            assert!(count > 0, "{target}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(seen.contains("close_key"), "{target}: {seen}");
    }
}

#[test]
fn a_session_follows_more_and_fewer_channels() {
    let world = World::new();
    let session = world.session("alice", "news");
    let subscribe = |path: &str, channels: serde_json::Value| {
        world.call(Ask::post(path, &json!({"session": session, "channels": channels})).user("alice"))
    };
    let followed = subscribe("/v1/subscribe", json!(["room:1"])).ok();
    assert_eq!(followed["channels"], json!(["news", "room:1"]));
    let cursor = encke_proto::Cursor::parse(followed["cursor"].as_str().unwrap()).unwrap();
    let room = encke_proto::ChannelName::public("room:1").unwrap();
    assert_eq!(cursor.position(&room).unwrap().offset, 0, "it begins before the first message");
    assert_eq!(subscribe("/v1/unsubscribe", json!(["news"])).ok()["channels"], json!(["room:1"]));
    assert_eq!(subscribe("/v1/subscribe", json!(["@bob"])).code(), (400, "bad_name".into()));
    assert_eq!(subscribe("/v1/subscribe", json!([])).code(), (400, "bad_request".into()));
    let many: Vec<String> = (0..129).map(|n| format!("c{n}")).collect();
    assert_eq!(subscribe("/v1/subscribe", json!(many)).code(), (422, "too_many_channels".into()));
    let (half, other): (Vec<String>, Vec<String>) =
        ((0..100).map(|n| format!("a{n}")).collect(), (0..100).map(|n| format!("b{n}")).collect());
    subscribe("/v1/subscribe", json!(half)).ok();
    assert_eq!(subscribe("/v1/subscribe", json!(other)).code(), (422, "too_many_channels".into()));
    let unknown = json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "channels": ["news"]});
    assert_eq!(
        world.call(Ask::post("/v1/subscribe", &unknown).user("alice")).code(),
        (404, "session_unknown".into())
    );
}

#[test]
fn a_client_publishes_where_its_token_grants_it() {
    let world = World::new();
    let publish = |body| {
        world.call(
            Ask::post("/v1/publish", &body)
                .header("authorization", &format!("Bearer {}", token("alice", &[], &["room:*"]))),
        )
    };
    let answer = publish(json!({"channel": "room:1", "data": {"x": [1, 2.50]}, "id": "k"}));
    assert_eq!(answer.status, 202);
    let first = answer.ok();
    assert_eq!((&first["offset"], &first["mode"]), (&json!(1), &json!("memory")));
    assert_eq!(
        publish(json!({"channel": "room:1", "data": {"x": [1, 2.50]}, "id": "k"})).ok(),
        first,
        "the same key gives the first result"
    );
    for other in [
        json!({"channel": "room:2", "data": {"x": [1, 2.50]}, "id": "k"}),
        json!({"channel": "room:1", "data": 1, "id": "k"}),
    ] {
        assert_eq!(publish(other.clone()).code(), (409, "key_reused".into()), "{other}");
    }
    assert_eq!(
        publish(json!({"channel": "room:1", "data": null})).ok()["offset"],
        json!(2),
        "null is a message"
    );
    assert_eq!(publish(json!({"channel": "news", "data": 1})).code(), (403, "channel_forbidden".into()));
    assert_eq!(publish(json!({"channel": "@bob", "data": 1})).code(), (400, "bad_name".into()));
    assert_eq!(publish(json!({"channel": "room:1"})).code(), (400, "bad_request".into()));
    let exact =
        Ask::new(http::Method::POST, "/v1/publish").user("alice").header("content-type", "application/json");
    world.call(exact.body("{\"channel\":\"room:1\", \"data\": {\"x\": [1,\n 2.50] }}")).ok();
    let history = world.call(Ask::get("/api/channels/room:1/history").key());
    assert!(history.text.contains(r#""data":{"x":[1,2.50]},"from":"alice""#), "{}", history.text);
}

#[test]
fn what_was_shown_moves_the_receipt() {
    let world = World::new();
    let push = world.push(&["alice"], 1);
    let polled = world.poll("alice", "hold_s=0");
    assert_eq!(polled["messages"].as_array().unwrap().len(), 1);
    let ack = |cursor: &str| {
        world.call(
            Ask::post("/v1/ack", &json!({"session": polled["session"], "cursor": cursor})).user("alice"),
        )
    };
    assert_eq!(ack(polled["cursor"].as_str().unwrap()).ok(), json!({"ok": true}));
    let path = format!("/api/push/{}", push["id"].as_str().unwrap());
    // At once: what was answered is written down.
    assert_eq!(world.call(Ask::get(&path).key()).ok()["receipts"][0]["state"], "shown");
    assert_eq!(ack("nonsense").code(), (400, "bad_cursor".into()));
}

#[test]
fn a_ticket_stands_in_for_the_token_once() {
    let world = World::new();
    let ticket = world.call(Ask::new(http::Method::POST, "/v1/ticket").user("alice")).ok();
    let target = format!("/v1/poll?hold_s=0&ticket={}", ticket["ticket"].as_str().unwrap());
    assert_eq!(world.raw_get(&target, "").0, 200);
    assert_eq!(world.raw_get(&target, "").0, 401);
}
