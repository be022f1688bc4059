//! What the application decides by its own endpoint: who clients are, what they follow and publish, in
//! whatever dialect; and what an endpoint that is down, slow, wrong or hostile can do.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use encke::config::{Decision, HookEvent, OnFailure};
use serde_json::json;

use super::{
    hook_endpoint::{Answers, Endpoint, Got, SECRET, http},
    pusher,
    ws::*,
    *,
};

impl Endpoint {
    fn world(&self, decide: &[Decision]) -> World {
        self.world_with(decide, |_| {})
    }

    fn world_with(&self, decide: &[Decision], change: impl FnOnce(&mut Config)) -> World {
        World::with(|config| {
            config.hooks.url = Some(format!("http://{}/hooks", self.address));
            config.hooks.secret = Some(Secret::new(SECRET.to_owned()));
            config.hooks.allow_private = true;
            config.hooks.decide = decide.to_vec();
            config.dialects = toml::from_str("bayeux = true").unwrap();
            change(config);
        })
    }
}

impl World {
    /// What a request is answered with on a connection of its own, which brings these fields.
    fn request(&self, method: &str, target: &str, fields: &str, body: &str) -> (u16, Value) {
        let mut wire = self.connect();
        let length =
            if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        wire.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{length}{fields}\r\n{body}",
            self.address
        ));
        wire.response()
    }

    /// What operators are told of the endpoint.
    fn hooks(&self) -> Value {
        let key = format!("Authorization: Bearer {}\r\n", "k".repeat(32));
        let (status, told) = self.request("GET", "/api/hooks", &key, "");
        assert_eq!(status, 200, "{told}");
        told
    }

    fn bearer(&self, user: &str) -> String {
        format!("Authorization: Bearer {}\r\n", self.token(user))
    }
}

fn code(answer: &(u16, Value)) -> (u16, String) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_session_cookie_is_enough_where_the_application_says_who_that_is() {
    let endpoint = Endpoint::deciding(|asked| match asked["headers"]["cookie"].as_str() {
        Some("session=of-alice") => json!({"user": "alice", "channels": ["room:*"], "cache_s": 60}),
        Some("session=short") => json!({"user": "bob"}),
        _ => json!({"allow": false, "reason": "please log in"}),
    });
    let mut world = endpoint.world_with(&[Decision::Connect], |config| {
        config.hooks.headers = vec!["X-Site".to_owned()];
    });
    let origin = format!("Origin: {}://{}\r\n", world.scheme(), world.address);
    let cookie = "Cookie: session=of-alice\r\nX-Site: shop\r\n";
    let mut wire = world.connect();
    let host = world.address;
    wire.send(&format!("GET /v1/sse?channels=room:1 HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n"));
    wire.until("\r\n\r\n");
    let (event, open, _) = wire.event();
    assert_eq!(event, "opened");
    world.push("alice", "7");
    assert_eq!(wire.event().1["data"], 7);
    let told = &endpoint.got()[0];
    assert_eq!(
        told.body,
        json!({"type": "connect", "headers": {"cookie": "session=of-alice", "x-site": "shop"}})
    );
    assert_eq!(told.path, "/hooks");
    assert!(told.head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{}", told.head);

    // All else that a client asks is of the same user, and the answer counts for as long as it says.
    let body = json!({"session": open["session"], "channels": ["room:2"]}).to_string();
    let fields = format!("{cookie}{origin}");
    let fields = fields.as_str();
    assert_eq!(world.request("POST", "/v1/subscribe", fields, &body).0, 200);
    assert_eq!(world.request("POST", "/v1/subscribe", fields, &body).0, 200);
    let elsewhere = json!({"session": open["session"], "channels": ["news"]}).to_string();
    assert_eq!(code(&world.request("POST", "/v1/subscribe", fields, &elsewhere)).0, 403);
    assert_eq!(endpoint.asked("connect"), 2, "once without the origin, once with it");

    // A WebSocket, and another protocol.
    let mut socket = world.connect();
    socket.send(&format!("GET /v1/ws HTTP/1.1\r\nHost: {host}\r\n{fields}{KEY}\r\n\r\n"));
    socket.switched();
    assert_eq!(socket.on_bytes()["event"], "open");
    world.until_held("alice", 2);

    // What a foreign page makes a browser send is not asked about, nor what brings nothing.
    let asked = endpoint.got().len();
    let foreign = "Cookie: session=of-alice\r\nOrigin: https://evil.example\r\n";
    assert_eq!(code(&world.request("GET", "/v1/poll", foreign, "")), (403, "origin_forbidden".to_owned()));
    assert_eq!(
        code(&world.request("POST", "/v1/subscribe", foreign, &body)),
        (403, "origin_forbidden".to_owned())
    );
    assert_eq!(code(&world.request("GET", "/v1/poll", "", "")), (401, "unauthorized".to_owned()));
    assert_eq!(endpoint.got().len(), asked);
    let refused = world.request("GET", "/v1/poll", "Cookie: session=none\r\n", "");
    assert_eq!(refused.1["error"]["message"], "please log in");
    assert_eq!(code(&refused), (401, "unauthorized".to_owned()));
    // A token says by itself who sends it.
    let asked = endpoint.got().len();
    let bearer = world.bearer("carol");
    assert_eq!(
        world.request("GET", "/v1/poll?hold_s=0", &format!("{bearer}Cookie: session=none\r\n"), "").0,
        200
    );
    assert_eq!(endpoint.got().len(), asked);
}

#[test]
fn the_application_decides_what_is_followed_however_it_is_asked_for() {
    let endpoint = Endpoint::deciding(|asked| {
        let channel = asked["channel"].as_str().unwrap_or_default();
        if channel == "closed" {
            json!({"allow": false, "reason": "not yours"})
        } else {
            json!({"allow": true})
        }
    });
    let world = endpoint.world(&[Decision::Subscribe]);
    let forbidden = (403, "channel_forbidden".to_owned());
    for path in ["/v1/poll", "/v1/sse", "/v1/stream?as=ndjson"] {
        let target =
            |channel: &str| format!("{path}{}channels={channel}", if path.contains('?') { '&' } else { '?' });
        let refused = world.request("GET", &target("open,closed"), &world.bearer("alice"), "");
        assert_eq!(code(&refused), forbidden, "{path}");
        assert_eq!(refused.1["error"]["message"], "not yours");
        let cursor = target("open") + "&cursor=1~1~closed~1";
        assert_eq!(code(&world.request("GET", &cursor, &world.bearer("alice"), "")), forbidden, "{path}");
    }
    let (mut socket, open) = world.ws("alice", "channels=open");
    assert_eq!(
        endpoint.got().last().unwrap().body,
        json!({"type": "subscribe", "user": "alice", "channel": "open"})
    );
    socket.say(1, json!({"do": "subscribe", "id": 1, "channels": ["closed"]}).to_string().as_bytes());
    assert_eq!(socket.on_bytes()["error"]["code"], "channel_forbidden");
    for (channel, status) in [("closed", 403), ("other", 200)] {
        let body = json!({"session": open["session"], "channels": [channel]}).to_string();
        assert_eq!(world.request("POST", "/v1/subscribe", &world.bearer("alice"), &body).0, status);
    }
    // A session that goes on does without what is refused now.
    let session = open["session"].as_str().unwrap();
    let query = format!("session={session}&channels=closed,open&hold_s=0");
    let (status, answer) = world.poll("alice", &query);
    assert_eq!(status, 200);
    assert!(!answer["cursor"].as_str().unwrap().contains("closed"), "{answer}");

    let shake = json!([{
        "channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"],
        "ext": {"encke": {"token": world.token("alice")}},
    }]);
    let (_, shaken) = world.request("POST", "/bayeux", "", &shake.to_string());
    let client = &shaken[0]["clientId"];
    for (subscription, is_successful) in [("/closed", true), ("/open", true)] {
        let subscribe =
            json!([{"channel": "/meta/subscribe", "clientId": client, "subscription": subscription}]);
        let (_, answer) = world.request("POST", "/bayeux", "", &subscribe.to_string());
        assert_eq!(answer[0]["successful"], is_successful, "{answer}");
    }
    // In its name without the slash, as every channel.
    assert!(endpoint.got().iter().any(|got| got.body["channel"] == "/open" || got.body["channel"] == "open"));
}

#[test]
fn the_application_decides_what_is_published_and_may_change_it() {
    let endpoint = Endpoint::deciding(|asked| match asked["data"].as_str() {
        Some("rude") => json!({"allow": false}),
        Some("plain") => json!({"allow": true, "cache_s": 60}),
        _ => json!({"allow": true, "data": {"said": asked["data"], "by": asked["user"]}}),
    });
    let world = endpoint.world(&[Decision::Publish]);
    let publish = |data: &str| {
        let body = json!({"channel": "room", "data": data}).to_string();
        world.request("POST", "/v1/publish", &world.bearer("alice"), &body)
    };
    assert_eq!(publish("hello").0, 202);
    assert_eq!(code(&publish("rude")), (403, "channel_forbidden".to_owned()));
    assert_eq!(publish("plain").0, 202);
    // The answer says that it need not be asked for a while.
    assert_eq!(publish("rude").0, 202);
    assert_eq!(endpoint.asked("publish"), 3);
    let operator = format!("Authorization: Bearer {}\r\n", "k".repeat(32));
    let body = json!({"channel": "room", "data": "rude"}).to_string();
    assert_eq!(
        world.request("POST", "/api/publish", &operator, &body).0,
        202,
        "a backend is not asked about"
    );
    let (_, history) = world.request("GET", "/api/channels/room/history", &operator, "");
    let said: Vec<&Value> =
        history["messages"].as_array().unwrap().iter().map(|message| &message["data"]).collect();
    assert_eq!(json!(said), json!([{"said": "hello", "by": "alice"}, "plain", "rude", "rude"]));
}

#[test]
fn t18_an_endpoint_that_does_not_decide_lets_nothing_through_unless_it_is_to() {
    let slow = |got: &Got| {
        thread::sleep(Duration::from_secs(2));
        http("200 OK", &json!({"allow": true, "user": "alice", "of": got.path}).to_string())
    };
    let wrong: [(&str, Answers); 7] = [
        ("slow", Arc::new(slow)),
        ("closed", Arc::new(|_| Vec::new())),
        ("status", Arc::new(|_| http("500 Oh No", r#"{"allow":true,"user":"alice"}"#))),
        ("redirect", Arc::new(|_| http("307 Temporary Redirect\r\nLocation: /elsewhere", ""))),
        (
            "huge",
            Arc::new(|_| http("200 OK", &format!(r#"{{"allow":true,"user":"a"}}{}"#, " ".repeat(300_000)))),
        ),
        (
            "half",
            Arc::new(|_| {
                b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"allow\":true,\"user\":\"a\"}".to_vec()
            }),
        ),
        ("words", Arc::new(|_| http("200 OK", "yes"))),
    ];
    for (name, answers) in wrong {
        let endpoint = Endpoint::new(move |got| answers(got));
        for on_failure in [OnFailure::Deny, OnFailure::Allow] {
            let all = [Decision::Connect, Decision::Subscribe, Decision::Publish];
            let world = endpoint.world_with(&all, |config| {
                // Others answer in time, also on a busy machine.
                config.hooks.timeout_ms = if name == "slow" { 150 } else { 10_000 };
                config.hooks.on_failure = on_failure;
            });
            let body = json!({"channel": "room", "data": 1}).to_string();
            // What answers, but wrongly, works and is not set up right.
            let is_down = !matches!(name, "redirect" | "huge" | "words");
            let is_allowed = is_down && on_failure == OnFailure::Allow;
            let published = world.request("POST", "/v1/publish", &world.bearer("alice"), &body);
            assert_eq!(published.0, if is_allowed { 202 } else { 503 }, "{name} {published:?}");
            let followed =
                world.request("GET", "/v1/poll?hold_s=0&channels=room", &world.bearer("alice"), "");
            assert_eq!(followed.0, if is_allowed { 200 } else { 503 }, "{name} {followed:?}");
            // Nothing but an answer says who a client is.
            let unknown = world.request("GET", "/v1/poll?hold_s=0", "Cookie: session=x\r\n", "");
            assert_eq!(code(&unknown), (503, "overloaded".to_owned()), "{name}");
        }
        assert!(endpoint.got().iter().all(|got| got.path == "/hooks"), "{name}");
    }
}

#[test]
fn the_endpoint_is_asked_by_a_few_at_a_time_and_not_at_all_while_it_fails() {
    let endpoint = Endpoint::new(|got| {
        thread::sleep(Duration::from_millis(20));
        match got.body["channel"].as_str() {
            Some("down") => return http("500 Oh No", ""),
            Some("refused") => return http("422 Unprocessable Content", ""),
            Some("words") => return http("200 OK", "\"no object\""),
            Some("huge") => return http("200 OK", &" ".repeat(300_000)),
            _ => {}
        }
        http("200 OK", r#"{"allow":true}"#)
    });
    let world = endpoint.world_with(&[Decision::Publish], |config| {
        config.hooks.max_concurrent = 2;
        config.hooks.timeout_ms = 10_000;
    });
    let publish = |channel: &str| {
        let body = json!({"channel": channel, "data": 1}).to_string();
        world.request("POST", "/v1/publish", &world.bearer("alice"), &body).0
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..12).map(|_| scope.spawn(|| publish("room"))).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == 202));
    });
    assert_eq!(endpoint.most_at_once.load(Ordering::SeqCst), 2);
    // What may lie in what one client has published says nothing of what others do.
    for (channel, status) in [("refused", 403), ("words", 503), ("huge", 503)] {
        let before = endpoint.got().len();
        (0..10).for_each(|_| assert_eq!(publish(channel), status, "{channel}"));
        assert_eq!(endpoint.got().len() - before, 10, "{channel}");
    }
    let before = endpoint.got().len();
    (0..40).for_each(|_| assert_eq!(publish("down"), 503));
    let asked = endpoint.got().len() - before;
    assert!((5..40).contains(&asked), "{asked}");
    let told = &world.hooks()["decisions"][0];
    assert_ne!(told["circuit_breaker"], "closed", "{told}");
    assert!(told["failures"].as_u64() >= Some(5), "{told}");
    assert_eq!(told["last_failure"]["error"], "the answer has the status 500", "{told}");
    // It is found again by one that asks after the pause.
    world.until(|| publish("room") == 202);
    assert_eq!(world.hooks()["decisions"][0]["circuit_breaker"], "closed");
}

#[test]
fn operators_are_told_of_events_that_are_not_taken() {
    let works = Arc::new(AtomicBool::new(false));
    let endpoint = Endpoint::new({
        let works = Arc::clone(&works);
        move |_| http(if works.load(Ordering::SeqCst) { "200 OK" } else { "502 Bad Gateway" }, "")
    });
    let world = endpoint.world_with(&[], |config| {
        config.hooks.events = vec![HookEvent::Connected];
        config.session_grace_s = 1;
    });
    let mut wire = world.connect();
    let fields = world.bearer("alice");
    wire.send(&format!("GET /v1/sse HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", world.address));
    wire.until("\r\n\r\n");
    let failed = |told: &Value| told["events"]["last_failure"]["error"] == "the answer has the status 502";
    world.until(|| failed(&world.hooks()));
    let told = world.hooks();
    assert_eq!(told["decisions"], json!([]));
    assert!(told["events"]["next_try"].is_string() && told["events"]["lag"].as_u64() >= Some(1), "{told}");
    works.store(true, Ordering::SeqCst);
    world.until(|| world.hooks()["events"]["lag"] == 0);
    let told = world.hooks();
    assert!(told["events"]["next_try"].is_null() && told["events"]["cursor"].as_u64() >= Some(1), "{told}");
    assert!(failed(&told), "what was wrong last stays there: {told}");
}

#[test]
fn where_failures_allow_only_an_endpoint_that_does_not_work_lets_a_question_through() {
    let endpoint = Endpoint::new(|got| match got.body["channel"].as_str().unwrap_or_default() {
        "words" => http("200 OK", "\"no object\""),
        "huge" => http("200 OK", &" ".repeat(300_000)),
        status => http(&format!("{status} As Asked"), r#"{"allow":true}"#),
    });
    let world = endpoint.world_with(&[Decision::Publish], |config| {
        config.hooks.on_failure = OnFailure::Allow;
    });
    for (channel, status) in [
        ("200", 202),
        ("400", 403),
        ("403", 403),
        ("404", 403),
        ("422", 403),
        ("408", 503),
        ("429", 503),
        ("307", 503),
        ("words", 503),
        ("huge", 503),
        ("500", 202),
        ("503", 202),
    ] {
        let body = json!({"channel": channel, "data": 1}).to_string();
        let answer = world.request("POST", "/v1/publish", &world.bearer("alice"), &body);
        assert_eq!(answer.0, status, "{channel}: {answer:?}");
    }
}

#[test]
fn clients_without_a_login_take_no_places_of_users() {
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Mutex::new(answers);
    let endpoint = Endpoint::deciding(move |asked| {
        if asked["type"] == "connect" {
            // Until the other question was answered.
            answers.lock().unwrap().recv_timeout(Duration::from_secs(8)).unwrap();
        }
        json!({"allow": true, "user": "bob"})
    });
    let world = endpoint.world_with(&[Decision::Connect, Decision::Publish], |config| {
        config.hooks.max_concurrent = 1;
        config.hooks.timeout_ms = 10_000;
    });
    thread::scope(|scope| {
        let connects =
            scope.spawn(|| world.request("GET", "/v1/poll?hold_s=0", "Cookie: session=x\r\n", "").0);
        world.until(|| endpoint.asked("connect") == 1);
        let body = json!({"channel": "room", "data": 1}).to_string();
        assert_eq!(world.request("POST", "/v1/publish", &world.bearer("alice"), &body).0, 202);
        answer.send(()).unwrap();
        assert_eq!(connects.join().unwrap(), 200);
    });
}

#[test]
fn a_session_that_goes_on_is_told_when_an_answer_does_not_come() {
    let works = Arc::new(AtomicBool::new(true));
    let does = Arc::clone(&works);
    let endpoint = Endpoint::new(move |_| match does.load(Ordering::SeqCst) {
        true => http("200 OK", r#"{"allow":true}"#),
        false => http("500 Oh No", ""),
    });
    let world = endpoint.world(&[Decision::Subscribe]);
    let (_socket, open) = world.ws("alice", "channels=open");
    let query = format!("session={}&channels=open,other&hold_s=0", open["session"].as_str().unwrap());
    works.store(false, Ordering::SeqCst);
    assert_eq!(code(&world.poll("alice", &query)), (503, "overloaded".to_owned()));
    works.store(true, Ordering::SeqCst);
    let (status, answer) = world.poll("alice", &query);
    assert_eq!(status, 200, "{answer}");
    assert!(answer["cursor"].as_str().unwrap().contains("open"), "{answer}");
}

#[test]
fn the_application_takes_no_part_in_the_logs_that_a_dialect_keeps_for_itself() {
    let endpoint = Endpoint::deciding(
        |asked| json!({"allow": !asked["channel"].as_str().unwrap_or_default().contains('#')}),
    );
    let world = endpoint.world_with(&[Decision::Subscribe], |config| {
        config.hooks.events = vec![HookEvent::Subscribed, HookEvent::ChannelOccupied];
        pusher::enable(config);
    });
    let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7&t=1&n=1");
    assert_eq!(world.pusher_post(&at("xhr"), "").1, "o\n");
    let (_, hello) = world.pusher_post(&at("xhr"), "");
    assert!(hello.contains("pusher:connection_established"), "{hello}");
    let subscribe = json!({"event": "pusher:subscribe", "data": {"channel": "news"}}).to_string();
    assert_eq!(world.pusher_post(&at("xhr_send"), &json!([subscribe]).to_string()).0, 200);
    let (_, told) = world.pusher_post(&at("xhr"), "");
    assert!(told.contains("subscription_succeeded"), "{told}");
    let is_told = |kind: &str| {
        let got = endpoint.got();
        let mut events = got.iter().filter_map(|got| got.body["events"].as_array()).flatten();
        events.any(|event| event["type"] == kind && event["channel"] == "pusher:1:news")
    };
    world.until(|| is_told("channel_occupied") && is_told("subscribed"));
    let about: Vec<Value> = endpoint.got().into_iter().map(|got| got.body).collect();
    assert!(!json!(about).to_string().contains('#'), "{about:?}");
}

#[test]
fn a_chosen_header_shows_a_client_everywhere_and_is_not_guessed() {
    let endpoint = Endpoint::deciding(|asked| match asked["headers"]["x-site"].as_str() {
        Some("of-alice") => json!({"user": "alice", "cache_s": 60}),
        _ => json!({"allow": false}),
    });
    let world = endpoint.world_with(&[Decision::Connect], |config| {
        config.hooks.headers = vec!["X-Site".to_owned()];
        config.limits.address_failures_per_s = 1;
        config.limits.burst_s = 2;
    });
    let origin = format!("Origin: {}://{}\r\n", world.scheme(), world.address);
    let mut wire = world.connect();
    wire.send(&format!("GET /v1/sse HTTP/1.1\r\nHost: {}\r\nX-Site: of-alice\r\n\r\n", world.address));
    wire.until("\r\n\r\n");
    let (_, open, _) = wire.event();
    let body = json!({"session": open["session"]}).to_string();
    let refreshed = world.request("POST", "/v1/refresh", &format!("X-Site: of-alice\r\n{origin}"), &body);
    assert_eq!(refreshed.0, 200, "{refreshed:?}");
    let body = json!({"session": open["session"], "channels": ["room"]}).to_string();
    for (method, target) in [("POST", "/v1/subscribe"), ("GET", "/v1/poll?hold_s=0")] {
        let guess = || world.request(method, target, &format!("X-Site: guess\r\n{origin}"), &body).0;
        assert!((0..50).map(|_| guess()).any(|status| status == 429), "{method} {target}");
    }
}
