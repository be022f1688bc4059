//! Clients of Pusher that go from node to node, over raw sockets: what one missed whose node was killed, and
//! how many members a presence channel has. Its own library is asked in `tests/e2e/pusher-recovery.test.js`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use encke_engine::{Append, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, MessageId, json};
use hmac::{Hmac, Mac};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::{cluster::TestCluster, *};

const ROOM: &str = "presence-room";
const TEXT: u8 = 1;

/// A client that says what it is told, and takes nothing unless it is asked to.
struct Wire {
    socket: TcpStream,
    seen: Vec<u8>,
    id: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Wire {
    fn open(place: &Place) -> Self {
        let socket = TcpStream::connect(place.url.strip_prefix("http://").unwrap()).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut wire = Self { socket, seen: Vec::new(), id: String::new() };
        let key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let target = "/app/app-key?protocol=7";
        wire.socket
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n").as_bytes())
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.append(&mut wire.take(1));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        let data = wire.told()["data"].as_str().unwrap().to_owned();
        wire.id = serde_json::from_str::<Value>(&data).unwrap()["socket_id"].as_str().unwrap().to_owned();
        wire
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let mut buffer = [0; 65_536];
            let read = self.socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the server hung up");
            self.seen.extend_from_slice(&buffer[..read]);
        }
        self.seen.drain(..count).collect()
    }

    fn say(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap();
        let mut head = vec![0x80 | TEXT];
        match u8::try_from(length) {
            Ok(length @ ..126) => head.push(0x80 | length),
            _ => head.extend([&[0x80 | 126][..], &length.to_be_bytes()].concat()),
        }
        // A mask that changes nothing.
        head.extend([0; 4]);
        self.socket.write_all(&[&head[..], text.as_bytes()].concat()).unwrap();
    }

    /// The next event.
    fn told(&mut self) -> Value {
        loop {
            let head = self.take(2);
            let length = match head[1] {
                126 => self.take(2).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                127 => self.take(8).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                length => usize::from(length),
            };
            let payload = self.take(length);
            match head[0] {
                0x81 => return serde_json::from_slice(&payload).unwrap(),
                0x89 => {}
                other => panic!("{other:x} {}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    /// Joins the room as this user; what it is told.
    fn joins(&mut self, user: &str) -> Value {
        let data = json!({ "user_id": user }).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"app-secret").unwrap();
        mac.update(format!("{}:{ROOM}:{data}", self.id).as_bytes());
        let auth = format!("app-key:{}", hex(&mac.finalize().into_bytes()));
        let data = json!({ "channel": ROOM, "auth": auth, "channel_data": data });
        self.say(&json!({ "event": "pusher:subscribe", "data": data }).to_string());
        loop {
            let told = self.told();
            if told["event"] != "pusher_internal:member_added"
                && told["event"] != "pusher_internal:member_removed"
            {
                return told;
            }
        }
    }

    /// The number of the next event that has one.
    fn number(&mut self) -> u64 {
        loop {
            let told = self.told();
            if told["event"] == "number" {
                return told["data"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
            }
        }
    }

    fn receives(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(self.number(), number);
        }
    }

    /// No number has come before the answer to this.
    fn has_no_more(&mut self) {
        self.say(r#"{"event":"pusher:ping","data":{}}"#);
        loop {
            let told = self.told();
            assert_ne!(told["event"], "number", "{told}");
            if told["event"] == "pusher:pong" {
                return;
            }
        }
    }
}

fn succeeded(told: &Value) {
    assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
}

/// One application, whose presence channels have so many members.
fn application(members_max: u64) -> impl Fn(&mut Config) {
    move |config| {
        config.dialects.set("pusher", true);
        let app = json!({
            "id": "1", "key": "app-key", "secret": "app-secret", "client_events": true,
            "client_events_per_s": 10, "subscription_count": false, "activity_timeout_s": 120,
            "event_max_bytes": 10_240, "presence_max_members": members_max, "max_connections": 0,
            "cache_ttl_s": 1_800, "recovery": true, "recovery_s": 120, "webhook_events": [],
            "webhook_allow_private": false,
        });
        config.pusher_apps = serde_json::from_value(json!([app])).unwrap();
    }
}

/// Publishes numbers to the room.
async fn tells(cluster: &TestCluster, numbers: std::ops::Range<u64>) {
    tells_with(cluster, numbers, "").await;
}

/// The same, each with so much behind it.
async fn tells_with(cluster: &TestCluster, numbers: std::ops::Range<u64>, behind: &str) {
    for number in numbers {
        let event = json!({ "event": "number", "data": format!("{number} {behind}") });
        let raw = RawValue::from_string(event.to_string()).unwrap();
        let append = Append {
            id: MessageId::from_bits(u128::from(number) + 1),
            key: None,
            targets: Targets::Channels(vec![ChannelName::public(&format!("pusher:1:{ROOM}")).unwrap()]),
            body: Body::Data(json::compact(&raw).unwrap()),
            from: None,
            time: encke_proto::Time(1_800_000_000_000),
            expires: None,
            trace: None,
        };
        cluster.engine.append(append).await.unwrap();
    }
}

/// The name of a log of the application, made of this.
fn log(prefix: &str, parts: &[&str]) -> ChannelName {
    let mut digest = Sha256::new();
    for part in ["1"].iter().chain(parts) {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    ChannelName::internal(&format!("dialects/{prefix}/pusher/{}", hex(&digest.finalize()[..16])))
}

/// What the last record of a log says.
async fn last(cluster: &TestCluster, log: &ChannelName) -> Option<Value> {
    let limit = PageLimit { messages: 1, bytes: 1 << 20 };
    let page = cluster.engine.read(log, ReadFrom::Before(u64::MAX), limit).await.unwrap();
    let Body::Data(data) = &page.entries.last()?.message().body else { panic!("it has no data") };
    let signed: String = serde_json::from_str(data.get()).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap();
    Some(serde_json::from_slice::<Value>(&payload).unwrap()["what"].clone())
}

/// Where the user alice stands in the room, as her node has written it.
async fn written(cluster: &TestCluster) -> Option<u64> {
    let places = log("places", &["user", "alice"]);
    let run = last(cluster, &places).await?["Run"].as_str()?.to_owned();
    let here = last(cluster, &log("here", &["here", &run, places.as_str()])).await?;
    here["Here"][0][1][0][1]["offset"].as_u64()
}

/// Waits until her node has written that she has all that there is.
async fn until_written(cluster: &TestCluster) {
    let room = ChannelName::public(&format!("pusher:1:{ROOM}")).unwrap();
    let limit = PageLimit { messages: 1, bytes: 1 };
    let head = cluster.engine.read(&room, ReadFrom::Head, limit).await.unwrap().head;
    until("her place is written", async || written(cluster).await.is_some_and(|at| at >= head)).await;
}

#[test]
fn what_a_client_missed_whose_node_was_killed_comes_at_another_once() {
    let (cluster, kept) = (TestCluster::new(), Runtime::new().unwrap());
    let killed = Runtime::new().unwrap();
    let first = killed.block_on(nodes_with(&cluster, 0..1, application(100))).remove(0);
    let second = kept.block_on(nodes_with(&cluster, 1..2, application(100))).remove(0);
    let mut wire = Wire::open(&first);
    succeeded(&wire.joins("alice"));
    kept.block_on(tells(&cluster, 0..5));
    wire.receives(0..5);
    kept.block_on(until_written(&cluster));
    // Its threads go on, but it says nothing and writes nothing any more.
    killed.shutdown_background();
    kept.block_on(tells(&cluster, 5..9));
    let mut other = Wire::open(&second);
    succeeded(&other.joins("bob"));
    other.has_no_more();
    let mut again = Wire::open(&second);
    succeeded(&again.joins("alice"));
    again.receives(5..9);
    again.has_no_more();
    let mut tab = Wire::open(&second);
    succeeded(&tab.joins("alice"));
    tab.has_no_more();
    drop((wire, first.node));
}

#[test]
fn one_that_comes_to_another_node_before_its_own_knows_that_it_is_gone_goes_on_from_what_it_has() {
    let (cluster, runtime) = (TestCluster::new(), Runtime::new().unwrap());
    let places = runtime.block_on(nodes_with(&cluster, 0..2, application(100)));
    let mut old = Wire::open(&places[0]);
    succeeded(&old.joins("alice"));
    runtime.block_on(tells(&cluster, 0..2));
    old.receives(0..2);
    // Other nodes know that she is here, and her own that she has these.
    runtime.block_on(until_written(&cluster));
    // It reads nothing any more: its kernel takes what fits, and the rest is under way.
    let count = 150;
    runtime.block_on(tells_with(&cluster, 2..count, &"x".repeat(9_000)));
    runtime.block_on(until("all is written, or what fits", async || {
        let counts = places[0].server.app.shards.counts().await.unwrap();
        counts.slow > 0 || counts.written_bytes > (count - 2) * 9_000
    }));
    let mut again = Wire::open(&places[1]);
    succeeded(&again.joins("alice"));
    let first = again.number();
    // What her kernel took after that her node need not know: it looks no more while she takes nothing.
    assert!(first >= 2 && first < count, "what she was known to have is not sent again: {first}");
    again.receives(first + 1..count);
    again.has_no_more();
}

#[test]
fn a_presence_channel_has_as_many_members_at_all_nodes_together_as_it_may() {
    let (cluster, runtime) = (TestCluster::new(), Runtime::new().unwrap());
    let places = runtime.block_on(nodes_with(&cluster, 0..2, application(2)));
    let (mut alice, mut bob) = (Wire::open(&places[0]), Wire::open(&places[1]));
    succeeded(&alice.joins("alice"));
    succeeded(&bob.joins("bob"));
    for place in &places {
        let refused = Wire::open(place).joins("carol");
        assert_eq!(refused["event"], "pusher:subscription_error", "{refused}");
        assert_eq!(refused["data"]["status"], 4004, "{refused}");
        for user in ["alice", "bob"] {
            succeeded(&Wire::open(place).joins(user));
        }
    }
    drop(bob);
    runtime.block_on(until("bob is gone", async || {
        let mut carol = Wire::open(&places[0]);
        let told = carol.joins("carol");
        told["event"] == "pusher_internal:subscription_succeeded"
    }));
    drop(alice);
}
