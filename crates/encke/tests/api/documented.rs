//! The description of the API against the server: every refusal of an operation that it gives is described,
//! and every one that is described it gives. Requests are made from the description's own examples, and go
//! over real sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use encke::config::{Config, RuleEntry, Scope};
use encke_engine::EngineError;
use encke_proto::Who;
use http::Method;
use serde_json::{Value, json};

use crate::{
    double::Broken,
    world::{Ask, KEY, World, key_of, token, token_issued, token_until},
};

/// What is described although this test cannot bring it about: the operations, the codes, and why.
const RARE: &[(&[&str], &[&str], &str)] = &[
    (
        &["get /v1/sse", "get /v1/stream"],
        &["session_taken_over"],
        "only while the engine is asked, before a stream begins",
    ),
    (
        &["post /v1/ticket", "post /v1/login"],
        &["internal"],
        "needs a system without randomness, or a key that cannot sign",
    ),
    (
        &["get /api/users/{user}/messages"],
        &["internal", "request_timeout"],
        "needs a system without randomness; is the same for the data connections",
    ),
    (
        &["get /v1/poll", "get /v1/sse", "get /v1/stream"],
        &["internal"],
        "needs a node that answers what others do not know",
    ),
    (
        &[
            "get /api/sessions",
            "get /api/channels/{channel}/presence",
            "post /v1/close",
            "post /v1/refresh",
            "post /v1/subscribe",
            "post /v1/unsubscribe",
            "get /v1/channels/{channel}/presence",
        ],
        &["engine_unavailable", "internal"],
        "needs another node that does not answer",
    ),
    (
        &["get /v1/poll", "get /v1/sse", "get /v1/stream", "get /v1/ws", "post /v1/subscribe"],
        &["channel_full"],
        "needs a rule with a bound; the hub's stories have it",
    ),
];
/// Users whose tokens are revoked, and who are kept away.
const REVOKED: &str = "revoked";
const BANNED: &str = "banned";
/// More connections than a server of one connection has places for, those kept for operators among them.
const CONNECTIONS_MANY: usize = 64;

/// One operation of the description.
struct Operation {
    method: String,
    path: String,
    value: Value,
}

/// A request in the making.
#[derive(Clone)]
struct Request {
    method: String,
    target: String,
    authorization: Option<String>,
    fields: String,
    body: Option<Vec<u8>>,
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: encke.localhost\r\n{}", self.method, self.target, self.fields);
        if let Some(value) = &self.authorization {
            head.push_str(&format!("Authorization: Bearer {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        [head.as_bytes(), b"\r\n", self.body.as_deref().unwrap_or_default()].concat()
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut request = self.clone();
        change(&mut request);
        request
    }

    fn query(&self, pair: &str) -> Self {
        let sign = if self.target.contains('?') { '&' } else { '?' };
        self.with(|request| request.target = format!("{}{sign}{pair}", request.target))
    }

    fn json(&self, body: &Value) -> Self {
        self.with(|request| request.body = Some(body.to_string().into_bytes()))
    }
}

/// The status and the code of the answer to these bytes; the code is empty when it is no refusal.
fn ask(address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A server that refuses unread may end the connection before all is sent; what it said before that
    // counts.
    let _ = socket.write_all(bytes);
    answer(&mut socket)
}

fn answer(socket: &mut TcpStream) -> (u16, String) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
            if body.len() >= length {
                let code = serde_json::from_str::<Value>(body)
                    .ok()
                    .and_then(|body| Some(body["error"]["code"].as_str()?.to_owned()));
                return (head[9..12].parse().unwrap(), code.unwrap_or_default());
            }
        }
        let count = socket.read(&mut buffer).unwrap_or(0);
        assert!(count > 0, "the answer ended early: {text:?}");
        seen.extend_from_slice(&buffer[..count]);
    }
}

/// The description, as this router serves it.
fn document(world: &World, router: &Router) -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| world.ask_router(router, Ask::get("/api/openapi.json")).ok())
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, value) in item.as_object().unwrap() {
            operations.push(Operation { method: method.clone(), path: path.clone(), value: value.clone() });
        }
    }
    operations
}

/// Fails if the answer to a request is a refusal that its operation is not described to give.
pub fn assert_described(
    world: &World,
    router: &Router,
    method: &Method,
    target: &str,
    answer: (u16, String),
) {
    let (status, code) = answer;
    let path = target.split('?').next().unwrap();
    let fits = |pattern: &str| {
        let (left, right): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        left.len() == right.len()
            && left.iter().zip(&right).all(|(left, right)| left.starts_with('{') || left == right)
    };
    let method = method.as_str().to_ascii_lowercase();
    let operations = operations(document(world, router));
    let Some(operation) =
        operations.iter().find(|operation| operation.method == method && fits(&operation.path))
    else {
        return;
    };
    assert!(
        code.is_empty() || operation.codes().contains(&code),
        "{method} {} gives {status} {code}, which is not described",
        operation.path
    );
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The codes that it is described to give.
    fn codes(&self) -> BTreeSet<String> {
        let listed = self.value["x-error-codes"].as_array().unwrap();
        listed.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    /// The examples of its body, by media type.
    fn examples(&self) -> Vec<(String, Value)> {
        let mut examples = Vec::new();
        for (kind, content) in self.value["requestBody"]["content"].as_object().into_iter().flatten() {
            let several = content["examples"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, example)| example["value"].clone());
            let one = Some(content["example"].clone()).filter(|example| !example.is_null());
            examples.extend(several.chain(one).map(|example| (kind.clone(), example)));
        }
        examples
    }

    /// A request for each example: good, but for the session and what else only a server can give.
    fn requests(&self) -> Vec<Request> {
        let mut target = self.path.clone();
        for parameter in self.value["parameters"].as_array().into_iter().flatten() {
            let (name, example) = (parameter["name"].as_str().unwrap(), parameter["example"].as_str());
            target = target.replace(&format!("{{{name}}}"), example.unwrap_or_default());
        }
        target += match self.path.as_str() {
            "/v1/poll" => "?hold_s=0",
            "/v1/stream" => "?as=ndjson",
            _ => "",
        };
        let security = self.value["security"].to_string();
        let authorization = match () {
            () if security.contains("api_key") => Some(KEY.to_owned()),
            () if security.contains("token") => Some(token("alice", &["*"], &["*"])),
            () => None,
        };
        let method = self.method.to_uppercase();
        let bare = Request { method, target, authorization, fields: String::new(), body: None };
        if self.path == "/v1/ws" {
            let handshake = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
            let fields = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{handshake}\r\n");
            return vec![bare.clone(), bare.with(|request| request.fields = fields)];
        }
        let with_body = self.examples().into_iter().map(|(kind, example)| {
            bare.json(&example).with(|request| request.fields = format!("Content-Type: {kind}\r\n"))
        });
        let requests: Vec<Request> = with_body.collect();
        match (requests.is_empty(), self.method.as_str()) {
            (false, _) => requests,
            (true, "post") => vec![
                bare.json(&json!({}))
                    .with(|request| request.fields = "Content-Type: application/json\r\n".into()),
            ],
            (true, _) => vec![bare],
        }
    }

    /// Puts in what only this server can give: a session, a push, a token.
    fn made_for(&self, world: &World, request: &Request) -> Request {
        let mut request = request.clone();
        if let Some(Ok(mut body)) = request.body.as_ref().map(|body| serde_json::from_slice::<Value>(body)) {
            if body.get("session").is_some() {
                let session = world.session("alice", "news");
                if body.get("close_key").is_some() {
                    body["close_key"] = json!(world.close_key(&session));
                }
                body["session"] = json!(session);
            }
            if body.get("token").is_some() {
                body["token"] = json!(token("alice", &[], &[]));
            }
            request = request.json(&body);
        }
        match self.name().as_str() {
            "get /api/users/{user}" | "delete /api/users/{user}" => drop(world.push(&["alice"], 1)),
            "delete /api/channels/{channel}" => drop(world.publish("news", 1)),
            _ => {}
        }
        if self.path == "/api/push/{id}" {
            let id = world.push(&["alice"], 1)["id"].as_str().unwrap().to_owned();
            request.target = format!("/api/push/{id}");
        }
        request
    }
}

/// Requests that are wrong in each way that there is, whatever the operation takes.
fn wrong(request: &Request) -> Vec<Request> {
    let login = |token: &str| request.with(|request| request.authorization = Some(token.to_owned()));
    let cookie = format!(
        "Cookie: encke_token={}\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n",
        token("alice", &[], &[])
    );
    let foreign =
        request.with(|request| (request.authorization, request.fields) = (None, cookie + &request.fields));
    let mut all = vec![
        request.with(|request| request.authorization = None),
        login("nonsense"),
        login(&key_of(Scope::Metrics)),
        login(&key_of(Scope::Push)),
        login(&token_until("alice", &[], &[], 1_000_000)),
        login(&token("alice", &[], &[])),
        login(&token_issued(REVOKED, Some(1_000_000), None)),
        login(&token(BANNED, &[], &[])),
        foreign,
        request.with(|request| request.fields += &format!("X-Long: {}\r\n", "x".repeat(20_000))),
    ];
    let many = (0..200).map(|number| format!("c{number}")).collect::<Vec<_>>().join(",");
    for pair in [
        "colour=red",
        "limit=0",
        "after=a%00b",
        "cursor=nonsense",
        "before=nonsense",
        "user=a%00b",
        "channels=@x",
        "access_token=x",
    ] {
        all.push(request.query(pair));
    }
    all.push(request.query(&format!("channels={many}")));
    all.push(login(&token("alice", &[], &[])).query("channels=secret"));
    all.extend(wrong_paths(request));
    all.extend(wrong_bodies(request));
    all
}

/// The same with other names in the path.
fn wrong_paths(request: &Request) -> Vec<Request> {
    let good = ["alice", "news", "cursor.js", "style.css", "users.js"]
        .into_iter()
        .find(|good| request.target.contains(&format!("/{good}")));
    let Some(good) = good.or(request.target.strip_prefix("/api/push/")) else { return Vec::new() };
    let names = ["a%00b", "%FF", "nothing", "AZ6dZ2hUJq0b3m5k7n9pRQ"];
    names.map(|name| request.with(|request| request.target = request.target.replace(good, name))).into()
}

fn wrong_bodies(request: &Request) -> Vec<Request> {
    let Some(body) = &request.body else { return Vec::new() };
    let raw = |body: Vec<u8>| request.with(|request| request.body = Some(body));
    let mut all = vec![
        raw(b"{".to_vec()),
        raw(vec![b'['; 60_000]),
        raw(vec![b' '; 70_000]),
        raw(br#"{"colour":1}"#.to_vec()),
    ];
    all.push(request.with(|request| request.fields = "Content-Type: text/xml\r\n".into()));
    let values = [
        json!("a\u{0}b"),
        json!("nonsense"),
        json!("@x"),
        json!("ftp://x"),
        json!("https://other.example/"),
        json!((0..200).map(|number| format!("c{number}")).collect::<Vec<_>>()),
        json!(vec!["a"; 10_001]),
        json!(7),
        json!(["@x"]),
        json!(["a\u{0}b"]),
        json!(token_until("alice", &[], &[], 1_000_000)),
        json!(token_issued(REVOKED, Some(1_000_000), None)),
        json!(token(BANNED, &[], &[])),
    ];
    if let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) {
        for (name, value) in body.keys().flat_map(|name| values.iter().map(move |value| (name, value))) {
            let mut body = body.clone();
            body.insert(name.clone(), value.clone());
            all.push(request.json(&Value::Object(body)));
        }
    }
    all
}

/// Tokens decide as they do without rules, and on what needs a rule besides.
fn by_token(config: &mut Config) {
    let (channel, who) = ("*".to_owned(), Who::Token);
    let (subscribe, publish, presence, history) = (who, who, who, Some(who));
    let rule = RuleEntry { channel, subscribe, publish, presence, history, ..RuleEntry::default() };
    config.rules = vec![rule];
}

/// What each operation was seen to refuse with.
type Seen = BTreeMap<String, BTreeSet<String>>;

fn see(seen: &mut Seen, operation: &Operation, (status, code): (u16, String)) {
    let described = &operation.value["responses"][status.to_string()];
    assert!(!described.is_null(), "{} answers {status} {code}, which is not described", operation.name());
    if !code.is_empty() {
        seen.entry(operation.name()).or_default().insert(code);
    }
}

/// A session that was closed, and one that another connection has taken over while a poll waited.
fn see_ended_sessions(seen: &mut Seen, world: &World, operation: &Operation) {
    let Some(request) = operation.requests().pop() else { return };
    let session = world.session("alice", "news");
    world.call(Ask::post("/v1/close", &json!({"session": session})).user("alice")).ok();
    see(seen, operation, ask(world.address(), &request.query(&format!("session={session}")).bytes()));
    let mut body = request
        .body
        .as_deref()
        .and_then(|body| serde_json::from_slice::<Value>(body).ok())
        .unwrap_or_default();
    if body.get("session").is_some() {
        for session in [session.as_str(), "AAAAAAAAAAAAAAAAAAAAAA"] {
            body["session"] = json!(session);
            see(seen, operation, ask(world.address(), &request.json(&body).bytes()));
        }
    }
    if operation.path == "/v1/poll" {
        let session = world.session("alice", "news");
        let waiting = request.with(|request| request.target = format!("/v1/poll?session={session}"));
        let mut first = TcpStream::connect(world.address()).unwrap();
        first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        first.write_all(&waiting.bytes()).unwrap();
        world.until_held("alice", 1);
        ask(world.address(), &request.query(&format!("session={session}")).bytes());
        see(seen, operation, answer(&mut first));
    }
}

/// The answers of servers that cannot, as all are to say it.
fn see_servers_that_cannot(seen: &mut Seen, operations: &[Operation]) {
    let broken = [EngineError::Unavailable("it is down".into()), EngineError::Damaged("row 7".into())];
    let mut worlds: Vec<World> =
        broken.into_iter().map(|error| World::on_with(Arc::new(Broken(error)), by_token)).collect();
    let stopping = World::new();
    let whole = World::new();
    let requests: Vec<_> = operations
        .iter()
        .flat_map(|operation| operation.requests().into_iter().map(move |request| (operation, request)))
        .map(|(operation, request)| (operation, operation.made_for(&whole, &request)))
        .collect();
    stopping.app().stop();
    worlds.push(stopping);
    for world in &worlds {
        for (operation, request) in &requests {
            see(seen, operation, ask(world.address(), &request.bytes()));
        }
        let cookie_less = operations.iter().find(|operation| operation.path == "/v1/ack").unwrap();
        see_shown(seen, world, cookie_less);
    }
    let full = World::with(|config| config.max_connections = 1);
    let _held: Vec<TcpStream> =
        (0..CONNECTIONS_MANY).map(|_| TcpStream::connect(full.address()).unwrap()).collect();
    for (operation, request) in &requests {
        see(seen, operation, ask(full.address(), &request.bytes()));
    }
}

/// What was shown, when it cannot be written down: the session and its cursor are of a server that goes on
/// without its log.
fn see_shown(seen: &mut Seen, world: &World, operation: &Operation) {
    let whole = World::new();
    whole.push(&["alice"], 1);
    let polled = whole.poll("alice", "hold_s=0");
    let body = json!({"session": polled["session"], "cursor": polled["cursor"]});
    let router = whole.other(Arc::clone(&world.app().engine), None);
    let answer = whole.ask_router(&router, Ask::post("/v1/ack", &body).user("alice"));
    see(seen, operation, answer.code());
}

/// A body that does not come, or the head of a request that waits that does not end. Other heads are not
/// answered.
fn begin_slowly(world: &World, operation: &Operation) -> Option<TcpStream> {
    // A stream of lines is answered before they come.
    let request = operation.requests().into_iter().rfind(|request| !request.fields.contains("ndjson"))?;
    let mut bytes = request.bytes();
    match request.body {
        Some(body) => bytes.truncate(bytes.len() - body.len()),
        None if operation.value["tags"][0] == "data connection" => bytes.truncate(bytes.len() - 2),
        None => return None,
    }
    let mut socket = TcpStream::connect(world.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.write_all(&bytes).unwrap();
    Some(socket)
}

/// Asks a server that has had enough of wrong keys and tokens. Each is asked twice: a second may have passed
/// since the one before, which lets one more be refused as what it is.
fn see_limits(seen: &mut Seen, operations: &[Operation]) {
    let world = World::with(|config| {
        config.limits.address_failures_per_s = 1;
        config.limits.burst_s = 1;
    });
    for operation in operations {
        for request in operation.requests() {
            let good = operation.made_for(&world, &request);
            for request in wrong(&good) {
                for _ in 0..2 {
                    see(seen, operation, ask(world.address(), &request.bytes()));
                }
            }
        }
    }
}

/// Whether an example is refused with this code as the server of the test is.
fn is_refused_here(target: &str, code: &str) -> bool {
    match code {
        // By an id alone no user logs in, and one of the two for `/v1/ws` asks for no WebSocket.
        "login_disabled" | "upgrade_required" => true,
        // No page is asked for unless that is set.
        "forbidden" => target == "/api/check-url",
        // A build without Node has no classic script.
        "not_found" => target == "/client.global.js",
        _ => false,
    }
}

#[test]
fn every_refusal_that_is_described_is_given_and_no_other() {
    let world = World::with(by_token);
    for (path, body) in
        [("/api/revoke", json!({"user": REVOKED})), ("/api/close", json!({"user": BANNED, "ban_s": 3600}))]
    {
        world.call(Ask::post(path, &body).key()).ok();
    }
    let operations = operations(document(&world, &world.router));
    let mut seen = Seen::new();
    // Their time runs while all else is asked.
    let slow: Vec<_> = operations
        .iter()
        .filter_map(|operation| Some((operation, begin_slowly(&world, operation)?)))
        .collect();
    for operation in &operations {
        for request in operation.requests() {
            let good = operation.made_for(&world, &request);
            let answer = ask(world.address(), &good.bytes());
            let refused_here = is_refused_here(&good.target, &answer.1);
            assert!(
                answer.0 < 300 || refused_here,
                "{}: the example {} is answered {answer:?}",
                operation.name(),
                good.target
            );
            see(&mut seen, operation, answer);
            for request in wrong(&good) {
                see(&mut seen, operation, ask(world.address(), &request.bytes()));
            }
        }
        see_ended_sessions(&mut seen, &world, operation);
    }
    let ticket = operations.iter().find(|operation| operation.path == "/v1/ticket").unwrap();
    for request in std::iter::repeat_n(&ticket.requests()[0], 65) {
        see(&mut seen, ticket, ask(world.address(), &request.bytes()));
    }
    see_servers_that_cannot(&mut seen, &operations);
    see_limits(&mut seen, &operations);
    let dev = World::dev();
    let login = operations.iter().find(|operation| operation.path == "/v1/login").unwrap();
    for request in login.requests().iter().flat_map(wrong) {
        see(&mut seen, login, ask(dev.address(), &request.bytes()));
    }
    for (operation, mut socket) in slow {
        see(&mut seen, operation, answer(&mut socket));
    }
    // Only a build without Node gives this.
    seen.entry("get /client.global.js".to_owned()).or_default().insert("not_found".to_owned());
    let mut wrong = Vec::new();
    for operation in &operations {
        let name = operation.name();
        let rare = RARE
            .iter()
            .filter(|(operations, ..)| operations.contains(&name.as_str()))
            .flat_map(|(_, codes, _)| *codes);
        let rare: BTreeSet<String> = rare.map(|code| (*code).to_owned()).collect();
        let (described, given) = (operation.codes(), seen.remove(&name).unwrap_or_default());
        wrong.extend(
            given.difference(&described).map(|code| format!("{name} gives {code}, which is not described")),
        );
        let missing: BTreeSet<String> = described.difference(&given).cloned().collect();
        wrong.extend(
            missing.difference(&rare).map(|code| format!("{name} is described to give {code}, and does not")),
        );
        wrong.extend(
            rare.difference(&missing).map(|code| format!("{name} does give {code}, or is not described to")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn behind_a_prefix_the_description_names_it() {
    let world = World::new();
    let url = |ask: Ask| world.call(ask).ok()["servers"][0]["url"].clone();
    assert_eq!(url(Ask::get("/api/openapi.json")), "/");
    assert_eq!(url(Ask::get("/api/openapi.json").header("x-forwarded-prefix", "/push")), "/push");
}
