//! A server for each test, and requests that are put together in one line.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use encke::{
    app::App,
    auth::{Claims, Grant, TokenKey},
    clock::{Clock, SystemClock, TestClock},
    config::{ApiKeyEntry, Config, EngineUrl, Scope, Secret},
    dialects::Registry,
    router::router,
    wire::{Backing, Server, wire, wire_on},
};
use encke_engine::Engine;
use encke_proto::{AllowList, UserId};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::documented::assert_described;

pub const KEY: &str = "the-key-of-the-server-api-in-tests";
pub const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";
pub const HOST: &str = "encke.localhost";

/// A server in this process, with real shards and connections, and its router in reach.
pub struct World {
    pub runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    pub router: Router,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer that is not a refusal.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }
}

/// A request in the making.
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Ask {
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: vec![("host".to_owned(), HOST.to_owned())],
            body: Body::empty(),
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: &str, json: &Value) -> Self {
        Self::new(Method::POST, path).header("content-type", "application/json").body(json.to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name == "host" {
            self.headers.retain(|(name, _)| name != "host");
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub fn key(self) -> Self {
        self.header("authorization", &format!("Bearer {KEY}"))
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn user(self, user: &str) -> Self {
        self.header("authorization", &format!("Bearer {}", token(user, &["*"], &["*"])))
    }

    pub fn cookie(self, user: &str) -> Self {
        self.header("cookie", &format!("theme=dark; encke_token={}", token(user, &["*"], &["*"])))
    }

    fn build(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(self.body).unwrap()
    }
}

pub fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A token that is good for an hour.
pub fn token(user: &str, channels: &[&str], publish: &[&str]) -> String {
    token_until(user, channels, publish, now_s() + 3600)
}

pub fn token_until(user: &str, channels: &[&str], publish: &[&str], expires_s: u64) -> String {
    let grant = |patterns: &[&str]| Grant::of(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
    let claims = Claims {
        user: UserId::new(user).unwrap(),
        expires_s,
        issued_s: Some(now_s()),
        jti: None,
        channels: grant(channels),
        publish: grant(publish),
    };
    TokenKey::hs256(&Secret::new(SECRET.to_owned())).sign(&claims).unwrap()
}

/// A token that was issued at a time, with an id if it is to have one, and is good for an hour.
pub fn token_issued(user: &str, issued_s: Option<u64>, jti: Option<&str>) -> String {
    let claims = Claims {
        user: UserId::new(user).unwrap(),
        expires_s: now_s() + 3600,
        issued_s,
        jti: jti.map(str::to_owned),
        channels: Grant::all(),
        publish: Grant::all(),
    };
    TokenKey::hs256(&Secret::new(SECRET.to_owned())).sign(&claims).unwrap()
}

/// Each scope that a key may have.
pub const SCOPES: [Scope; 6] =
    [Scope::Push, Scope::Publish, Scope::Read, Scope::Close, Scope::Metrics, Scope::Admin];

/// The key that has this scope alone.
pub fn key_of(scope: Scope) -> String {
    format!("{KEY}-{}", scope.as_str())
}

fn key_entry(scope: Scope) -> ApiKeyEntry {
    ApiKeyEntry {
        name: scope.as_str().to_owned(),
        key: Some(Secret::new(key_of(scope))),
        key_sha256: None,
        scopes: vec![scope].into(),
        expires: None,
        requests_per_s: None,
    }
}

pub fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        engine: EngineUrl::local("memory"),
        api_key: Some(Secret::new(KEY.to_owned())),
        api_keys: SCOPES.map(key_entry).into(),
        token_secret: Some(Secret::new(SECRET.to_owned())),
        allowed_origins: vec!["https://app.example".to_owned()],
        url_allow_list: AllowList::parse(["https://pages.example/shop"]).unwrap(),
        node: "node-7".to_owned(),
        workers: 2,
        ..Config::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn dev() -> Self {
        Self::with(|config| config.dev = true)
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = config();
        change(&mut config);
        let server = runtime.block_on(wire(config)).unwrap();
        let router = router(Arc::clone(&server.app), &Registry::built_in());
        Self { runtime, server: Some(server), router }
    }

    /// A server whose log is this engine.
    pub fn on(engine: Arc<dyn Engine>) -> Self {
        Self::on_with(engine, |_| {})
    }

    pub fn on_with(engine: Arc<dyn Engine>, change: impl FnOnce(&mut Config)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let open = async move |_| Ok(Backing { engine, cluster: None });
        let mut config = config();
        change(&mut config);
        let server = runtime.block_on(wire_on(Arc::new(config), Arc::new(SystemClock::new()), open)).unwrap();
        let router = router(Arc::clone(&server.app), &Registry::built_in());
        Self { runtime, server: Some(server), router }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().main.address.tcp().unwrap()
    }

    /// Waits until so many sessions of the user are served by a connection.
    pub fn until_held(&self, user: &str, count: usize) {
        let user = UserId::new(user).unwrap();
        for _ in 0..4000 {
            let sessions = self.runtime.block_on(self.app().sessions.list(Some(&user), None, 1_000)).unwrap();
            if sessions.iter().filter(|listed| listed.session.connected).count() == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("there are not {count} sessions of {user} that are held");
    }

    /// Lets a user wait on a stream of this channel, until that is served.
    pub fn hold(&self, socket: &mut TcpStream, user: &str, channel: &str) {
        let token = token(user, &["*"], &["*"]);
        write!(
            socket,
            "GET /v1/sse?channels={channel} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        self.until_held(user, 1);
    }

    /// Waits until connections were handed so many messages.
    pub fn until_delivered(&self, count: u64) {
        for _ in 0..4000 {
            if self.runtime.block_on(self.app().shards.counts()).unwrap().traffic.delivered() == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("they were not delivered within 20 seconds");
    }

    pub fn app(&self) -> &Arc<App> {
        &self.server.as_ref().unwrap().app
    }

    /// A router with the same sessions, and another engine or clock.
    pub fn other(&self, engine: Arc<dyn Engine>, clock: Option<Arc<TestClock>>) -> Router {
        let clock = clock.map_or(Arc::clone(&self.app().clock), |clock| clock as Arc<dyn Clock>);
        router(
            App::new(Arc::clone(&self.app().config), engine, self.app().shards.clone(), clock).unwrap(),
            &Registry::built_in(),
        )
    }

    pub fn call(&self, ask: Ask) -> Answer {
        self.call_router(&self.router, ask)
    }

    /// The answer of a router, which has to be one that the description of the API names.
    pub fn call_router(&self, router: &Router, ask: Ask) -> Answer {
        let (method, path) = (ask.method.clone(), ask.path.clone());
        let answer = self.ask_router(router, ask);
        assert_described(self, router, &method, &path, answer.code());
        answer
    }

    /// The answer of a router, whatever it is.
    pub fn ask_router(&self, router: &Router, ask: Ask) -> Answer {
        self.runtime.block_on(async {
            let response = router.clone().oneshot(ask.build()).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8(bytes.to_vec()).unwrap(),
            }
        })
    }

    /// Pushes a number to users.
    pub fn push(&self, to: &[&str], data: u64) -> Value {
        self.call(Ask::post("/api/push", &serde_json::json!({"to": to, "data": data})).key()).ok()
    }

    pub fn publish(&self, channel: &str, data: u64) -> Value {
        self.call(Ask::post("/api/publish", &serde_json::json!({"channel": channel, "data": data})).key())
            .ok()
    }

    /// A poll over a connection of its own.
    pub fn poll(&self, user: &str, query: &str) -> Value {
        let (status, body) = self.raw_get(
            &format!("/v1/poll?{query}"),
            &format!("Authorization: Bearer {}\r\n", token(user, &["*"], &[])),
        );
        assert_eq!(status, 200, "{body}");
        body
    }

    /// A new session, which lives on for its grace time.
    pub fn session(&self, user: &str, channels: &str) -> String {
        self.poll(user, &format!("hold_s=0&channels={channels}"))["session"].as_str().unwrap().to_owned()
    }

    /// What ends a session without a token.
    pub fn close_key(&self, session: &str) -> String {
        self.app().auth.close_keys().of_session(session.parse().unwrap()).text().as_str().to_owned()
    }

    pub fn raw_get(&self, target: &str, headers: &str) -> (u16, Value) {
        let address = self.server.as_ref().unwrap().main.address.tcp().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl World {
    /// Everything that is answered to bytes on a connection of its own, up to its end.
    pub fn raw(&self, bytes: &str) -> String {
        let mut socket =
            TcpStream::connect(self.server.as_ref().unwrap().main.address.tcp().unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A server that refuses unread may have ended the connection before all is sent; what it said before
        // that counts.
        let _ = socket.write_all(bytes.as_bytes());
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                Ok(_) => break,
                Err(error) => break assert!(!seen.is_empty(), "{error}"),
            }
        }
        String::from_utf8(seen).unwrap()
    }

    /// A connection that the server has taken: it has answered a request on it, and keeps it.
    pub fn connect(&self) -> TcpStream {
        let mut socket =
            TcpStream::connect(self.server.as_ref().unwrap().main.address.tcp().unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(b"GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
        socket
    }

    /// The status of the answer to a body that is sent whole before anything is read.
    pub fn raw_post(&self, target: &str, headers: &str, body: &[u8]) -> u16 {
        let address = self.server.as_ref().unwrap().main.address.tcp().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len())
            .unwrap();
        socket.write_all(body).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text[9..12].parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let server = self.server.take().unwrap();
        server.app.shards.stop();
        for thread in server.threads {
            thread.join().unwrap();
        }
    }
}
