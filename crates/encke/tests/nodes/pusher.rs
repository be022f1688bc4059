//! Clients of Pusher that go from node to node, over raw sockets: what one missed whose node was killed, and
//! how many members a presence channel has. Its own library is asked in `tests/e2e/pusher-recovery.test.js`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use encke_engine::{Append, PageLimit, ReadFrom, Targets};
use encke_proto::{Body, ChannelName, MessageId, UserId, json};
use hmac::{Hmac, Mac};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::{cluster::TestCluster, *};

const ROOM: &str = "presence-room";
const TEXT: u8 = 1;

/// The page of a browser.
const ORIGIN: &str = "https://shop.example";

/// A client that says what it is told, and takes nothing unless it is asked to.
struct Wire {
    socket: TcpStream,
    seen: Vec<u8>,
    id: String,
    /// By what it is known again, if it is a new browser.
    cookie: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Wire {
    fn open(place: &Place) -> Self {
        Self::open_with(place, "")
    }

    /// A page of a browser that keeps this cookie.
    fn page(place: &Place, cookie: &str) -> Self {
        Self::open_with(place, &format!("Origin: {ORIGIN}\r\nCookie: {cookie}\r\n"))
    }

    fn open_with(place: &Place, fields: &str) -> Self {
        let socket = TcpStream::connect(place.url.strip_prefix("http://").unwrap()).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut wire = Self { socket, seen: Vec::new(), id: String::new(), cookie: None };
        let key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let target = "/app/app-key?protocol=7";
        wire.socket
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}{key}\r\n\r\n").as_bytes())
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.append(&mut wire.take(1));
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        wire.cookie = cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned());
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

    /// What a client of this id says to join the room as this user.
    fn joining(id: &str, user: &str) -> Value {
        let data = json!({ "user_id": user }).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"app-secret").unwrap();
        mac.update(format!("{id}:{ROOM}:{data}").as_bytes());
        let auth = format!("app-key:{}", hex(&mac.finalize().into_bytes()));
        let data = json!({ "channel": ROOM, "auth": auth, "channel_data": data });
        json!({ "event": "pusher:subscribe", "data": data })
    }

    /// Joins the room as this user; what it is told.
    fn joins(&mut self, user: &str) -> Value {
        self.say(&Self::joining(&self.id, user).to_string());
        loop {
            let told = self.told();
            if told["event"] != "pusher_internal:member_added"
                && told["event"] != "pusher_internal:member_removed"
            {
                return told;
            }
        }
    }

    fn subscribes(&mut self, channel: &str) {
        let data = json!({ "channel": channel });
        self.say(&json!({ "event": "pusher:subscribe", "data": data }).to_string());
        succeeded(&self.told());
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
    tells_with(cluster, ROOM, numbers, "").await;
}

/// The same to a channel, each with so much behind it.
async fn tells_with(cluster: &TestCluster, channel: &str, numbers: std::ops::Range<u64>, behind: &str) {
    for number in numbers {
        let event = json!({ "event": "number", "data": format!("{number} {behind}") });
        let raw = RawValue::from_string(event.to_string()).unwrap();
        let append = Append {
            id: MessageId::from_bits(u128::from(number) + 1),
            key: None,
            targets: Targets::Channels(vec![ChannelName::public(&format!("pusher:1:{channel}")).unwrap()]),
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

/// Where a client stands whose places are kept there, as its node has written it.
async fn written(cluster: &TestCluster, places: &ChannelName) -> Option<u64> {
    let runs = last(cluster, &log("runs", &["runs", places.as_str()])).await?;
    let run = runs["Runs"].as_array()?.last()?[0].as_str()?.to_owned();
    let here = last(cluster, &log("here", &["here", &run, places.as_str()])).await?;
    here["Here"][0][1][0][1]["offset"].as_u64()
}

/// Waits until a node has written that its client has all that there is in a channel.
async fn until_written_in(cluster: &TestCluster, channel: &str, places: &ChannelName) {
    let channel = ChannelName::public(&format!("pusher:1:{channel}")).unwrap();
    let limit = PageLimit { messages: 1, bytes: 1 };
    let head = cluster.engine.read(&channel, ReadFrom::Head, limit).await.unwrap().head;
    until("its place is written", async || written(cluster, places).await.is_some_and(|at| at >= head)).await;
}

/// The same of alice in the room.
async fn until_written(cluster: &TestCluster) {
    until_written_in(cluster, ROOM, &log("places", &["user", "alice"])).await;
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
    runtime.block_on(tells_with(&cluster, ROOM, 2..count, &"x".repeat(9_000)));
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
fn what_a_client_missed_whose_node_was_killed_comes_also_while_a_third_node_is_silent() {
    let (cluster, kept) = (TestCluster::new(), Runtime::new().unwrap());
    let killed = Runtime::new().unwrap();
    let first = killed.block_on(nodes_with(&cluster, 0..1, application(100))).remove(0);
    let others = kept.block_on(nodes_with(&cluster, 1..3, application(100)));
    let mut page = Wire::page(&first, "a=b");
    let cookie = page.cookie.clone().unwrap();
    page.subscribes("news");
    kept.block_on(tells_with(&cluster, "news", 0..5, ""));
    page.receives(0..5);
    let id = cookie.strip_prefix("PUSHER_BROWSER=").unwrap();
    let places = log("places", &["browser", id, ORIGIN]);
    kept.block_on(until_written_in(&cluster, "news", &places));
    killed.shutdown_background();
    others[1].node.is_mute.store(true, Ordering::SeqCst);
    kept.block_on(tells_with(&cluster, "news", 5..9, ""));
    let mut again = Wire::page(&others[0], &cookie);
    again.subscribes("news");
    again.receives(5..9);
    again.has_no_more();
    drop((page, first.node));
}

#[test]
fn a_client_that_is_refused_leaves_its_place_to_one_that_is_let_in() {
    let (cluster, runtime) = (TestCluster::new(), Runtime::new().unwrap());
    let places = runtime.block_on(nodes_with(&cluster, 0..2, application(100)));
    let mut alice = Wire::open(&places[0]);
    succeeded(&alice.joins("alice"));
    let (user, app) = (UserId::new(&format!("pusher:1:{}", alice.id)).unwrap(), &places[0].server.app);
    drop(alice);
    runtime.block_on(until("she is gone", async || app.sessions.count_of(&user).await.unwrap() == 0));
    runtime.block_on(tells(&cluster, 0..3));
    // The other node says who is there before she joins, and not after that.
    places[1].node.answers_left.store(1, Ordering::SeqCst);
    let refused = Wire::open(&places[0]).joins("alice");
    assert_eq!(refused["event"], "pusher:subscription_error", "{refused}");
    assert_eq!(places[1].node.answers_left.load(Ordering::SeqCst), 0);
    places[1].node.answers_left.store(usize::MAX, Ordering::SeqCst);
    let mut again = Wire::open(&places[0]);
    succeeded(&again.joins("alice"));
    again.receives(0..3);
    again.has_no_more();
}

/// Posts this, and reads the answer to its end.
fn post(place: &Place, target: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(place.url.strip_prefix("http://").unwrap()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (length, ends) = (body.len(), "Connection: close\r\n");
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{ends}Content-Length: {length}\r\n\r\n");
    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The frames of a line.
fn frames(line: &str) -> Vec<Value> {
    let texts: Vec<String> = serde_json::from_str(line.trim_start_matches('a')).unwrap();
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn by_http_what_was_missed_comes_behind_the_answer_however_long_that_takes() {
    let (cluster, runtime) = (TestCluster::new(), Runtime::new().unwrap());
    let places = runtime.block_on(nodes_with(&cluster, 0..2, application(100)));
    let (node, app) = (&places[1].node, &places[0].server.app);
    let mut alice = Wire::open(&places[0]);
    succeeded(&alice.joins("alice"));
    let left = UserId::new(&format!("pusher:1:{}", alice.id)).unwrap();
    drop(alice);
    runtime.block_on(until("she is gone", async || app.sessions.count_of(&left).await.unwrap() == 0));
    runtime.block_on(tells(&cluster, 0..3));
    let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7");
    assert_eq!(post(&places[0], &at("xhr"), ""), "o\n");
    let hello = frames(&post(&places[0], &at("xhr"), ""))[0]["data"].as_str().unwrap().to_owned();
    let id = serde_json::from_str::<Value>(&hello).unwrap()["socket_id"].as_str().unwrap().to_owned();
    let asks = json!([Wire::joining(&id, "alice").to_string()]).to_string();
    let user = UserId::new(&format!("pusher:1:{id}")).unwrap();
    std::thread::scope(|scope| {
        let mut waits = scope.spawn(|| post(&places[0], &at("xhr"), ""));
        runtime.block_on(until("it waits", async || {
            let sessions = app.sessions.list(Some(&user), None, 9).await.unwrap();
            sessions.iter().any(|listed| listed.session.connected)
        }));
        // The other node is asked twice who is there, and answers the second time when it is asked again.
        node.answers_left.store(1, Ordering::SeqCst);
        let asking = scope.spawn(|| post(&places[0], &at("xhr_send"), &asks));
        runtime.block_on(until("it was asked", async || node.answers_left.load(Ordering::SeqCst) == 0));
        let mut told = Vec::new();
        while told.len() < 4 {
            if !waits.is_finished() {
                node.answers_left.store(usize::MAX, Ordering::SeqCst);
            }
            told.extend(frames(&waits.join().unwrap()));
            waits = scope.spawn(|| post(&places[0], &at("xhr"), ""));
        }
        succeeded(&told[0]);
        let numbers: Vec<&str> = told[1..].iter().filter_map(|frame| frame["data"].as_str()).collect();
        assert_eq!(numbers, ["0 ", "1 ", "2 "]);
        asking.join().unwrap();
        runtime.block_on(tells(&cluster, 3..4));
        assert_eq!(frames(&waits.join().unwrap())[0]["data"], "3 ");
    });
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
