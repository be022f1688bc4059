//! Sessions of Bayeux whose requests come to any node: each is at the node of its last connect, and what is
//! asked elsewhere reaches it there.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{cluster::TestCluster, *};

/// A client, which has a connection for each request.
struct Polls {
    id: String,
    asked: u64,
    /// The number of the last batch.
    ack: u64,
}

async fn places(count: usize) -> Vec<Place> {
    nodes_with(&TestCluster::new(), 0..count, |config| config.dialects.set("bayeux", true)).await
}

impl Place {
    /// Sends a message; what it is answered with can be awaited.
    async fn asks(&self, message: &Value) -> TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let body = json!([message]).to_string();
        let (length, mut socket) = (body.len(), TcpStream::connect(address).await.unwrap());
        let head = format!("POST /cometd HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n");
        let all = format!("{head}Connection: close\r\n\r\n{body}");
        socket.write_all(all.as_bytes()).await.unwrap();
        socket
    }
}

/// All that is answered.
async fn answer(mut socket: TcpStream) -> Vec<Value> {
    let mut text = String::new();
    tokio::time::timeout(TIMEOUT, socket.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
    serde_json::from_str(body).unwrap()
}

fn events(answer: &[Value]) -> Vec<Value> {
    let events = answer.iter().filter(|message| message.get("successful").is_none());
    events.map(|event| event["data"].clone()).collect()
}

impl Polls {
    /// One that has shaken hands.
    async fn shaken(place: &Place, user: &str, acks: bool) -> Self {
        let mut client = Self { id: String::new(), asked: 0, ack: 0 };
        let ext = json!({ "token": place.token(user), "ack": acks });
        let members = json!({ "supportedConnectionTypes": ["long-polling"], "ext": ext });
        let reply = client.ask(place, "/meta/handshake", members).await;
        client.id = reply["clientId"].as_str().unwrap().to_owned();
        client
    }

    fn says(&mut self, channel: &str, members: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "channel": channel, "id": self.asked.to_string(), "clientId": self.id });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        message
    }

    async fn ask(&mut self, place: &Place, channel: &str, members: Value) -> Value {
        let message = self.says(channel, members);
        let reply = answer(place.asks(&message).await).await.pop().unwrap();
        assert_eq!((&reply["id"], &reply["successful"]), (&message["id"], &json!(true)), "{reply}");
        reply
    }

    /// Sends a connect that acknowledges everything.
    async fn connects(&mut self, place: &Place) -> TcpStream {
        let members = json!({ "connectionType": "long-polling", "ext": { "ack": self.ack } });
        let message = self.says("/meta/connect", members);
        place.asks(&message).await
    }

    /// The messages that come with the answer to a connect.
    async fn takes(&mut self, held: TcpStream) -> Vec<Value> {
        let answer = answer(held).await;
        let reply = answer.last().unwrap();
        assert_eq!(reply["successful"], true, "{answer:?}");
        self.ack = reply["ext"]["ack"].as_u64().unwrap_or(0);
        events(&answer)
    }
}

/// Waits until a connect of a user is held there.
async fn until_held(place: &Place, held: usize) {
    until("a connect is held", async || place.server.app.shards.counts().await.unwrap().held == held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_with_its_connects_and_other_requests_find_it() {
    for acks in [true, false] {
        let places = places(3).await;
        let mut client = Polls::shaken(&places[0], "alice", acks).await;
        // Before the first connect it is where it began.
        client.ask(&places[1], "/meta/subscribe", json!({ "subscription": "/a/*" })).await;
        let first = client.connects(&places[2]).await;
        assert_eq!(client.takes(first).await, [] as [Value; 0]);
        for round in 0..6 {
            let (here, there) = (&places[round % 3], &places[(round + 1) % 3]);
            let held = client.connects(here).await;
            until_held(here, 1).await;
            // None of these ends what is held.
            let channel = format!("/b{round}");
            client.ask(there, "/meta/subscribe", json!({ "subscription": channel })).await;
            client.ask(there, "/meta/unsubscribe", json!({ "subscription": channel })).await;
            client.ask(there, "/other", json!({ "data": 0 })).await;
            assert_eq!(here.server.app.shards.counts().await.unwrap().held, 1);
            client.ask(there, "/a/x", json!({ "data": round })).await;
            assert_eq!(client.takes(held).await, [json!(round)], "once");
        }
        let held = client.connects(&places[0]).await;
        until_held(&places[0], 1).await;
        client.ask(&places[1], "/meta/disconnect", json!({})).await;
        assert_eq!(client.takes(held).await, [] as [Value; 0]);
        until("it is gone", async || places[2].online().await.is_empty()).await;
        let message = client.says("/a/x", json!({ "data": 1 }));
        let reply = answer(places[2].asks(&message).await).await.pop().unwrap();
        assert_eq!(reply["error"], "402::session_unknown");
    }
}

/// Its client begins so: it does not wait for the answer to the one before it asks for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_a_session_goes_to_another_node_is_done_once() {
    let places = places(3).await;
    let mut client = Polls::shaken(&places[0], "alice", false).await;
    let mut wanted = Vec::new();
    for round in 0..30 {
        let connect = client.connects(&places[round % 3]).await;
        let subscribe = client.says("/meta/subscribe", json!({ "subscription": format!("/r{round}") }));
        let mut asked = Vec::new();
        for place in &places {
            asked.push(place.asks(&subscribe).await);
        }
        for socket in asked {
            let replies = answer(socket).await;
            assert_eq!(replies[0]["successful"], true, "{replies:?}");
        }
        let publish = client.says(&format!("/r{round}"), json!({ "data": round }));
        let replies = answer(places[(round + 2) % 3].asks(&publish).await).await;
        assert_eq!(replies[0]["successful"], true, "{replies:?}");
        wanted.push(json!(round));
        let mut got = client.takes(connect).await;
        while got.is_empty() {
            let next = client.connects(&places[(round + 1) % 3]).await;
            got = client.takes(next).await;
        }
        assert_eq!(got, [json!(round)], "of the subscription that was answered");
    }
    assert_eq!(wanted.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_a_node_that_does_not_answer_is_not_taken_for_none() {
    let places = places(2).await;
    let mut client = Polls::shaken(&places[0], "alice", true).await;
    let first = client.connects(&places[0]).await;
    client.takes(first).await;
    places[0].node.is_mute.store(true, Ordering::SeqCst);
    let connect = client.connects(&places[1]).await;
    let reply = answer(connect).await.pop().unwrap();
    assert_eq!(
        (&reply["error"], &reply["advice"]["reconnect"]),
        (&json!("503::engine_unavailable"), &json!("retry"))
    );
}
