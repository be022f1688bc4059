//! WebSockets.

use encke::config::WebsocketCompression;
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode};

use super::*;

pub(super) const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade";
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

impl World {
    pub(super) fn ws_head(&self, user: &str, query: &str) -> String {
        self.head(user, &format!("/v1/ws?{query}")).replace("\r\n\r\n", &format!("\r\n{KEY}\r\n\r\n"))
    }

    /// A WebSocket whose first event was read, which is returned too.
    pub(super) fn ws(&self, user: &str, query: &str) -> (Wire, Value) {
        let mut wire = self.connect();
        wire.send(&self.ws_head(user, query));
        wire.switched();
        let open = wire.on_bytes();
        assert_eq!(open["event"], "open");
        (wire, open)
    }
}

pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        length @ ..=125 => out.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [9, 8, 7, 6];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

impl Wire {
    pub(super) fn switched(&mut self) {
        let head = self.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    }

    pub(super) fn say(&mut self, opcode: u8, payload: &[u8]) {
        self.socket.write_all(&frame(opcode, payload)).unwrap();
    }

    fn ask(&mut self, request: &str) {
        self.say(TEXT, request.as_bytes());
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let mut buffer = [0; 65536];
            let read = self.socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the server hung up");
            self.seen.extend_from_slice(&buffer[..read]);
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    /// The next frame: its first byte and its payload.
    pub(super) fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let width = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = if width == 0 {
            usize::from(head[1])
        } else {
            self.take(width).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        (head[0], self.take(length))
    }

    /// The next event; pings in between are answered.
    pub(super) fn on_bytes(&mut self) -> Value {
        loop {
            let (first, payload) = self.frame();
            match first {
                0x89 => self.say(PONG, &payload),
                0x81 => return serde_json::from_slice(&payload).unwrap(),
                other => panic!("{other:x} {payload:?}"),
            }
        }
    }

    /// The close frame that comes next: its status and its reason.
    pub(super) fn closed(&mut self) -> (u16, String) {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "{}", String::from_utf8_lossy(&payload));
        if payload.is_empty() {
            return (1005, String::new());
        }
        (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
    }

    /// Whether the server hangs up without another byte.
    pub(super) fn hung_up(&mut self) -> bool {
        self.ends() && self.seen.is_empty()
    }
}

#[test]
fn a_websocket_opens_and_carries_messages() {
    let mut world = World::new();
    let (mut wire, open) = world.ws("alice", "channels=news");
    assert!(open["cursor"].is_string() && open["session"].is_string() && open["heartbeat_s"] == 20);
    world.publish("news", "{\"a\":\n1}");
    let first = wire.on_bytes();
    assert_eq!(
        (&first["event"], &first["channel"], &first["data"]["a"]),
        (&"message".into(), &"news".into(), &1.into())
    );
    world.push("alice", "2");
    assert_eq!(wire.on_bytes()["data"], 2);
}

#[test]
fn what_is_no_handshake_is_refused_and_the_connection_goes_on() {
    let world = World::new();
    let good = world.ws_head("alice", "");
    let mut wire = world.connect();
    for (what, to, status) in [
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Connection: Upgrade", "Connection: keep-alive", 426),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("Bearer ", "Bearer x", 401),
    ] {
        wire.send(&good.replace(what, to));
        let head = wire.until("\r\n\r\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {head}");
        let told =
            head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nsec-websocket-version: 13\r\n");
        assert_eq!(told, status == 426, "{head}");
        let length =
            head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        let body: Value = serde_json::from_slice(&wire.take(length)).unwrap();
        assert_eq!(body["error"]["code"] == "upgrade_required", status == 426, "{body}");
    }
    wire.send(&good);
    wire.switched();
    assert_eq!(wire.on_bytes()["event"], "open");
}

#[test]
fn what_hyper_has_read_is_refused_in_the_same_way() {
    let world = World::new();
    for (what, to, status) in [
        ("HTTP/1.1", "HTTP/1.0", 426),
        ("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 426),
        ("GET", "POST", 405),
    ] {
        let mut wire = world.connect();
        wire.send(&world.ws_head("alice", "").replacen(what, to, 1));
        let head = wire.until("\r\n\r\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {head}");
    }
    // A connection that hyper has had may still change.
    let mut wire = world.connect();
    wire.send(&format!("GET /no-such-page HTTP/1.1\r\nHost: {}\r\n\r\n", world.address));
    assert_eq!(wire.response().0, 404);
    let ping = frame(PING, b"behind");
    wire.socket.write_all(&[world.ws_head("alice", "").as_bytes(), &ping].concat()).unwrap();
    wire.switched();
    assert_eq!(wire.on_bytes()["event"], "open");
    assert_eq!(wire.frame(), (0x8a, b"behind".to_vec()));
}

#[test]
fn t1_pages_of_foreign_origins_open_none() {
    let world = World::with(|config| config.allowed_origins = vec!["https://app.example".into()]);
    let (bearer, cookie) = ("Authorization: Bearer ", "Cookie: encke_token=");
    let own = format!("Origin: {}://{}\r\n", world.scheme(), world.address);
    for (auth, origin, welcome) in [
        (cookie, own.as_str(), true),
        (cookie, "Origin: https://app.example\r\n", true),
        (cookie, "", false),
        (cookie, "Sec-Fetch-Site: same-origin\r\n", false),
        (cookie, "Origin: null\r\n", false),
        (cookie, "Origin: http://evil.example\r\n", false),
        (bearer, "", true),
        (bearer, own.as_str(), true),
        (bearer, "Origin: null\r\n", false),
        (bearer, "Origin: http://evil.example\r\n", false),
        (bearer, "Origin: https://app.example.evil.example\r\n", false),
    ] {
        let mut wire = world.connect();
        wire.send(&world.ws_head("alice", "").replace(bearer, &format!("{origin}{auth}")));
        let head = wire.until("\r\n\r\n");
        assert!(
            head.starts_with(if welcome { "HTTP/1.1 101 " } else { "HTTP/1.1 403 " }),
            "{auth}{origin}: {head}"
        );
    }
}

#[test]
fn bytes_may_come_one_at_a_time_and_frames_right_behind_the_handshake() {
    let world = World::new();
    let mut wire = world.connect();
    wire.socket.set_nodelay(true).unwrap();
    let ask = frame(TEXT, b"{\"do\":\"ping\",\"id\":7}");
    for byte in [world.ws_head("alice", "").as_bytes(), &ask].concat() {
        wire.socket.write_all(&[byte]).unwrap();
    }
    wire.switched();
    assert_eq!(wire.on_bytes()["event"], "open");
    assert_eq!(wire.on_bytes(), serde_json::json!({"event": "reply", "id": 7, "result": {"ok": true}}));

    let mut wire = world.connect();
    wire.socket
        .write_all(&[world.ws_head("alice", "").as_bytes(), &ask, &frame(PING, b"x")].concat())
        .unwrap();
    wire.switched();
    assert_eq!(wire.on_bytes()["event"], "open");
    assert_eq!(wire.on_bytes()["id"], 7);
    assert_eq!(wire.frame(), (0x8a, b"x".to_vec()), "one thing after the other");
}

#[test]
fn control_requests_come_over_it() {
    let mut world = World::new();
    let (mut wire, open) = world.ws("alice", "");
    wire.ask("{\"do\":\"subscribe\",\"channels\":[\"a\",\"b\"],\"id\":1}");
    let reply = wire.on_bytes();
    assert_eq!(
        (&reply["event"], &reply["id"], &reply["result"]["channels"]),
        (&"reply".into(), &1.into(), &serde_json::json!(["a", "b"]))
    );
    assert!(reply["result"]["cursor"].as_str().unwrap().contains("~b~"), "{reply}");
    world.publish("b", "1");
    assert_eq!(wire.on_bytes()["channel"], "b");
    wire.ask("{\"do\":\"unsubscribe\",\"channels\":[\"b\"],\"id\":2}");
    assert_eq!(wire.on_bytes()["result"]["channels"], serde_json::json!(["a"]));
    wire.ask("{\"do\":\"publish\",\"channel\":\"a\",\"data\":null,\"key\":\"k\",\"id\":3}");
    let (one, other) = (wire.on_bytes(), wire.on_bytes());
    let (message, reply) = if one["event"] == "message" { (one, other) } else { (other, one) };
    assert_eq!((&message["from"], &message["data"]), (&"alice".into(), &Value::Null));
    assert_eq!((&reply["id"], &reply["result"]["offset"]), (&3.into(), &1.into()));
    wire.ask("{\"do\":\"publish\",\"channel\":\"a\",\"data\":1,\"key\":\"k\",\"id\":5}");
    let reused = wire.on_bytes();
    assert_eq!((&reused["id"], &reused["error"]["code"]), (&5.into(), &"key_reused".into()));
    wire.ask(&format!("{{\"do\":\"ack\",\"cursor\":{},\"id\":4}}", open["cursor"]));
    assert_eq!(wire.on_bytes()["result"], serde_json::json!({"ok": true}));
    for (request, code) in [
        ("{\"do\":\"dance\"}", "bad_request"),
        ("{\"do\":\"subscribe\"}", "bad_request"),
        ("{\"do\":\"subscribe\",\"channels\":[\"@bob\"]}", "bad_name"),
        ("{\"do\":\"ping\",\"more\":1}", "bad_request"),
        ("{\"do\":\"ack\",\"cursor\":\"x\"}", "bad_cursor"),
        ("[]", "bad_request"),
        ("[\"ping\",5]", "bad_request"),
        ("[\"subscribe\",5,[\"a\"]]", "bad_request"),
        ("[\"close\",5,null]", "bad_request"),
        ("", "bad_request"),
    ] {
        wire.ask(request);
        let reply = wire.on_bytes();
        assert_eq!(
            (&reply["event"], &reply["error"]["code"]),
            (&"reply".into(), &code.into()),
            "{request}: {reply}"
        );
    }
}

#[test]
fn requests_are_answered_in_their_order_however_many_come_at_once() {
    let world = World::new();
    let (mut wire, _) = world.ws("alice", "");
    let all: Vec<u8> =
        (0..2000).flat_map(|n| frame(TEXT, format!("{{\"do\":\"ping\",\"id\":{n}}}").as_bytes())).collect();
    let mut writer = wire.socket.try_clone().unwrap();
    let writes = std::thread::spawn(move || writer.write_all(&all).unwrap());
    for n in 0..2000 {
        assert_eq!(wire.on_bytes()["id"], n);
    }
    writes.join().unwrap();
}

#[test]
fn a_close_that_the_client_asks_for_ends_with_a_word_and_a_status() {
    let world = World::new();
    let (mut wire, open) = world.ws("alice", "");
    wire.ask("{\"do\":\"close\",\"reason\":\"enough\",\"id\":1}");
    assert_eq!(
        wire.on_bytes(),
        serde_json::json!({"event": "close", "code": "client", "reason": "enough", "reconnect": false})
    );
    assert_eq!(wire.closed(), (1000, "enough".into()));
    wire.say(CLOSE, &1000_u16.to_be_bytes());
    assert!(wire.hung_up());
    assert_eq!(world.sessions("alice"), 0);

    let mut again = world.connect();
    again.send(&world.ws_head("alice", &format!("session={}", open["session"].as_str().unwrap())));
    again.switched();
    let told = again.on_bytes();
    assert_eq!(
        (&told["event"], &told["code"], &told["reconnect"]),
        (&"close".into(), &"session_closed".into(), &false.into())
    );
    assert_eq!(again.closed().0, 4410);
}

#[test]
fn a_peer_that_does_not_close_is_not_waited_for_long() {
    let world = World::new();
    let (mut wire, _) = world.ws("alice", "");
    let close = encke_proto::Close {
        code: encke_proto::CloseCode::Operator,
        reason: String::new(),
        reconnect: false,
        retry_ms: None,
    };
    let target = encke_hub::CloseTarget::User(UserId::new("alice").unwrap());
    assert_eq!(world.runtime.block_on(world.app().sessions.close(&target, &close)).unwrap(), 1);
    assert_eq!(wire.on_bytes()["code"], "operator");
    assert_eq!(wire.closed(), (4410, String::new()));
    assert!(wire.hung_up(), "within the two seconds that it has");
}

#[test]
fn the_clients_close_is_answered_and_its_session_stays_for_the_grace_time() {
    let world = World::new();
    let (mut wire, open) = world.ws("alice", "");
    wire.say(CLOSE, &[0x0f, 0xa0, b'b', b'y', b'e']);
    assert_eq!(wire.closed(), (4000, String::new()));
    assert!(wire.hung_up());
    assert_eq!(world.sessions("alice"), 1);
    let (mut wire, again) = world.ws("alice", &format!("session={}", open["session"].as_str().unwrap()));
    assert_eq!(again["session"], open["session"]);
    wire.say(CLOSE, &[]);
    assert_eq!(wire.closed(), (1005, String::new()), "an empty close is answered by one");
    assert!(wire.hung_up());
}

#[test]
fn what_breaks_the_protocol_is_closed_with_its_status() {
    let world = World::new();
    let long = format!("{{\"do\":\"ping\",\"x\":\"{}\"}}", "x".repeat(64 * 1024));
    for (bytes, status) in [
        (vec![0x81, 0x00], 1002),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        (frame(3, b""), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(BINARY, b"{}"), 1003),
        (frame(TEXT, long.as_bytes()), 1009),
    ] {
        let (mut wire, _) = world.ws("alice", "");
        wire.socket.write_all(&bytes).unwrap();
        assert_eq!(wire.closed().0, status);
        assert!(wire.hung_up());
    }
    let fits = format!("{{\"do\":\"ping\"{}}}", " ".repeat(64 * 1024 - 13));
    let (mut wire, _) = world.ws("alice", "");
    wire.ask(&fits);
    assert_eq!(wire.on_bytes()["result"]["ok"], true);
}

#[test]
fn one_session_goes_from_transport_to_transport_with_one_cursor() {
    let mut world = World::new();
    let (mut ws, open) = world.ws("alice", "channels=news");
    let session = open["session"].as_str().unwrap();
    world.publish("news", "1");
    assert_eq!(ws.on_bytes()["data"], 1);
    let mut sse = world.connect();
    sse.send(&world.head("alice", &format!("/v1/sse?session={session}")));
    sse.until("\r\n\r\n");
    assert_eq!(sse.event().0, "opened");
    let told = ws.on_bytes();
    assert_eq!(
        (&told["event"], &told["code"], &told["reconnect"]),
        (&"close".into(), &"taken_over".into(), &false.into())
    );
    assert_eq!(ws.closed().0, 4409);
    world.publish("news", "2");
    assert_eq!(sse.event().1["data"], 2);
    let (_, polled) = {
        world.publish("news", "3");
        assert_eq!(sse.event().1["data"], 3);
        world.poll("alice", &format!("session={session}&hold_s=0"))
    };
    assert_eq!(data(&polled), [] as [i64; 0]);
    world.publish("news", "4");
    let (mut ws, open) = world.ws("alice", &format!("session={session}"));
    assert_eq!(open["session"].as_str(), Some(session));
    assert_eq!(ws.on_bytes()["data"], 4);
    let (mut ws, open) = world.ws("alice", &format!("cursor={}", polled["cursor"].as_str().unwrap()));
    assert_ne!(open["session"].as_str(), Some(session), "a cursor alone is enough");
    assert_eq!(ws.on_bytes()["data"], 4);
}

#[test]
fn a_receiver_that_takes_nothing_lags_and_misses_nothing() {
    // How much the kernel takes differs, and how long all of it takes on a busy machine.
    let mut world = World::with(|config| {
        config.slow.max_bytes = 1 << 30;
        config.slow.deadline_s = 300;
    });
    let (mut wire, _) = world.ws("alice", "");
    let big = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..200 {
        world.push("alice", &big);
    }
    // Asked while nothing is taken: it is read when everything before has gone out.
    wire.ask("{\"do\":\"ping\",\"id\":1}");
    let mut offsets = Vec::new();
    let mut answered = false;
    while offsets.len() < 200 || !answered {
        let event = wire.on_bytes();
        match event["offset"].as_i64() {
            Some(offset) => offsets.push(offset),
            None => answered = event["id"] == 1,
        }
    }
    assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_silent_client_is_gone_and_one_that_sends_stays() {
    let world = World::with(|config| config.heartbeat_s = 1);
    let (mut silent, _) = world.ws("alice", "");
    let (mut alive, _) = world.ws("bob", "");
    for _ in 0..4 {
        assert_eq!(alive.frame(), (0x89, Vec::new()));
        alive.say(PONG, b"");
    }
    assert!(silent.ends());
    assert_eq!(silent.seen, [0x89, 0, 0x89, 0], "it was asked twice");
    world.until_held("alice", 0);
    alive.ask("{\"do\":\"ping\"}");
    assert_eq!(alive.on_bytes()["result"]["ok"], true);
}

#[test]
fn a_client_that_ends_its_side_is_gone() {
    let world = World::new();
    let (mut wire, _) = world.ws("alice", "");
    wire.socket.shutdown(Shutdown::Write).unwrap();
    assert!(wire.hung_up());
    world.until_held("alice", 0);
    let (mut wire, _) = world.ws("alice", "");
    wire.socket.write_all(&frame(TEXT, b"half a message")[..9]).unwrap();
    wire.socket.shutdown(Shutdown::Write).unwrap();
    assert!(wire.hung_up());
    world.until_held("alice", 0);
}

#[test]
fn messages_are_compressed_for_those_who_can_when_the_site_wants_it() {
    use WebsocketCompression::{All, Off, Shared};
    let text = format!("\"{}\"", "again and ".repeat(50));
    for (wanted, offer, answer, compressed) in [
        (All, "permessage-deflate; client_max_window_bits", true, true),
        (All, "permessage-deflate; server_max_window_bits=8", true, false),
        (All, "permessage-bzip2", false, false),
        // A push to one connection alone.
        (Shared, "permessage-deflate", true, false),
        (Off, "permessage-deflate", false, false),
    ] {
        let mut world = World::with(|config| config.websocket_compression = wanted);
        let mut wire = world.connect();
        wire.send(
            &world.ws_head("alice", "").replace(KEY, &format!("{KEY}\r\nSec-WebSocket-Extensions: {offer}")),
        );
        let head = wire.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(
            head.contains(
                "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no"
            ),
            answer,
            "{head}"
        );
        assert_eq!(wire.on_bytes()["event"], "open");
        world.push("alice", &text);
        let (first, payload) = wire.frame();
        assert_eq!(
            (first, payload.len() < 400),
            if compressed { (0xc1, true) } else { (0x81, false) },
            "{offer}"
        );
        // `{"do":"ping"}`, compressed.
        let request = encke_proto::codec::ws::deflate::compress(b"{\"do\":\"ping\"}");
        wire.say(0x40 | TEXT, &request);
        if answer {
            assert_eq!(wire.on_bytes()["result"]["ok"], true);
            wire.say(0x40 | TEXT, &encke_proto::codec::ws::deflate::compress(&vec![b' '; 1 << 20]));
            assert_eq!(wire.closed().0, 1009, "a small frame that swells");
        } else {
            assert_eq!(wire.closed().0, 1002);
        }
    }
}

#[test]
fn what_several_receive_is_compressed_once_unless_it_is_short() {
    let mut world = World::with(|config| config.workers = 1);
    let offer = format!("{KEY}\r\nSec-WebSocket-Extensions: permessage-deflate");
    let open = |world: &World, user: &str, of: &str| {
        let mut wire = world.connect();
        wire.send(&world.ws_head(user, of).replace(KEY, &offer));
        assert!(wire.until("\r\n\r\n").contains("permessage-deflate"));
        assert_eq!(wire.on_bytes()["event"], "open");
        wire
    };
    let mut several = ["alice", "bob"].map(|user| open(&world, user, "channels=news"));
    let mut alone = [open(&world, "carol", "channels=quiet")];
    let long = format!("\"{}\"", "again and ".repeat(50));
    for (channel, data, first) in
        [("news", &*long, 0xc1), ("news", "\"short\"", 0x81), ("quiet", &*long, 0x81)]
    {
        world.publish(channel, data);
        let receivers = if channel == "news" { &mut several[..] } else { &mut alone[..] };
        for wire in receivers {
            assert_eq!(wire.frame().0, first, "{channel} {data}");
        }
    }
}

#[test]
fn every_code_of_a_close_has_its_status() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let table: Vec<&str> =
        document.split("| status | why |").nth(1).unwrap().split("\n\n").next().unwrap().lines().collect();
    let world = World::new();
    for (code, text, status) in [
        (CloseCode::Client, "client", 1000),
        (CloseCode::Recycle, "recycle", 1000),
        (CloseCode::Shutdown, "shutdown", 1001),
        (CloseCode::TokenExpired, "token_expired", 4401),
        (CloseCode::Revoked, "revoked", 4401),
        (CloseCode::Banned, "banned", 4403),
        (CloseCode::Slow, "slow", 4408),
        (CloseCode::TakenOver, "taken_over", 4409),
        (CloseCode::Operator, "operator", 4410),
        (CloseCode::Deleted, "deleted", 4410),
        (CloseCode::TooManySessions, "too_many_sessions", 4429),
    ] {
        for reconnect in [true, false] {
            let (mut wire, _) = world.ws(text, "");
            let close = Close { code, reason: "for the test".into(), reconnect, retry_ms: None };
            let target = CloseTarget::User(UserId::new(text).unwrap());
            assert_eq!(world.runtime.block_on(world.app().sessions.close(&target, &close)).unwrap(), 1);
            let told = wire.on_bytes();
            assert_eq!(
                (&told["event"], &told["code"], &told["reconnect"]),
                (&"close".into(), &text.into(), &reconnect.into())
            );
            assert_eq!(wire.closed(), (status, "for the test".into()), "{text}");
        }
        let row = table.iter().find(|row| row.starts_with(&format!("| {status} |"))).unwrap();
        // Only a frame becomes long.
        assert!(row.contains(&format!("`{text}`")) || code == CloseCode::Recycle, "{row}");
    }
}
