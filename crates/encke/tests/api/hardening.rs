//! Regressions of security, each named by its row in the table of threats and its attack.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use encke::clock::TestClock;
use http::Method;
use serde_json::json;

use crate::world::{Ask, SECRET, World, token};

/// What changes something for a client that has logged in.
const CHANGES: [&str; 7] =
    ["/v1/ticket", "/v1/close", "/v1/subscribe", "/v1/unsubscribe", "/v1/publish", "/v1/ack", "/v1/refresh"];
/// Where clients wait, but for WebSockets, which have a test of their own.
const WAITS: [&str; 4] = [
    "/v1/poll?hold_s=0",
    "/v1/sse",
    "/v1/stream?as=ndjson",
    "/v1/stream?as=iframe&origin=http://encke.localhost",
];

/// One of these. Of most the body is not looked at before the origin is.
fn change(path: &str) -> Ask {
    Ask::post(path, &json!({"session": "AAAAAAAAAAAAAAAAAAAAAA"}))
}

/// Every operation of clients that changes something is among those that are tried here.
#[test]
fn t2_each_operation_of_clients_is_tried_by_a_foreign_page() {
    let description = World::new().call(Ask::get("/api/openapi.json")).ok();
    let changes = description["paths"].as_object().unwrap().iter().filter(|(path, operations)| {
        path.starts_with("/v1/")
            && ["post", "put", "patch", "delete"].iter().any(|it| operations.get(it).is_some())
    });
    let missing: Vec<&String> = changes
        .map(|(path, _)| path)
        .filter(|path| {
            !CHANGES.contains(&path.as_str()) && !["/v1/login", "/v1/logout"].contains(&path.as_str())
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A foreign page rides on the cookie.
#[test]
fn t1_cross_site_requests_with_a_cookie_are_refused() {
    let world = World::new();
    for origin in [
        "http://evil.example",
        "https://encke.localhost",
        "http://encke.localhost:81",
        "http://encke.localhost.evil.example",
        "http://app.example",
        "null",
    ] {
        for path in CHANGES {
            let answer = world.call(change(path).cookie("alice").header("origin", origin));
            assert_eq!(answer.code(), (403, "origin_forbidden".into()), "{path} {origin}");
        }
        let cookie = format!("Cookie: encke_token={}\r\nOrigin: {origin}\r\n", token("alice", &["*"], &[]));
        for path in WAITS {
            let (status, body) = world.raw_get(path, &cookie);
            assert_eq!(
                (status, &body["error"]["code"]),
                (403, &json!("origin_forbidden")),
                "{path} {origin}"
            );
        }
    }
    for origin in ["http://encke.localhost", "https://app.example"] {
        world.call(Ask::new(Method::POST, "/v1/ticket").cookie("alice").header("origin", origin)).ok();
    }
    let proxied = Ask::new(Method::POST, "/v1/ticket")
        .cookie("alice")
        .header("origin", "https://encke.localhost")
        .header("x-forwarded-proto", "https");
    world.call(proxied).ok();
}

/// A foreign page announces a body that never comes.
#[test]
fn t1_a_foreign_page_is_refused_before_its_body_is_read() {
    let world = World::new();
    let cookie = token("alice", &["*"], &["*"]);
    let login = ["/v1/login", "/v1/logout"];
    // A close may bring the session's key in its body, and then it is not the cookie that counts.
    for path in CHANGES.iter().chain(&login).filter(|path| **path != "/v1/close") {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: encke.localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\
             Cookie: encke_token={cookie}\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{{"
        );
        let answer = world.raw(&head);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        assert!(answer.contains(r#""code":"origin_forbidden""#), "{path}: {answer}");
    }
}

/// A form, an image or a beacon of a foreign page changes something.
#[test]
fn t2_nothing_is_changed_by_a_cookie_without_a_proof_of_origin() {
    let world = World::new();
    for path in CHANGES {
        assert_eq!(
            world.call(change(path).cookie("alice")).code(),
            (403, "origin_forbidden".into()),
            "{path}"
        );
        for site in ["cross-site", "same-site", "none"] {
            let answer = world.call(change(path).cookie("alice").header("sec-fetch-site", site));
            assert_eq!(answer.code(), (403, "origin_forbidden".into()), "{path} {site}");
        }
        assert_eq!(world.call(Ask::get(path).cookie("alice")).status, 405, "{path} by GET");
    }
    world
        .call(Ask::new(Method::POST, "/v1/ticket").cookie("alice").header("sec-fetch-site", "same-origin"))
        .ok();
    // What a form can send is not taken, even from the own origin.
    for content_type in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
    {
        let form = Ask::new(Method::POST, "/v1/publish")
            .cookie("alice")
            .header("origin", "http://encke.localhost")
            .header("content-type", content_type);
        assert_eq!(
            world.call(form.body(r#"{"channel":"news","data":1}"#)).code(),
            (415, "unsupported_media_type".into())
        );
    }
    // A beacon of a foreign page has the cookie, and may know the session's id, but not its key.
    let session = world.session("alice", "");
    let beacon = Ask::new(Method::POST, "/v1/close")
        .cookie("alice")
        .header("content-type", "text/plain")
        .header("origin", "http://evil.example");
    let body = json!({"session": session}).to_string();
    assert_eq!(world.call(beacon.body(body)).code(), (403, "origin_forbidden".into()));
    assert_eq!(world.call(Ask::get("/api/sessions").key()).ok()["sessions"][0]["session"], json!(session));
}

/// A foreign page logs a user in as the attacker, or out.
#[test]
fn t2_login_and_logout_are_refused_to_foreign_pages() {
    let world = World::dev();
    for (path, body) in [("/v1/login", json!({"user": "mallory"})), ("/v1/logout", json!({}))] {
        let answer = world.call(Ask::post(path, &body).header("origin", "http://evil.example"));
        assert_eq!(answer.code(), (403, "origin_forbidden".into()));
        assert_eq!(answer.header("set-cookie"), "");
    }
    let form = Ask::new(Method::POST, "/v1/login")
        .header("content-type", "text/plain")
        .body(r#"{"user":"mallory"}"#);
    assert_eq!(world.call(form).status, 415);
}

/// A pushed page runs a script.
#[test]
fn t3_pages_that_are_scripts_are_refused() {
    let world = World::with(|config| config.url_allow_list = encke_proto::AllowList::default());
    for url in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example",
        "https://bank.example@evil.example/",
    ] {
        let answer = world.call(Ask::post("/api/push", &json!({"to": ["alice"], "url": url})).key());
        assert_eq!(answer.code(), (400, "bad_url".into()), "{url}");
    }
}

/// A token in an address ends up in logs and histories.
#[test]
fn t5_tokens_in_addresses_are_refused_and_answers_are_not_stored() {
    let world = World::new();
    let good = token("alice", &["*"], &["*"]);
    for name in ["token", "access_token", "jwt"] {
        let (status, _) = world.raw_get(&format!("/v1/poll?hold_s=0&{name}={good}"), "");
        assert!(matches!(status, 400 | 401), "{name}");
        let post = world.call(Ask::new(Method::POST, &format!("/v1/ticket?{name}={good}")).user("alice"));
        assert_eq!(post.code(), (401, "unauthorized".into()), "{name}");
        let key = world.call(Ask::get(&format!("/api/users?{name}={}", crate::world::KEY)));
        assert_eq!(key.code(), (401, "unauthorized".into()), "{name}");
    }
    assert_eq!(world.raw_get(&format!("/v1/poll?hold_s=0&ticket={good}"), "").0, 401, "a token is no ticket");
    for ask in [
        Ask::get("/api/users").key(),
        Ask::post("/v1/login", &json!({"token": good})),
        Ask::get("/nowhere"),
        Ask::new(Method::POST, "/v1/ticket").user("alice"),
    ] {
        let answer = world.call(ask);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

/// A ticket gives no more than the control requests' token, and no other ticket.
#[test]
fn t5_a_ticket_counts_for_nothing_on_control_requests() {
    let world = World::new();
    let ticket = world.call(Ask::new(Method::POST, "/v1/ticket").user("alice")).ok();
    let ticket = ticket["ticket"].as_str().unwrap();
    let another = world.call(Ask::new(Method::POST, &format!("/v1/ticket?ticket={ticket}")));
    assert_eq!(another.code(), (401, "unauthorized".into()));
    assert_eq!(
        world.raw_get(&format!("/v1/poll?hold_s=0&ticket={ticket}"), "").0,
        200,
        "and is not used up by that"
    );
}

/// Secrets get into answers, metrics and debug forms.
#[test]
fn t5_secrets_are_in_no_answer_and_no_metric() {
    let world = World::new();
    let secret = "not.a.token-but-secret";
    let session = world.session("alice", "news");
    for ask in [
        Ask::get("/api/users").header("authorization", &format!("Bearer {secret}")),
        Ask::post("/v1/ticket", &json!({})).header("authorization", &format!("Bearer {secret}")),
        Ask::post("/v1/login", &json!({"token": secret})),
        Ask::post("/v1/subscribe", &json!({"session": secret, "channels": ["x"]})).user("alice"),
        Ask::get(&format!("/api/push/{secret}")).key(),
        Ask::get(&format!("/{secret}?token={secret}")),
    ] {
        let answer = world.call(ask);
        assert!(answer.status >= 400 && !answer.text.contains(secret), "{}", answer.text);
    }
    let metrics = world.call(Ask::get("/metrics").key()).text;
    for hidden in [secret, crate::world::KEY, SECRET, &session] {
        assert!(!metrics.contains(hidden));
    }
    let debug = format!("{:?} {:?}", world.app(), world.app().auth);
    for hidden in [crate::world::KEY, SECRET] {
        assert!(!debug.contains(hidden), "{debug}");
    }
}

/// Much is sent, or little that swells.
#[test]
fn t12_t13_big_bodies_and_compressed_ones_are_refused() {
    let world = World::new();
    let publish = |body: Vec<u8>| {
        Ask::new(Method::POST, "/api/publish").key().header("content-type", "application/json").body(body)
    };
    assert_eq!(world.call(publish(vec![b'x'; 65_537])).code(), (413, "too_large".into()));
    assert_eq!(world.call(publish("[".repeat(65_000).into_bytes())).code(), (400, "too_deep".into()));
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(
            world.call(publish(vec![31, 139]).header("content-encoding", encoding)).code(),
            (415, "unsupported_media_type".into())
        );
    }
}

/// A caller that sends too much, or without a key, is told so: the answer is not lost with the unread rest of
/// the body.
#[test]
fn t12_a_refusal_arrives_although_the_body_was_not_read() {
    let world = World::new();
    for (headers, length, status) in [
        (
            format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", crate::world::KEY),
            900_000,
            413,
        ),
        ("Content-Type: application/json\r\n".to_owned(), 60_000, 401),
        (
            format!("Authorization: Bearer {}\r\nContent-Type: text/plain\r\n", crate::world::KEY),
            900_000,
            415,
        ),
    ] {
        assert_eq!(world.raw_post("/api/push", &headers, &vec![b' '; length]), status);
    }
}

/// Two users share an idempotency key, or one makes it look so.
#[test]
fn t14_no_user_gets_at_the_key_of_another() {
    let world = World::new();
    let publish = |user: &str, id: &str| {
        world.call(Ask::post("/v1/publish", &json!({"channel": "room", "data": user, "id": id})).user(user))
    };
    let first = publish("alice", "k").ok();
    for (user, id) in [("bob", "k"), ("alice:", "k"), ("alice:k", "k")] {
        assert_ne!(publish(user, id).ok()["id"], first["id"], "{user} {id}");
    }
    let (a, b) = (publish("a:", "b").ok(), publish("a", ":b").ok());
    assert_ne!(a["id"], b["id"]);
    let backend =
        world.call(Ask::post("/api/publish", &json!({"channel": "room", "data": 1, "id": "k"})).key()).ok();
    assert_ne!(backend["id"], first["id"]);
    assert_eq!(publish("alice", "k\nx").code(), (400, "bad_request".into()));
    assert_eq!(publish("alice", "k").ok()["id"], first["id"]);
}

/// A client says that it is another user.
#[test]
fn t15_the_user_comes_from_the_token_alone() {
    let world = World::new();
    for body in [
        json!({"channel": "room", "data": 1, "from": "bob"}),
        json!({"channel": "room", "data": 1, "user": "bob"}),
    ] {
        assert_eq!(
            world.call(Ask::post("/v1/publish", &body).user("alice")).code(),
            (400, "bad_request".into())
        );
    }
    let spoofed = Ask::post("/v1/publish", &json!({"channel": "room", "data": 1}))
        .user("alice")
        .header("x-user", "bob")
        .cookie("bob");
    world.call(spoofed).ok();
    let history = world.call(Ask::get("/api/channels/room/history").key()).ok();
    assert_eq!(history["messages"][0]["from"], "alice");
}

/// A session's id is guessed, stolen or chosen.
#[test]
fn t16_another_users_session_is_unknown() {
    let world = World::new();
    let session = world.session("alice", "news");
    for path in ["/v1/subscribe", "/v1/unsubscribe"] {
        let body = json!({"session": session, "channels": ["news"]});
        assert_eq!(
            world.call(Ask::post(path, &body).user("mallory")).code(),
            (404, "session_unknown".into()),
            "{path}"
        );
    }
    let ack = json!({"session": session, "cursor": "1~0~@alice~9"});
    assert_eq!(
        world.call(Ask::post("/v1/ack", &ack).user("mallory")).code(),
        (404, "session_unknown".into())
    );
    assert_eq!(
        world.call(Ask::post("/v1/close", &json!({"session": session})).user("mallory")).ok(),
        json!({"closed": false})
    );
    let theirs = world.poll("mallory", &format!("hold_s=0&session={session}"));
    assert_ne!(theirs["session"], json!(session));
    assert_eq!(world.call(Ask::get("/api/users/alice").key()).ok()["sessions"], 1);
}

/// A user reads or writes where nothing is granted.
#[test]
fn t17_channels_are_forbidden_unless_granted() {
    let world = World::new();
    let session = world.session("alice", "");
    let little = format!("Bearer {}", token("alice", &["room:*"], &[]));
    let subscribe = |channel: &str| {
        world.call(
            Ask::post("/v1/subscribe", &json!({"session": session, "channels": [channel]}))
                .header("authorization", &little),
        )
    };
    subscribe("room:1").ok();
    for channel in ["news", "room", "Room:1", "xroom:1"] {
        assert_eq!(subscribe(channel).code(), (403, "channel_forbidden".into()), "{channel}");
    }
    let both = json!({"session": session, "channels": ["room:2", "news"]});
    assert_eq!(
        world.call(Ask::post("/v1/subscribe", &both).header("authorization", &little)).code(),
        (403, "channel_forbidden".into())
    );
    let publish =
        Ask::post("/v1/publish", &json!({"channel": "room:1", "data": 1})).header("authorization", &little);
    assert_eq!(world.call(publish).code(), (403, "channel_forbidden".into()));
    for path in
        ["/api/channels/room:1/history", "/api/channels/room:1/presence", "/api/users", "/api/channels"]
    {
        assert_eq!(world.call(Ask::get(path).header("authorization", &little)).status, 401, "{path}");
    }
}

/// A token is used after its time.
#[test]
fn t17_a_token_that_has_expired_is_good_for_nothing() {
    let world = World::new();
    let clock = Arc::new(TestClock::at(world.app().now().wall));
    let router = world.other(Arc::clone(&world.app().engine), Some(Arc::clone(&clock)));
    // Signed once, so that it does not grow younger with each request.
    let bearer = format!("Bearer {}", token("alice", &[], &[]));
    let ticket =
        || world.call_router(&router, Ask::new(Method::POST, "/v1/ticket").header("authorization", &bearer));
    ticket().ok();
    clock.advance_ms(3_590_000);
    ticket().ok();
    clock.advance_ms(11_000);
    assert_eq!(ticket().code(), (401, "token_expired".into()));
}

/// A token says itself how it is to be verified.
#[test]
fn t19_tokens_of_other_algorithms_and_keys_are_refused() {
    let world = World::new();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(json!({"sub": "alice", "exp": 4_000_000_000_u64, "channels": ["*"]}));
    let good = token("alice", &["*"], &[]);
    let signature = good.rsplit('.').next().unwrap();
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "RS256"}),
        json!({"alg": "HS512"}),
        json!({"alg": "HS256", "kid": "../../dev/null"}),
        json!({"typ": "JWT"}),
    ] {
        for signature in ["", signature] {
            let forged = format!("{}.{claims}.{signature}", part(header.clone()));
            let answer = world.call(
                Ask::new(Method::POST, "/v1/ticket").header("authorization", &format!("Bearer {forged}")),
            );
            assert_eq!(answer.code(), (401, "unauthorized".into()), "{header}");
        }
    }
    assert_eq!(
        world
            .call(Ask::new(Method::POST, "/v1/ticket").header("authorization", &format!("Bearer {good}x")))
            .status,
        401
    );
}

/// The key is found out byte by byte. The comparison itself is tested where it is made; here, that nearly
/// right is wrong.
#[test]
fn t22_a_key_that_is_nearly_right_is_wrong() {
    let world = World::new();
    let key = crate::world::KEY;
    for wrong in [&key[1..], &key[..key.len() - 1], &format!("{key}x"), &key.to_uppercase(), ""] {
        assert_eq!(
            world.call(Ask::get("/api/users").header("authorization", &format!("Bearer {wrong}"))).status,
            401
        );
    }
    assert_eq!(
        world.call(Ask::get("/api/users").header("authorization", &format!("Basic {key}"))).status,
        401
    );
}

/// The console is framed, or used without a key.
#[test]
fn t24_the_console_has_no_power_of_its_own() {
    let world = World::new();
    let page = world.call(Ask::get("/console"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(page.header("set-cookie"), "");
    assert!(!page.text.contains(crate::world::KEY));
    assert_eq!(
        world
            .call(
                Ask::get("/api/users")
                    .header("sec-fetch-site", "same-origin")
                    .header("origin", "http://encke.localhost")
            )
            .status,
        401
    );
}

/// Every origin that asks may read.
#[test]
fn t25_only_listed_origins_may_read_answers() {
    let world = World::new();
    for path in ["/v1/ticket", "/v1/login", "/v1/close", "/v1/poll", "/v1/nowhere", "/api/users"] {
        for origin in
            ["http://evil.example", "null", "https://app.example.evil.example", "http://encke.localhost"]
        {
            let answer = world.call(Ask::post(path, &json!({})).user("alice").header("origin", origin));
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path} {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), "", "{path} {origin}");
        }
    }
    let listed = world
        .call(Ask::new(Method::POST, "/v1/ticket").user("alice").header("origin", "https://app.example"));
    assert_eq!(listed.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(listed.header("access-control-allow-credentials"), "true");
    assert_eq!(listed.header("vary"), "Origin");
    assert_eq!(world.call(Ask::new(Method::POST, "/v1/ticket").user("alice")).header("vary"), "Origin");
    let refused = world.call(Ask::new(Method::POST, "/v1/ticket").header("origin", "https://app.example"));
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (401, "https://app.example"),
        "so that the page can read why"
    );
    let ask_before = |path: &str, origin: &str| {
        let ask = Ask::new(Method::OPTIONS, path)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        world.call(ask.header("access-control-request-headers", "authorization,content-type"))
    };
    for path in ["/v1/publish", "/v1/poll", "/v1/sse"] {
        let may = ask_before(path, "https://app.example");
        assert_eq!(
            (may.status, may.header("access-control-allow-origin")),
            (204, "https://app.example"),
            "{path}"
        );
        assert!(may.header("access-control-allow-headers").contains("Authorization"));
        let may_not = ask_before(path, "http://evil.example");
        assert_eq!(
            (may_not.code(), may_not.header("access-control-allow-methods")),
            ((403, "origin_forbidden".into()), ""),
            "{path}"
        );
    }
    assert_eq!(
        ask_before("/api/push", "https://app.example").header("access-control-allow-origin"),
        "",
        "the key is not for pages"
    );
}

/// A name passes for another, or breaks a line in a log.
#[test]
fn t28_t29_names_that_deceive_are_refused_everywhere() {
    let world = World::new();
    for name in [
        "ali\u{202e}ce",
        "ali\u{200b}ce",
        "alice\n",
        "\u{1b}[2Jalice",
        "",
        &"x".repeat(256),
        " ",
        "   ",
        "\u{a0}",
        "\u{3000}",
        " \u{a0}\u{3000}",
        "\u{2800}",
        "alice\u{2800}",
    ] {
        for ask in [
            Ask::post("/api/push", &json!({"to": [name], "data": 1})).key(),
            Ask::post("/api/publish", &json!({"channel": name, "data": 1})).key(),
            Ask::post("/api/close", &json!({"user": name})).key(),
            Ask::post("/v1/publish", &json!({"channel": name, "data": 1})).user("alice"),
            Ask::post("/v1/subscribe", &json!({"session": "x", "channels": [name]})).user("alice"),
        ] {
            assert_eq!(world.call(ask).code(), (400, "bad_name".into()), "{name:?}");
        }
    }
}

/// DNS rebinding: a foreign site makes its own name lead to this machine, and its pages then count as our own
/// origin.
#[test]
fn t2_a_foreign_name_for_this_machine_logs_no_user_in() {
    let world = World::dev();
    let ask = Ask::new(http::Method::POST, "/v1/login")
        .header("host", "evil.example:8080")
        .header("content-type", "application/json");
    assert_eq!(world.call(ask.body(r#"{"user":"alice"}"#)).code(), (403, "origin_forbidden".into()));
}

/// The same way in to what is counted, which dev mode shows without a key.
#[test]
fn t2_a_foreign_name_for_this_machine_reads_no_metrics() {
    let world = World::dev();
    let status = |host: &str| world.call(Ask::get("/metrics").header("host", host)).status;
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"] {
        assert_eq!(status(host), 401, "{host}");
    }
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]", "encke.localhost"] {
        assert_eq!(status(host), 200, "{host}");
    }
    assert_eq!(world.call(Ask::get("/metrics").header("host", "evil.example").key()).status, 200);
}

/// A token that does not end.
#[test]
fn t19_a_token_that_ends_at_no_time_that_there_is_is_refused() {
    let world = World::new();
    for exp in ["1e300", "1e308", "253402300800", "-1e300", "\"never\"", "null", "true"] {
        let claims: serde_json::Value =
            serde_json::from_str(&format!(r#"{{"sub":"alice","exp":{exp}}}"#)).unwrap();
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        let ask = Ask::new(Method::POST, "/v1/ticket").header("authorization", &format!("Bearer {token}"));
        assert_eq!(world.call(ask).status, 401, "{exp}");
    }
}
