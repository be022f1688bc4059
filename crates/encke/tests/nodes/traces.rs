//! One trace shows the whole way of a push over two nodes: the request, the append, the delivery and its
//! receipts, as a collector of OpenTelemetry gets it.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Mutex,
    thread,
};

use encke::run;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use super::{cluster::TestCluster, *};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector: OTLP over HTTP, in JSON.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

/// A span, and whose it is.
#[derive(Clone, Debug)]
struct Got {
    node: String,
    span: Value,
}

impl Collector {
    /// One that refuses so many requests first, as if it were overloaded.
    fn refusing(mut refused: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let all = Arc::clone(&got);
        // It ends with the process.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let body = request(&mut socket);
                let is_refused = refused > 0;
                refused = refused.saturating_sub(1);
                let status = if is_refused { "503 Service Unavailable" } else { "200 OK" };
                if !is_refused {
                    all.lock().unwrap().extend(spans(&body));
                }
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        Self { address, got }
    }

    /// The spans of a trace, by name and by the receipt that they tell.
    fn of(&self, trace: &str) -> HashMap<String, Got> {
        let got = self.got.lock().unwrap();
        let of_trace = got.iter().filter(|got| got.span["traceId"] == trace).cloned();
        of_trace
            .map(|got| {
                let receipt = attribute(&got.span, "encke.receipt").unwrap_or_default();
                (format!("{} {receipt}", got.span["name"].as_str().unwrap()).trim().to_owned(), got)
            })
            .collect()
    }
}

fn attribute(span: &Value, key: &str) -> Option<String> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
    Some(found["value"]["stringValue"].as_str()?.to_owned())
}

/// The body of a request to the right path, with the field that is configured.
fn request(socket: &mut impl Read) -> Value {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert!(head.contains("x-tenant: blue\r\n"), "{head}");
    let (_, length) = head.split_once("content-length: ").unwrap();
    let mut body = vec![0; length.split_once('\r').unwrap().0.parse().unwrap()];
    socket.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn spans(body: &Value) -> Vec<Got> {
    let of = &body["resourceSpans"][0];
    let resource = of["resource"]["attributes"].as_array().unwrap();
    let named = |key: &str| {
        let found = resource.iter().find(|attribute| attribute["key"] == key).unwrap();
        found["value"]["stringValue"].as_str().unwrap().to_owned()
    };
    assert_eq!(named("service.name"), "encke");
    let node = named("service.instance.id");
    let spans = of["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned();
    spans.map(|span| Got { node: node.clone(), span }).collect()
}

async fn traced_nodes(collector: &Collector, ratio: f64) -> Vec<Place> {
    let endpoint = format!("http://{}/v1/traces", collector.address);
    nodes_with(&TestCluster::new(), 0..2, |config| {
        config.traces.endpoint = Some(endpoint.clone());
        config.traces.headers = vec![Secret::new("x-tenant: blue".to_owned())];
        config.traces.ratio = ratio;
    })
    .await
}

impl Place {
    async fn post(&self, path: &str, bearer: &str, fields: &[(&str, &str)], body: &Value) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(bearer);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.unwrap()
    }

    async fn push(&self, fields: &[(&str, &str)], data: u64) {
        self.post("/api/push", &"k".repeat(32), fields, &json!({"to": ["alice"], "data": data})).await;
    }
}

async fn traceparent(listener: &mut Listener) -> Option<String> {
    serde_json::from_str::<Value>(&message(listener).await).unwrap()["traceparent"]
        .as_str()
        .map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_the_whole_way_of_a_push_over_two_nodes() {
    // The first batches are refused: what is recorded meanwhile is not lost.
    let collector = Collector::refusing(2);
    let places = traced_nodes(&collector, 0.0).await;
    let (mut held, open) = places[1].open("alice", sse()).await;
    places[0].push(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))], 1).await;
    let told = traceparent(&mut held).await.unwrap();
    let ack = json!({"session": open.session, "cursor": held.handle().cursor().unwrap()});
    // By whichever node it comes.
    places[0].post("/v1/ack", &places[0].token("alice"), &[], &ack).await;
    until("all of its spans are there", async || collector.of(TRACE).len() == 5).await;
    let spans = collector.of(TRACE);
    let (push, deliver) = (&spans["push"].span, &spans["deliver"].span);
    assert_eq!(told, format!("00-{TRACE}-{}-01", push["spanId"].as_str().unwrap()));
    for (name, node, parent) in [
        ("push", "node-0", &json!(PARENT)),
        ("append", "node-0", &push["spanId"]),
        ("deliver", "node-1", &push["spanId"]),
        ("receipt delivered", "node-1", &deliver["spanId"]),
        ("receipt shown", "node-1", &deliver["spanId"]),
    ] {
        let Got { node: of, span } = &spans[name];
        assert_eq!((of.as_str(), &span["parentSpanId"]), (node, parent), "{name}");
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{name}: {span}");
        assert!(span.get("status").is_none(), "{name}: {span}");
    }
    assert_eq!(attribute(deliver, "messaging.destination.name").as_deref(), Some("@alice"));
    assert_eq!(attribute(deliver, "encke.transport").as_deref(), Some("sse"));
    assert_eq!(attribute(deliver, "messaging.message.id"), attribute(push, "messaging.message.id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_finished_while_the_server_stops_is_traced_too() {
    let collector = Collector::refusing(0);
    let mut places = traced_nodes(&collector, 0.0).await;
    let Place { server, url, .. } = places.remove(0);
    let app = Arc::clone(&server.app);
    let (tell, told) = oneshot::channel::<()>();
    let stopped = tokio::spawn(run(server, TIMEOUT, told.map(drop)));
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let (key, body) = ("k".repeat(32), r#"{"to":["alice"],"data":1}"#);
    let head = format!(
        "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n\
         traceparent: 00-{TRACE}-{PARENT}-01\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "it is under way");
    tell.send(()).unwrap();
    until("it stops", async || app.is_stopping()).await;
    // Behind this all parts that end as it begins to stop have been told.
    until("nothing is accepted", async || {
        TcpStream::connect(url.trim_start_matches("http://")).await.is_err()
    })
    .await;
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    stopped.await.unwrap().unwrap();
    let mut spans: Vec<_> = collector.of(TRACE).into_keys().collect();
    spans.sort_unstable();
    assert_eq!(spans, ["append", "push"], "all were sent before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_recorded_is_handed_on_and_clients_begin_no_trace() {
    let collector = Collector::refusing(0);
    let places = traced_nodes(&collector, 0.0).await;
    let (mut held, _) = places[1].open("alice", sse().channels(["news"])).await;
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    places[0].push(&[("traceparent", &unsampled)], 1).await;
    assert_eq!(traceparent(&mut held).await, Some(unsampled));
    for fields in [&[][..], &[("traceparent", "00-none")], &[("x-other", "1")]] {
        places[0].push(fields, 2).await;
        assert_eq!(traceparent(&mut held).await, None, "{fields:?}");
    }
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let body = json!({"channel": "news", "data": 3});
    places[0].post("/v1/publish", &places[0].token("bob"), &[("traceparent", &sampled)], &body).await;
    assert_eq!(traceparent(&mut held).await, None, "a client cannot have anything recorded");
    places[0].post("/api/publish", &"k".repeat(32), &[("traceparent", &sampled)], &body).await;
    assert!(traceparent(&mut held).await.unwrap().starts_with(&format!("00-{TRACE}-")));
    until("what was published is there", async || collector.of(TRACE).len() == 3).await;
    assert_eq!(collector.of(TRACE)["deliver"].node, "node-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_begins_traces_of_its_own_and_one_without_a_collector_none() {
    let collector = Collector::refusing(0);
    let places = traced_nodes(&collector, 1.0).await;
    let (mut held, _) = places[1].open("alice", sse()).await;
    places[0].push(&[], 1).await;
    let told = traceparent(&mut held).await.unwrap();
    let trace = told.split('-').nth(1).unwrap();
    until("it is there", async || collector.of(trace).len() == 4).await;
    assert!(collector.of(trace)["push"].span.get("parentSpanId").is_none());

    let places = nodes(2).await;
    let (mut held, _) = places[1].open("alice", sse()).await;
    places[0].push(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))], 1).await;
    assert_eq!(traceparent(&mut held).await, None);
}
