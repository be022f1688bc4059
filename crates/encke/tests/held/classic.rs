//! The dialect of the old scripts, as raw bytes.

use encke_proto::{Close, CloseCode};
use serde_json::json;

use super::*;

/// A browser, as far as these scripts know one: a cookie that is kept, and connections.
struct Browser {
    cookie: Option<String>,
}

/// An answer that came whole.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let head = head.to_ascii_lowercase();
        let body =
            if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        Self { status, head, body }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    fn cookie(&self, whole: &str) -> Option<String> {
        let at = whole.to_ascii_lowercase().find("set-cookie: encke_classic=")?;
        let line = whole[at + "set-cookie: ".len()..].lines().next().unwrap();
        let line = line.strip_suffix("; Secure").filter(|_| forwarder::is_asked_for()).unwrap_or(line);
        assert!(line.ends_with("; HttpOnly; SameSite=Lax"), "{line}");
        Some(line.split(';').next().unwrap().to_owned())
    }
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        text = rest[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            return whole;
        }
    }
    panic!("the body was cut off: {whole:?}");
}

impl Browser {
    fn new() -> Self {
        Self { cookie: None }
    }

    /// Sends a request that may wait.
    fn begin(&self, world: &World, method: &str, target: &str) -> Wire {
        self.begin_with(world, method, target, "", "")
    }

    fn begin_with(&self, world: &World, method: &str, target: &str, fields: &str, body: &str) -> Wire {
        let cookie = self.cookie.as_ref().map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let length =
            if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let mut wire = world.connect();
        wire.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{cookie}{length}{fields}\r\n{body}",
            world.address
        ));
        wire
    }

    /// Takes its answer.
    fn end(&mut self, mut wire: Wire) -> Reply {
        assert!(wire.ends());
        let text = String::from_utf8(wire.seen).unwrap();
        let reply = Reply::of(&text);
        if let Some(cookie) = reply.cookie(&text) {
            self.cookie = Some(cookie);
        }
        reply
    }

    fn ask(&mut self, world: &World, method: &str, target: &str) -> Reply {
        let wire = self.begin(world, method, target);
        self.end(wire)
    }

    fn write(&mut self, world: &World, form: &str) -> Reply {
        let wire = self.begin_with(
            world,
            "POST",
            "/classic/writedata",
            "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n",
            form,
        );
        self.end(wire)
    }

    /// The user that the cookie makes.
    fn user(&self) -> String {
        let value = self.cookie.as_ref().unwrap().strip_prefix("encke_classic=").unwrap();
        format!("classic-{}", value.split('.').next().unwrap())
    }

    fn has_position(&self) -> bool {
        self.cookie.as_ref().is_some_and(|cookie| cookie.contains('.'))
    }
}

impl World {
    fn until_waiting(&self, count: usize) {
        self.until(|| self.runtime.block_on(self.app().shards.counts()).unwrap().held == count);
    }

    fn is_free(&self) -> bool {
        let counts = self.runtime.block_on(self.app().shards.counts()).unwrap();
        (counts.held, counts.sessions, counts.users, counts.channels) == (0, 0, 0, 0)
    }
}

/// A message's offset, from `7-k3x9`.
fn offset(answer: &Value) -> u64 {
    answer["timestamp"].as_str().unwrap().split_once('-').unwrap().0.parse().unwrap()
}

#[test]
fn a_get_waits_for_the_message_that_another_get_publishes() {
    let world = World::new();
    let (mut reader, mut writer) = (Browser::new(), Browser::new());
    let waiting = reader.begin(&world, "GET", "/classic/backend?timestamp=0");
    world.until_waiting(1);
    let answer = writer.ask(&world, "GET", "/classic/backend?msg=7http%3A%2F%2Fx%2F%3Fa%3D1%26b+%C3%BC");
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert!(answer.head.contains("content-type: application/json"));
    let answer = reader.end(waiting);
    assert_eq!(
        (answer.status, &answer.json()["msg"], offset(&answer.json())),
        (200, &json!("7http://x/?a=1&b ü"), 1)
    );
    assert!(
        answer.head.contains("cache-control: no-store")
            && answer.head.contains("content-type: application/json")
    );
    world.until(|| world.is_free());
}

#[test]
fn the_timestamp_goes_on_where_it_left_off() {
    let mut world = World::new();
    let mut reader = Browser::new();
    for text in ["\"first\"", "2.50", "{\"a\": [1]}", "\"\"", "\"last\""] {
        world.publish("classic", text);
    }
    let mut at = "1".to_owned();
    for (msg, offset_then) in [("2.50", 2), ("{\"a\":[1]}", 3), ("last", 5)] {
        let answer = reader.ask(&world, "GET", &format!("/classic/backend?timestamp={at}&_=17")).json();
        assert_eq!(
            (answer["msg"].as_str().unwrap(), offset(&answer)),
            (msg, offset_then),
            "what is empty is never answered"
        );
        at = answer["timestamp"].as_str().unwrap().to_owned();
    }
    // A number beyond everything means from now on; a position of another log means everything that is kept.
    let waiting = reader.begin(&world, "GET", "/classic/backend?timestamp=1700000000");
    world.until_waiting(1);
    world.publish("classic", "\"new\"");
    assert_eq!(reader.end(waiting).json()["msg"], "new");
    assert_eq!(reader.ask(&world, "GET", "/classic/backend?timestamp=3-elsewhere").json()["msg"], "first");
}

#[test]
fn a_silence_is_broken_by_white_space_and_nothing_else() {
    let mut world = World::with(|config| config.heartbeat_s = 1);
    let mut reader = Browser::new();
    let mut waiting = reader.begin(&world, "GET", "/classic/backend?timestamp=");
    let head = waiting.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "the head does not wait: {head}");
    let silence = waiting.until("1\r\n \r\n") + &waiting.until("1\r\n \r\n");
    world.publish("classic", "\"m\"");
    assert!(waiting.ends());
    waiting.seen.splice(0..0, format!("{head}{silence}").into_bytes());
    let answer = reader.end(waiting);
    assert!(answer.body.starts_with("  {\"msg\":\"m\","), "{answer:?}");
    assert_eq!(answer.json()["msg"], "m");
}

#[test]
fn a_post_waits_and_gets_everything_once_and_in_order() {
    let world = World::new();
    let (mut reader, mut writer) = (Browser::new(), Browser::new());
    let waiting = reader.begin(&world, "POST", "/classic/backend");
    world.until_waiting(1);
    assert_eq!(writer.write(&world, "msg=one").body, "{}");
    let answer = reader.end(waiting);
    assert_eq!((answer.status, answer.json()), (200, json!({"msg": "one", "stop": 0})));
    assert!(reader.has_position() && !answer.head.contains("encke-position"), "{answer:?}");
    world.until(|| world.is_free());
    // No poll waits when these come.
    for msg in ["msg=two&other=x", "msg=2+%2B+1+%3D+%C3%BC"] {
        writer.write(&world, msg);
    }
    for msg in ["two", "2 + 1 = ü"] {
        assert_eq!(reader.ask(&world, "POST", "/classic/backend").json(), json!({"msg": msg, "stop": 0}));
    }
    let waiting = reader.begin_with(
        &world,
        "POST",
        "/classic/backend",
        "Content-Type: text/plain\r\n",
        "whatever scripts send",
    );
    world.until_held(&reader.user(), 1);
    writer.write(&world, "msg=three");
    assert_eq!(reader.end(waiting).json()["msg"], "three");
}

#[test]
fn a_post_without_a_message_is_answered_when_its_time_is_over() {
    let mut world = World::with(|config| config.hold_s = 1);
    let mut reader = Browser::new();
    assert_eq!(reader.ask(&world, "POST", "/classic/backend").json(), json!({"msg": "", "stop": 0}));
    assert!(reader.has_position(), "from here on nothing is lost");
    world.publish("classic", "\"\"");
    assert_eq!(reader.ask(&world, "POST", "/classic/backend").json(), json!({"msg": "", "stop": 0}));
    world.publish("classic", "\"m\"");
    assert_eq!(reader.ask(&world, "POST", "/classic/backend").json(), json!({"msg": "m", "stop": 0}));
}

#[test]
fn an_answer_that_was_lost_comes_again() {
    let mut world = World::new();
    let mut reader = Browser::new();
    let waiting = reader.begin(&world, "POST", "/classic/backend");
    world.until_waiting(1);
    world.publish("classic", "\"one\"");
    reader.end(waiting);
    world.publish("classic", "\"two\"");
    let before = reader.cookie.clone();
    assert_eq!(reader.ask(&world, "POST", "/classic/backend").json()["msg"], "two");
    reader.cookie = before;
    assert_eq!(reader.ask(&world, "POST", "/classic/backend").json()["msg"], "two");
}

#[test]
fn a_stop_is_answered_when_everything_of_the_browser_is_freed() {
    let world = World::new();
    let (mut reader, mut other) = (Browser::new(), Browser::new());
    let waiting = reader.begin(&world, "POST", "/classic/backend");
    world.until_waiting(1);
    other.write(&world, "msg=one");
    reader.end(waiting);
    let waiting = reader.begin(&world, "POST", "/classic/backend");
    world.until_held(&reader.user(), 1);
    assert_eq!(
        other.ask(&world, "POST", "/classic/stop").json(),
        json!({"closed": false}),
        "no other user may stop it"
    );
    assert_eq!(other.cookie, None);
    let before = reader.cookie.clone();
    let mut stopping = Browser { cookie: before.clone() };
    assert_eq!(stopping.ask(&world, "POST", "/classic/stop").json(), json!({"closed": true}));
    assert!(world.is_free());
    assert_eq!(reader.end(waiting).json(), json!({"msg": "", "stop": 1}));
    assert_eq!(reader.cookie, before, "the answer that was stopped moves nothing");
    assert!(!stopping.has_position() && stopping.user() == reader.user());
    // A reader that begins again begins with what comes then.
    other.write(&world, "msg=missed");
    let waiting = stopping.begin(&world, "POST", "/classic/backend");
    world.until_held(&reader.user(), 1);
    other.write(&world, "msg=heard");
    assert_eq!(stopping.end(waiting).json(), json!({"msg": "heard", "stop": 0}));
    assert_eq!(stopping.ask(&world, "POST", "/classic/stop").json(), json!({"closed": false}));
}

#[test]
fn of_two_pages_of_one_browser_the_newer_goes_on() {
    let mut world = World::with(|config| config.hold_s = 1);
    let mut browser = Browser::new();
    browser.ask(&world, "POST", "/classic/backend");
    let older = browser.begin(&world, "POST", "/classic/backend");
    world.until_held(&browser.user(), 1);
    let newer = browser.begin(&world, "POST", "/classic/backend");
    assert_eq!(browser.end(older).json(), json!({"msg": "", "stop": 1}));
    world.publish("classic", "\"m\"");
    assert_eq!(browser.end(newer).json(), json!({"msg": "m", "stop": 0}));
    // With a timestamp, each page has a position of its own.
    let pages: Vec<Wire> =
        (0..2).map(|_| browser.begin(&world, "GET", "/classic/backend?timestamp=0")).collect();
    world.until_waiting(2);
    world.publish("classic", "\"both\"");
    for page in pages {
        assert_eq!(browser.end(page).json()["msg"], "both");
    }
    assert!(browser.has_position(), "which leaves the cookie alone");
}

#[test]
fn a_reader_that_leaves_is_noticed_and_becomes_no_known_user() {
    let world = World::new();
    let reader = Browser::new();
    let mut get = reader.begin(&world, "GET", "/classic/backend");
    get.until("\r\n\r\n");
    let post = reader.begin(&world, "POST", "/classic/backend");
    let late =
        reader.begin_with(&world, "POST", "/classic/backend", "Content-Type: text/plain\r\n", "with a body");
    world.until_waiting(3);
    drop((get, post, late));
    world.until(|| world.is_free());
    assert_eq!(world.runtime.block_on(world.app().engine.users(None, 10)).unwrap(), []);
}

#[test]
fn pages_that_are_pushed_to_a_browser_arrive_as_their_address() {
    let world = World::new();
    let mut reader = Browser::new();
    let waiting = reader.begin(&world, "GET", "/classic/backend?timestamp=0");
    world.until_waiting(1);
    let user = world.runtime.block_on(world.app().sessions.online_users()).unwrap().remove(0);
    let append = Append {
        id: MessageId::from_bits(77),
        key: None,
        targets: Targets::Users(vec![user]),
        body: Body::Page("http://x/page".into()),
        from: None,
        time: world.app().now().wall,
        expires: None,
        trace: None,
    };
    world.runtime.block_on(world.app().engine.append(append)).unwrap();
    let answer = reader.end(waiting).json();
    assert_eq!(
        (answer["msg"].as_str().unwrap(), offset(&answer)),
        ("http://x/page", 0),
        "its place in the channel is the same"
    );
}

#[test]
fn when_the_server_stops_scripts_are_told_to_come_back() {
    let world = World::new();
    let mut reader = Browser::new();
    let mut get = reader.begin(&world, "GET", "/classic/backend");
    get.until("\r\n\r\n");
    let post = reader.begin(&world, "POST", "/classic/backend");
    world.until_waiting(2);
    let close = Close { code: CloseCode::Shutdown, reason: String::new(), reconnect: true, retry_ms: None };
    world.runtime.block_on(world.app().sessions.close(&encke_hub::CloseTarget::Everybody, &close)).unwrap();
    assert_eq!(reader.end(post).code(), (503, "shutting_down".into()));
    assert!(get.ends());
    assert_eq!(
        unchunked(std::str::from_utf8(&get.seen).unwrap()),
        "",
        "there is no empty message, only an end"
    );
    world.app().stop();
    for (method, target) in
        [("GET", "/classic/backend?msg=x"), ("POST", "/classic/backend"), ("POST", "/classic/stop")]
    {
        assert_eq!(
            reader.ask(&world, method, target).code(),
            (503, "shutting_down".into()),
            "{method} {target}"
        );
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let world = World::new();
    let mut browser = Browser::new();
    for (method, target, status, code) in [
        ("GET", "/classic/backend?timestamp=soon", 400, "bad_cursor"),
        ("GET", "/classic/backend?timestamp=-1", 400, "bad_cursor"),
        ("GET", "/classic/backend?msg=%ff", 400, "bad_request"),
        ("PUT", "/classic/backend", 405, "method_not_allowed"),
        ("GET", "/classic/writedata?msg=x", 405, "method_not_allowed"),
        ("GET", "/classic/stop", 405, "method_not_allowed"),
        ("POST", "/classic/writedata", 415, "unsupported_media_type"),
        ("GET", "/classic/", 404, "not_found"),
    ] {
        assert_eq!(browser.ask(&world, method, target).code(), (status, code.into()), "{method} {target}");
    }
    for form in ["", "msg=", "message=x", "msg=%ff", "msg=x&msg="] {
        assert_eq!(browser.write(&world, form).code(), (400, "bad_request".into()), "{form}");
    }
    assert_eq!(
        browser.write(&world, &format!("msg={}", "x".repeat(70_000))).code(),
        (413, "too_large".into())
    );
    let large = browser.begin_with(&world, "POST", "/classic/backend", "", &"x".repeat(70_000));
    assert_eq!(browser.end(large).code(), (413, "too_large".into()));
    // A HEAD must not publish.
    let mut head = browser.begin(&world, "HEAD", "/classic/backend?msg=x");
    assert!(head.until("\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert_eq!(browser.cookie, None, "a refusal gives no cookie");
    let page = world.runtime.block_on(world.app().engine.read(
        &ChannelName::public("classic").unwrap(),
        encke_engine::ReadFrom::Head,
        encke_engine::PageLimit { messages: 1, bytes: 1 },
    ));
    assert_eq!(page.unwrap().head, 0, "nothing of all that was published");
}

#[test]
fn it_is_not_there_unless_it_is_asked_for() {
    let world = World::with(|config| config.dialects.set("classic", false));
    for (method, target) in
        [("GET", "/classic/backend?msg=x"), ("POST", "/classic/backend"), ("POST", "/classic/stop")]
    {
        assert_eq!(
            Browser::new().ask(&world, method, target).code(),
            (404, "not_found".into()),
            "{method} {target}"
        );
    }
}

#[test]
fn pages_of_allowed_origins_may_read_the_answer_and_no_others() {
    let mut world = World::with(|config| config.allowed_origins = vec!["https://app.example".to_owned()]);
    world.publish("classic", "\"one\"");
    world.publish("classic", "\"two\"");
    for (origin, allowed) in [("https://app.example", true), ("https://other.example", false)] {
        let mut browser = Browser::new();
        let wire = browser.begin_with(
            &world,
            "GET",
            "/classic/backend?timestamp=1",
            &format!("Origin: {origin}\r\n"),
            "",
        );
        let answer = browser.end(wire);
        assert_eq!(answer.json()["msg"], "two");
        assert_eq!(
            answer.head.contains("access-control-allow-origin: https://app.example"),
            allowed,
            "{answer:?}"
        );
    }
    let mut wire = Browser::new().begin_with(
        &world,
        "GET",
        "/classic/backend?timestamp=1",
        "X-Forwarded-Proto: https\r\n",
        "",
    );
    assert!(wire.until("\r\n\r\n").contains("; HttpOnly; SameSite=Lax; Secure\r\n"));
}

#[test]
fn what_scripts_publish_is_limited_by_address() {
    let (world, _) = World::clocked(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.limits.address_publishes_per_s = 1;
        config.limits.burst_s = 3;
    });
    let mut browser = Browser::new();
    let fields = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let mut says = |client: &str| {
        let wire = browser.begin_with(&world, "GET", "/classic/backend?msg=hello", &fields(client), "");
        browser.end(wire).status
    };
    let statuses: Vec<u16> = (0..4).map(|_| says("203.0.113.7")).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(says("203.0.113.8"), 200, "others are not concerned");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let posted = format!("{form}{}", fields("203.0.113.7"));
    let wire = browser.begin_with(&world, "POST", "/classic/writedata", &posted, "msg=hello");
    assert_eq!(browser.end(wire).status, 429);
}
