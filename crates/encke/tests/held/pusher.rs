//! Pusher over raw sockets: what its clients do not send, and who may not have what is asked for. Its own
//! libraries are asked in `tests/e2e/pusher.test.js`.

use encke::config::{Limits, RuleEntry};
use encke_engine::{PageLimit, ReadFrom};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, Who};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::{ws::KEY, *};

const TEXT: u8 = 1;

fn world() -> World {
    World::with(enable)
}

/// Two applications, of which the first has client events.
pub(super) fn enable(config: &mut Config) {
    config.dialects.set("pusher", true);
    let app = |id: &str, name: &str, client_events: bool| {
        json!({
            "id": id, "key": format!("{name}-key"), "secret": format!("{name}-secret"),
            "client_events": client_events, "client_events_per_s": 10, "subscription_count": false,
            "activity_timeout_s": 120, "event_max_bytes": 10_240, "presence_max_members": 100,
            "max_connections": 0, "cache_ttl_s": 1_800, "recovery": true, "recovery_s": 120,
            "webhook_events": [], "webhook_allow_private": false,
        })
    };
    let apps = json!([app("1", "app", true), app("2", "other", false)]);
    config.pusher_apps = serde_json::from_value(apps).unwrap();
}

/// A server behind a proxy, whose time stands still, with these limits.
fn limited(set_limits: impl FnOnce(&mut Limits)) -> World {
    let (world, _) = World::clocked(|config| {
        enable(config);
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        set_limits(&mut config.limits);
    });
    world
}

/// What the backend of the first application signs a text with.
pub(super) fn signature(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"app-secret").unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    fn pusher_socket(&self, target: &str) -> Wire {
        let mut wire = self.connect();
        wire.send(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{KEY}\r\n\r\n", self.address));
        wire.switched();
        wire
    }

    /// A connection that is established.
    fn pusher(&self) -> Wire {
        let mut wire = self.pusher_socket("/app/app-key?protocol=7&client=js&version=8.6.0");
        let hello = wire.on_bytes();
        assert_eq!(hello["event"], "pusher:connection_established");
        wire
    }

    /// A request by POST of the HTTP transports: the status and the text of the answer.
    pub(super) fn pusher_post(&self, target: &str, body: &str) -> (u16, String) {
        self.post_with(target, "", body)
    }

    /// The same with these fields.
    fn post_with(&self, target: &str, fields: &str, body: &str) -> (u16, String) {
        let mut wire = self.connect();
        let length = body.len();
        wire.send(&format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{fields}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.address
        ));
        assert!(wire.ends());
        let text = String::from_utf8(std::mem::take(&mut wire.seen)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// What the HTTP API of the first application answers.
    fn pusher_api(&self, path: &str) -> Value {
        let now_s = self.app().now().wall.0 / 1_000;
        let query = format!("auth_key=app-key&auth_timestamp={now_s}&auth_version=1.0");
        let signed = signature(&format!("GET\n{path}\n{query}"));
        let mut wire = self.connect();
        let target = format!("{path}?{query}&auth_signature={signed}");
        wire.send(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address));
        let (status, answer) = wire.response();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// What SIGHUP does once the file has rules that forbid these channels.
    fn forbids(&self, channels: &[&str]) {
        let rule = |channel: &str, who: Who| RuleEntry {
            channel: channel.to_owned(),
            subscribe: who,
            publish: who,
            ..RuleEntry::default()
        };
        let forbidden = channels.iter().map(|channel| rule(&format!("pusher:1:{channel}"), Who::None));
        let rules = forbidden.chain([rule("*", Who::Token)]).collect();
        let mut config = Config { rules, ..config() };
        enable(&mut config);
        self.runtime.block_on(self.app().reloads.take(config)).unwrap();
    }

    /// Whether the log of a channel, or of a connection's frames, is empty.
    fn is_empty(&self, log: &str) -> bool {
        let log = ChannelName::public(log).unwrap();
        let read = self.app().engine.read(&log, ReadFrom::After(0), PageLimit { messages: 1, bytes: 1 });
        self.runtime.block_on(read).unwrap().entries.is_empty()
    }
}

/// The frames of a line.
pub(super) fn frames(body: &str) -> Vec<Value> {
    let array = body.strip_prefix('a').and_then(|body| body.strip_suffix('\n')).unwrap();
    let frames: Vec<String> = serde_json::from_str(array).unwrap();
    frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

/// The id of the socket that is told in the first frame.
pub(super) fn socket_id(hello: &Value) -> String {
    let data: Value = serde_json::from_str(hello["data"].as_str().unwrap()).unwrap();
    data["socket_id"].as_str().unwrap().to_owned()
}

impl Wire {
    /// The frame that comes next after this one was sent.
    fn is_told(&mut self, frame: &str) -> Value {
        self.say(TEXT, frame.as_bytes());
        self.on_bytes()
    }

    fn subscribes(&mut self, data: &Value) -> Value {
        self.is_told(&json!({ "event": "pusher:subscribe", "data": data }).to_string())
    }
}

#[test]
fn what_is_no_event_is_told_and_the_connection_goes_on() {
    let world = world();
    let mut wire = world.pusher();
    let deep = format!(r#"{{"event":"client-a","channel":"private-a","data":{}}}"#, "[".repeat(60_000));
    for frame in [
        "",
        "x",
        "[]",
        "null",
        r#"["pusher:ping"]"#,
        r#"{"event":7}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":["a"]}}"#,
        r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{}"}"#,
        r#"{"event":"news","channel":"news","data":"x"}"#,
        r#"{"event":"client-x","channel":"private-a","data":{}}"#,
        r#"{"event":"client-x","channel":"a:b","data":{}}"#,
        &deep,
    ] {
        let told = wire.is_told(frame);
        assert_eq!(told["event"], "pusher:error", "{}: {told}", &frame[..frame.len().min(60)]);
        assert_eq!(wire.is_told(r#"{"event":"pusher:ping","data":{}}"#)["event"], "pusher:pong");
    }
    wire.say(2, b"bytes");
    assert_eq!(wire.closed().0, 1003);
}

#[test]
fn a_channel_is_for_those_whom_the_backend_has_signed_for() {
    let world = world();
    let mut wire = world.pusher();
    let zeros = "0".repeat(64);
    for (data, status) in [
        (json!({ "channel": "private-a" }), 401),
        (json!({ "channel": "private-a", "auth": "" }), 401),
        (json!({ "channel": "private-a", "auth": "app-key:" }), 401),
        (json!({ "channel": "private-a", "auth": format!("app-key:{zeros}") }), 401),
        (json!({ "channel": "private-a", "auth": format!("other-key:{zeros}") }), 401),
        (json!({ "channel": "private-encrypted-a", "auth": format!("app-key:{zeros}") }), 401),
        (json!({ "channel": "presence-a", "channel_data": "{\"user_id\":\"admin\"}" }), 401),
        (json!({ "channel": "#server-to-user-admin" }), 401),
        (json!({ "channel": "#online-admin" }), 400),
        (json!({ "channel": "#frames-1.2" }), 400),
        (json!({ "channel": "a:b" }), 400),
        (json!({ "channel": "" }), 400),
        (json!({ "channel": "x".repeat(165) }), 400),
    ] {
        let told = wire.subscribes(&data);
        assert_eq!(told["event"], "pusher:subscription_error", "{data}");
        assert_eq!((&told["channel"], &told["data"]["status"]), (&data["channel"], &json!(status)), "{data}");
    }
    let channels = (0..127).map(|number| format!("channel-{number}"));
    for channel in channels {
        let told = wire.subscribes(&json!({ "channel": channel }));
        assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
    }
    let many: Vec<Value> = (127..130)
        .map(|number| wire.subscribes(&json!({ "channel": format!("channel-{number}") })))
        .collect();
    assert!(many.iter().any(|told| told["data"]["type"] == "LimitReached"), "{many:?}");
    let sign_in = json!({
        "event": "pusher:signin",
        "data": { "auth": format!("app-key:{zeros}"), "user_data": "{\"id\":\"admin\"}" },
    });
    assert_eq!(wire.is_told(&sign_in.to_string())["data"]["code"], 4009);
    assert_eq!(wire.closed().0, 4009);
}

#[test]
fn a_connection_that_is_not_served_is_opened_and_told_why() {
    let world = world();
    for (target, code) in [
        ("/app/no-key?protocol=7", 4001),
        ("/app/?protocol=7", 4001),
        ("/app/app-key", 4008),
        ("/app/app-key?protocol=x", 4006),
        ("/app/app-key?protocol=99", 4007),
    ] {
        let mut wire = world.pusher_socket(target);
        assert_eq!(wire.on_bytes()["data"]["code"], code, "{target}");
        assert_eq!(wire.closed().0, code, "{target}");
        let (status, body) = world.pusher_post(&post_target(target), "");
        assert_eq!(status, 200, "{body}");
        assert!(body.starts_with(&format!("o\nc[{code},")), "{target}: {body}");
    }
}

/// The same by the HTTP transports.
fn post_target(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.trim_start_matches("/app/");
    let key = if key.is_empty() { "none" } else { key };
    format!("/pusher/app/{key}/1/0123abcv/xhr?{query}")
}

#[test]
fn a_client_by_http_is_opened_greeted_and_answered_in_order() {
    let world = world();
    let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7&t=1&n=1");
    assert_eq!(world.pusher_post(&at("xhr_send"), "[]").0, 404);
    assert_eq!(world.pusher_post(&at("xhr"), ""), (200, "o\n".to_owned()));
    let (_, hello) = world.pusher_post(&at("xhr"), "");
    assert_eq!(frames(&hello)[0]["event"], "pusher:connection_established", "{hello}");
    let asked = json!([
        json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }).to_string(),
        json!({ "event": "pusher:ping", "data": {} }).to_string(),
        "nonsense",
    ]);
    assert_eq!(world.pusher_post(&at("xhr_send"), &asked.to_string()).0, 200);
    let mut told = Vec::new();
    while told.len() < 3 {
        let (status, body) = world.pusher_post(&at("xhr"), "");
        assert_eq!(status, 200);
        told.extend(frames(&body));
    }
    let events: Vec<&Value> = told.iter().map(|frame| &frame["event"]).collect();
    assert_eq!(events, ["pusher_internal:subscription_succeeded", "pusher:pong", "pusher:error"]);
    for (body, status) in [("x", 400), ("{}", 400), ("[[]]", 400), ("[1]", 400), ("[]", 200)] {
        assert_eq!(world.pusher_post(&at("xhr_send"), body).0, status, "{body}");
    }
    for wrong in ["other", "xhr_streaming/x", ""] {
        assert_eq!(world.pusher_post(&format!("/pusher/app/app-key/7/0123abcv/{wrong}"), "").0, 404);
    }
}

/// A POST on a connection that is kept, from a client behind the proxy: the status of the answer.
fn status_from(wire: &mut Wire, client: &str, target: &str, body: &str) -> u16 {
    let length = body.len();
    wire.send(&format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let head = wire.until("\r\n\r\n").to_ascii_lowercase();
    let field = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = field.unwrap().parse().unwrap();
    while wire.seen.len() < length {
        let mut buffer = [0; 4096];
        let count = wire.socket.read(&mut buffer).unwrap();
        assert!(count > 0);
        wire.seen.extend_from_slice(&buffer[..count]);
    }
    wire.seen.drain(..length);
    head[9..12].parse().unwrap()
}

fn begins(wire: &mut Wire, client: &str, name: usize) -> u16 {
    status_from(wire, client, &format!("/pusher/app/app-key/7/{name:08}/xhr?protocol=7"), "")
}

#[test]
fn connections_by_http_are_bounded_by_address_however_few_sockets_they_come_over() {
    let world = limited(|limits| (limits.address_connects_per_s, limits.burst_s) = (1, 30));
    let mut wire = world.connect();
    let statuses: Vec<u16> = (0..31).map(|name| begins(&mut wire, "2001:db8::1", name)).collect();
    assert_eq!((&statuses[..30], statuses[30]), (&[200; 30][..], 429));
    assert_eq!(begins(&mut wire, "2001:db8::1", 0), 200, "one that is there goes on");
    assert_eq!(begins(&mut world.connect(), "203.0.113.7", 31), 200, "others are not concerned");

    let world = limited(|limits| limits.address_connects_per_s = 1_000_000);
    let mut wire = world.connect();
    assert!((0..8_192).all(|name| begins(&mut wire, "203.0.113.7", name) == 200));
    let from = |client: &str| {
        let fields = format!("X-Forwarded-For: {client}\r\n");
        world.post_with("/pusher/app/app-key/7/00009000/xhr?protocol=7", &fields, "").1
    };
    let refused = from("203.0.113.7");
    assert!(refused.starts_with("o\nc[4100,"), "{refused}");
    assert_eq!(from("203.0.113.8"), "o\n");
}

#[test]
fn frames_by_http_are_counted_by_user_and_by_address() {
    let ping = json!({ "event": "pusher:ping", "data": {} }).to_string();
    let by_user: fn(&mut Limits) = |limits| limits.user_requests_per_s = 1;
    let by_address: fn(&mut Limits) = |limits| limits.address_requests_per_s = 1;
    for (what, one) in [("user", by_user), ("address", by_address)] {
        let world = limited(|limits| {
            limits.burst_s = 30;
            one(limits);
        });
        let mut wire = world.connect();
        assert_eq!(begins(&mut wire, "203.0.113.7", 1), 200);
        assert_eq!(begins(&mut wire, "203.0.113.8", 2), 200);
        let mut sends = |client: &str, name: usize, count: usize| {
            let target = format!("/pusher/app/app-key/7/{name:08}/xhr_send");
            status_from(&mut wire, client, &target, &json!(vec![ping.as_str(); count]).to_string())
        };
        assert_eq!((sends("203.0.113.7", 1, 29), sends("203.0.113.7", 1, 2)), (200, 429), "{what}");
        assert_eq!(sends("203.0.113.8", 2, 30), 200, "{what}: others are not concerned");
    }
}

#[test]
fn nothing_stays_of_a_connection_by_http_whose_client_begins_anew() {
    let world = world();
    let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7");
    world.pusher_post(&at("xhr"), "");
    let (_, hello) = world.pusher_post(&at("xhr"), "");
    let socket_id = socket_id(&frames(&hello)[0]);
    let ping = json!([json!({ "event": "pusher:ping", "data": {} }).to_string()]);
    assert_eq!(world.pusher_post(&at("xhr_send"), &ping.to_string()).0, 200);
    let log = format!("pusher:1:#frames-{socket_id}");
    assert!(!world.is_empty(&log));
    let close = Close { code: CloseCode::Operator, reason: String::new(), reconnect: false, retry_ms: None };
    let user = CloseTarget::User(UserId::new(&format!("pusher:1:{socket_id}")).unwrap());
    let mut closed = String::new();
    world.pusher_post(&at("xhr"), "");
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| world.pusher_post(&at("xhr"), "").1);
        world.until(|| world.runtime.block_on(world.app().shards.counts()).unwrap().held == 1);
        world.runtime.block_on(world.app().sessions.close(&user, &close)).unwrap();
        closed = poll.join().unwrap();
    });
    assert!(closed.starts_with("c[4009,"), "{closed}");
    assert_eq!(world.pusher_post(&at("xhr"), "").1, "o\n");
    world.until(|| world.is_empty(&log));
}

#[test]
fn client_events_are_limited_by_address_too() {
    let world = limited(|limits| (limits.address_publishes_per_s, limits.burst_s) = (1, 3));
    let mut wire = world.connect();
    wire.send(&format!(
        "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n{KEY}\r\n\r\n"
    ));
    wire.switched();
    let socket_id = socket_id(&wire.on_bytes());
    let auth = format!("app-key:{}", signature(&format!("{socket_id}:private-a")));
    let told = wire.subscribes(&json!({ "channel": "private-a", "auth": auth }));
    assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
    for _ in 0..4 {
        wire.say(
            TEXT,
            json!({ "event": "client-x", "channel": "private-a", "data": 1 }).to_string().as_bytes(),
        );
    }
    let told = wire.on_bytes();
    assert_eq!((&told["event"], &told["data"]["code"]), (&json!("pusher:error"), &json!(4301)), "{told}");
}

#[test]
fn all_channels_are_listed_however_many_there_are_and_however_many_logs_of_users() {
    let world = world();
    let mut wires = Vec::new();
    for group in 0..160 {
        let kind = if group < 80 { "%23online-" } else { "c-" };
        let names: Vec<String> =
            (0..127).map(|number| format!("pusher:1:{kind}{}", group * 127 + number)).collect();
        let mut wire = world.connect();
        wire.send(&world.head(&format!("user-{group}"), &format!("/v1/sse?channels={}", names.join(","))));
        assert!(wire.until("\r\n").contains(" 200 "));
        wire.until("\"open\"");
        wires.push(wire);
    }
    let answer = world.pusher_api("/apps/1/channels");
    let channels = answer["channels"].as_object().unwrap();
    assert_eq!(channels.len(), 80 * 127);
    assert!(channels.keys().all(|name| name.starts_with("c-")));
}

#[test]
fn the_words_of_the_protocol_are_not_published_by_others() {
    let world = world();
    let error = json!({ "event": "pusher:error", "data": "{}" });
    let event = json!({ "event": "news", "data": "{}" });
    let fields = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (client, backend) = (fields(&world.token("alice")), fields(&"k".repeat(32)));
    for (channel, data, status) in [
        ("pusher:1:#frames-1.2", &event, 400),
        ("pusher:1:#online-bob", &event, 400),
        ("pusher:1:a", &error, 400),
        ("pusher:1:a", &event, 202),
        ("elsewhere", &error, 202),
    ] {
        let one = json!({ "channel": channel, "data": data });
        let many = json!({ "messages": [one] }).to_string();
        for (target, fields, body) in [
            ("/v1/publish", &client, &one.to_string()),
            ("/api/publish", &backend, &one.to_string()),
            ("/api/publish", &backend, &many),
        ] {
            let (answered, text) = world.post_with(target, fields, body);
            assert_eq!(answered, status, "{target} {body}: {text}");
        }
    }
}

#[test]
fn whom_new_rules_put_out_of_a_channel_is_no_member_and_may_come_again() {
    let world = world();
    let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7");
    world.pusher_post(&at("xhr"), "");
    world.pusher_post(&at("xhr"), "");
    let ask = json!([json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }).to_string()]);
    let subscribes = || {
        assert_eq!(world.pusher_post(&at("xhr_send"), &ask.to_string()).0, 200);
        frames(&world.pusher_post(&at("xhr"), "").1)[0]["event"].clone()
    };
    assert_eq!(subscribes(), "pusher_internal:subscription_succeeded");
    let mut wire = world.pusher_socket("/app/app-key?protocol=7");
    let socket_id = socket_id(&wire.on_bytes());
    let channel_data = json!({ "user_id": "alice" }).to_string();
    let auth = format!("app-key:{}", signature(&format!("{socket_id}:presence-a:{channel_data}")));
    let asked = json!({ "channel": "presence-a", "auth": auth, "channel_data": channel_data });
    assert_eq!(wire.subscribes(&asked)["event"], "pusher_internal:subscription_succeeded");
    let users = || world.pusher_api("/apps/1/channels/presence-a/users")["users"].clone();
    assert_eq!(users(), json!([{ "id": "alice" }]));
    world.forbids(&["news", "presence-a"]);
    let told = wire.on_bytes();
    assert_eq!(
        (&told["event"], &told["channel"]),
        (&json!("pusher:subscription_error"), &json!("presence-a"))
    );
    world.until(|| users() == json!([]));
    let told = frames(&world.pusher_post(&at("xhr"), "").1);
    assert_eq!(
        (&told[0]["event"], &told[0]["channel"]),
        (&json!("pusher:subscription_error"), &json!("news"))
    );
    world.forbids(&[]);
    assert_eq!(wire.subscribes(&asked)["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(users(), json!([{ "id": "alice" }]));
    assert_eq!(subscribes(), "pusher_internal:subscription_succeeded");
}

#[test]
fn a_cache_channel_keeps_its_event_however_many_messages_come_behind_it() {
    let mut world = world();
    world.publish("pusher:1:cache-a", r#"{"event":"kept","data":"1"}"#);
    for _ in 0..600 {
        world.publish("pusher:1:cache-a", r#"{"event":"client-x","data":1}"#);
    }
    let mut wire = world.pusher();
    let told = wire.subscribes(&json!({ "channel": "cache-a" }));
    assert_eq!(told["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(wire.on_bytes()["event"], "kept");
}
