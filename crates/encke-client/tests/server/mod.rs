//! A server whose every answer a test writes by hand.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use encke_client::{Error, Event, Listener, SessionHandle};
use encke_proto::codec::ws::{CloseFrame, CloseStatus, Reader, Received, Rules, accept, frame};
use futures_util::stream;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// How long a test waits for what must come, in real time. Only a failing test waits that long.
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Server {
    pub address: String,
    requests: mpsc::UnboundedReceiver<Asked>,
}

/// A request that waits for its answer.
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    answer: oneshot::Sender<Response>,
    upgrade: Option<OnUpgrade>,
}

/// The server's end of a WebSocket; dropping it cuts the connection.
pub struct Socket {
    stream: TokioIo<Upgraded>,
    reader: Reader,
    unread: Vec<u8>,
}

/// The server's end of an event stream; dropping it ends the stream.
pub struct Stream(mpsc::UnboundedSender<Bytes>);

impl Server {
    pub async fn start() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(hand_to_the_test).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, requests }
    }

    /// The next request, which must be for this path.
    pub async fn expect(&mut self, path: &str) -> Asked {
        let asked = self.next().await;
        assert_eq!(asked.path, path);
        asked
    }

    /// The next request.
    pub async fn next(&mut self) -> Asked {
        tokio::time::timeout(TIMEOUT, self.requests.recv()).await.expect("no request came").unwrap()
    }

    /// That there is no request that was not looked at.
    pub fn expect_nothing(&mut self) {
        assert!(self.requests.try_recv().is_err());
    }
}

async fn hand_to_the_test(State(sender): State<mpsc::UnboundedSender<Asked>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        body: axum::body::to_bytes(body, 1 << 20).await.unwrap(),
        answer,
        upgrade: parts.extensions.remove(),
    };
    let _ = sender.send(asked);
    answered.await.unwrap_or_else(|_| Response::builder().status(500).body(Body::empty()).unwrap())
}

impl Asked {
    pub fn param(&self, name: &str) -> Option<String> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }

    pub fn json(&self) -> HashMap<String, serde_json::Value> {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn answer(self, body: &str) {
        self.answer_as(StatusCode::OK, &[], body);
    }

    pub fn refuse(self, status: u16, code: &str) {
        self.answer_as(
            StatusCode::from_u16(status).unwrap(),
            &[],
            &format!(r#"{{"error":{{"code":"{code}","message":"for the test"}},"reconnect":false}}"#),
        );
    }

    pub fn answer_as(self, status: StatusCode, headers: &[(&str, &str)], body: &str) {
        let mut response = Response::builder().status(status).header("content-type", "application/json");
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let _ = self.answer.send(response.body(Body::from(body.to_owned())).unwrap());
    }

    /// Begins an event stream.
    pub fn stream(self) -> Stream {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let chunks = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (Ok::<_, std::io::Error>(chunk), receiver))
        });
        let response = Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(chunks))
            .unwrap();
        let _ = self.answer.send(response);
        Stream(sender)
    }

    /// Changes to WebSocket, as RFC 6455 says.
    pub async fn socket(self) -> Socket {
        let accept = accept(self.headers["sec-websocket-key"].to_str().unwrap());
        self.socket_with(&[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", &accept),
        ])
        .await
    }

    /// Changes the protocol with these fields in the answer.
    pub async fn socket_with(self, headers: &[(&str, &str)]) -> Socket {
        let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let _ = self.answer.send(response.body(Body::empty()).unwrap());
        let stream = tokio::time::timeout(TIMEOUT, self.upgrade.unwrap())
            .await
            .expect("the protocol is not changed")
            .unwrap();
        Socket { stream: TokioIo::new(stream), reader: Reader::default(), unread: Vec::new() }
    }

    /// Ends the connection without an answer worth the name.
    pub fn drop_connection(self) {
        let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
        let _ = self.answer.send(Response::new(Body::from_stream(broken)));
    }
}

impl Socket {
    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut out = Vec::new();
        frame::write(&mut out, opcode, payload);
        self.raw(&out).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.frame(frame::TEXT, text.as_bytes()).await;
    }

    pub async fn open(&mut self, session: &str, cursor: &str) {
        self.text(&format!(
            r#"{{"event":"open","session":"{session}","cursor":"{cursor}","heartbeat_s":20}}"#
        ))
        .await;
    }

    pub async fn message(&mut self, channel: &str, epoch: &str, offset: u64) {
        self.text(&format!(r#"{{"event":"message",{}}}"#, message(channel, epoch, offset))).await;
    }

    pub async fn close(&mut self, code: &str, reconnect: bool, status: u16) {
        self.text(&format!(
            r#"{{"event":"close","code":"{code}","reason":"for the test","reconnect":{reconnect}}}"#
        ))
        .await;
        let mut out = Vec::new();
        CloseFrame::write(&mut out, CloseStatus::new(status).unwrap(), code);
        self.raw(&out).await;
    }

    /// What the client says next, which has to be masked; none when it has gone.
    pub async fn heard(&mut self) -> Option<Received> {
        let rules = Rules { message_max_bytes: 1 << 20, compression: false, masked: true };
        loop {
            let mut input = self.unread.as_slice();
            let heard = self.reader.next(&rules, &mut input).unwrap();
            self.unread = input.to_vec();
            if heard.is_some() {
                return heard;
            }
            let mut buffer = [0; 4096];
            let count = tokio::time::timeout(TIMEOUT, self.stream.read(&mut buffer))
                .await
                .expect("the client is silent")
                .unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }
}

impl Stream {
    pub fn raw(&self, text: &str) {
        self.0.send(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    }

    pub fn open(&self, session: &str, cursor: &str) {
        self.raw(&format!("event: opened\nid: {cursor}\ndata: {{\"event\":\"open\",\"session\":\"{session}\",\"cursor\":\"{cursor}\",\"heartbeat_s\":20}}\n\n"));
    }

    /// A message without an id line, as in sessions whose cursor is long.
    pub fn message(&self, channel: &str, epoch: &str, offset: u64) {
        self.raw(&format!("data: {{\"event\":\"message\",{}}}\n\n", message(channel, epoch, offset)));
    }
}

/// The members of a message.
pub fn message(channel: &str, epoch: &str, offset: u64) -> String {
    format!(
        r#""id":"m{offset}","channel":"{channel}","offset":{offset},"epoch":"{epoch}","time":"2026-01-02T03:04:05Z","type":"message","data":{offset}"#
    )
}

/// The answer to a poll.
pub fn poll_answer(session: &str, cursor: &str, messages: &[String]) -> String {
    let messages: Vec<_> = messages.iter().map(|members| format!("{{{members}}}")).collect();
    format!(
        r#"{{"session":"{session}","cursor":"{cursor}","messages":[{}],"gaps":[],"close":null}}"#,
        messages.join(",")
    )
}

/// The events of a listener that a task of its own drives.
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Result<Event, Error>>,
    pub handle: SessionHandle,
}

impl Events {
    pub fn of(mut listener: Listener) -> Self {
        let handle = listener.handle();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = listener.next().await {
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Self { receiver, handle }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        tokio::time::timeout(TIMEOUT, self.receiver.recv()).await.expect("no event came")
    }

    pub async fn open(&mut self) -> encke_client::Open {
        match self.next().await {
            Some(Ok(Event::Open(open))) => open,
            other => panic!("not open: {other:?}"),
        }
    }

    pub async fn message(&mut self) -> (String, u64) {
        match self.next().await {
            Some(Ok(Event::Message(message))) => (message.channel, message.offset),
            other => panic!("not a message: {other:?}"),
        }
    }

    pub async fn lost(&mut self) -> encke_client::Lost {
        match self.next().await {
            Some(Ok(Event::Lost(lost))) => lost,
            other => panic!("not lost: {other:?}"),
        }
    }

    pub async fn close(&mut self) -> encke_client::Close {
        match self.next().await {
            Some(Ok(Event::Close(close))) => close,
            other => panic!("not a close: {other:?}"),
        }
    }

    pub async fn error(&mut self) -> Error {
        match self.next().await {
            Some(Err(error)) => error,
            other => panic!("not an error: {other:?}"),
        }
    }

    pub async fn end(&mut self) {
        let next = self.next().await;
        assert!(next.is_none(), "not the end: {next:?}");
    }
}

/// Lets time pass at once. The clock stands only during the jump: with real sockets a standing clock would
/// run ahead whenever bytes are under way.
pub async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
