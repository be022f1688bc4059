//! What a dialect can count on, by one that is in tests alone: identity in the first message, subscriptions
//! from positions, replies in batches, words of its own for refusals and ends, and polls by POST.

use encke::{
    clock::{Clock, SystemClock, TestClock},
    dialects::Registry,
    wire::{Backing, wire_speaking},
};
use encke_engine::{EngineEvents, memory::MemoryEngine};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, Epoch, Time};
use serde_json::json;

use super::{
    sample::Sample,
    ws::{KEY, PONG, frame},
    *,
};

const TEXT: u8 = 1;
/// How long a connection has until it must have named its user, in milliseconds.
const IDENTIFY_WITHIN_MS: u64 = 10_000;

/// A server that speaks the sample dialect, too.
fn world_with(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> World {
    let speaks = |config: &mut Config| {
        config.dialects.set("sample", true);
        change(config);
    };
    World::of(speaks, async |config| {
        let retention = config.retention_table();
        let open = async move |events: EngineEvents| {
            let engine = MemoryEngine::new(events.feed, retention, Epoch(1));
            Ok(Backing { engine: Arc::new(engine), cluster: None })
        };
        wire_speaking(Arc::new(config), Registry::built_in().with(&Sample), clock, open).await
    })
}

fn world() -> World {
    world_with(Arc::new(SystemClock::new()), |_| {})
}

impl World {
    fn sample_head(&self) -> String {
        let protocols = "Sec-WebSocket-Protocol: other, sample.v1\r\nSec-WebSocket-Protocol: sample.v2";
        format!("GET /sample/socket HTTP/1.1\r\nHost: {}\r\n{KEY}\r\n{protocols}\r\n\r\n", self.address)
    }

    /// A connection that is open, and of no user.
    fn open_sample(&self) -> Wire {
        let mut wire = self.connect();
        wire.send(&self.sample_head());
        wire.opened();
        wire
    }

    /// A frame that names the user.
    fn login(&self, id: u64, user: &str, channels: &[&str]) -> Vec<u8> {
        asks(&json!([{ "do": "login", "id": id, "token": self.token(user), "channels": channels }]))
    }

    /// A connection of a user.
    fn sample_of(&self, user: &str, channels: &[&str]) -> Wire {
        let mut wire = self.open_sample();
        wire.socket.write_all(&self.login(1, user, channels)).unwrap();
        assert_eq!(wire.told()[0]["id"], 1);
        wire
    }

    fn post(&self, channel: &str, body: &Value, fields: &str) -> Wire {
        let mut wire = self.connect();
        wire.send(&self.post_text(channel, body, fields));
        wire
    }

    fn post_text(&self, channel: &str, body: &Value, fields: &str) -> String {
        let body = body.to_string();
        let head = format!(
            "POST /sample/poll/{channel} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        format!("{head}{fields}\r\n{body}")
    }

    fn home(&self, user: &str) -> usize {
        self.app().shards.home_index(&UserId::new(user).unwrap())
    }

    /// A user who lives in this shard.
    fn user_in(&self, shard: usize) -> String {
        (0..).map(|number| format!("user {number}")).find(|user| self.home(user) == shard).unwrap()
    }
}

fn asks(commands: &Value) -> Vec<u8> {
    frame(TEXT, commands.to_string().as_bytes())
}

impl Wire {
    fn opened(&mut self) {
        let head = self.until("\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 101 ") && head.contains("\r\nsec-websocket-protocol: sample.v1\r\n"),
            "{head}"
        );
        assert_eq!(self.told(), json!([{ "hello": 1 }]), "it says so before anything is known of the client");
    }

    /// The next frame of text.
    fn told(&mut self) -> Value {
        loop {
            match self.frame() {
                (0x89, payload) => self.say(PONG, &payload),
                (0x81, payload) => return serde_json::from_slice(&payload).unwrap(),
                (first, payload) => panic!("{first:x} {}", String::from_utf8_lossy(&payload)),
            }
        }
    }
}

#[test]
fn a_client_says_who_it_is_in_its_first_message() {
    let mut world = world();
    let mut wire = world.open_sample();
    let counts = world.runtime.block_on(world.app().shards.counts()).unwrap();
    assert_eq!(
        (counts.sockets, counts.sessions, counts.users, counts.held),
        (1, 0, 0, 0),
        "it is of no user yet"
    );
    wire.socket.write_all(&world.login(7, "alice", &["news"])).unwrap();
    let reply = wire.told();
    assert!(
        reply[0]["id"] == 7 && reply[0]["session"].is_string() && reply[0]["cursor"].is_string(),
        "{reply}"
    );
    world.publish("news", "{\"a\":1}");
    assert_eq!(wire.told(), json!([{ "on": "news", "at": 1, "data": { "a": 1 } }]));
    world.push("alice", "2");
    assert_eq!(wire.told()[0]["data"], 2);
    assert_eq!(world.sessions("alice"), 1);
    drop(wire);
    world.until_held("alice", 0);
}

#[test]
fn the_sessions_home_is_where_its_user_lives_whichever_shard_opened_the_connection() {
    let mut world = world();
    // Each connection is of a user of one shard, then of one of the other: at least one of both is elsewhere.
    for first in [0, 1] {
        let users = [first, 1 - first].map(|shard| world.user_in(shard));
        let mut wire = world.open_sample();
        for (id, user) in (1..).zip(&users) {
            // What comes behind the login in the same segment is of that user, in that order, and nothing of
            // it is lost.
            let behind: Vec<u8> = (0..50)
                .flat_map(|n| {
                    asks(&json!([{
                        "do": "publish", "id": 100 * id + n, "channel": format!("{user} {id}"), "data": n
                    }]))
                })
                .collect();
            let subscribe =
                asks(&json!([{ "do": "subscribe", "id": 99, "channels": [format!("{user} {id}")] }]));
            wire.socket.write_all(&[world.login(id, user, &[]), subscribe, behind].concat()).unwrap();
            assert_eq!(wire.told()[0]["id"], id);
            assert_eq!(wire.told(), json!([{ "id": 99, "follows": 1 }]));
            let (mut replies, mut messages) = (Vec::new(), Vec::new());
            while replies.len() + messages.len() < 100 {
                let told = wire.told();
                let list = if told[0]["on"].is_string() { &mut messages } else { &mut replies };
                list.push(told[0]["at"].as_u64().unwrap());
            }
            assert_eq!((replies, messages), ((1..=50).collect(), (1..=50).collect()));
            world.push(user, "\"own\"");
            assert_eq!(wire.told()[0]["data"], "own");
            world.until_held(user, 1);
        }
        world.until_held(&users[0], 0);
    }
}

#[test]
fn a_login_may_come_in_any_pieces() {
    let world = world();
    for cut in [1, 3, 7, 60] {
        let mut wire = world.open_sample();
        let login = world.login(5, "alice", &[]);
        wire.socket.write_all(&login[..cut]).unwrap();
        // A ping in between would be within the frame; the server is asked something else instead.
        assert_eq!(world.poll("bob", "hold_s=0").0, 200);
        wire.socket.write_all(&login[cut..]).unwrap();
        assert_eq!(wire.told()[0]["id"], 5);
    }
    // With the handshake itself.
    let mut wire = world.connect();
    wire.socket
        .write_all(&[world.sample_head().into_bytes(), world.login(6, "alice", &[])].concat())
        .unwrap();
    wire.opened();
    assert_eq!(wire.told()[0]["id"], 6);
}

#[test]
fn a_connection_that_names_no_user_is_closed_in_time() {
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let world = world_with(Arc::clone(&clock) as Arc<dyn Clock>, |_| {});
    let mut late = [world.open_sample(), world.open_sample(), world.open_sample(), world.open_sample()];
    let mut known = world.sample_of("alice", &[]);
    // One says nothing, one says that it is there, and one begins a message: that buys no time.
    late[2].socket.write_all(&world.login(1, "alice", &[])[..9]).unwrap();
    clock.advance_ms(IDENTIFY_WITHIN_MS - 1);
    for wire in &mut late[..2] {
        wire.say(9, b"there?");
        assert_eq!(wire.frame(), (0x8a, b"there?".to_vec()), "it is open until then");
    }
    late[3].socket.write_all(&world.login(2, "bob", &[])).unwrap();
    assert_eq!(late[3].told()[0]["id"], 2);
    clock.advance_ms(1);
    for wire in &mut late[..3] {
        assert_eq!(wire.told(), json!([{ "id": null, "no": "request_timeout" }]));
        assert_eq!(wire.closed(), (4902, "no".into()));
    }
    for wire in [&mut known, &mut late[3]] {
        wire.say(9, b"");
        while wire.frame().0 != 0x8a {}
    }
}

#[test]
fn subscriptions_go_on_from_positions_and_replies_share_a_frame() {
    let mut world = world();
    let mut wire = world.sample_of("alice", &["a"]);
    for n in 1..=3 {
        world.publish("a", &n.to_string());
        world.publish("b", &n.to_string());
    }
    assert_eq!(
        [wire.told(), wire.told(), wire.told()].map(|told| told[0]["at"].clone()),
        [1, 2, 3].map(Value::from)
    );
    let cursor = |channel: &str, offset: u64| format!("1~1~{channel}~{offset}");
    let batch = json!([
        { "do": "subscribe", "id": 2, "channels": ["c"], "from": cursor("b", 1) },
        { "do": "subscribe", "id": 3, "channels": ["d"] },
        { "do": "publish", "id": 4, "channel": "c", "data": { "x": 1 } },
        { "do": "subscribe", "id": 5, "channels": [], "from": "nonsense" },
        { "do": "subscribe", "id": 6, "channels": [], "from": cursor("@bob", 1) },
    ]);
    wire.socket.write_all(&asks(&batch)).unwrap();
    let replies = wire.told();
    let expected = json!([
        { "id": 2, "follows": 3 },
        { "id": 3, "follows": 4 },
        { "id": 4, "at": 1 },
        { "id": 5, "no": "bad_request" },
        { "id": 6, "no": "channel_forbidden" },
    ]);
    assert_eq!(replies, expected, "all of them in one frame, before what they let in");
    let mut told: Vec<(String, u64)> = (0..3)
        .map(|_| wire.told()[0].clone())
        .map(|m| (m["on"].as_str().unwrap().into(), m["at"].as_u64().unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("b".into(), 2), ("b".into(), 3), ("c".into(), 1)]);
}

#[test]
fn refusals_and_ends_are_said_as_the_dialect_says_them() {
    let world = world();
    let mut stranger = world.open_sample();
    stranger.socket.write_all(&asks(&json!([{ "do": "login", "id": 1, "token": "nonsense" }]))).unwrap();
    assert_eq!(stranger.told(), json!([{ "id": null, "no": "unauthorized" }]));
    assert_eq!(stranger.closed(), (4903, "no".into()));
    stranger.say(8, &4903_u16.to_be_bytes());
    assert!(stranger.hung_up());
    let mut hasty = world.open_sample();
    hasty.socket.write_all(&asks(&json!([{ "do": "subscribe", "id": 1, "channels": ["a"] }]))).unwrap();
    assert_eq!(hasty.told()[0]["no"], "unauthorized");
    assert_eq!(hasty.closed().0, 4903);
    let mut strange = world.open_sample();
    strange.say(TEXT, b"{}");
    assert_eq!(strange.closed(), (4904, "no array of commands".into()));
    let mut wire = world.sample_of("alice", &[]);
    let close =
        Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: None };
    let target = CloseTarget::User(UserId::new("alice").unwrap());
    assert_eq!(world.runtime.block_on(world.app().sessions.close(&target, &close)), Ok(1));
    assert_eq!(wire.told(), json!([{ "bye": "enough" }]));
    assert_eq!(wire.closed(), (4901, "bye".into()));
    // What is no handshake is refused before it is a WebSocket.
    let mut plain = world.connect();
    plain.send(&format!("GET /sample/socket HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
    assert_eq!(plain.response().0, 426);
}

#[test]
fn a_server_that_stops_sends_away_those_who_have_not_logged_in() {
    let world = world();
    let mut wire = world.open_sample();
    world.app().stop();
    world.app().shards.drain(false);
    assert_eq!(wire.told(), json!([{ "id": null, "no": "shutting_down" }]));
    assert_eq!(wire.closed().0, 4903);
}

#[test]
fn a_silence_is_broken_in_the_dialects_own_way() {
    let world = world_with(Arc::new(SystemClock::new()), |config| config.heartbeat_s = 1);
    let mut wire = world.sample_of("alice", &[]);
    for _ in 0..2 {
        assert_eq!(wire.told(), json!([{ "beat": 1 }]));
        wire.say(PONG, b"");
    }
}

#[test]
fn a_slow_reader_lags_and_misses_nothing() {
    // How much the kernel takes differs, and how long all of it takes on a busy machine.
    let mut world = world_with(Arc::new(SystemClock::new()), |config| {
        config.slow.max_bytes = 1 << 30;
        config.slow.deadline_s = 300;
    });
    let mut wire = world.sample_of("alice", &["news"]);
    let big = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..100 {
        world.publish("news", &big);
    }
    let slow = || world.runtime.block_on(world.app().shards.counts()).unwrap().slow == 1;
    world.until(slow);
    for offset in 1..=100 {
        assert_eq!(wire.told()[0]["at"], offset);
    }
    // The answer to what was asked meanwhile comes behind what was said before.
    wire.socket
        .write_all(&asks(&json!([{ "do": "publish", "id": 9, "channel": "other", "data": 1 }])))
        .unwrap();
    assert_eq!(wire.told(), json!([{ "id": 9, "at": 1 }]));
}

#[test]
fn a_post_waits_and_is_answered_with_all_that_there_is() {
    let mut world = world();
    let body = |user: &str, cursor: &str| json!({ "token": world.token(user), "cursor": cursor });
    let (first, bodies) = (body("alice", ""), [body("alice", "1~1~news~1"), body("alice", "1~1~news~3")]);
    let mut wire = world.post("news", &first, "");
    world.until_held("alice", 1);
    world.publish("news", "1");
    let head = wire.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nx-sample: alice\r\n"), "{head}");
    assert_eq!(
        wire.until("]"),
        "[{\"at\":1,\"data\":1,\"on\":\"news\"},{\"cursor\":\"1~1~@alice~0~news~1\"}]"
    );
    world.publish("news", "2");
    world.publish("news", "3");
    // Two on the same connection, the second sent ahead of the answer to the first.
    wire.send(&[world.post_text("news", &bodies[0], ""), world.post_text("news", &bodies[1], "")].concat());
    let (_, answer) = wire.response();
    assert_eq!((answer[0]["at"].as_u64(), answer[1]["at"].as_u64()), (Some(2), Some(3)));
    world.until_held("alice", 1);
    world.publish("news", "4");
    assert_eq!(wire.response().1[0]["at"], 4);
    // And a request of another kind after them.
    wire.send(&world.head("alice", "/v1/poll?hold_s=0"));
    assert_eq!(wire.response().0, 200);
}

#[test]
fn a_post_publishes_before_it_waits_and_is_refused_in_the_dialects_form() {
    let world = world();
    let says = json!({ "token": world.token("alice"), "say": { "x": 1 } });
    let mut other = world.post("news", &json!({ "token": world.token("bob") }), "");
    world.until_held("bob", 1);
    let mut wire = world.post("news", &says, "");
    assert_eq!(other.response().1[0]["data"], json!({ "x": 1 }));
    world.until_held("alice", 1);
    let close =
        Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: None };
    world.runtime.block_on(world.app().sessions.close(&CloseTarget::Everybody, &close)).unwrap();
    assert_eq!(wire.response().1, json!([{ "bye": "enough" }]));
    for (channel, body, code) in [
        ("news", json!({ "token": "nonsense" }), "unauthorized"),
        ("news", json!({ "tokens": 1 }), "bad_request"),
        ("@bob", json!({ "token": world.token("alice") }), "bad_name"),
    ] {
        let mut wire = world.post(channel, &body, "");
        let head = wire.until("\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nx-sample: no\r\nx-sample-status: 4"),
            "{head}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&wire.until("]")).unwrap(),
            json!([{ "id": null, "no": code }])
        );
        // The connection is good for more.
        wire.send(&world.post_text("news", &json!({ "token": "nonsense" }), "Connection: close\r\n"));
        assert!(wire.response().0 == 200 && wire.hung_up());
    }
}

#[test]
fn a_post_whose_body_the_library_reads_waits_in_the_table_all_the_same() {
    let mut world = world();
    let text = world.post_text("news", &json!({ "token": world.token("alice") }), "");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = &head[..head.find("Content-Length").unwrap()];
    let long = format!("{head}Content-Length: {}\r\n\r\n{}{body}", body.len() + 20_000, " ".repeat(20_000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let expecting = format!("{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n{body}", body.len());
    for (number, request) in (1..).zip([long, chunked, expecting]) {
        let mut wire = world.connect();
        // With the next request behind it.
        wire.send(&(request + &world.head("alice", "/v1/poll?hold_s=0")));
        world.until_held("alice", 1);
        world.publish("news", "1");
        let mut head = wire.until("\r\n\r\n");
        if head.starts_with("HTTP/1.1 100 ") {
            head = wire.until("\r\n\r\n");
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("x-sample: alice"), "{head}");
        assert!(wire.until("]").starts_with(&format!("[{{\"at\":{number},")));
        assert_eq!(wire.response().0, 200);
    }
    let mut wire = world.post("news", &json!({ "token": "x".repeat(70_000) }), "");
    assert_eq!(wire.response().0, 413);
}

#[test]
fn a_dialect_that_is_not_switched_on_is_not_there() {
    let world = world_with(Arc::new(SystemClock::new()), |config| config.dialects.set("sample", false));
    let mut wire = world.connect();
    wire.send(&world.sample_head());
    assert_eq!(wire.response().0, 404);
    let mut wire = world.post("news", &json!({ "token": world.token("alice") }), "");
    assert_eq!(wire.response().0, 404);
}

mod under_tls {
    //! The same where hyper has the connection to the end.

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::Request;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{
            ClientConfig, RootCertStore,
            pki_types::{CertificateDer, ServerName},
        },
    };

    use super::*;
    use crate::tls::certify;

    fn world(dir: &std::path::Path) -> World {
        world_with(Arc::new(SystemClock::new()), |config| {
            config.tls_listen = Some("127.0.0.1:0".parse().unwrap());
            config.tls_cert = Some(dir.join("cert.pem"));
            config.tls_key = Some(dir.join("key.pem"));
        })
    }

    async fn connect(
        address: SocketAddr,
        trusted: CertificateDer<'static>,
        protocol: &str,
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), socket)
            .await
            .unwrap()
    }

    async fn until(socket: &mut TlsStream<TcpStream>, seen: &mut Vec<u8>, mark: &str) {
        while !String::from_utf8_lossy(seen).contains(mark) {
            assert!(socket.read_buf(seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(seen));
        }
    }

    #[test]
    fn a_client_says_who_it_is_in_its_first_message_and_goes_to_the_users_shard() {
        let dir = tempfile::tempdir().unwrap();
        let trusted = certify(dir.path());
        let mut world = world(dir.path());
        let address = world.server.as_ref().unwrap().tls_address.unwrap();
        // Connections are opened in the first shard.
        for shard in [0, 1] {
            let user = world.user_in(shard);
            let subscribe = asks(&json!([{ "do": "subscribe", "id": 3, "channels": ["news"] }]));
            let first = [world.sample_head().into_bytes(), world.login(2, &user, &[]), subscribe].concat();
            let mut seen = Vec::new();
            let mut socket = world.runtime.block_on(async {
                let mut socket = connect(address, trusted.clone(), "http/1.1").await;
                socket.write_all(&first).await.unwrap();
                until(&mut socket, &mut seen, "\"follows\":1").await;
                socket
            });
            let text = String::from_utf8_lossy(&seen).into_owned();
            assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("sample.v1"), "{text}");
            let places = ["[{\"hello\":1}]", "\"id\":2,", "\"id\":3"].map(|mark| text.find(mark).unwrap());
            assert!(places.is_sorted(), "{text}");
            // More than hyper takes ahead.
            let big = format!("\"{}\"", "x".repeat(60_000));
            for _ in 0..40 {
                world.publish("news", &big);
            }
            world.publish("news", "\"last\"");
            world.runtime.block_on(until(&mut socket, &mut seen, "\"last\""));
            world.until_held(&user, 1);
            drop(socket);
            world.until_held(&user, 0);
        }
    }

    #[test]
    fn a_post_waits_over_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let trusted = certify(dir.path());
        let mut world = world(dir.path());
        let address = world.server.as_ref().unwrap().tls_address.unwrap();
        for (number, two) in [(1, false), (2, true)] {
            let body = json!({ "token": world.token("alice"), "say": null }).to_string();
            let request = Request::post("https://localhost/sample/poll/news")
                .header("host", "localhost")
                .body(Full::<Bytes>::from(body))
                .unwrap();
            let trusted = trusted.clone();
            let waiting = world.runtime.spawn(async move {
                let socket =
                    TokioIo::new(connect(address, trusted, if two { "h2" } else { "http/1.1" }).await);
                let response = if two {
                    let (mut sender, connection) =
                        hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap()
                } else {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(socket).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap()
                };
                assert_eq!(response.headers()["x-sample"], "alice");
                response.into_body().collect().await.unwrap().to_bytes()
            });
            world.until_held("alice", 1);
            world.publish("news", "1");
            let answer: Value = serde_json::from_slice(&world.runtime.block_on(waiting).unwrap()).unwrap();
            assert_eq!(answer[0]["at"], number);
        }
    }
}
